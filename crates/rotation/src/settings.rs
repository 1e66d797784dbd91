//! What an operator may tune, and the protocols that are broken on purpose for the tests.

use std::time::Duration;

/// What an operator may tune.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This worker's name, by process and incarnation.
    pub holder: String,
    /// Holders that are known to be dead: their leases need not run out. Safety does not rest on
    /// it, the fence and the epoch do; a wrong answer costs a probe. Given this worker's name and the
    /// holder's.
    pub is_dead: fn(&str, &str) -> bool,
    /// How long a holder keeps a rotation without a sign of life. Far longer than any effect.
    pub lease: Duration,
    /// The longest that an effect can take at a target once it was begun; also how long after its
    /// intent it may still begin.
    pub effect_bound: Duration,
    /// Effects of one sort tried before giving up.
    pub max_attempts: u8,
    /// Values generated before the policy counts as one that the generator can't meet.
    pub max_drafts: u8,
    /// First and longest wait between tries.
    pub backoff: (Duration, Duration),
}

impl Settings {
    /// The defaults, for a worker of this name.
    ///
    /// A lease of 30 s outlasts the 5 s that an effect is bounded by several times, so that a slow
    /// holder is rarely mistaken for a dead one, and a dead one's work is taken up soon.
    pub fn new(holder: impl Into<String>) -> Self {
        Self {
            holder: holder.into(),
            is_dead: |_, _| false,
            lease: Duration::from_secs(30),
            effect_bound: Duration::from_secs(10),
            max_attempts: 5,
            max_drafts: 8,
            backoff: (Duration::from_millis(200), Duration::from_secs(30)),
        }
    }
}

/// Protocols broken on purpose, to show that the checks catch them.
#[cfg(any(test, feature = "sabotage"))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// The effect happens before its intent is durable.
    IntentAfterEffect,
    /// Values that were attempted are forgotten.
    DropAttempted,
    /// The connection of an earlier effect is left alive.
    NoFence,
    /// Every account is treated as one that Pentad owns.
    OverwriteForeign,
    /// Whoever is let in at a target that can prove what it keeps counts as proven.
    LetInIsProof,
    /// A login counts though a random value logs in too.
    NoControl,
}
