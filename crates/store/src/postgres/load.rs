//! A new store from the rows of a snapshot, in one transaction with its tables: there whole, or not at
//! all.
//!
//! Nothing is checked against what is there, for nothing is: rows come with the revisions that they
//! had. Statements go out in batches without waiting for each other.

use std::sync::Arc;

use pentad_model::{Clock as _, SystemClock};
use tokio::runtime::Handle;

use super::{
    PostgresStore,
    address::Address,
    errors::{Failure, lost},
    first, ops, outbox, schema,
    session::{Connector, Session, Step},
};
use crate::{
    Op, StoreError,
    snapshot::{Item, Load},
};

/// Statements of a batch.
const AT_ONCE: usize = 1000;
/// Bytes of sealed values in a batch, about.
const BYTES: usize = 4 << 20;

/// A store that is being filled. Dropping it before [`finish`](Load::finish) leaves no store.
pub struct Loader {
    session: Session,
    runtime: Handle,
    /// The node that the records wait for.
    log: String,
    steps: Vec<Step>,
    bytes: usize,
    records: i64,
}

impl PostgresStore {
    /// Begins a new store at the address, whose first node has this audit log. To be called on a
    /// runtime that outlives the loading, which itself is done on a thread that may block.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is one; it is left as it is.
    pub async fn load(address: Address, log: &str) -> Result<Loader, StoreError> {
        let connector = Arc::new(Connector::new(address, Handle::current()));
        let session = first(&connector).await?;
        let begun = begin(&session, connector.schema(), log).await;
        begun.map_err(|failure| failure.about(about))?;
        Ok(Loader {
            session,
            runtime: Handle::current(),
            log: log.to_owned(),
            steps: Vec::with_capacity(AT_ONCE),
            bytes: 0,
            records: 0,
        })
    }
}

async fn begin(session: &Session, schema: &str, log: &str) -> Result<(), Failure> {
    // What is between two batches (a log that is verified) may take long; nobody else waits for it.
    session
        .batch("SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = 0; BEGIN")
        .await?;
    schema::make_within(session.client(), schema).await?;
    let node = "INSERT INTO nodes (log, last_group, last_position) VALUES ($1, 0, 0)";
    session.execute(node, &[log.into()]).await?;
    Ok(())
}

impl Loader {
    fn steps_of(&mut self, item: &Item) -> Result<Vec<Step>, StoreError> {
        Ok(match item {
            Item::Credential(credential) => ops::insert_credential(credential)?,
            Item::Version(version, destroyed_at) => {
                self.bytes += version.sealed.as_ref().map_or(0, |it| it.as_bytes().len());
                let version = version.clone();
                let destroyed = destroyed_at.map(|at| ops::destroyed_at(&version, at));
                let mut steps = ops::steps(&Op::AddVersion { version }, SystemClock.now())?;
                steps.extend(destroyed);
                steps
            }
            Item::Rotation(rotation) => vec![ops::insert_rotation(rotation)?],
            Item::Document(document) => vec![ops::insert_document(document)?],
            Item::Record(record) => {
                let steps = outbox::put(&self.log, self.records, &[record], SystemClock.now())?;
                self.records += 1;
                steps
            }
        })
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let steps = std::mem::take(&mut self.steps);
        self.bytes = 0;
        let sent = self.runtime.block_on(self.session.pipeline(None, &steps));
        let results = sent.map_err(|failure| failure.about(about))?;
        for (result, step) in results.into_iter().zip(&steps) {
            let reached = result.map_err(|failure| failure.about(about))?;
            if step.reaches.is_some_and(|wants| wants != reached) {
                return Err(StoreError::Exists { what: about() });
            }
        }
        Ok(())
    }
}

impl Load for Loader {
    fn insert(&mut self, item: &Item) -> Result<(), StoreError> {
        let steps = self.steps_of(item)?;
        self.steps.extend(steps);
        match self.steps.len() >= AT_ONCE || self.bytes >= BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        self.steps.push(Step {
            sql: "UPDATE nodes SET last_position = $2 WHERE log = $1",
            values: vec![self.log.as_str().into(), self.records.into()],
            reaches: Some(1),
        });
        self.flush()?;
        let committed = self.runtime.block_on(self.session.batch("COMMIT"));
        committed.map_err(|failure| {
            let error = failure.about(about);
            lost(format!(
                "whether the store is there now is not known: {error}"
            ))
        })
    }
}

fn about() -> String {
    "a restored row".to_owned()
}
