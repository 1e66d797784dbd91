//! The accounts of one lane: made at the real servers, then adopted by its Pentad.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    api::Api,
    dice::Dice,
    proxy::Proxy,
    systems::{Place, System, Target},
};

/// How an account is rotated, as a binding says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strategy {
    /// One value at a time.
    InPlace,
    /// Both values for a while.
    Overlap,
    /// Two accounts in turn.
    Alternating,
}

impl Strategy {
    fn as_str(self) -> &'static str {
        match self {
            Self::InPlace => "in_place",
            Self::Overlap => "overlap",
            Self::Alternating => "alternating",
        }
    }
}

/// One credential, with all that the campaign itself knows of it.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its path in Pentad.
    pub path: String,
    /// Where it is.
    pub system: System,
    /// Its account there, and the second one for alternating users.
    pub accounts: Vec<String>,
    /// How it is rotated.
    pub strategy: Strategy,
    /// Whether Pentad may overwrite what others set.
    pub owned: bool,
    /// How long the old value stays valid, in seconds.
    pub grace: u32,
    /// Where each new value is delivered.
    pub file: Option<PathBuf>,
    /// Every value that the campaign saw as current, with its account and version, the latest last.
    pub seen: Vec<Seen>,
}

/// A value that was current once.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    /// The version's number.
    pub version: u64,
    /// The account it logs in at.
    pub account: String,
    /// The value.
    pub value: String,
}

/// Without the value.
impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.version, self.account)
    }
}

impl Account {
    /// The account that holds the current value, as far as was seen.
    pub fn from(&self) -> &str {
        self.seen
            .last()
            .map_or(self.accounts[0].as_str(), |seen| seen.account.as_str())
    }

    /// The account that the next value goes to.
    pub fn to(&self) -> &str {
        let from = self.from();
        self.accounts
            .iter()
            .map(String::as_str)
            .find(|account| *account != from)
            .unwrap_or(from)
    }

    /// The binding that Pentad is given.
    fn binding(&self) -> Value {
        json!({
            "target": self.system.name(),
            "account": self.accounts[0],
            "alternate": self.accounts.get(1),
            "strategy": self.strategy.as_str(),
            "owned": self.owned,
            "grace_seconds": self.grace,
            "deliver_to": self.file.iter().collect::<Vec<_>>(),
        })
    }
}

/// What an account of the estate is like.
struct Shape {
    strategy: Strategy,
    owned: bool,
    grace: u32,
    delivered: bool,
}

/// How long the graceful ones keep their old value: long enough to ask for a roll-back meanwhile.
const GRACE: u32 = 3;

fn shapes(system: System) -> Vec<Shape> {
    use Strategy::{Alternating, InPlace, Overlap};
    let shape = |strategy, owned, grace, delivered| Shape {
        strategy,
        owned,
        grace,
        delivered,
    };
    let second = if system == System::Postgres {
        Alternating
    } else {
        Overlap
    };
    vec![
        shape(InPlace, false, 0, false),
        shape(second, false, 0, false),
        shape(InPlace, true, 0, false),
        shape(second, true, 0, false),
        shape(InPlace, false, 0, true),
        shape(second, false, 0, true),
        shape(second, false, 0, false),
        shape(second, false, GRACE, false),
        shape(second, true, GRACE, true),
    ]
}

/// Makes the accounts of a lane at the servers, with a password that Pentad does not know yet.
pub async fn create(
    systems: &[System],
    targets: &BTreeMap<System, Box<dyn Target>>,
    prefix: &str,
    files: &Path,
    dice: &mut Dice,
) -> Result<Vec<Account>> {
    let mut accounts = Vec::new();
    for account in described(systems, prefix, files, dice) {
        let first = &account.seen[0];
        targets[&account.system]
            .create(&first.account, &first.value)
            .await?;
        accounts.push(account);
    }
    Ok(accounts)
}

/// The accounts of a lane, not made yet.
fn described(systems: &[System], prefix: &str, files: &Path, dice: &mut Dice) -> Vec<Account> {
    let mut accounts = Vec::new();
    for system in systems {
        for (number, shape) in shapes(*system).into_iter().enumerate() {
            let name = format!("{prefix}_{system}_{number}");
            let mut names = vec![name.clone()];
            if shape.strategy == Strategy::Alternating {
                names.push(format!("{name}_b"));
            }
            accounts.push(Account {
                path: format!("crash/{system}/{number}"),
                system: *system,
                accounts: names,
                strategy: shape.strategy,
                owned: shape.owned,
                grace: shape.grace,
                file: shape
                    .delivered
                    .then(|| files.join(format!("{system}-{number}"))),
                seen: vec![Seen {
                    version: 1,
                    account: name,
                    value: dice.password(),
                }],
            });
        }
    }
    accounts
}

/// An estate without servers.
#[cfg(test)]
pub(super) fn sample() -> Vec<Account> {
    described(
        System::ALL,
        "crash_1_0",
        Path::new("/nowhere"),
        &mut Dice::new(1, 1),
    )
}

/// Tells Pentad of targets and administrating accounts, and has it adopt every account.
pub async fn adopt(
    api: &Api,
    accounts: &[Account],
    proxies: &BTreeMap<System, Proxy>,
) -> Result<()> {
    for (system, proxy) in proxies {
        let place = Place::of(*system)?;
        let admin = format!("admin/{system}");
        let credential = json!({"kind": "password", "value": place.password, "accept_weak": true});
        api.put(&format!("/v1/credentials/{admin}"), &credential)
            .await?
            .body()?;
        let target = json!({
            "system": system.connector(),
            "address": proxy.address.to_string(),
            "admin_account": place.admin,
            "admin_credential": admin,
            "tls": "plain",
        });
        api.put(&format!("/v1/targets/{system}"), &target)
            .await?
            .body()?;
    }
    for account in accounts {
        let first = &account.seen[0];
        if let Some(file) = &account.file {
            tokio::fs::write(file, &first.value).await?;
        }
        let put = json!({"kind": "password", "value": first.value, "binding": account.binding()});
        let adopted = api
            .post(&format!("/v1/adopt/{}", account.path), &put)
            .await?;
        adopted
            .body()
            .with_context(|| format!("{} was not adopted", account.path))?;
    }
    Ok(())
}

/// Takes the accounts away again.
pub async fn remove(
    accounts: &[Account],
    targets: &BTreeMap<System, Box<dyn Target>>,
) -> Result<()> {
    for (system, target) in targets {
        let mine = accounts.iter().filter(|account| account.system == *system);
        // The second of a pair is a member of the first: it goes before.
        let names: Vec<String> = mine
            .flat_map(|account| account.accounts.iter().rev().cloned())
            .collect();
        target.remove(&names).await?;
    }
    Ok(())
}
