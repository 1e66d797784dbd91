//! Compliance: rule sets held against what Pentad knows of each credential.
//!
//! A rule set is data: a TOML file with the framework's own control ids, each with a text in our
//! words and the [`Check`]s that stand for it. Six are built in ([`builtin`]); others are written
//! in the same form and parsed by [`RuleSet::parse`]. What always holds:
//!
//! * It is an aid, no attestation: a control is more than what can be seen of credentials.
//! * What can't be decided from what is known is [`Verdict::NotAssessed`] with its reason, never a
//!   pass. A control passes only if each of its checks does.
//! * A control whose numbers the framework leaves open says so (`organisation_defined`), and its
//!   numbers are then our default or the author's choice.
//! * No finding holds a part of a value.
//!
//! To add a built-in set: a file in `rulesets/`, and its line in [`BUILTIN`]. To add a check: a
//! variant of [`Check`], and its arm in `check.rs`; the compiler finds the rest.

use std::collections::BTreeSet;

use pentad_model::{Kind, Name};
use serde::{Deserialize, Serialize};

mod check;
mod report;

pub use check::{Check, Exposure, Interval, Measured, Retention, Subject};
pub use report::{Judged, Tally, Verdict, judge, judge_system, tally};

/// The built-in sets, as they are written.
const BUILTIN: &[&str] = &[
    include_str!("../../rulesets/gdpr.toml"),
    include_str!("../../rulesets/iso-27001-2022.toml"),
    include_str!("../../rulesets/nist-800-63b-4.toml"),
    include_str!("../../rulesets/pci-dss-4.0.1.toml"),
    include_str!("../../rulesets/soc-2.toml"),
    include_str!("../../rulesets/sox.toml"),
];

/// Controls of one set.
const MOST_CONTROLS: usize = 200;
/// Checks of one control.
const MOST_CHECKS: usize = 16;
/// Characters of any one text.
const LONGEST_TEXT: usize = 2000;
/// The greatest number of days that means anything: a century.
const MOST_DAYS: u32 = 36_525;

/// A framework's controls, as far as they speak of credentials.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSet {
    /// Its name in commands and routes.
    pub id: Name,
    /// The framework's name.
    pub title: String,
    /// Which edition of it was read.
    #[serde(default)]
    pub edition: String,
    /// Where the framework is published.
    #[serde(default)]
    pub source: String,
    /// In the framework's order.
    pub controls: Vec<Control>,
}

/// One control, or a part of one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// The framework's own id, such as `8.3.6`.
    pub id: String,
    /// Which part of the control, where it has several.
    #[serde(default)]
    pub part: Option<String>,
    /// What it asks, in a few words.
    pub title: String,
    /// What it asks, and how far this set goes, in our words.
    #[serde(default)]
    pub text: String,
    /// The kinds of credential that it speaks of. Default: all.
    #[serde(default)]
    pub kinds: Vec<Kind>,
    /// Whether the framework leaves the numbers to the organisation: those below are a default.
    #[serde(default)]
    pub organisation_defined: bool,
    /// What stands for it; all must hold.
    pub checks: Vec<Check>,
}

impl Control {
    /// Its id with its part: `8.6.3 (change)`. Unique within a set.
    pub fn label(&self) -> String {
        match &self.part {
            Some(part) => format!("{} ({part})", self.id),
            None => self.id.clone(),
        }
    }

    /// Whether it speaks of this kind.
    pub fn applies_to(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    /// Whether it is about the system as a whole, and not about single credentials.
    pub fn is_systemic(&self) -> bool {
        self.checks.iter().all(Check::is_systemic)
    }
}

/// Why a rule set can't be used. Whoever wrote it mends it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidRuleSet {
    /// The text is no rule set.
    #[error("{0}")]
    Syntax(String),
    /// It is empty, or larger than anybody reads.
    #[error("a rule set has 1 to {MOST_CONTROLS} controls, this one has {0}")]
    Controls(usize),
    /// A control that can't be used.
    #[error("control `{control}`: {reason}")]
    Control {
        /// Which.
        control: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A built-in set's name.
    #[error("`{0}` is a built-in rule set; choose another id")]
    Reserved(Name),
}

impl RuleSet {
    /// Reads and checks a set that somebody wrote.
    pub fn parse(text: &str) -> Result<Self, InvalidRuleSet> {
        let set: Self =
            toml::from_str(text).map_err(|error| InvalidRuleSet::Syntax(error.to_string()))?;
        set.check()?;
        Ok(set)
    }

    /// Checks a set, wherever it came from. Its id may be a built-in one's: see
    /// [`RuleSet::check_custom`].
    pub fn check(&self) -> Result<(), InvalidRuleSet> {
        if self.controls.is_empty() || self.controls.len() > MOST_CONTROLS {
            return Err(InvalidRuleSet::Controls(self.controls.len()));
        }
        let mut seen = BTreeSet::new();
        for control in &self.controls {
            let label = control.label();
            let wrong = |reason: String| InvalidRuleSet::Control {
                control: label.chars().take(64).collect(),
                reason,
            };
            sound(control).map_err(wrong)?;
            if !seen.insert(label.clone()) {
                return Err(wrong(
                    "it is there twice; tell the parts apart by `part`".to_owned(),
                ));
            }
        }
        let texts = [&self.title, &self.edition, &self.source];
        if texts.iter().any(|text| text.chars().count() > LONGEST_TEXT) {
            return Err(InvalidRuleSet::Syntax(format!(
                "a text has at most {LONGEST_TEXT} characters"
            )));
        }
        Ok(())
    }

    /// As [`RuleSet::check`], for a set that is to be stored: a built-in one keeps its meaning.
    pub fn check_custom(&self) -> Result<(), InvalidRuleSet> {
        match builtin().iter().any(|set| set.id == self.id) {
            true => Err(InvalidRuleSet::Reserved(self.id.clone())),
            false => self.check(),
        }
    }

    /// Controls about single credentials, in order.
    pub fn controls(&self) -> impl Iterator<Item = &Control> {
        self.controls
            .iter()
            .filter(|control| !control.is_systemic())
    }

    /// Controls about the system as a whole, in order.
    pub fn systemic(&self) -> impl Iterator<Item = &Control> {
        self.controls.iter().filter(|control| control.is_systemic())
    }
}

fn sound(control: &Control) -> Result<(), String> {
    if control.id.trim().is_empty() || control.title.trim().is_empty() {
        return Err("it needs an `id` and a `title`".to_owned());
    }
    let part = control.part.as_deref().unwrap_or_default();
    let texts = [&*control.id, part, &*control.title, &*control.text];
    if texts.iter().any(|text| text.chars().count() > LONGEST_TEXT) {
        return Err(format!("a text has at most {LONGEST_TEXT} characters"));
    }
    if control.checks.is_empty() || control.checks.len() > MOST_CHECKS {
        return Err(format!("it needs 1 to {MOST_CHECKS} `checks`"));
    }
    let systemic = control.checks.iter().filter(|c| c.is_systemic()).count();
    if systemic != 0 && systemic != control.checks.len() {
        return Err(
            "checks of the whole system and of single credentials don't mix; make two controls, \
             told apart by `part`"
                .to_owned(),
        );
    }
    control.checks.iter().try_for_each(Check::sound)
}

/// The built-in sets, in the order of their ids. They are texts of this crate, and a test parses
/// each; one that did not parse would be left out.
pub fn builtin() -> Vec<RuleSet> {
    BUILTIN
        .iter()
        .filter_map(|text| RuleSet::parse(text).ok())
        .collect()
}

#[cfg(test)]
mod tests;
