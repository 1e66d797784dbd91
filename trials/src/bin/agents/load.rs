//! Callers that ask without pause, and what became of it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use pentad_runtime::Priority;
use tokio::{task::JoinHandle, time::sleep};

use crate::world::{HUNG, Work, World, lock};

/// Callers that ask without pause, each the next kind of work in turn.
pub(crate) struct Load {
    pub(crate) callers: u64,
    shared: Arc<Counters>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Counters {
    stop: AtomicBool,
    done: AtomicU64,
    failed: Mutex<Vec<String>>,
}

impl Load {
    pub(crate) fn start(
        world: &Arc<World>,
        kinds: &'static [Work],
        callers: usize,
        pause: Duration,
    ) -> Self {
        let shared = Arc::new(Counters::default());
        let tasks = (0..callers)
            .map(|caller| {
                let (world, shared) = (Arc::clone(world), Arc::clone(&shared));
                tokio::spawn(async move {
                    for kind in kinds.iter().cycle().skip(caller) {
                        if shared.stop.load(Ordering::Relaxed) {
                            return;
                        }
                        match world.carry_out(*kind, Priority::Normal).await {
                            Ok(()) => drop(shared.done.fetch_add(1, Ordering::Relaxed)),
                            Err(fault) => lock(&shared.failed).push(fault.to_string()),
                        }
                        if !pause.is_zero() {
                            sleep(pause).await;
                        }
                    }
                })
            })
            .collect();
        Self {
            callers: callers as u64,
            shared,
            tasks,
        }
    }

    pub(crate) fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    pub(crate) fn mark(&self) -> (Instant, u64) {
        (Instant::now(), self.done())
    }

    /// Requests a second since then.
    pub(crate) fn rate(&self, (since, done): (Instant, u64)) -> f64 {
        (self.done() - done) as f64 / since.elapsed().as_secs_f64()
    }

    /// What failed.
    pub(crate) async fn end(self) -> Result<Vec<String>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            tokio::time::timeout(HUNG, task)
                .await
                .context("a request is never answered")??;
        }
        Ok(std::mem::take(&mut *lock(&self.shared.failed)))
    }
}
