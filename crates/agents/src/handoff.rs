//! One-use tickets for plaintext.
//!
//! Messages between agents are serialisable, plaintext is not. Whoever has a value and must give it
//! to an agent deposits it here for that agent and sends the ticket; the agent redeems it for one
//! envelope. A ticket is good for one agent, one envelope and one minute.
//!
//! For one envelope, not for one call: when an agent crashes, what it had in hand is given to its
//! successor, and that needs the value again. It is forgotten when the envelope is settled.
//!
//! Who deposits answers for it: a [`Deposit`] that is dropped takes back what nobody redeemed,
//! whether the ask failed, was never sent, or its asker went away. An agent that answers with a
//! ticket [leaves](Deposit::leave) it, and the receiver [answers](Handoff::answer_for) for it from
//! then on. All that is here has a weight with a bound, and each tenant has a share of it: one
//! tenant's values can't keep another's out.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use pentad_model::{Clock, Id, Secret, Tenant, Timestamp, id::Entropy};
pub use pentad_rotation::ports::Ticket;
use serde::{Deserialize, Serialize};

use crate::Fault;

/// How long a ticket is good for.
const LIFE: Duration = Duration::from_secs(60);
/// What a value weighs beside its bytes: its entry, so that empty ones are bounded too.
const ENTRY: usize = 512;
/// The weight of all values under way, in bytes. Some hundred of the largest, or half a million of
/// the smallest; more means that values are deposited faster than they are used.
const MOST: usize = 256 << 20;
/// The weight of one tenant's values, in bytes: three tenants at theirs leave room for others.
const SHARE: usize = 64 << 20;

/// How much may be under way, in bytes.
#[derive(Clone, Copy)]
struct Bounds {
    all: usize,
    tenant: usize,
}

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
    bounds: Bounds,
    /// On whose behalf values are redeemed; `None` redeems for good.
    envelope: Option<Id>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// A value left here that somebody answers for: dropped, it takes the value back unless it was
/// redeemed. To be held until the ask that carries the ticket is answered.
#[must_use = "dropped, it takes the value back"]
pub struct Deposit {
    /// `None` once it was left to somebody else.
    counter: Option<Arc<Mutex<Counter>>>,
    ticket: Ticket,
}

impl Deposit {
    /// What the bearer redeems.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Leaves the value to whoever gets the ticket, for as long as a ticket is good.
    pub fn leave(mut self) -> Ticket {
        self.counter = None;
        self.ticket
    }
}

impl Drop for Deposit {
    fn drop(&mut self) {
        if let Some(counter) = &self.counter {
            // Let go of outside the lock: overwriting a large value takes a while.
            let _value = counter.lock().revoke(self.ticket.0);
        }
    }
}

#[derive(Default)]
struct Counter {
    held: HashMap<Id, Held>,
    /// When each runs out, the next first.
    deadlines: BTreeSet<(Timestamp, Id)>,
    /// What was redeemed for an envelope that is not settled yet.
    redeemed: HashMap<Id, Vec<Id>>,
    /// What is held weighs this much, and so much of it is a tenant's.
    weight: usize,
    shares: HashMap<Tenant, usize>,
}

struct Held {
    tenant: Tenant,
    value: Secret,
    bearer: Bearer,
    until: Timestamp,
    envelope: Option<Id>,
}

impl Held {
    fn weight(&self) -> usize {
        weight(&self.value)
    }
}

fn weight(value: &Secret) -> usize {
    value.len().saturating_add(ENTRY)
}

impl Handoff {
    /// An empty counter.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            counter: Arc::default(),
            bounds: Bounds {
                all: MOST,
                tenant: SHARE,
            },
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

    /// Leaves a tenant's value for `bearer`. [`Fault::Busy`] if the tenant has too much under way,
    /// or all tenants together have.
    pub fn deposit(
        &self,
        tenant: &Tenant,
        value: Secret,
        bearer: Bearer,
    ) -> Result<Deposit, Fault> {
        let now = self.clock.now();
        let id = Id::generate(now, &*self.entropy);
        let _expired;
        let mut counter = self.counter.lock();
        _expired = counter.expire(now);
        counter.admit(self.bounds, tenant, weight(&value))?;
        counter.insert(
            id,
            Held {
                tenant: tenant.clone(),
                value,
                bearer,
                until: now.plus(LIFE),
                envelope: None,
            },
        );
        Ok(self.answer_for(Ticket(id)))
    }

    /// How many values are under way.
    pub fn under_way(&self) -> usize {
        self.counter.lock().held.len()
    }

    /// Answers for a ticket that an agent's answer brought, as if one had deposited it oneself.
    pub fn answer_for(&self, ticket: Ticket) -> Deposit {
        Deposit {
            counter: Some(self.counter.clone()),
            ticket,
        }
    }

