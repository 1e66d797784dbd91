//! What Pentad acknowledged: it must be there after every crash.
//!
//! Beside the rotations a client writes and reads all the time. What it got an answer for is on
//! this list; what it was waiting for when the server died is nobody's promise.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    api::{Api, text},
    dice::Dice,
};

/// Pause between two requests of the client.
const PAUSE: Duration = Duration::from_millis(10);

/// Everything acknowledged so far.
#[derive(Default)]
pub struct Ledger {
    /// Written values by path; since the last check first.
    notes: Arc<Mutex<Fresh>>,
    checked: Vec<(String, String)>,
    /// Rotations by id, with their paths.
    pub rotations: BTreeMap<String, String>,
    next_note: u64,
}

#[derive(Default)]
struct Fresh {
    notes: Vec<(String, String)>,
    /// Correlation ids of reads that were answered.
    reads: Vec<String>,
    sent: u64,
}

/// The client, until it is dropped.
pub struct Client(JoinHandle<()>);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ledger {
    /// Starts a client that writes notes and reads credentials.
    pub fn client(&mut self, api: Api, paths: Vec<String>, mut dice: Dice) -> Client {
        let fresh = Arc::clone(&self.notes);
        self.next_note += guard(&fresh).sent;
        guard(&fresh).sent = 0;
        let first = self.next_note;
        Client(tokio::spawn(async move {
            loop {
                let number = {
                    let mut fresh = guard(&fresh);
                    fresh.sent += 1;
                    first + fresh.sent
                };
                let (path, value) = (format!("notes/{number}"), dice.password());
                let put = json!({"kind": "secret", "value": value, "accept_weak": true});
                if let Ok(answer) = api.put(&format!("/v1/credentials/{path}"), &put).await
                    && answer.ok()
                {
                    guard(&fresh).notes.push((path, value));
                }
                sleep(PAUSE).await;
                let correlation = dice.uuid();
                if let Some(path) = dice.pick(&paths) {
                    let path = format!("/v1/values/{path}");
                    let read = api.call(Method::GET, &path, None, Some(&correlation)).await;
                    if read.is_ok_and(|answer| answer.ok()) {
                        guard(&fresh).reads.push(correlation);
                    }
                }
                sleep(PAUSE).await;
            }
        }))
    }

    /// Looks for what was acknowledged since the last look, and for some of what was before (all of
    /// it, with `all`): how much was found, and what is missing.
    pub async fn check(
        &mut self,
        api: &Api,
        all: bool,
        dice: &mut Dice,
    ) -> Result<(usize, Vec<String>)> {
        let (notes, reads) = {
            let mut fresh = guard(&self.notes);
            (
                std::mem::take(&mut fresh.notes),
                std::mem::take(&mut fresh.reads),
            )
        };
        let mut missing = Vec::new();
        let mut found = 0;
        let older: Vec<&(String, String)> = match all {
            true => self.checked.iter().collect(),
            false => (0..5).filter_map(|_| dice.pick(&self.checked)).collect(),
        };
        for (path, value) in notes.iter().chain(older) {
            let answer = api.get(&format!("/v1/values/{path}")).await?;
            if answer.ok() && text(&answer.body, "value") == value {
                found += 1;
            } else {
                missing.push(format!(
                    "`{path}` was stored, and now its read answers {}",
                    answer.status
                ));
            }
        }
        self.checked.extend(notes);
        // The record of a read is durable before its answer: the last ones are the ones in danger.
        for correlation in reads.iter().rev().take(3) {
            let path = format!("/v1/audit/records?correlation={correlation}");
            let records = api.get(&path).await?.body()?;
            let there = records["items"].as_array().is_some_and(|items| {
                items
                    .iter()
                    .any(|record| text(record, "action") == "credential.read")
            });
            match there {
                true => found += 1,
                false => missing.push(format!(
                    "a read was answered, and its record is not in the log ({correlation})"
                )),
            }
        }
        Ok((found, missing))
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
