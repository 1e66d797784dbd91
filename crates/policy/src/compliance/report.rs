//! From checks to controls: one verdict each, and counts over many credentials.

use serde::{Deserialize, Serialize};

use super::{
    Control, RuleSet,
    check::{Found, Subject},
};

/// How a control ended for a credential, or for the system.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It speaks of other kinds of credential.
    NotApplicable,
    /// Every check of it holds.
    Pass,
    /// It can't be told from what is known. Never a pass.
    NotAssessed,
    /// A check of it does not hold.
    Fail,
}

/// A control held against one credential, or against the system.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Judged {
    /// The control's label, such as `8.6.3 (change)`.
    pub control: String,
    /// How it ended: the gravest of its checks.
    pub verdict: Verdict,
    /// Why; of all checks that ended so.
    pub because: String,
    /// What to do; empty unless it failed.
    pub advice: String,
}

/// Counts for one control.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Tally {
    /// Credentials that pass.
    pub passed: u64,
    /// Credentials that fail.
    pub failed: u64,
    /// Credentials of which it can't be told.
    pub not_assessed: u64,
    /// Credentials of which it does not speak.
    pub not_applicable: u64,
}

impl Tally {
    /// Counts one.
    pub fn add(&mut self, verdict: Verdict) {
        let place = match verdict {
            Verdict::Pass => &mut self.passed,
            Verdict::Fail => &mut self.failed,
            Verdict::NotAssessed => &mut self.not_assessed,
            Verdict::NotApplicable => &mut self.not_applicable,
        };
        *place += 1;
    }
}

/// Holds the controls that are about credentials against one, in the set's order.
pub fn judge(set: &RuleSet, subject: &Subject<'_>) -> Vec<Judged> {
    let one = |control: &Control| {
        if !control.applies_to(subject.credential.kind) {
            return Judged {
                control: control.label(),
                verdict: Verdict::NotApplicable,
                because: format!("it does not speak of the kind {}", subject.credential.kind),
                advice: String::new(),
            };
        }
        gather(
            control,
            control.checks.iter().map(|check| check.of(subject)),
        )
    };
    set.controls().map(one).collect()
}

/// Holds the controls that are about the system against it, in the set's order.
pub fn judge_system(set: &RuleSet) -> Vec<Judged> {
    let of = |control: &Control| {
        let found = control.checks.iter().filter_map(super::Check::of_system);
        gather(control, found)
    };
    set.systemic().map(of).collect()
}

/// Counts for each control that is about credentials, in the set's order; `judged` has, for each
/// credential, what [`judge`] answered.
pub fn tally<'j>(set: &RuleSet, judged: impl IntoIterator<Item = &'j [Judged]>) -> Vec<Tally> {
    let mut counts = vec![Tally::default(); set.controls().count()];
    for one in judged {
        for (count, judged) in counts.iter_mut().zip(one) {
            count.add(judged.verdict);
        }
    }
    counts
}

/// The gravest verdict, with the words of all checks that ended so. One that holds no word at all
/// can't be told.
fn gather(control: &Control, found: impl Iterator<Item = Found>) -> Judged {
    let found: Vec<Found> = found.collect();
    let verdict = found.iter().map(|found| found.verdict).max();
    let verdict = verdict.unwrap_or(Verdict::NotAssessed);
    let gravest = || found.iter().filter(|found| found.verdict == verdict);
    let mut advice: Vec<&str> = gravest().map(|found| found.advice).collect();
    advice.dedup();
    Judged {
        control: control.label(),
        verdict,
        because: gravest()
            .map(|found| found.because.as_str())
            .collect::<Vec<_>>()
            .join("; "),
        advice: advice.join("; "),
    }
}