    /// Takes the value. Fails if it was taken for another envelope or for good, is for somebody
    /// else, or is too old; then the asker deposits anew.
    pub fn redeem(&self, ticket: Ticket, bearer: Bearer) -> Result<Secret, Fault> {
        let now = self.clock.now();
        let mut counter = self.counter.lock();
        let void = || Fault::Unavailable {
            message: "the value's ticket was used already or has run out; ask again".to_owned(),
        };
        let Counter { held, redeemed, .. } = &mut *counter;
        let entry = held.get_mut(&ticket.0).ok_or_else(void)?;
        if entry.bearer != bearer || entry.until <= now {
            counter.remove(ticket.0);
            return Err(void());
        }
        match (self.envelope, entry.envelope) {
            (Some(mine), None) => {
                entry.envelope = Some(mine);
                redeemed.entry(mine).or_default().push(ticket.0);
                Ok(entry.value.clone())
            }
            (Some(mine), Some(first)) if mine == first => Ok(entry.value.clone()),
            (None, None) => counter.remove(ticket.0).ok_or_else(void),
            _ => Err(void()),
        }
    }

    /// Forgets what was redeemed for this envelope: it is answered, and nobody handles it again.
    pub fn settle(&self, envelope: Id) {
        let mut counter = self.counter.lock();
        let tickets = counter.redeemed.remove(&envelope).unwrap_or_default();
        let _values: Vec<_> = tickets.iter().map(|id| counter.remove(*id)).collect();
        drop(counter);
    }
}

impl Counter {
    /// Whether so much more of this tenant's may come.
    fn admit(&self, bounds: Bounds, tenant: &Tenant, weight: usize) -> Result<(), Fault> {
        let over = |held: usize, most| held.saturating_add(weight) > most;
        let message = if over(self.shares.get(tenant).copied().unwrap_or(0), bounds.tenant) {
            format!("too many values of tenant `{tenant}` are under way; send less at once")
        } else if over(self.weight, bounds.all) {
            "too many values are under way".to_owned()
        } else {
            return Ok(());
        };
        Err(Fault::Busy {
            message,
            retry_after: Duration::from_secs(1),
        })
    }

    fn insert(&mut self, id: Id, entry: Held) {
        self.weight += entry.weight();
        *self.shares.entry(entry.tenant.clone()).or_default() += entry.weight();
        self.deadlines.insert((entry.until, id));
        self.held.insert(id, entry);
    }

    fn remove(&mut self, id: Id) -> Option<Secret> {
        let entry = self.held.remove(&id)?;
        self.weight = self.weight.saturating_sub(entry.weight());
        if let Some(share) = self.shares.get_mut(&entry.tenant) {
            *share = share.saturating_sub(entry.weight());
            if *share == 0 {
                self.shares.remove(&entry.tenant);
            }
        }
        self.deadlines.remove(&(entry.until, id));
        // An envelope of which nothing is left here need not be settled.
        if let Some(envelope) = entry.envelope
            && let Some(tickets) = self.redeemed.get_mut(&envelope)
        {
            tickets.retain(|ticket| *ticket != id);
            if tickets.is_empty() {
                self.redeemed.remove(&envelope);
            }
        }
        Some(entry.value)
    }

    /// Takes back what nobody redeemed. What was redeemed stays until its envelope is settled: a
    /// crashed agent's successor needs it.
    fn revoke(&mut self, id: Id) -> Option<Secret> {
        let unredeemed = self.held.get(&id)?.envelope.is_none();
        unredeemed.then(|| self.remove(id)).flatten()
    }

