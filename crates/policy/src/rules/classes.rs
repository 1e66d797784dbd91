//! Character classes that a target insists on. Off by default.

use super::{Complaint, Rule};

pub(super) const RULE: Rule = Rule {
    name: "classes",
    description: "Has the character classes that the policy requires.",
    judge: |policy, _, facts| {
        [
            (
                policy.require_uppercase,
                facts.upper,
                "an upper-case letter",
            ),
            (policy.require_lowercase, facts.lower, "a lower-case letter"),
            (policy.require_numbers, facts.digit, "a digit"),
            (
                policy.require_special_chars,
                facts.special,
                "a special character",
            ),
        ]
        .into_iter()
        .filter(|(required, present, _)| *required && !present)
        .map(|(_, _, what)| {
            Complaint::refuse(
                format!("{what} is missing"),
                format!("add {what}, or let Pentad generate the value"),
            )
        })
        .collect()
    },
};
