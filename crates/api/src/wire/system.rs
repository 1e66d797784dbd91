//! The system itself: agents, kinds, connectors.

use serde::Serialize;
use utoipa::ToSchema;

use pentad_model::rotation::Strategy;

/// The health of one agent. Counters count since it was started.
#[derive(Debug, Serialize, ToSchema)]
pub struct Agent {
    /// Its name.
    pub name: String,
    /// `starting`, `running`, `restarting`, `stopping` or `stopped`.
    pub state: String,
    /// The number of the present incarnation, from 1.
    pub incarnation: u64,
    /// Incarnations that crashed.
    pub restarts: u64,
    /// How long the last restart took.
    pub last_restart_ms: Option<u64>,
    /// Envelopes waiting in each lane.
    pub queued: Queued,
    /// Envelopes being handled.
    pub in_flight: usize,
    /// Workers.
    pub workers: usize,
    /// Workers that are idle.
    pub idle: usize,
    /// Envelopes accepted.
    pub accepted: u64,
    /// Envelopes answered.
    pub handled: u64,
    /// Attempts that a crash cut short.
    pub failed: u64,
    /// Envelopes set aside after too many crashes.
    pub quarantined: u64,
    /// Calls refused because their lane was full.
    pub refused_full: u64,
    /// Age of the oldest envelope, in milliseconds.
    pub oldest_ms: u64,
    /// Median service time, in microseconds.
    pub p50_us: u64,
    /// 99th percentile of the service time, in microseconds.
    pub p99_us: u64,
}

/// Envelopes waiting in each lane.
#[derive(Debug, Serialize, ToSchema)]
pub struct Queued {
    /// Emergencies.
    pub critical: usize,
    /// A person waits.
    pub high: usize,
    /// Programs.
    pub normal: usize,
    /// Whole-estate work.
    pub background: usize,
}

/// Whether it works.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`, or `not ready`.
    pub status: &'static str,
    /// Agents that don't serve just now; `store` and `log` if a write or an fsync of theirs failed: then
    /// a restart is needed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<String>,
}

/// A kind of credential.
#[derive(Debug, Serialize, ToSchema)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// Whether Pentad can make a value.
    pub generated: bool,
    /// Whether a person chose or may type it.
    pub memorable: bool,
    /// Longest value accepted, in bytes.
    pub max_bytes: usize,
}

/// A system that credentials can be rotated at.
#[derive(Debug, Serialize, ToSchema)]
pub struct Connector {
    /// Its name, a target's `system`.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// What a target's address is.
    pub address: String,
    /// The strategies that it can do, its first choice first.
    #[schema(value_type = Vec<String>)]
    pub strategies: Vec<Strategy>,
    /// The options of a target, with their meaning.
    pub options: std::collections::BTreeMap<String, String>,
    /// Whether it needs an administrating account.
    pub needs_admin: bool,
}
