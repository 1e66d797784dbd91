//! What may be asked of the monitoring agent.

use pentad_model::{Path, Record, Timestamp};
use pentad_store::Change;
use serde::{Deserialize, Serialize};

super::contract! {
    /// What may be asked of the monitoring agent.
    agent "monitoring" handled by Monitors;

    /// Makes a change and its records durable, as one act.
    commit(Commit: Box<Change>) -> ();
    /// As [`commit`](Self::commit), on a full disk in the space that the store keeps back: for what
    /// lets an administrator in, and nothing else.
    commit_essential(CommitEssential: Box<Change>) -> ();
    /// Makes records of what changes nothing (reads, refusals) durable.
    record(Record: Vec<Record>) -> ();
    /// A page of the audit log.
    page(Page: AuditQuery) -> AuditPage;
    /// A fresh signed checkpoint of the audit log, as text.
    checkpoint(Checkpoint: Checkpoint) -> SignedCheckpoint;
    /// Proof that a record is in the tree of a given size.
    inclusion(Inclusion: Inclusion) -> Proof;
    /// Proof that the tree of one size is a beginning of the tree of another.
    consistency(Consistency: Consistency) -> Proof;
}

/// Which records, the newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AuditQuery {
    /// Only of this credential.
    pub path: Option<Path>,
    /// Only by this principal, in its text form.
    pub principal: Option<String>,
    /// Only this action, or, if it ends with `.`, those that begin so.
    pub action: Option<String>,
    /// Only of this request.
    pub correlation: Option<pentad_model::Id>,
    /// Only since then.
    pub since: Option<Timestamp>,
    /// Only records before this position: where the last page ended.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// A page of the audit log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditPage {
    /// Positions and records, the newest first.
    pub records: Vec<(u64, Record)>,
    /// Where to go on; `None` at the end.
    pub before: Option<u64>,
}

/// See [`Monitors::checkpoint`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checkpoint {}

/// A signed checkpoint (C2SP tlog-checkpoint) and the key that verifies it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignedCheckpoint {
    /// The signed note.
    pub note: String,
    /// The verifier key in C2SP form.
    pub key: String,
    /// The tree's size.
    pub size: u64,
}

/// See [`Monitors::inclusion`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inclusion {
    /// The record's position.
    pub index: u64,
    /// The tree's size.
    pub size: u64,
}

/// See [`Monitors::consistency`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Consistency {
    /// The smaller tree's size.
    pub old: u64,
    /// The larger tree's size.
    pub new: u64,
}

/// Hashes of a Merkle proof (RFC 9162), in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Proof {
    /// SHA-256 hashes.
    pub hashes: Vec<[u8; 32]>,
    /// The leaf's bytes, with an inclusion proof.
    pub leaf: Option<String>,
}
