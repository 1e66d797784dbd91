//! Faults on order, to prove that they are contained. Compiled only for tests and with the feature
//! `chaos`; a production build holds none of it.

use std::{collections::VecDeque, thread, time::Duration};

use parking_lot::Mutex;

/// How long a blocking hang holds its thread: longer than any budget, but not forever, so that what
/// it answers late can be seen to be refused.
const BLOCKED: Duration = Duration::from_secs(30);

/// What happens to the next envelope of an agent instead of being handled in peace.
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
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<VecDeque<Fault>>);

impl Faults {
    pub(crate) fn inject(&self, fault: Fault) {
        self.0.lock().push_back(fault);
    }

    /// Carries out the next fault, if there is one.
    #[allow(clippy::panic)] // this panic is the purpose
    pub(crate) async fn strike(&self) {
        let fault = self.0.lock().pop_front();
        match fault {
            None => {}
            Some(Fault::Panic) => panic!("injected"),
            Some(Fault::HangAsync) => std::future::pending().await,
            Some(Fault::HangBlocking) => thread::sleep(BLOCKED),
        }
    }
}
