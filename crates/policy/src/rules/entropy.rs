//! Randomness of what nobody chooses.

use super::{Complaint, Rule};

pub(super) const RULE: Rule = Rule {
    name: "entropy",
    description: "Has at least `min_entropy_bits` of entropy, where nobody chose it.",
    judge: |policy, kind, facts| {
        if kind.profile().memorable || facts.entropy_bits >= policy.min_entropy_bits {
            return Vec::new();
        }
        vec![Complaint::refuse(
            format!(
                "at most {:.0} bits of entropy; at least {:.0} are asked for",
                facts.entropy_bits, policy.min_entropy_bits
            ),
            "have the issuer or Pentad make a random one of 32 characters or more",
        )]
    },
};
