//! Where credentials, rotations and the audit log are kept.
//!
//! This crate holds [`Sealed`](pentad_model::Sealed) bytes only; it can't open them. What always
//! holds:
//!
//! * A [`Change`] is one act: all its operations, their preconditions and its audit records take
//!   effect together or not at all, and are on disk when [`Writer::commit`] returns.
//! * Every update is a compare-and-set; a lost race is [`StoreError::Conflict`], never a lost
//!   update.
//! * Every listing is a keyset page; nothing walks the whole estate.
//!
//! | module | holds |
//! |---|---|
//! | [`change`] | the write model: operations with preconditions |
//! | [`read`] | the read model: look-ups and pages |
//! | [`guide`] | pages of what somebody may see, led from one such path to the next |
//! | [`snapshot`] | one moment of the whole store, for backups |
//! | [`sqlite`] | the embedded store |
//! | [`postgres`] | the store in PostgreSQL, which several nodes may share |
//! | [`stamps`] | what changed, for whoever keeps what it read |
//! | [`durable`] | directories whose names survive a power cut |
//! | [`audit`] | the append-only audit log with its Merkle tree |
//! | [`conformance`] | the suite that every store passes |
//!
//! To add a store: implement [`Reader`] and [`Writer`] in a module of its own, and run
//! [`conformance`] on it.

pub mod audit;
pub mod change;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod durable;
pub mod error;
pub mod guide;
pub mod postgres;
pub mod read;
mod reserve;
pub mod snapshot;
pub mod sqlite;
pub mod stamps;
mod subject;

pub use change::{Change, Collection, Document, Expect, Op};
pub use error::StoreError;
pub use postgres::{PostgresOptions, PostgresStore};
pub use read::{
    CredentialQuery, Damage, Due, DueQuery, Page, Reader, Reuse, RotationQuery, Waiting,
};
pub use sqlite::{OpenOptions, SqliteStore};
pub use stamps::{Stamp, Stamps};

/// The writing half of a store. Only the monitoring agent is given one, so that no change happens
/// without its record.
#[async_trait::async_trait]
pub trait Writer: Send + Sync + 'static {
    /// Makes the change durable, with its audit records, or leaves everything as it was.
    ///
    /// Concurrent commits share one transaction and one fsync (group commit); a change whose
    /// precondition fails takes none of the others with it.
    async fn commit(&self, change: Change) -> Result<(), StoreError>;

    /// As [`commit`](Self::commit), and on a full disk in space that was kept back: for the few
    /// small changes without which nobody could get in to mend it, such as an administrator's
    /// login. A store that keeps none back answers [`StoreError::Full`].
    async fn commit_essential(&self, change: Change) -> Result<(), StoreError>;

    /// Drops audit records up to and including outbox position `through`: they are in the audit
    /// log now. Need not be durable before it returns.
    async fn clear_outbox(&self, through: u64) -> Result<(), StoreError>;
}
