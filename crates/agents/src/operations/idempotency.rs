//! Requests that say by a key that they are one and the same: begun once, answered once.
//!
//! An interface begins an [`Attempt`] before it carries the request out, and keeps the answer with
//! it. Whoever comes with the same key later is shown the attempt and decides by its digest and
//! answer. What always holds:
//!
//! * Of two that begin at once, one is first; the store's compare-and-set decides.
//! * An attempt without an answer is under way, or its outcome is unknown: it is never begun again
//!   under the same key.
//! * Nothing here is plaintext: digests are keyed by the interface, and answers that hold a value
//!   are not kept.

use std::time::Duration;

use pentad_model::{Timestamp, record::Outcome};
use pentad_store::{Collection, Expect, Op};
use serde::{Deserialize, Serialize};

use super::{Caller, Pentad, documents::encode};
use crate::{Fault, documents::decode};

/// How long an answer is kept: as long as the longest retry that is worth supporting.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// A request under an idempotency key, as it is stored.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// Keyed digest of the request, to tell a retry from another request.
    pub request: String,
    /// Digest of the credential that keyed it: with another one, requests can't be compared.
    pub bearer: String,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// The answer, in the interface's own form; `None` until there is one.
    pub answer: Option<serde_json::Value>,
}

/// What came of beginning.
#[derive(Clone, PartialEq, Debug)]
pub enum Begun {
    /// Nobody was there before: carry it out.
    First(Attempt),
    /// It was begun before.
    Before(Attempt),
}

impl Pentad {
    /// Begins a request under the name that the interface derived from caller and key. Durable
    /// when answered.
    pub async fn begin_attempt(
        &self,
        caller: &Caller,
        name: &str,
        request: String,
        bearer: String,
    ) -> Result<Begun, Fault> {
        if let Some(before) = self.attempt(caller, name).await? {
            return Ok(Begun::Before(before));
        }
        let attempt = Attempt {
            request,
            bearer,
            begun_at: self.0.clock.now(),
            answer: None,
        };
        match self
            .keep(caller, name, &attempt, Expect::Absent, "idempotency.begin")
            .await
        {
            Ok(()) => Ok(Begun::First(attempt)),
            // Somebody was faster between the look and the commit.
            Err(fault @ Fault::Conflict { .. }) => match self.attempt(caller, name).await? {
                Some(before) => Ok(Begun::Before(before)),
                None => Err(fault),
            },
            Err(fault) => Err(fault),
        }
    }

    /// Keeps the answer to what [`Pentad::begin_attempt`] said was the first.
    pub async fn answer_attempt(
        &self,
        caller: &Caller,
        name: &str,
        mut attempt: Attempt,
        answer: serde_json::Value,
    ) -> Result<(), Fault> {
        attempt.answer = Some(answer);
        self.keep(caller, name, &attempt, Expect::Any, "idempotency.answer")
            .await
    }

    /// Forgets an attempt that changed nothing and may be tried again.
    pub async fn forget_attempt(&self, caller: &Caller, name: &str) -> Result<(), Fault> {
        self.remove(caller, Collection::Idempotency, name, "idempotency.forget")
            .await
    }

    async fn attempt(&self, caller: &Caller, name: &str) -> Result<Option<Attempt>, Fault> {
        let (tenant, now) = (&caller.context.tenant, self.0.clock.now());
        let stored = self
            .0
            .reader
            .document(Collection::Idempotency, tenant, name, now)
            .await?;
        stored.map(decode).transpose()
    }

    async fn keep(
        &self,
        caller: &Caller,
        name: &str,
        attempt: &Attempt,
        expect: Expect,
        action: &str,
    ) -> Result<(), Fault> {
        let until = attempt.begun_at.plus(KEPT);
        let tenant = &caller.context.tenant;
        let document = encode(Collection::Idempotency, tenant, name, attempt, Some(until))?;
        let record = self.record(caller, action, Outcome::Done);
        self.commit(caller, vec![Op::PutDocument { document, expect }], record)
            .await
    }
}
