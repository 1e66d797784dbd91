//! Do Pentad and the target say the same? Asked at the target itself.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::{Duration, sleep};

use super::estate::{Account, Seen};
use crate::{
    api::{Api, text},
    dice::Dice,
    systems::{System, Target},
};

/// Old values that are tried at one account, the latest first, where not all of them are.
const OLD_VALUES: usize = 4;

/// What a check found.
#[derive(Default)]
pub struct Found {
    /// What is wrong; no values.
    pub complaints: Vec<String>,
    /// Logins tried.
    pub logins: usize,
    /// The version that is current now.
    pub current: Option<Seen>,
}

/// A value's shortest name: for comparing, not for logging in.
pub fn masked(value: &str) -> String {
    hex::encode(&Sha256::digest(value)[..4])
}

struct Check<'a> {
    api: &'a Api,
    target: &'a dyn Target,
    account: &'a Account,
    found: Found,
}

/// Compares one credential with its target. `all`: with every old value there ever was.
pub async fn account(
    api: &Api,
    targets: &BTreeMap<System, Box<dyn Target>>,
    account: &Account,
    all: bool,
    mut dice: Dice,
) -> Result<Found> {
    let target = targets
        .get(&account.system)
        .context("a target for each system")?
        .as_ref();
    let mut check = Check {
        api,
        target,
        account,
        found: Found::default(),
    };
    let Some(current) = check.current().await? else {
        return Ok(check.found);
    };
    check.log_in(&current, &mut dice).await?;
    check.old_ones(&current, all).await?;
    check.stages(&current).await?;
    check.held_by_target(&current).await?;
    check.delivered(&current).await?;
    check.found.current = Some(current);
    Ok(check.found)
}

