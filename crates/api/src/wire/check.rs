//! Judgements.

use pentad_agents::operations;
use pentad_model::{Path, assessment};
use pentad_policy::risk;
use serde::Serialize;
use utoipa::ToSchema;

/// A judgement on a value: 0 to 100, with its reasons. It never holds the value or a part of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Assessment {
    /// 0 (worthless) to 100.
    pub score: u8,
    /// Whether policy accepts the value.
    pub accepted: bool,
    /// Why, the gravest first.
    pub findings: Vec<Finding>,
    /// Which rules judged, with their version.
    pub rules: String,
}

/// One reason.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Finding {
    /// Stable name, such as `length` or `reuse`.
    pub rule: String,
    /// `info`, `warning` or `refuse`.
    #[schema(value_type = String, example = "warning")]
    pub severity: assessment::Severity,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

impl From<assessment::Assessment> for Assessment {
    fn from(from: assessment::Assessment) -> Self {
        let assessment::Assessment {
            score,
            accepted,
            findings,
            rules,
        } = from;
        let findings = findings
            .into_iter()
            .map(|finding| Finding {
                rule: finding.rule,
                severity: finding.severity,
                message: finding.message,
                advice: finding.advice,
            })
            .collect();
        Self {
            score,
            accepted,
            findings,
            rules,
        }
    }
}

/// How urgently somebody should look at a credential. It orders work; it is no probability.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Risk {
    /// `low`, `moderate` (from 20 points), `high` (from 45) or `critical` (from 70).
    #[schema(value_type = String, example = "moderate")]
    pub level: risk::Level,
    /// The sum of the reasons' points, 100 at most.
    pub points: u8,
    /// Why, the weightiest first.
    pub reasons: Vec<RiskReason>,
    /// What could not be weighed.
    pub unknown: Vec<String>,
}

/// One reason.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RiskReason {
    /// Stable name, such as `shared` or `age`.
    pub name: String,
    /// Its weight.
    pub points: u8,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

impl From<risk::Risk> for Risk {
    fn from(from: risk::Risk) -> Self {
        let reasons = from.reasons.into_iter().map(|reason| RiskReason {
            name: reason.name,
            points: reason.points,
            message: reason.message,
            advice: reason.advice,
        });
        Self {
            level: from.level,
            points: from.points,
            reasons: reasons.collect(),
            unknown: from.unknown,
        }
    }
}

/// One checked credential.
#[derive(Debug, Serialize, ToSchema)]
pub struct Checked {
    /// Which.
    #[schema(value_type = String)]
    pub path: Path,
    /// The judgement; null for a credential without a value.
    pub assessment: Option<Assessment>,
    /// How urgently somebody should look at it.
    pub risk: Risk,
    /// Why it could not be judged.
    pub problem: Option<String>,
}

impl From<operations::Checked> for Checked {
    fn from(from: operations::Checked) -> Self {
        Self {
            path: from.path,
            assessment: from.assessment.map(Into::into),
            risk: from.risk.into(),
            problem: from.problem,
        }
    }
}
