//! One value, one credential. Never says which others: equality is an oracle.

use super::{Complaint, Rule};

pub(super) const RULE: Rule = Rule {
    name: "shared",
    description: "No other credential of the tenant has the same value.",
    judge: |policy, _, facts| {
        if facts.shared_with == 0 {
            return Vec::new();
        }
        let message = match facts.shared_with {
            1 => "another credential has the same value".to_owned(),
            others => format!("{others} other credentials have the same value"),
        };
        let advice = "give each its own value, so that one leak opens one door";
        vec![if policy.forbid_shared {
            Complaint::refuse(message, advice)
        } else {
            Complaint::warn(message, advice)
        }]
    },
};
