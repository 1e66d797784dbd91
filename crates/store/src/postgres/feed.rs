//! What other nodes changed: for whoever keeps copies of what the store holds.
//!
//! Every group of changes that touches a credential, its versions or a document leaves one row in
//! the feed, in its own transaction. Groups of all nodes are committed one after the other, so
//! positions grow by one in the order in which they became visible: whoever has read up to a position
//! has missed nothing before it. Rows are kept for [`KEPT`]; who was away for longer is told to
//! forget everything.

use std::collections::BTreeSet;

use pentad_model::{Path, Tenant};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use super::{
    errors::Failure,
    lanes::Lanes,
    ops::any,
    rows::{Value, column},
    session::{Session, Step},
};
use crate::{Change, Collection, Op, StoreError};

/// How long the feed remembers, as PostgreSQL writes it.
const KEPT: &str = "10 minutes";
/// Groups read at a time.
const A_PAGE: i64 = 1000;

/// Something that was changed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Touched {
    /// A credential, or any of its versions.
    Credential(Tenant, Path),
    /// A document.
    Document(Collection, Tenant, String),
}

/// What was changed since a position, by any node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changes {
    /// Where to go on from.
    pub position: u64,
    /// Whether that is the end; else there is more to be asked for at once.
    pub is_all: bool,
    /// What was touched; `None` if the feed does not reach back so far: then it may be anything.
    pub touched: Option<BTreeSet<Touched>>,
}

/// What a change touches that somebody may have a copy of.
pub(super) fn touched(change: &Change) -> impl Iterator<Item = Touched> {
    change.ops.iter().filter_map(|op| {
        Some(match op {
            Op::CreateCredential { credential } | Op::UpdateCredential { credential, .. } => {
                Touched::Credential(credential.tenant.clone(), credential.path.clone())
            }
            Op::AddVersion { version } => {
                Touched::Credential(version.tenant.clone(), version.path.clone())
            }
            Op::RemoveCredential { tenant, path, .. }
            | Op::SetStage { tenant, path, .. }
            | Op::DestroyVersion { tenant, path, .. } => {
                Touched::Credential(tenant.clone(), path.clone())
            }
            Op::PutDocument { document, .. } => Touched::Document(
                document.collection,
                document.tenant.clone(),
                document.name.clone(),
            ),
            Op::RemoveDocument {
                collection,
                tenant,
                name,
            } => Touched::Document(*collection, tenant.clone(), name.clone()),
            // Nobody keeps copies of rotations: they move too often to be worth it.
            Op::CreateRotation { .. } | Op::UpdateRotation { .. } | Op::CheckDocument { .. } => {
                return None;
            }
        })
    })
}

/// The statements that put a group in the feed. (In one: the position is the row's that it updates.)
pub(super) fn put(log: &str, touched: &BTreeSet<Touched>) -> Result<Vec<Step>, StoreError> {
    if touched.is_empty() {
        return Ok(Vec::new());
    }
    let text = serde_json::to_string(touched).map_err(|error| StoreError::Invalid {
        what: "what a change touches".to_owned(),
        reason: error.to_string(),
    })?;
    Ok(vec![any(
        "WITH next AS (UPDATE store SET changes = changes + 1 RETURNING changes)
         INSERT INTO feed (position, log, touched) SELECT changes, $1, $2 FROM next",
        vec![log.into(), text.into()],
    )])
}

/// Drops some of what is older than [`KEPT`].
pub(super) fn sweep(limit: i64) -> Step {
    any(
        "DELETE FROM feed WHERE position IN
             (SELECT position FROM feed WHERE at < clock_timestamp() - $1::text::interval
              ORDER BY at LIMIT $2)",
        vec![KEPT.into(), limit.into()],
    )
}

/// Who can be asked for the feed.
pub(super) trait Ask {
    async fn ask(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Failure>;
}

impl Ask for Lanes {
    async fn ask(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Failure> {
        self.query(sql, values).await
    }
}

impl Ask for Session {
    async fn ask(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Failure> {
        self.query(sql, values).await
    }
}

/// See [`PostgresStore::changes_since`](super::PostgresStore::changes_since).
pub(super) async fn since(asked: &impl Ask, position: u64) -> Result<Changes, Failure> {
    let from = position.cast_signed();
    // One statement, one view: the last position, and the rows up to it.
    let values: [Value; 2] = [from.into(), A_PAGE.into()];
    let rows = asked
        .ask(
            "SELECT s.changes, f.position, f.touched
             FROM store s LEFT JOIN LATERAL
                 (SELECT position, touched FROM feed WHERE position > $1
                  ORDER BY position LIMIT $2) f ON true
             ORDER BY f.position",
            &values,
        )
        .await?;
    let mut all = BTreeSet::new();
    let mut reached = from;
    let mut last = from;
    for row in &rows {
        last = column(row, 0)?;
        let Some(next) = column::<Option<i64>>(row, 1)? else {
            break;
        };
        if next != reached + 1 {
            return Ok(gap(last));
        }
        let text: &str = column(row, 2)?;
        let Ok(touched) = serde_json::from_str::<Vec<Touched>>(text) else {
            // Written by a newer node, of something that this one does not know.
            return Ok(gap(last));
        };
        all.extend(touched);
        reached = next;
    }
    // Behind the last with nothing left to read, or before it: another store, or one that was
    // restored from a backup.
    if (reached == from && last != from) || last < from {
        return Ok(gap(last));
    }
    Ok(Changes {
        position: reached.cast_unsigned(),
        is_all: reached == last,
        touched: Some(all),
    })
}

fn gap(last: i64) -> Changes {
    Changes {
        position: last.cast_unsigned(),
        is_all: true,
        touched: None,
    }
}
