//! Compliance: rule sets and what they say of a page of the estate.

use pentad_agents::operations;
use pentad_model::{Kind, Name, Path};
use pentad_policy::compliance;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a report is, in every report.
const NOTE: &str = "An aid, no attestation: it tells what Pentad sees of credentials. Most of a \
                    control is people and processes, which it does not see.";

/// A rule set as somebody writes it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSetContent {
    /// The framework's name.
    pub title: String,
    /// Which edition of it was read.
    #[serde(default)]
    pub edition: String,
    /// Where it is published.
    #[serde(default)]
    pub source: String,
    /// In the framework's order; 1 to 200.
    pub controls: Vec<Control>,
}

/// A control, or a part of one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// The framework's own id, such as `8.3.6`.
    pub id: String,
    /// Which part of it, where it has several.
    #[serde(default)]
    pub part: Option<String>,
    /// What it asks, in a few words.
    pub title: String,
    /// What it asks, and how far this set goes.
    #[serde(default)]
    pub text: String,
    /// The kinds of credential that it speaks of; all if none is named.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub kinds: Vec<Kind>,
    /// Whether the framework leaves the numbers to the organisation.
    #[serde(default)]
    pub organisation_defined: bool,
    /// What stands for it, such as `{"type": "length", "min": 12}`; all must hold.
    #[schema(value_type = Vec<Object>)]
    pub checks: Vec<compliance::Check>,
}

/// A rule set.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RuleSet {
    /// Its name in routes.
    #[schema(value_type = String)]
    pub id: Name,
    /// What it holds.
    #[serde(flatten)]
    pub content: RuleSetContent,
}

impl RuleSetContent {
    /// The set of this name.
    pub(crate) fn into_set(self, id: Name) -> compliance::RuleSet {
        compliance::RuleSet {
            id,
            title: self.title,
            edition: self.edition,
            source: self.source,
            controls: self.controls.into_iter().map(into_control).collect(),
        }
    }
}

fn into_control(from: Control) -> compliance::Control {
    compliance::Control {
        id: from.id,
        part: from.part,
        title: from.title,
        text: from.text,
        kinds: from.kinds,
        organisation_defined: from.organisation_defined,
        checks: from.checks,
    }
}

impl From<compliance::RuleSet> for RuleSet {
    fn from(from: compliance::RuleSet) -> Self {
        let control = |from: compliance::Control| Control {
            id: from.id,
            part: from.part,
            title: from.title,
            text: from.text,
            kinds: from.kinds,
            organisation_defined: from.organisation_defined,
            checks: from.checks,
        };
        Self {
            id: from.id,
            content: RuleSetContent {
                title: from.title,
                edition: from.edition,
                source: from.source,
                controls: from.controls.into_iter().map(control).collect(),
            },
        }
    }
}

/// What a rule set says of a page of the estate. An aid, no attestation.
#[derive(Debug, Serialize, ToSchema)]
pub struct ComplianceReport {
    /// The set.
    #[schema(value_type = String)]
    pub set: Name,
    /// The framework's name.
    pub title: String,
    /// Which edition of it was read.
    pub edition: String,
    /// What this report is, and is not.
    pub note: &'static str,
    /// Credentials of this page: those that the caller may check. Counts are of this page.
    pub looked_at: usize,
    /// Controls about credentials, in the set's order.
    pub controls: Vec<ControlCounts>,
    /// Controls about the system as a whole.
    pub system: Vec<SystemControl>,
    /// The credentials of this page that fail a control.
    pub items: Vec<NonCompliant>,
    /// Where to go on: send it back as `after`; null at the end.
    pub next: Option<String>,
}

/// How many credentials of the page pass a control.
#[derive(Debug, Serialize, ToSchema)]
pub struct ControlCounts {
    /// Its id, with its part.
    pub control: String,
    /// What it asks, in a few words.
    pub title: String,
    /// Whether the framework leaves the numbers to the organisation.
    pub organisation_defined: bool,
    /// Credentials that pass.
    pub passed: u64,
    /// Credentials that fail.
    pub failed: u64,
    /// Credentials of which it can't be told; never a pass.
    pub not_assessed: u64,
    /// Credentials of kinds that it does not speak of.
    pub not_applicable: u64,
    /// Why it can't be told of some: a few of the reasons.
    pub not_assessed_because: Vec<String>,
}

/// A control about the system as a whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct SystemControl {
    /// Its id, with its part.
    pub control: String,
    /// What it asks, in a few words.
    pub title: String,
    /// `pass`, `fail` or `not_assessed`.
    #[schema(value_type = String, example = "not_assessed")]
    pub verdict: compliance::Verdict,
    /// Why.
    pub because: String,
}

/// A credential that fails a control.
#[derive(Debug, Serialize, ToSchema)]
pub struct NonCompliant {
    /// Which.
    #[schema(value_type = String)]
    pub path: Path,
    /// The controls that it fails, in the set's order.
    pub failed: Vec<FailedControl>,
}

/// A control that a credential fails.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailedControl {
    /// Its id, with its part.
    pub control: String,
    /// Why.
    pub because: String,
    /// What to do about it.
    pub advice: String,
}

impl From<operations::Report> for ComplianceReport {
    fn from(from: operations::Report) -> Self {
        let operations::Report {
            set,
            looked_at,
            controls,
            system,
            failing,
            next,
        } = from;
        let counted = set
            .controls()
            .zip(controls)
            .map(|(control, counted)| ControlCounts {
                control: counted.control,
                title: control.title.clone(),
                organisation_defined: control.organisation_defined,
                passed: counted.tally.passed,
                failed: counted.tally.failed,
                not_assessed: counted.tally.not_assessed,
                not_applicable: counted.tally.not_applicable,
                not_assessed_because: counted.unknown,
            })
            .collect();
        let system = set
            .systemic()
            .zip(system)
            .map(|(control, judged)| SystemControl {
                control: judged.control,
                title: control.title.clone(),
                verdict: judged.verdict,
                because: judged.because,
            })
            .collect();
        let items = failing
            .into_iter()
            .map(|one| NonCompliant {
                path: one.path,
                failed: one
                    .failed
                    .into_iter()
                    .map(|judged| FailedControl {
                        control: judged.control,
                        because: judged.because,
                        advice: judged.advice,
                    })
                    .collect(),
            })
            .collect();
        Self {
            note: NOTE,
            looked_at,
            controls: counted,
            system,
            items,
            next,
            set: set.id,
            title: set.title,
            edition: set.edition,
        }
    }
}