    /// Removes what nobody fetched, or settled, in time; looks at nothing else.
    fn expire(&mut self, now: Timestamp) -> Vec<Secret> {
        let mut old = Vec::new();
        while let Some(&(until, id)) = self.deadlines.first()
            && until <= now
        {
            self.deadlines.pop_first();
            old.extend(self.remove(id));
        }
        old
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use pentad_model::{clock::ManualClock, id::OsEntropy};

    use super::*;

    /// A tenant's share here.
    const LITTLE: usize = 64 * ENTRY;

    fn counter() -> (Handoff, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Timestamp(0)));
        let counter = Handoff {
            bounds: Bounds {
                all: 4 * LITTLE,
                tenant: LITTLE,
            },
            ..Handoff::new(clock.clone(), Arc::new(OsEntropy))
        };
        (counter, clock)
    }

    fn tenant() -> Tenant {
        Tenant::default_tenant()
    }

    fn other() -> Tenant {
        "other".parse().unwrap()
    }

    fn left(counter: &Handoff, value: &str, bearer: Bearer) -> Ticket {
        let deposit = counter.deposit(&tenant(), Secret::new(value), bearer);
        deposit.unwrap().leave()
    }

    fn large(bytes: usize) -> Secret {
        Secret::new(vec![b'x'; bytes])
    }

    fn nothing_is_held(counter: &Handoff) {
        let counter = counter.counter.lock();
        assert!(counter.held.is_empty() && counter.deadlines.is_empty());
        assert!(counter.redeemed.is_empty() && counter.shares.is_empty());
        assert_eq!(counter.weight, 0);
    }

    #[test]
    fn a_ticket_is_good_once() {
        let (counter, _) = counter();
        let ticket = left(&counter, "v", Bearer::Integration);
        assert!(counter.redeem(ticket, Bearer::Integration).is_ok());
        assert!(counter.redeem(ticket, Bearer::Integration).is_err());
    }

    #[test]
    fn a_ticket_is_good_again_for_the_same_envelope_until_that_is_settled() {
        let (counter, _) = counter();
        let ticket = left(&counter, "v", Bearer::Validation);
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
        nothing_is_held(&counter);
    }

    #[test]
    fn what_nobody_settles_is_forgotten() {
        let (counter, clock) = counter();
        let ticket = left(&counter, "v", Bearer::Validation);
        counter
            .during(Id::from_u128(1))
            .redeem(ticket, Bearer::Validation)
            .unwrap();
        clock.advance(LIFE);
        left(&counter, "w", Bearer::Validation);
        assert_eq!(counter.counter.lock().held.len(), 1);
        assert!(counter.counter.lock().redeemed.is_empty());
    }

    #[test]
    fn a_ticket_shown_by_another_is_void() {
        let (counter, _) = counter();
        let ticket = left(&counter, "v", Bearer::Integration);
        assert!(counter.redeem(ticket, Bearer::Validation).is_err());
        assert!(counter.redeem(ticket, Bearer::Integration).is_err());
    }

    #[test]
    fn a_ticket_runs_out() {
        let (counter, clock) = counter();
        let ticket = left(&counter, "v", Bearer::Interface);
        clock.advance(LIFE);
        assert!(counter.redeem(ticket, Bearer::Interface).is_err());
    }

    #[test]
    fn what_nobody_redeemed_is_taken_back_with_its_deposit() {
        let (counter, _) = counter();
        let deposit = counter.deposit(&tenant(), Secret::new("v"), Bearer::Encryption);
        let ticket = deposit.as_ref().unwrap().ticket();
        drop(deposit);
        assert!(counter.redeem(ticket, Bearer::Encryption).is_err());
        nothing_is_held(&counter);
        // Also what came in an answer.
        let ticket = left(&counter, "v", Bearer::Interface);
        drop(counter.answer_for(ticket));
        nothing_is_held(&counter);
    }

    #[test]
    fn what_was_redeemed_stays_for_a_successor_when_its_deposit_is_dropped() {
        let (counter, _) = counter();
        let deposit = counter.deposit(&tenant(), Secret::new("v"), Bearer::Encryption);
        let deposit = deposit.unwrap();
        let (mine, ticket) = (counter.during(Id::from_u128(1)), deposit.ticket());
        mine.redeem(ticket, Bearer::Encryption).unwrap();
        drop(deposit);
        assert!(mine.redeem(ticket, Bearer::Encryption).is_ok());
        counter.settle(Id::from_u128(1));
        nothing_is_held(&counter);
    }

    #[test]
    fn a_tenant_at_its_share_keeps_nobody_else_out() {
        let (counter, _) = counter();
        let deposit =
            |tenant: &Tenant, bytes| counter.deposit(tenant, large(bytes), Bearer::Encryption);
        let share = deposit(&tenant(), LITTLE - ENTRY).unwrap();
        match deposit(&tenant(), 0).map(|_| ()) {
            Err(Fault::Busy { message, .. }) => assert!(message.contains("`default`"), "{message}"),
            refused => panic!("{refused:?}"),
        }
        assert!(deposit(&other(), 1).is_ok());
        drop(share);
        assert!(deposit(&tenant(), 1).is_ok());
        nothing_is_held(&counter);
    }

    #[test]
    fn all_tenants_together_have_a_bound() {
        let (counter, clock) = counter();
        let fill = |n: usize| {
            let tenant: Tenant = format!("t{n}").parse().unwrap();
            counter.deposit(&tenant, large(LITTLE - ENTRY), Bearer::Encryption)
        };
        for n in 0..4 {
            fill(n).unwrap().leave();
        }
        let refused = counter.deposit(&tenant(), large(0), Bearer::Encryption);
        assert!(matches!(refused, Err(Fault::Busy { .. })));
        // What nobody fetched makes room when its time has passed.
        clock.advance(LIFE);
        assert!(
            counter
                .deposit(&tenant(), large(0), Bearer::Encryption)
                .is_ok()
        );
        nothing_is_held(&counter);
    }

    #[test]
    fn empty_values_are_bounded_too() {
        let (counter, _) = counter();
        let deposits: Vec<_> = (0..=LITTLE / ENTRY)
            .map(|_| counter.deposit(&tenant(), large(0), Bearer::Encryption))
            .collect();
        assert_eq!(deposits.iter().filter(|left| left.is_err()).count(), 1);
    }
}
