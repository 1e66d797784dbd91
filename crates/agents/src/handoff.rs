//! One-use tickets for plaintext.
//!
//! Messages between agents are serialisable, plaintext is not. Whoever has a value and must give it
//! to an agent deposits it here for that agent and sends the ticket; the agent redeems it for one
//! envelope. A ticket is good for one agent, one envelope and one minute.
//!
//! For one envelope, not for one call: when an agent crashes, what it had in hand is given to its
//! successor, and that needs the value again. It is forgotten when the envelope is settled.

use std::{collections::HashMap, sync::Arc, time::Duration};

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
    counter: Arc<Mutex<Counter>>,
    /// On whose behalf values are redeemed; `None` redeems for good.
    envelope: Option<Id>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

#[derive(Default)]
struct Counter {
    held: HashMap<Id, Held>,
    /// What was redeemed for an envelope that is not settled yet.
    redeemed: HashMap<Id, Vec<Id>>,
    swept: Timestamp,
}

struct Held {
    value: Secret,
    bearer: Bearer,
    until: Timestamp,
    envelope: Option<Id>,
}

impl Handoff {
    /// An empty counter.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            counter: Arc::default(),
            envelope: None,
            clock,
            entropy,
        }
    }

    /// The same counter, for the handling of one envelope. Whoever uses it says when that is
    /// [settled](Self::settle).
    pub fn during(&self, envelope: Id) -> Self {
        Self {
            envelope: Some(envelope),
            ..self.clone()
        }
    }

    /// Leaves a value for `bearer`.
    pub fn deposit(&self, value: Secret, bearer: Bearer) -> Result<Ticket, Fault> {
        let now = self.clock.now();
        let id = Id::generate(now, &*self.entropy);
        let mut counter = self.counter.lock();
        if counter.held.len() >= CAPACITY || now.since(counter.swept) >= LIFE {
            counter.sweep(now);
        }
        if counter.held.len() >= CAPACITY {
            return Err(Fault::Busy {
                message: "too many values are under way".to_owned(),
                retry_after: Duration::from_secs(1),
            });
        }
        let until = now.plus(LIFE);
        counter.held.insert(
            id,
            Held {
                value,
                bearer,
                until,
                envelope: None,
            },
        );
        Ok(Ticket(id))
    }

    /// Takes the value. Fails if it was taken for another envelope or for good, is for somebody
    /// else, or is too old; then the asker deposits anew.
    pub fn redeem(&self, ticket: Ticket, bearer: Bearer) -> Result<Secret, Fault> {
        let now = self.clock.now();
        let Counter { held, redeemed, .. } = &mut *self.counter.lock();
        let void = || Fault::Unavailable {
            message: "the value's ticket was used already or has run out; ask again".to_owned(),
        };
        let entry = held.get_mut(&ticket.0).ok_or_else(void)?;
        if entry.bearer != bearer || entry.until <= now {
            held.remove(&ticket.0);
            return Err(void());
        }
        match (self.envelope, entry.envelope) {
            (Some(mine), None) => {
                entry.envelope = Some(mine);
                redeemed.entry(mine).or_default().push(ticket.0);
                Ok(entry.value.clone())
            }
            (Some(mine), Some(first)) if mine == first => Ok(entry.value.clone()),
            (None, None) => held
                .remove(&ticket.0)
                .map(|entry| entry.value)
                .ok_or_else(void),
            _ => Err(void()),
        }
    }

    /// Forgets what was redeemed for this envelope: it is answered, and nobody handles it again.
    pub fn settle(&self, envelope: Id) {
        let mut counter = self.counter.lock();
        for ticket in counter.redeemed.remove(&envelope).unwrap_or_default() {
            counter.held.remove(&ticket);
        }
    }
}

impl Counter {
    /// Drops what nobody fetched, or settled, in time.
    fn sweep(&mut self, now: Timestamp) {
        let Self {
            held,
            redeemed,
            swept,
        } = self;
        held.retain(|_, entry| entry.until > now);
        redeemed.retain(|_, tickets| tickets.iter().any(|ticket| held.contains_key(ticket)));
        *swept = now;
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
        let ticket = counter
            .deposit(Secret::new("v"), Bearer::Integration)
            .unwrap();
        assert!(counter.redeem(ticket, Bearer::Integration).is_ok());
        assert!(counter.redeem(ticket, Bearer::Integration).is_err());
    }

    #[test]
    fn a_ticket_is_good_again_for_the_same_envelope_until_that_is_settled() {
        let (counter, _) = counter();
        let ticket = counter
            .deposit(Secret::new("v"), Bearer::Validation)
            .unwrap();
        let (mine, other) = (Id::from_u128(1), Id::from_u128(2));
        // The first attempt crashed; the successor handles the same envelope.
        assert!(
            counter
                .during(mine)
                .redeem(ticket, Bearer::Validation)
                .is_ok()
        );
        assert!(
            counter
                .during(mine)
                .redeem(ticket, Bearer::Validation)
                .is_ok()
        );
        assert!(
            counter
                .during(other)
                .redeem(ticket, Bearer::Validation)
                .is_err()
        );
        assert!(counter.redeem(ticket, Bearer::Validation).is_err());
        counter.settle(other);
        assert!(
            counter
                .during(mine)
                .redeem(ticket, Bearer::Validation)
                .is_ok()
        );
        counter.settle(mine);
        assert!(
            counter
                .during(mine)
                .redeem(ticket, Bearer::Validation)
                .is_err()
        );
        assert!(counter.counter.lock().held.is_empty());
        assert!(counter.counter.lock().redeemed.is_empty());
    }

    #[test]
    fn what_nobody_settles_is_forgotten() {
        let (counter, clock) = counter();
        let ticket = counter
            .deposit(Secret::new("v"), Bearer::Validation)
            .unwrap();
        counter
            .during(Id::from_u128(1))
            .redeem(ticket, Bearer::Validation)
            .unwrap();
        clock.advance(LIFE);
        counter
            .deposit(Secret::new("w"), Bearer::Validation)
            .unwrap();
        assert_eq!(counter.counter.lock().held.len(), 1);
        assert!(counter.counter.lock().redeemed.is_empty());
    }

    #[test]
    fn a_ticket_shown_by_another_is_void() {
        let (counter, _) = counter();
        let ticket = counter
            .deposit(Secret::new("v"), Bearer::Integration)
            .unwrap();
        assert!(counter.redeem(ticket, Bearer::Validation).is_err());
        assert!(counter.redeem(ticket, Bearer::Integration).is_err());
    }

    #[test]
    fn a_ticket_runs_out() {
        let (counter, clock) = counter();
        let ticket = counter
            .deposit(Secret::new("v"), Bearer::Interface)
            .unwrap();
        clock.advance(LIFE);
        assert!(counter.redeem(ticket, Bearer::Interface).is_err());
    }
}
