//! The format that a value should have.

use super::{Complaint, Rule};

/// What validation appends to a format's name when the value's own checksum is wrong.
const BAD_CHECKSUM: &str = ":bad_checksum";

pub(super) const RULE: Rule = Rule {
    name: "format",
    description: "Has one of the policy's `formats`, and a right checksum where its format has one.",
    judge: |policy, _, facts| {
        let found = facts.format.as_deref();
        let mut complaints = Vec::new();
        if let Some(name) = found.and_then(|format| format.strip_suffix(BAD_CHECKSUM)) {
            complaints.push(Complaint::warn(
                format!("looks like {name}, but its checksum is wrong"),
                "it was probably cut or mistyped: copy it again from its issuer",
            ));
        }
        let fits = |format: &str| policy.formats.iter().any(|allowed| allowed == format);
        if !policy.formats.is_empty() && !found.is_some_and(fits) {
            complaints.push(Complaint::refuse(
                format!(
                    "looks like {}, not like {}",
                    found.unwrap_or("no format that Pentad knows"),
                    policy.formats.join(" or ")
                ),
                "store it under the kind that it is, or copy it again, whole",
            ));
        }
        complaints
    },
};