impl Check<'_> {
    fn complain(&mut self, complaint: impl AsRef<str>) {
        self.found
            .complaints
            .push(format!("{}: {}", self.account.path, complaint.as_ref()));
    }

    /// What the store says is current. `None` after a complaint.
    async fn current(&mut self) -> Result<Option<Seen>> {
        let path = &self.account.path;
        let metadata = self.api.get(&format!("/v1/credentials/{path}")).await?;
        if !metadata.ok() {
            self.complain(format!("the credential is lost: {}", metadata.status));
            return Ok(None);
        }
        if metadata.body["in_doubt"] == true {
            self.complain("it is in doubt, and nothing is unfinished");
        }
        let reading = self.api.get(&format!("/v1/values/{path}")).await?;
        let seen = Seen {
            version: reading.body["version"].as_u64().unwrap_or(0),
            account: text(&reading.body, "account").to_owned(),
            value: text(&reading.body, "value").to_owned(),
        };
        if !reading.ok() || seen.value.is_empty() {
            self.complain(format!(
                "its current value can't be read: {}",
                reading.status
            ));
            return Ok(None);
        }
        if metadata.body["current"].as_u64() != Some(seen.version) {
            self.complain("metadata and value speak of different versions");
        }
        Ok(Some(seen))
    }

    async fn log_in(&mut self, current: &Seen, dice: &mut Dice) -> Result<()> {
        if !self.works(current).await? {
            let what = format!(
                "the current version {current:?} ({}) does not log in",
                masked(&current.value)
            );
            self.complain(what);
            self.who_does(current).await?;
        }
        let random = Seen {
            value: dice.password(),
            ..current.clone()
        };
        if self.works(&random).await? {
            self.complain(format!("a random value logs in at {}", current.account));
        }
        Ok(())
    }

    /// For people: which other value is at the target.
    async fn who_does(&mut self, current: &Seen) -> Result<()> {
        for seen in &self.account.seen {
            if seen != current && self.works(seen).await? {
                self.complain(format!(
                    "instead {seen:?} ({}) logs in",
                    masked(&seen.value)
                ));
            }
        }
        Ok(())
    }

    /// Values that were current once, as the campaign remembers them and as Pentad still has them.
    async fn old_ones(&mut self, current: &Seen, all: bool) -> Result<()> {
        let path = &self.account.path;
        let limit = if all { usize::MAX } else { OLD_VALUES };
        let mut old: Vec<Seen> = self
            .account
            .seen
            .iter()
            .rev()
            .take(limit)
            .cloned()
            .collect();
        for version in self
            .api
            .all(&format!("/v1/history/{path}"), "before")
            .await?
            .iter()
            .take(limit)
        {
            let number = version["number"].as_u64().unwrap_or(0);
            let readable = matches!(text(version, "stage"), "previous" | "retired" | "revoked");
            if !readable || old.iter().any(|seen| seen.version == number) {
                continue;
            }
            let reading = self
                .api
                .get(&format!("/v1/values/{path}?version={number}"))
                .await?;
            match reading.status {
                200 => old.push(Seen {
                    version: number,
                    account: text(&reading.body, "account").to_owned(),
                    value: text(&reading.body, "value").to_owned(),
                }),
                404 => {} // destroyed
                other => self.complain(format!("version {number} can't be read: {other}")),
            }
        }
        for seen in old {
            if seen.version == current.version {
                if seen.value != current.value {
                    self.complain(format!(
                        "version {} has another value than before",
                        seen.version
                    ));
                }
            } else if seen.value == current.value {
                self.complain(format!("{seen:?} and {current:?} have the same value"));
            } else if self.works(&seen).await? {
                self.complain(format!(
                    "the old {seen:?} ({}) still logs in",
                    masked(&seen.value)
                ));
            }
        }
        Ok(())
    }

    /// With nothing unfinished there is one current version, and none pending or previous.
    async fn stages(&mut self, current: &Seen) -> Result<()> {
        let path = &self.account.path;
        let page = self
            .api
            .get(&format!("/v1/history/{path}?limit=20"))
            .await?
            .body()?;
        for version in page["items"].as_array().into_iter().flatten() {
            let (number, stage) = (
                version["number"].as_u64().unwrap_or(0),
                text(version, "stage"),
            );
            let right = match stage {
                "current" => number == current.version,
                "pending" | "previous" => false,
                _ => number != current.version,
            };
            if !right {
                self.complain(format!(
                    "version {number} is {stage}, with {} current and nothing unfinished",
                    current.version
                ));
            }
        }
        Ok(())
    }

    /// What the target itself holds: nothing that nobody knows of.
    async fn held_by_target(&mut self, current: &Seen) -> Result<()> {
        for account in &self.account.accounts {
            let held = self.target.verifiers(account).await?;
            let expected = if *account == current.account { 1 } else { 0 };
            let known = self.target.verifier(&current.value);
            let right = held.len() == expected
                && known.is_none_or(|known| held.iter().all(|verifier| *verifier == known));
            if !right {
                self.complain(format!(
                    "the target holds {} verifiers for {account}, and the current value's is {} \
                     among them; expected {expected}",
                    held.len(),
                    match self.target.verifier(&current.value) {
                        Some(known) if held.contains(&known) => "one",
                        Some(_) => "not",
                        None => "perhaps",
                    }
                ));
            }
        }
        Ok(())
    }

    async fn delivered(&mut self, current: &Seen) -> Result<()> {
        if let Some(file) = &self.account.file {
            let delivered = tokio::fs::read_to_string(file).await?;
            if delivered != current.value {
                self.complain(format!(
                    "{} holds {}, and {current:?} ({}) is current",
                    file.display(),
                    masked(&delivered),
                    masked(&current.value)
                ));
            }
        }
        Ok(())
    }

    /// A login that gets a clear answer; a server that gives none is asked again.
    async fn works(&mut self, seen: &Seen) -> Result<bool> {
        let mut tries = 0;
        loop {
            self.found.logins += 1;
            tries += 1;
            match self.target.login(&seen.account, &seen.value).await {
                Ok(works) => return Ok(works),
                Err(error) if tries == 5 => {
                    return Err(error.context(format!("{} gives no answer", self.account.system)));
                }
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

/// What a rotation that has ended says, held against what is current.
pub fn ending(rotation: &Value, current: Option<&Seen>, third_party: bool) -> Vec<String> {
    let step = text(rotation, "step");
    let (from, to) = (
        rotation["from_version"].as_u64(),
        rotation["to_version"].as_u64(),
    );
    let current = current.map(|seen| seen.version);
    let what = format!(
        "{}: rotation {} from {from:?} to {to:?} ended {step} with {current:?} current ({})",
        text(rotation, "path"),
        text(rotation, "id"),
        text(rotation, "reason"),
    );
    let right = match step {
        "done" => to == current,
        "rolled_back" => from == current,
        // Nothing was touched; without anybody else there is no cause.
        "failed" => false,
        "diverged" => third_party,
        _ => true,
    };
    if right { Vec::new() } else { vec![what] }
}
