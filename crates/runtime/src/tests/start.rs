//! Incarnations that are made too slowly, and such that serve but whose threads run nothing.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;
use crate::{AgentState, Crash};

/// Opened at the end of a test, so that no thread outlives it for long.
#[derive(Default)]
struct Barrier(AtomicBool);

impl Barrier {
    fn wait(&self) {
        while !self.0.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn open(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Echoes, and counts how many of it there are.
struct Counted(Arc<AtomicU32>);

impl Counted {
    fn new(alive: &Arc<AtomicU32>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self(alive.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Agent for Counted {
    const NAME: &'static str = "counted";
    type Request = u64;
    /// The value and the incarnation that answered.
    type Reply = (u64, u64);

    async fn handle(&self, envelope: Envelope<u64>) -> (u64, u64) {
        (envelope.body, envelope.incarnation)
    }

    fn budget(_: &u64) -> Duration {
        Duration::from_secs(20)
    }
}

fn supervisor() -> Supervisor {
    Supervisor::start(Surroundings {
        pressure: Arc::new(Calm),
        ..Surroundings::system()
    })
    .unwrap()
}

#[tokio::test]
async fn a_factory_that_hangs_is_given_up_and_what_it_makes_late_is_thrown_away() {
    let supervisor = supervisor();
    let (barrier, alive) = (Arc::new(Barrier::default()), Arc::new(AtomicU32::new(0)));
    let (held, made) = (barrier.clone(), alive.clone());
    let address = supervisor.spawn(
        move |incarnation| {
            if incarnation == Incarnation(1) {
                held.wait();
            }
            Ok::<_, Infallible>(Counted::new(&made))
        },
        Options {
            start_budget: Duration::from_millis(200),
            ..options()
        },
        |_, _| true,
    );
    // Accepted before anybody serves; the second incarnation answers.
    assert_eq!(
        address.call(&context(), Priority::Normal, 5).await,
        Ok((5, 2))
    );
    let health = supervisor.health().remove(0);
    assert_eq!(health.last_crash, Some(Crash::NotStarted));
    assert_eq!((health.incarnation, health.restarts), (2, 1));

    // The first one comes into being after all: it is dropped again, and takes nothing.
    barrier.open();
    until("made and dropped", || {
        Arc::strong_count(&barrier) == 2 && alive.load(Ordering::SeqCst) == 1
    })
    .await;
    for n in 0..20 {
        assert_eq!(
            address.call(&context(), Priority::Normal, n).await,
            Ok((n, 2))
        );
    }
    let health = supervisor.health().remove(0);
    assert_eq!((health.restarts, health.state), (1, AgentState::Running));
}

#[tokio::test]
async fn an_incarnation_without_heartbeat_is_replaced_though_no_envelope_is_late() {
    let supervisor = supervisor();
    let (barrier, alive) = (Arc::new(Barrier::default()), Arc::new(AtomicU32::new(0)));
    let (held, made) = (barrier.clone(), alive.clone());
    let address = supervisor.spawn(
        move |incarnation| {
            if incarnation == Incarnation(1) {
                // Not a handler: something that the agent started beside them holds the only thread.
                let held = held.clone();
                tokio::spawn(async move { held.wait() });
            }
            Ok::<_, Infallible>(Counted::new(&made))
        },
        Options {
            io_threads: 1,
            heartbeat: Duration::from_millis(200),
            ..options()
        },
        |_, _| true,
    );
    assert!(supervisor.ready(Duration::from_secs(10)).await);
    let begun = Instant::now();
    assert_eq!(
        address.call(&context(), Priority::Normal, 5).await,
        Ok((5, 2))
    );
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    let health = supervisor.health().remove(0);
    assert_eq!(health.last_crash, Some(Crash::NoHeartbeat));
    // Nobody in flight is to blame for it.
    assert_eq!((health.restarts, health.quarantined), (1, 0));
    barrier.open();
    until("the first one is buried", || {
        alive.load(Ordering::SeqCst) == 1
    })
    .await;
}
