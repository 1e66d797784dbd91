//! One-use tickets for plaintext.
//!
//! Messages between agents are serialisable, plaintext is not. Whoever has a value and must give it
//! to an agent deposits it here for that agent and sends the ticket; the agent redeems it once. A
//! ticket is good for one agent, one use and one minute.

use std::{
    collections::HashMap,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use pentad_model::{Clock, Id, Secret, Timestamp, id::Entropy};
pub use pentad_rotation::ports::Ticket;
use serde::{Deserialize, Serialize};

use crate::Fault;

/// How long a ticket is good for.
const LIFE: Duration = Duration::from_secs(60);
/// Values under way at once; more means that something deposits and nobody redeems.
const CAPACITY: usize = 100_000;

/// Who may redeem a ticket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bearer {
    /// The encryption agent: a value that enters.
    Encryption,
    /// The validation agent: a value to judge.
    Validation,
    /// The integration agent: a value to use at a target.
    Integration,
    /// The interface: a value that leaves, after its read was recorded.
    Interface,
}

/// The counter where values change hands.
#[derive(Clone)]
pub struct Handoff {
    held: Arc<Mutex<HashMap<Id, Held>>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

struct Held {
    value: Secret,
    bearer: Bearer,
    until: Timestamp,
}

impl Handoff {
    /// An empty counter.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { held: Arc::default(), clock, entropy }
    }

    /// Leaves a value for `bearer`.
    pub fn deposit(&self, value: Secret, bearer: Bearer) -> Result<Ticket, Fault> {
        let now = self.clock.now();
        let id = Id::generate(now, &*self.entropy);
        let mut held = self.held.lock();
        if held.len() >= CAPACITY {
            held.retain(|_, entry| entry.until > now);
            if held.len() >= CAPACITY {
                return Err(Fault::Busy {
                    message: "too many values are under way".to_owned(),
                    retry_after: Duration::from_secs(1),
                });
            }
        }
        held.insert(id, Held { value, bearer, until: now.plus(LIFE) });
        Ok(Ticket(id))
    }

    /// Takes the value, once. Fails if it was taken, is for somebody else, or is too old: after a
    /// crash between taking and using, the asker gets this and deposits anew.
    pub fn redeem(&self, ticket: Ticket, bearer: Bearer) -> Result<Secret, Fault> {
        let mut held = self.held.lock();
        let good = held
            .get(&ticket.0)
            .is_some_and(|entry| entry.bearer == bearer && entry.until > self.clock.now());
        match held.remove(&ticket.0) {
            Some(entry) if good => Ok(entry.value),
            _ => Err(Fault::Unavailable {
                message: "the value's ticket was used already or has run out; ask again".to_owned(),
            }),
        }
    }

    /// Drops what nobody fetched.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.held.lock().retain(|_, entry| entry.until > now);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use pentad_model::{clock::ManualClock, id::OsEntropy};

    use super::*;

    fn counter() -> (Handoff, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Timestamp(0)));
        (Handoff::new(clock.clone(), Arc::new(OsEntropy)), clock)
    }

    #[test]
    fn a_ticket_is_good_once() {
        let (counter, _) = counter();
        let ticket = counter.deposit(Secret::new("v"), Bearer::Integration).unwrap();
        assert!(counter.redeem(ticket, Bearer::Integration).is_ok());
        assert!(counter.redeem(ticket, Bearer::Integration).is_err());
    }

    #[test]
    fn a_ticket_shown_by_another_is_void() {
        let (counter, _) = counter();
        let ticket = counter.deposit(Secret::new("v"), Bearer::Integration).unwrap();
        assert!(counter.redeem(ticket, Bearer::Validation).is_err());
        assert!(counter.redeem(ticket, Bearer::Integration).is_err());
    }

    #[test]
    fn a_ticket_runs_out() {
        let (counter, clock) = counter();
        let ticket = counter.deposit(Secret::new("v"), Bearer::Interface).unwrap();
        clock.advance(LIFE);
        assert!(counter.redeem(ticket, Bearer::Interface).is_err());
    }
}
