//! What came of an act: the event for the transition function, and what else the next commit keeps.

use pentad_model::{Timestamp, Version, rotation::Evidence};

use crate::{
    machine::{self, Event},
    ports::{Failure, Session},
};

/// An event, with what else there is to keep of it.
pub(crate) struct Seen {
    pub(crate) event: Event,
    pub(crate) reason: Option<String>,
    pub(crate) evidence: Option<Evidence>,
    pub(crate) draft: Option<Version>,
    pub(crate) resume_at: Option<Timestamp>,
    /// Opened for the look, and still good for the effect that follows.
    pub(crate) session: Option<Session>,
}

impl From<Event> for Seen {
    fn from(event: Event) -> Self {
        Self {
            event,
            reason: None,
            evidence: None,
            draft: None,
            resume_at: None,
            session: None,
        }
    }
}

impl Seen {
    pub(crate) fn not_now(reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..Self::from(Event::NotNow)
        }
    }

    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..Self::from(Event::Refused)
        }
    }

    pub(crate) fn effect(effect: machine::Effect, note: String) -> Self {
        let reason = (effect != machine::Effect::Done).then_some(note);
        Self {
            reason,
            ..Self::from(Event::Effect(effect))
        }
    }

    pub(crate) fn with(self, evidence: Evidence) -> Self {
        Self {
            evidence: Some(evidence),
            ..self
        }
    }

    /// A port's failure before anything was touched: what can't be mended by waiting ends it.
    pub(crate) fn at_start(why: Failure) -> Self {
        match why {
            Failure::Refused(reason) => Self::refused(reason),
            Failure::NotNow(_) | Failure::Lost => Self::later(why),
        }
    }

    pub(crate) fn later(why: Failure) -> Self {
        Self::not_now(why.to_string())
    }
}
