//! Finished spans on their way to the collector.
//!
//! ```text
//! a span ends ──try_send──▶ bounded queue ──▶ a thread of its own: batches, shape, export
//!                 │ full: dropped, counted          │ failed: dropped, counted
//! ```
//!
//! What always holds: nobody who ends a span waits, allocates without bound, or sees a failure of
//! the export.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc as blocking,
    },
    thread,
    time::Duration,
};

use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use pentad_api::trace::Counts;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::shape::shaped;

/// Spans sent at once: what the OpenTelemetry specification proposes.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// How long the export of one batch may take, retries included.
pub(super) const EXPORT_WITHIN: Duration = Duration::from_secs(10);

/// What happened to spans.
#[derive(Debug, Default)]
pub(super) struct Tally {
    exported: AtomicU64,
    full: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    pub(super) fn counts(&self) -> Counts {
        Counts {
            exported: self.exported.load(Ordering::Relaxed),
            dropped_full: self.full.load(Ordering::Relaxed),
            dropped_failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// The end that takes spans.
#[derive(Debug)]
pub(super) struct Entrance {
    queue: mpsc::Sender<SpanData>,
    tally: Arc<Tally>,
}

/// The end that is told to finish.
#[derive(Debug)]
pub(super) struct Exit {
    stop: oneshot::Sender<()>,
    ended: blocking::Receiver<()>,
}

/// Starts the thread that exports, with room for so many spans.
pub(super) fn start(
    exporter: impl SpanExporter + 'static,
    room: usize,
    tally: Arc<Tally>,
) -> io::Result<(Entrance, Exit)> {
    let (queue, waiting) = mpsc::channel(room.max(1));
    let (stop, stopped) = oneshot::channel();
    let (end, ended) = blocking::sync_channel(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut worker = Worker {
        exporter,
        waiting,
        stopped: Some(stopped),
        tally: Arc::clone(&tally),
        failing: false,
    };
    thread::Builder::new()
        .name("traces".to_owned())
        .spawn(move || {
            runtime.block_on(async { while worker.turn().await {} });
            let _ = end.send(());
        })?;
    Ok((Entrance { queue, tally }, Exit { stop, ended }))
}

impl Exit {
    /// Exports what waits, for so long at most.
    pub(super) fn finish(self, within: Duration) {
        let _ = self.stop.send(());
        if self.ended.recv_timeout(within).is_err() {
            tracing::warn!("the collector of traces did not take the last spans in time");
        }
    }
}

impl Entrance {
    /// Takes a finished span, or counts it as dropped.
    pub(super) fn take(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            self.tally.full.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Worker<E> {
    exporter: E,
    waiting: mpsc::Receiver<SpanData>,
    /// `None` once told.
    stopped: Option<oneshot::Receiver<()>>,
    tally: Arc<Tally>,
    failing: bool,
}

impl<E: SpanExporter> Worker<E> {
    /// One batch; false if there will be no more.
    async fn turn(&mut self) -> bool {
        let batch = self.batch().await;
        if batch.is_empty() {
            return false;
        }
        let count = batch.len() as u64;
        let spans = batch.into_iter().map(shaped).collect();
        let done = timeout(EXPORT_WITHIN, self.exporter.export(spans)).await;
        let error = match done {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {EXPORT_WITHIN:?}")),
        };
        let counter = match &error {
            None => &self.tally.exported,
            Some(_) => &self.tally.failed,
        };
        counter.fetch_add(count, Ordering::Relaxed);
        // Once, however long it lasts.
        match &error {
            Some(error) if !self.failing => {
                tracing::warn!(
                    error,
                    "traces can't be delivered; spans are dropped and counted"
                );
            }
            None if self.failing => tracing::info!("traces are delivered again"),
            _ => {}
        }
        self.failing = error.is_some();
        true
    }

    /// Waits for a span, and then a while for more. Empty only at the end.
    async fn batch(&mut self) -> Vec<SpanData> {
        let mut batch = Vec::new();
        let mut due = None;
        while batch.len() < BATCH {
            let now = Instant::now();
            let room = BATCH - batch.len();
            tokio::select! {
                () = told(&mut self.stopped) => {
                    // What is in the queue still comes out of it; then it is at its end.
                    self.stopped = None;
                    self.waiting.close();
                }
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => break,
                count = self.waiting.recv_many(&mut batch, room) => {
                    if count == 0 {
                        break;
                    }
                    due.get_or_insert(Instant::now() + LINGER);
                }
            }
        }
        batch
    }
}

/// Ends when told to stop, or when nobody is left who could tell; never after that.
async fn told(stopped: &mut Option<oneshot::Receiver<()>>) {
    match stopped {
        Some(stopped) => {
            let _ = stopped.await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
    use parking::Gate;

    use super::*;
    use crate::telemetry::shape::tests::span as span_of;

    fn span() -> SpanData {
        span_of("s", Vec::new())
    }

    /// Collectors that hold on, fail, or take.
    mod parking {
        use std::sync::{Condvar, Mutex};

        #[derive(Debug, Default)]
        pub(super) struct Gate(Mutex<bool>, Condvar);

        impl Gate {
            pub(super) fn open(&self) {
                *self.0.lock().unwrap() = true;
                self.1.notify_all();
            }

            pub(super) fn pass(&self) {
                let closed = self.0.lock().unwrap();
                let _open = self.1.wait_while(closed, |open| !*open).unwrap();
            }
        }
    }

    #[derive(Debug)]
    struct Collector {
        gate: Arc<Gate>,
        fails: bool,
    }

    impl SpanExporter for Collector {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            self.gate.pass();
            match self.fails {
                true => Err(OTelSdkError::InternalFailure("away".to_owned())),
                false => Ok(()),
            }
        }
    }

    struct Bench {
        entrance: Entrance,
        exit: Exit,
        tally: Arc<Tally>,
        gate: Arc<Gate>,
    }

    fn bench(room: usize, fails: bool) -> Bench {
        let (tally, gate) = (Arc::new(Tally::default()), Arc::new(Gate::default()));
        let collector = Collector {
            gate: Arc::clone(&gate),
            fails,
        };
        let (entrance, exit) = start(collector, room, Arc::clone(&tally)).unwrap();
        Bench {
            entrance,
            exit,
            tally,
            gate,
        }
    }

    impl Bench {
        fn spans(&self, count: usize) {
            (0..count).for_each(|_| self.entrance.take(span()));
        }
    }

    #[test]
    fn what_waits_at_a_stop_is_still_exported() {
        let bench = bench(5000, false);
        bench.gate.open();
        bench.spans(3 * BATCH + 1);
        bench.exit.finish(Duration::from_secs(10));
        let expected = Counts {
            exported: 3 * BATCH as u64 + 1,
            ..Counts::default()
        };
        assert_eq!(bench.tally.counts(), expected);
    }

    #[test]
    fn a_collector_that_holds_on_costs_spans_and_nobody_s_time() {
        let bench = bench(100, false);
        // The thread may have taken one batch out of the queue, at which the collector holds on.
        bench.spans(100 + BATCH + 50);
        let dropped = bench.tally.counts().dropped_full;
        assert!((50..=550 + 12).contains(&dropped), "{dropped}");
        let begun = std::time::Instant::now();
        bench.exit.finish(Duration::from_millis(50));
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "a bound on the stop"
        );
        bench.gate.open();
    }

    #[test]
    fn what_the_collector_refuses_is_counted() {
        let bench = bench(100, true);
        bench.gate.open();
        bench.spans(7);
        bench.exit.finish(Duration::from_secs(10));
        let expected = Counts {
            dropped_failed: 7,
            ..Counts::default()
        };
        assert_eq!(bench.tally.counts(), expected);
        // After the stop nothing is taken any more.
        bench.entrance.take(span());
        assert_eq!(bench.tally.counts().dropped_full, 1);
    }
}
