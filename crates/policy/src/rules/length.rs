//! Not too short, not too long for the target.

use super::{Complaint, Rule};

pub(super) const RULE: Rule = Rule {
    name: "length",
    description: "Has at least `min_length` and at most `max_length` characters.",
    judge: |policy, _, facts| {
        if facts.length < policy.min_length {
            return vec![Complaint::refuse(
                format!(
                    "{} characters, fewer than {}",
                    facts.length, policy.min_length
                ),
                "use a longer value; length protects better than odd characters",
            )];
        }
        match policy.max_length {
            Some(max) if facts.length > max => vec![Complaint::refuse(
                format!("{} characters, more than {max}", facts.length),
                "use a shorter value, or raise the policy's `max_length` if the target takes it",
            )],
            _ => Vec::new(),
        }
    },
};
