//! Wakes the supervisor before its next round.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

#[derive(Debug, Default)]
pub(crate) struct Alarm {
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Alarm {
    pub(crate) fn ring(&self) {
        *self.rung.lock() = true;
        self.bell.notify_all();
    }

    /// Waits until it rings, or this long.
    pub(crate) fn wait(&self, at_most: Duration) {
        let mut rung = self.rung.lock();
        if !*rung {
            self.bell.wait_for(&mut rung, at_most);
        }
        *rung = false;
    }
}
