//! The connections that read: one for brief look-ups on the asker's own thread, and threads with one
//! each, fed from one queue.
//!
//! A read sees the last commit that was answered before it began, or a later one, and never half of
//! one. Slow reads hold up one thread, not the queue.
//!
//! A change of thread and back costs more than a look-up by key whose pages are in memory. So one
//! that is brief is made where it is asked for, if the connection for these is free. What always
//! holds: one thread of the askers at a most waits for the disk, and never the only one of a runtime;
//! everybody else goes by the queue.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{mpsc, oneshot},
};

use crate::StoreError;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Reads that may wait; beyond it, callers wait to be queued.
const QUEUE: usize = 1024;

/// The pool; see [`Readers::stop`].
pub(super) struct Readers {
    /// For brief reads; `None` once it was closed.
    here: Mutex<Option<Connection>>,
    queue: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// One connection for brief reads, and one thread for each of the others.
    pub(super) fn start(here: Connection, others: Vec<Connection>) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel::<Job>(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        let threads = others
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
            here: Mutex::new(Some(here)),
            queue: Some(queue),
            threads,
        })
    }

    /// Runs a look-up by key, here if that may be.
    pub(super) async fn look_up<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if has_threads_to_spare()
            && let Some(here) = self.here.try_lock()
            && let Some(connection) = &*here
        {
            return query(connection);
        }
        self.read(query).await
    }

    /// Runs `query` on a reader's thread.
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

    /// Lets the threads finish what is queued, and closes all connections.
    pub(super) fn stop(&mut self) {
        self.queue = None;
        *self.here.lock() = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Whether the asker's runtime goes on while this thread waits for the disk.
fn has_threads_to_spare() -> bool {
    Handle::try_current().is_ok_and(|handle| {
        handle.runtime_flavor() == RuntimeFlavor::MultiThread && handle.metrics().num_workers() > 1
    })
}

pub(super) fn closing() -> StoreError {
    StoreError::Unavailable {
        reason: "it is closing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{sync::Barrier, thread::ThreadId};

    use super::*;

    fn readers() -> Readers {
        let open = || Connection::open_in_memory().unwrap();
        Readers::start(open(), vec![open()]).unwrap()
    }

    async fn looked_up_on(readers: &Readers) -> ThreadId {
        let look = |_: &Connection| Ok(thread::current().id());
        readers.look_up(look).await.unwrap()
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_never_waits_for_the_disk_itself() {
        let readers = readers();
        assert_ne!(looked_up_on(&readers).await, thread::current().id());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_look_up_that_blocks_holds_up_one_thread_and_nobody_else() {
        let readers = Arc::new(readers());
        let own = Arc::clone(&readers);
        let here = tokio::spawn(async move { (looked_up_on(&own).await, thread::current().id()) });
        let (looked_up, asked) = here.await.unwrap();
        assert_eq!(looked_up, asked);
        let (begun, end) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let blocking = {
            let (readers, begun, end) = (Arc::clone(&readers), begun.clone(), end.clone());
            tokio::spawn(async move {
                let wait = move |_: &Connection| {
                    begun.wait();
                    end.wait();
                    Ok(())
                };
                readers.look_up(wait).await
            })
        };
        begun.wait();
        // By the queue; and the runtime goes on with its other thread.
        let other = tokio::spawn(async move { looked_up_on(&readers).await });
        assert_ne!(other.await.unwrap(), asked);
        end.wait();
        assert_eq!(blocking.await.unwrap(), Ok(()));
    }
}
