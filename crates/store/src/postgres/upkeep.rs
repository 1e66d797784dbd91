//! What is done to a whole store from outside, between its uses: after a large load, and when a store
//! that was made to be thrown away is.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    address::Address,
    errors::{Failure, lost},
    schema::{self, Found},
    session::Session,
};
use crate::StoreError;

/// How long the whole of it may take.
const BOUND: Duration = Duration::from_secs(30 * 60);

/// Brings the database's statistics and visibility maps up to date, as its own autovacuum does some
/// minutes after a large load: until then a listing looks at rows where the index would do.
pub async fn settle(address: &Address) -> Result<(), StoreError> {
    let schema = &address.schema;
    let tables = ["credentials", "tags", "versions", "documents"];
    let names = tables.map(|table| format!("{schema}.{table}"));
    batch(address, &format!("VACUUM (ANALYZE) {}", names.join(", "))).await
}

/// Bytes that the store takes in the database, with its indices.
pub async fn bytes(address: &Address) -> Result<u64, StoreError> {
    let session = open(address).await?;
    let sql = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relkind = 'r'";
    let asked = session.client().query_one(sql, &[&address.schema]).await;
    let bytes = asked.and_then(|row| row.try_get::<_, i64>(0));
    let bytes = bytes.map_err(|error| Failure::from(error).about(about))?;
    Ok(bytes.max(0).cast_unsigned())
}

/// Removes the store for good. There is nothing to take it back from: for one of a test or a bench.
///
/// # Errors
/// [`StoreError::Absent`] if there is none; what is none of ours is left alone.
pub async fn remove(address: &Address) -> Result<(), StoreError> {
    let schema = &address.schema;
    let session = open(address).await?;
    let found = schema::find(session.client(), schema).await;
    match found.map_err(|failure| failure.about(about))? {
        Found::Store(_) => batch(address, &format!("DROP SCHEMA {schema} CASCADE")).await,
        Found::Foreign => Err(schema::foreign(schema)),
        Found::Nothing => Err(StoreError::Absent {
            path: address.to_string().into(),
        }),
    }
}

async fn batch(address: &Address, sql: &str) -> Result<(), StoreError> {
    let session = open(address).await?;
    let done = timeout(BOUND, session.client().batch_execute(sql)).await;
    done.map_err(|_| lost(format!("no answer within {} min", BOUND.as_secs() / 60)))?
        .map_err(|error| Failure::from(error).about(about))
}

async fn open(address: &Address) -> Result<Session, StoreError> {
    let opened = Session::open(address).await;
    opened.map_err(|failure| failure.about(about))
}

fn about() -> String {
    "the database".to_owned()
}
