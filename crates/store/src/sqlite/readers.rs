//! The threads that read, each with a connection of its own, fed from one queue.
//!
//! A read sees the last commit that was answered before it began, or a later one, and never half of
//! one. Slow reads hold up one thread, not the queue.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Reads that may wait; beyond it, callers wait to be queued.
const QUEUE: usize = 1024;

/// The pool; see [`Readers::stop`].
pub(super) struct Readers {
    queue: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// One thread for each connection.
    pub(super) fn start(connections: Vec<Connection>) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel::<Job>(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        let threads = connections
            .into_iter()
            .map(|connection| {
                let jobs = Arc::clone(&jobs);
                thread::Builder::new()
                    .name("store-reader".to_owned())
                    .spawn(move || {
                        loop {
                            // The lock is held while waiting, which hands the queue from one idle
                            // thread to the next; it is not held while reading.
                            let job = jobs.lock().blocking_recv();
                            match job {
                                Some(job) => job(&connection),
                                None => break,
                            }
                        }
                    })
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self {
            queue: Some(queue),
            threads,
        })
    }

    /// Runs `query` on a reader's connection.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Nobody waits any more if the caller was cancelled while it was queued.
            if !answer.is_closed() {
                let _ = answer.send(query(connection));
            }
        });
        let queue = self.queue.as_ref().ok_or_else(closing)?;
        queue.send(job).await.map_err(|_| closing())?;
        answered.await.map_err(|_| closing())?
    }
}

impl Readers {
    /// Lets the threads finish what is queued, and closes their connections.
    pub(super) fn stop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

pub(super) fn closing() -> StoreError {
    StoreError::Unavailable {
        reason: "it is closing".to_owned(),
    }
}
