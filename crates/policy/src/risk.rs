//! How much a credential is worth looking at first: a few reasons with points, and their sum.
//!
//! It orders work; it is no probability. Reasons are of two sorts: how easily the value is guessed,
//! found or already known, and how far the harm reaches and how slowly it is mended. What is not
//! known adds nothing, and [`Risk::unknown`] names it.

use pentad_model::assessment::Pattern;
use serde::{Deserialize, Serialize};

use crate::{
    compliance::{Exposure, Subject},
    schedule::DAY,
};

/// A credential's risk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Risk {
    /// The sum in words.
    pub level: Level,
    /// The sum of the reasons' points, 100 at most.
    pub points: u8,
    /// Why, the weightiest first.
    pub reasons: Vec<Reason>,
    /// What could not be weighed.
    pub unknown: Vec<String>,
}

/// How urgent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Below 20 points: nothing to do now.
    Low,
    /// From 20 points: with the next change.
    Moderate,
    /// From 45 points: soon.
    High,
    /// From 70 points: now.
    Critical,
}

/// One reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reason {
    /// Its stable name.
    pub name: String,
    /// Its weight.
    pub points: u8,
    /// In words.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

/// Weighs what is known.
pub fn weigh(subject: &Subject<'_>) -> Risk {
    let mut reasons = Vec::new();
    let mut unknown = Vec::new();
    let mut add = |name: &str, points: u8, message: String, advice: &str| {
        reasons.push(Reason {
            name: name.to_owned(),
            points,
            message,
            advice: advice.to_owned(),
        });
    };
    let credential = subject.credential;
    let replace = "rotate it, or let Pentad generate a new value";
    match &subject.measured {
        Err(why) => unknown.push(format!("its strength: {why}")),
        Ok(measured) => {
            // A full score adds nothing; 60, the built-in policies' least, adds 20.
            let lacking = 100u8.saturating_sub(measured.assessment.score) / 2;
            if lacking > 0 {
                let message = format!("its score is {}", measured.assessment.score);
                add("strength", lacking, message, replace);
            }
            let known = [Pattern::Common, Pattern::Placeholder];
            if measured.facts.patterns.iter().any(|p| known.contains(p)) {
                let message = "guessers try its value first".to_owned();
                add("known", 30, message, replace);
            }
            match measured.facts.shared_with {
                0 => {}
                others => add(
                    "shared",
                    u8::try_from(others.saturating_mul(5).min(15)).unwrap_or(15) + 10,
                    format!("{others} other credentials fall with it"),
                    "give each its own value",
                ),
            }
        }
    }
    match subject.exposure {
        Exposure::Found => {
            let message = "its value is in a known breach".to_owned();
            add("exposed", 70, message, "rotate it now");
        }
        Exposure::Unknown => unknown.push("exposure: it was compared with no breach".to_owned()),
        Exposure::NotFound => {}
    }
    if let Some(version) = subject.version {
        let days = subject.now.since(version.created_at).as_secs() / DAY.as_secs();
        let points = match days {
            0..=365 => 0,
            366..=730 => 10,
            _ => 15,
        };
        if points > 0 {
            let message = format!("its value is {days} days old");
            add("age", points, message, "rotate it");
        }
    }
    if credential.expires_at.is_some_and(|end| end <= subject.now) {
        let message = "it has ended; what uses it fails, or did not notice".to_owned();
        add("ended", 10, message, "rotate it, or delete it");
    }
    if credential.in_doubt {
        let message = "its target may hold another value".to_owned();
        add("in_doubt", 10, message, "resolve the rotation that stopped");
    }
    if credential.owner.is_none() {
        add(
            "owner",
            5,
            "nobody answers for it".to_owned(),
            "name an owner",
        );
    }
    if credential.binding.is_none() {
        let message = "it is bound to no target: an emergency rotation is work by hand".to_owned();
        add("by_hand", 5, message, "bind it to its target");
    }
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.points));
    let points = reasons
        .iter()
        .fold(0u8, |sum, reason| sum.saturating_add(reason.points))
        .min(100);
    let level = match points {
        0..20 => Level::Low,
        20..45 => Level::Moderate,
        45..70 => Level::High,
        _ => Level::Critical,
    };
    Risk {
        level,
        points,
        reasons,
        unknown,
    }
}
