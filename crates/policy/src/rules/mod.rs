//! Whether a value is good enough: a credential policy held against measured facts.
//!
//! Rules see facts only, never the value, so no finding can hold a part of it. A value is accepted
//! unless a finding refuses it; warnings only lower the score.
//!
//! To add a rule: write `rules/<name>.rs` with a `RULE`, and add its line to [`RULES`]. If it needs
//! a setting, add a field to [`CredentialPolicy`] with its default and what it means. A test walks
//! the registry.

use pentad_model::{
    Kind,
    assessment::{Assessment, Facts, Finding, Severity},
};

mod classes;
mod entropy;
mod format;
mod guesses;
mod history;
mod length;
mod patterns;
mod policy;
mod score;
mod shared;

pub use policy::{CredentialPolicy, InvalidPolicy};

/// Every rule.
pub const RULES: &[&Rule] = &[
    &length::RULE,
    &classes::RULE,
    &patterns::RULE,
    &guesses::RULE,
    &entropy::RULE,
    &format::RULE,
    &history::RULE,
    &shared::RULE,
];

/// The version of the rules, in every assessment; grows when a judgement changes.
pub const RULES_VERSION: u32 = 1;

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Its stable name in findings.
    pub name: &'static str,
    /// One sentence for people.
    pub description: &'static str,
    judge: fn(&CredentialPolicy, Kind, &Facts) -> Vec<Complaint>,
}

/// What a rule has against a value.
struct Complaint {
    severity: Severity,
    /// The highest score that a value with this fault can have.
    at_most: u8,
    message: String,
    advice: String,
}

impl Complaint {
    fn refuse(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            severity: Severity::Refuse,
            at_most: score::REFUSED,
            message: message.into(),
            advice: advice.into(),
        }
    }

    fn warn(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            at_most: score::WARNED,
            message: message.into(),
            advice: advice.into(),
        }
    }
}

/// Judges a value by its facts. Findings come gravest first, then in the order of [`RULES`].
///
/// Where the policy doesn't apply to the kind, nothing is held against the value, and one finding
/// says so.
pub fn judge(policy: &CredentialPolicy, kind: Kind, facts: &Facts) -> Assessment {
    let rules = format!("{}@{}, rules {RULES_VERSION}", policy.name, policy.version);
    if !policy.applies_to(kind) {
        let finding = Finding {
            rule: "applies".to_owned(),
            severity: Severity::Info,
            message: format!("policy `{}` does not apply to the kind {kind}", policy.name),
            advice: "name a policy for this kind, or none for the built-in one".to_owned(),
        };
        return Assessment {
            score: score::of(facts, &[]),
            accepted: true,
            findings: vec![finding],
            rules,
        };
    }
    let mut complaints: Vec<(&'static str, Complaint)> = RULES
        .iter()
        .flat_map(|rule| {
            (rule.judge)(policy, kind, facts)
                .into_iter()
                .map(|complaint| (rule.name, complaint))
        })
        .collect();
    // Stable: equals stay in the order of the registry.
    complaints.sort_by_key(|(_, complaint)| std::cmp::Reverse(complaint.severity));
    let score = score::of(
        facts,
        &complaints
            .iter()
            .map(|(_, c)| c.at_most)
            .collect::<Vec<_>>(),
    );
    Assessment {
        score,
        accepted: complaints
            .iter()
            .all(|(_, c)| c.severity != Severity::Refuse),
        findings: complaints
            .into_iter()
            .map(|(rule, complaint)| Finding {
                rule: rule.to_owned(),
                severity: complaint.severity,
                message: complaint.message,
                advice: complaint.advice,
            })
            .collect(),
        rules,
    }
}

#[cfg(test)]
mod tests;
