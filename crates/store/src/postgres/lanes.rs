//! The sessions that read: a fixed number of lanes, each a session that many requests share.
//!
//! A look-up is one statement, so nobody needs a session for himself: requests are sent one after
//! the other and answered in turn, and each takes the lane with the fewest under way. A lane whose
//! session broke opens another one; a look-up that a broken session cut off is asked once more.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_postgres::Row;

use super::{
    errors::{Failure, Remedy},
    rows::Value,
    session::{Connector, Session, closing},
};

/// Look-ups under way on one lane at most; further ones wait.
const A_LANE: usize = 32;

pub(super) struct Lanes {
    connector: Arc<Connector>,
    lanes: Vec<Lane>,
    permits: Semaphore,
}

#[derive(Default)]
struct Lane {
    session: Mutex<Option<Arc<Session>>>,
    /// One opens a session, the others wait for it.
    opening: tokio::sync::Mutex<()>,
    busy: AtomicUsize,
}

/// Counts a request while it is under way.
struct Busy<'l>(&'l AtomicUsize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lanes {
    pub(super) fn new(connector: Arc<Connector>, count: usize) -> Self {
        let count = count.max(1);
        Self {
            connector,
            lanes: (0..count).map(|_| Lane::default()).collect(),
            permits: Semaphore::new(count * A_LANE),
        }
    }

    /// Asks; the answer is of the last commit that was answered before, or of a later one.
    pub(super) async fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Failure> {
        let _permit = self.permits.acquire().await.map_err(|_| closing())?;
        let lane = self
            .lanes
            .iter()
            .min_by_key(|lane| lane.busy.load(Ordering::Relaxed))
            .ok_or_else(closing)?;
        lane.busy.fetch_add(1, Ordering::Relaxed);
        let _busy = Busy(&lane.busy);
        let session = lane.session(&self.connector).await?;
        match session.query(sql, values).await {
            Err(failure) if failure.remedy() == Remedy::Reconnect => {
                lane.forget(&session);
                // Silence was long enough: the second try would double it.
                if matches!(failure, Failure::Silence(_)) {
                    return Err(failure);
                }
                let session = lane.session(&self.connector).await?;
                session.query(sql, values).await
            }
            done => done,
        }
    }
}

impl Lane {
    async fn session(&self, connector: &Connector) -> Result<Arc<Session>, Failure> {
        if let Some(session) = self.open() {
            return Ok(session);
        }
        let _opening = self.opening.lock().await;
        if let Some(session) = self.open() {
            return Ok(session);
        }
        let session = Arc::new(connector.connect().await?);
        *self.session.lock() = Some(Arc::clone(&session));
        Ok(session)
    }

    fn open(&self) -> Option<Arc<Session>> {
        let session = self.session.lock();
        session.clone().filter(|session| !session.is_closed())
    }

    fn forget(&self, broken: &Arc<Session>) {
        let mut session = self.session.lock();
        if session.as_ref().is_some_and(|it| Arc::ptr_eq(it, broken)) {
            *session = None;
        }
    }
}
