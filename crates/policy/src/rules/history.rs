//! No return of an earlier value.

use super::{Complaint, Rule};

pub(super) const RULE: Rule = Rule {
    name: "history",
    description: "Is none of the credential's last `history` values.",
    judge: |policy, _, facts| {
        if policy.history == 0 || facts.reused_from.is_empty() {
            return Vec::new();
        }
        let versions = facts
            .reused_from
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        vec![Complaint::refuse(
            format!("the same value as version {versions}"),
            "use a value that this credential has not had",
        )]
    },
};
