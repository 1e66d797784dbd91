//! Faults on order, to prove that they are contained. Compiled only for tests and with the feature
//! `chaos`; a production build holds none of it.

use std::{
    collections::{HashSet, VecDeque},
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use pentad_model::Id;

/// How long a blocking hang holds its thread: longer than any budget, but not forever, so that what
/// it answers late can be seen to be refused.
const BLOCKED: Duration = Duration::from_secs(30);

/// What happens to the next envelope of an agent that no fault struck before, instead of being handled in peace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The handler panics.
    Panic,
    /// The handler waits for what never comes.
    HangAsync,
    /// The handler blocks its thread.
    HangBlocking,
}

/// Faults that wait for an envelope, one for each.
///
/// No envelope is struck twice. It goes back to the head of its lane, so the next fault in the queue
/// would find it again, and after three of them it would be set aside for what it did not do.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Fault>,
    struck: HashSet<Id>,
}

impl Faults {
    pub(crate) fn inject(&self, fault: Fault) {
        self.0.lock().waiting.push_back(fault);
    }

    /// Carries out the next fault on this envelope, if there is one and it was spared so far.
    #[allow(clippy::panic)] // this panic is the purpose
    pub(crate) async fn strike(&self, envelope: Id) {
        match self.next(envelope) {
            None => {}
            Some(Fault::Panic) => panic!("injected"),
            Some(Fault::HangAsync) => std::future::pending().await,
            Some(Fault::HangBlocking) => thread::sleep(BLOCKED),
        }
    }

    /// Whether one waits for an envelope.
    pub(crate) fn are_waiting(&self) -> bool {
        !self.0.lock().waiting.is_empty()
    }

    fn next(&self, envelope: Id) -> Option<Fault> {
        let Queue { waiting, struck } = &mut *self.0.lock();
        if waiting.is_empty() || !struck.insert(envelope) {
            return None;
        }
        waiting.pop_front()
    }
}
