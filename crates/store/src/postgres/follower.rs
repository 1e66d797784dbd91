//! The task that follows the feed of changes, so that what a node keeps in memory is never older than
//! [`BOUND`], whichever node changed it.
//!
//! It asks every [`POLL`] what was touched since, moves the [stamps](crate::Stamps) of that, and then
//! says so. What always holds:
//!
//! * What is used from memory is as new as the store was [`BOUND`] ago, or newer: the bound counts from
//!   when the question was *sent*. With no answer in that time nothing kept is used any more, and every
//!   look-up goes to the database, which answers or does not.
//! * A new session begins with everything forgotten: the database may be another one, restored from a
//!   backup or a standby that took over, and what it has lost was never in its feed.
//!
//! Polling, not `LISTEN`: a notification can be lost with its connection without anybody noticing, and
//! each `NOTIFY` takes a lock of the whole server at commit. A question costs the server some
//! 60 µs of a processor.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    errors::Failure,
    feed::{self, Touched},
    session::{Connector, Session},
};
use crate::stamps::{Stamps, Uptime};

/// Between two questions.
const POLL: Duration = Duration::from_millis(200);
/// How old what is kept may be. Under a second, with something to spare for the request itself.
pub(super) const BOUND: Duration = Duration::from_millis(900);
/// How long one answer is waited for, before another session is tried.
const ANSWER: Duration = Duration::from_secs(2);

/// See the module. It ends when this is dropped.
pub(super) struct Follower(JoinHandle<Infallible>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Follower {
    pub(super) fn start(connector: Arc<Connector>, stamps: Arc<Stamps>, uptime: Uptime) -> Self {
        let runtime = connector.runtime().clone();
        Self(runtime.spawn(async move {
            // Told once until it hears again.
            let mut told = false;
            loop {
                let failure = match connector.connect().await {
                    Ok(session) => {
                        let Err(failure) = follow(&session, &stamps, &uptime, &mut told).await;
                        failure
                    }
                    Err(failure) => failure,
                };
                if !std::mem::replace(&mut told, true) {
                    let error = failure.about(|| "the feed of changes".to_owned());
                    tracing::warn!(%error, "nothing is kept in memory until the database answers");
                }
                sleep(POLL).await;
            }
        }))
    }
}

async fn follow(
    session: &Session,
    stamps: &Stamps,
    uptime: &Uptime,
    told: &mut bool,
) -> Result<Infallible, Failure> {
    let mut asked = uptime();
    let mut position = since(session, u64::MAX >> 1).await?.position;
    // After the position was read: what is read from the store from now on has all up to there.
    stamps.touch_all();
    stamps.heard(asked + BOUND);
    *told = false;
    loop {
        sleep(POLL).await;
        loop {
            asked = uptime();
            let news = since(session, position).await?;
            position = news.position;
            match news.touched {
                None => stamps.touch_all(),
                Some(touched) => touched.iter().for_each(|it| touch(stamps, it)),
            }
            if news.is_all {
                break;
            }
        }
        stamps.heard(asked + BOUND);
    }
}

async fn since(session: &Session, position: u64) -> Result<feed::Changes, Failure> {
    let asked = timeout(ANSWER, feed::since(session, position)).await;
    asked.map_err(|_| Failure::Silence(ANSWER.as_secs()))?
}

fn touch(stamps: &Stamps, touched: &Touched) {
    match touched {
        Touched::Credential(tenant, path) => stamps.touch_credential(tenant, path),
        Touched::Document(collection, tenant, name) => {
            stamps.touch_document(*collection, tenant, name);
        }
    }
}
