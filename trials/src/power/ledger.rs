//! What Pentad acknowledged, and what it may have done.
//!
//! A client notes what it asks for before it sends it, and what it heard. What was acknowledged must
//! be there after every cut. What was asked for and not answered may be there or not; once it was
//! seen there, it must stay.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A thing that can be looked at again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Thing {
    /// The value at a path.
    Value(String),
    /// The public half of the key at a path.
    PublicKey(String),
    /// Whether a token is good, by its id.
    Token(String),
    /// A policy's description, by its name.
    Policy(String),
    /// Whether a tenant is there.
    Tenant(String),
}

/// How a thing is: a text, or not there.
pub type State = Option<String>;

#[derive(Clone, Default, Debug)]
struct Known {
    acknowledged: State,
    possible: BTreeSet<State>,
}

/// See the [module](self). Clones share it.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    things: BTreeMap<Thing, Known>,
    /// Texts of tokens, by id.
    tokens: BTreeMap<String, String>,
    /// Correlation ids of acknowledged requests whose record is not seen yet.
    unseen: BTreeSet<String>,
    acknowledged: u64,
}

impl Ledger {
    /// Before it is sent: from now on it may be so.
    pub fn ask(&self, thing: &Thing, state: &State) {
        let mut pages = self.pages();
        let known = pages.things.entry(thing.clone()).or_default();
        known.possible.insert(state.clone());
    }

    /// It was acknowledged: so it is. Needs a record of that request.
    pub fn acknowledge(&self, thing: Thing, state: State, correlation: String) {
        let mut pages = self.pages();
        let known = Known {
            acknowledged: state,
            possible: BTreeSet::new(),
        };
        pages.things.insert(thing, known);
        pages.acknowledged += 1;
        pages.unseen.insert(correlation);
    }

    /// It was refused for good: it is as it was.
    pub fn refused(&self, thing: &Thing, state: &State) {
        let mut pages = self.pages();
        if let Some(known) = pages.things.get_mut(thing) {
            known.possible.remove(state);
        }
    }

    /// A read was answered, with this: its record must be there.
    pub fn answered(&self, correlation: String) {
        let mut pages = self.pages();
        pages.acknowledged += 1;
        pages.unseen.insert(correlation);
    }

    /// A token's text.
    pub fn keep_token(&self, id: &str, text: &str) {
        let mut pages = self.pages();
        pages.tokens.insert(id.to_owned(), text.to_owned());
    }

    /// A token's text.
    pub fn token(&self, id: &str) -> Option<String> {
        self.pages().tokens.get(id).cloned()
    }

    /// Everything that can be looked at.
    pub fn things(&self) -> Vec<Thing> {
        self.pages().things.keys().cloned().collect()
    }

    /// What was acknowledged of a thing last.
    pub fn acknowledged(&self, thing: &Thing) -> State {
        let pages = self.pages();
        pages
            .things
            .get(thing)
            .and_then(|known| known.acknowledged.clone())
    }

    /// Acknowledged requests so far.
    pub fn count(&self) -> u64 {
        self.pages().acknowledged
    }

    /// It was looked at after a cut. `Err` says what is wrong, without values.
    pub fn look(&self, thing: &Thing, found: &State) -> Result<(), String> {
        let mut pages = self.pages();
        let Some(known) = pages.things.get_mut(thing) else {
            return Ok(());
        };
        let may_be = known.acknowledged == *found || known.possible.contains(found);
        let told = |state: &State| match state {
            None => "not there",
            Some(_) => "there",
        };
        let wrong = format!(
            "{thing:?} is {}, but {} was acknowledged{}",
            match found {
                None => "not there",
                Some(_) if known.acknowledged.is_some() => "another",
                Some(_) => "there",
            },
            told(&known.acknowledged),
            match known.possible.len() {
                0 => String::new(),
                many => format!(" ({many} others were possible)"),
            },
        );
        // Whatever is seen now has to stay.
        known.acknowledged = found.clone();
        known.possible.clear();
        match may_be {
            true => Ok(()),
            false => Err(wrong),
        }
    }

    /// These requests have their records. Those that lack one, of all that were acknowledged.
    pub fn recorded(&self, correlations: &BTreeSet<String>) -> Vec<String> {
        let mut pages = self.pages();
        let missing = pages.unseen.difference(correlations).cloned().collect();
        pages.unseen.clear();
        missing
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value() -> Thing {
        Thing::Value("a".to_owned())
    }

    fn state(text: &str) -> State {
        Some(text.to_owned())
    }

    #[test]
    fn what_was_acknowledged_must_be_there_and_nothing_older() {
        let ledger = Ledger::default();
        for text in ["1", "2"] {
            ledger.ask(&value(), &state(text));
            ledger.acknowledge(value(), state(text), text.to_owned());
        }
        assert!(ledger.look(&value(), &state("2")).is_ok());
        assert!(ledger.look(&value(), &state("1")).is_err());
    }

    #[test]
    fn what_was_asked_for_may_be_there_and_once_seen_must_stay() {
        let ledger = Ledger::default();
        ledger.ask(&value(), &state("1"));
        assert!(ledger.look(&value(), &None).is_ok(), "it did not happen");
        ledger.ask(&value(), &state("2"));
        assert!(ledger.look(&value(), &state("2")).is_ok(), "it did");
        assert!(ledger.look(&value(), &None).is_err(), "and was undone");
    }

    #[test]
    fn a_record_is_asked_for_once() {
        let ledger = Ledger::default();
        ledger.answered("x".to_owned());
        ledger.answered("y".to_owned());
        let seen = BTreeSet::from(["x".to_owned()]);
        assert_eq!(ledger.recorded(&seen), ["y"]);
        assert!(ledger.recorded(&BTreeSet::new()).is_empty());
    }
}
