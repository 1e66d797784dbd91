//! Those who use the server while its power goes: writers, readers, an administrator.
//!
//! Each has its own things, so that what it was told last is what has to be there.

use futures::{StreamExt as _, stream::FuturesUnordered};
use reqwest::Method;
use serde_json::{Value, json};

use super::ledger::{Ledger, State, Thing};
use crate::{
    api::{Answer, Api, text},
    dice::Dice,
};

/// Paths that each writer goes back to.
const PATHS: u64 = 3;
/// Writers.
const WRITERS: u64 = 4;
/// Readers.
const READERS: u64 = 3;

/// One of them.
struct Client {
    api: Api,
    ledger: Ledger,
    dice: Dice,
    number: u64,
}

/// Runs all of them until the future is dropped.
pub async fn run(api: &Api, ledger: &Ledger, dice: &mut Dice) {
    let client = |number| Client {
        api: api.clone(),
        ledger: ledger.clone(),
        dice: Dice::new(dice.roll(), number),
        number,
    };
    let mut clients: Vec<Client> = (0..WRITERS + READERS + 2).map(client).collect();
    let mut running = FuturesUnordered::new();
    for mut client in clients.drain(..) {
        running.push(async move {
            loop {
                match client.number {
                    number if number < WRITERS => client.write().await,
                    number if number < WRITERS + READERS => client.read().await,
                    number if number == WRITERS + READERS => client.administer().await,
                    _ => client.come_and_go().await,
                }
            }
        });
    }
    let _: Option<()> = running.next().await;
}

impl Client {
    /// A new version at one of its own paths: given, or generated and then read.
    async fn write(&mut self) {
        let path = format!("w{}/{}", self.number, self.dice.between(1, PATHS));
        let value = self.dice.password();
        let put = json!({"kind": "secret", "value": value, "accept_weak": true});
        self.put(&path, &put, Some(value)).await;
    }

    /// The value of somebody's path: its answer must be on record.
    async fn read(&mut self) {
        let writer = self.dice.between(0, WRITERS - 1);
        let path = format!("w{writer}/{}", self.dice.between(1, PATHS));
        self.value(&path).await;
    }

    /// Tokens, policies, tenants and keys.
    async fn administer(&mut self) {
        let name = format!("n{}", self.dice.between(1, 1 << 40));
        match self.dice.between(0, 9) {
            0..=2 => self.token(&name).await,
            3..=5 => {
                let name = format!("p{}", self.dice.between(1, 4));
                let description = self.dice.password();
                let policy = json!({"description": description, "min_length": 8});
                let path = format!("/v1/policies/{name}");
                let thing = Thing::Policy(name);
                self.change(Method::PUT, &path, Some(&policy), thing, Some(description))
                    .await;
            }
            6 => {
                let path = format!("/v1/tenants/{name}");
                let there = Some("there".to_owned());
                self.change(Method::PUT, &path, None, Thing::Tenant(name), there)
                    .await;
            }
            7 => {
                let path = format!("keys/{name}");
                let put = json!({"kind": "signing_key", "generate": true});
                let url = format!("/v1/credentials/{path}");
                let made = self.send(Method::PUT, &url, Some(&put)).await;
                let key = format!("/v1/crypto/public-key/{path}");
                if let Some((_, correlation)) = made
                    && let Some((answer, _)) = self.send(Method::GET, &key, None).await
                {
                    let public = text(&answer.body, "public_key").to_owned();
                    let thing = Thing::PublicKey(path);
                    self.ledger.acknowledge(thing, Some(public), correlation);
                }
            }
            _ => {
                // What was generated is known once it was read.
                let path = format!("made/{name}");
                let put = json!({"kind": "password", "generate": true});
                let url = format!("/v1/credentials/{path}");
                if self.send(Method::PUT, &url, Some(&put)).await.is_some()
                    && let Some((value, correlation)) = self.value(&path).await
                {
                    let thing = Thing::Value(path);
                    self.ledger.acknowledge(thing, Some(value), correlation);
                }
            }
        }
    }

    /// A credential that is made and deleted.
    async fn come_and_go(&mut self) {
        let path = format!("once/{}", self.dice.between(1, 1 << 40));
        let value = self.dice.password();
        let put = json!({"kind": "secret", "value": value, "accept_weak": true});
        if self.put(&path, &put, Some(value)).await {
            let url = format!("/v1/credentials/{path}");
            self.change(Method::DELETE, &url, None, Thing::Value(path), None)
                .await;
        }
    }

    async fn put(&mut self, path: &str, put: &Value, value: State) -> bool {
        let url = format!("/v1/credentials/{path}");
        let thing = Thing::Value(path.to_owned());
        self.change(Method::PUT, &url, Some(put), thing, value)
            .await
    }

    async fn token(&mut self, name: &str) {
        let new = json!({"name": name, "roles": ["reader"]});
        let Some((answer, correlation)) = self.send(Method::POST, "/v1/tokens", Some(&new)).await
        else {
            return;
        };
        let id = text(&answer.body, "id").to_owned();
        self.ledger.keep_token(&id, text(&answer.body, "token"));
        let good = Some("good".to_owned());
        let thing = Thing::Token(id.clone());
        self.ledger.acknowledge(thing.clone(), good, correlation);
        if self.dice.percent(40) {
            let url = format!("/v1/tokens/{id}");
            self.change(Method::DELETE, &url, None, thing, None).await;
        }
    }

    async fn value(&mut self, path: &str) -> Option<(String, String)> {
        let url = format!("/v1/values/{path}");
        let (answer, correlation) = self.send(Method::GET, &url, None).await?;
        self.ledger.answered(correlation.clone());
        Some((text(&answer.body, "value").to_owned(), correlation))
    }

    /// Asks for a change, with its traces in the ledger. Whether it was acknowledged.
    async fn change(
        &mut self,
        method: Method,
        url: &str,
        body: Option<&Value>,
        thing: Thing,
        state: State,
    ) -> bool {
        self.ledger.ask(&thing, &state);
        let correlation = self.dice.uuid();
        match self.api.call(method, url, body, Some(&correlation)).await {
            Ok(answer) if answer.ok() => {
                self.ledger.acknowledge(thing, state, correlation);
                true
            }
            // The caller's fault, so nothing was done.
            Ok(answer) if answer.status < 500 => {
                self.ledger.refused(&thing, &state);
                false
            }
            _ => {
                breathe().await;
                false
            }
        }
    }

    /// A request whose success is wanted; with its correlation id.
    async fn send(
        &mut self,
        method: Method,
        url: &str,
        body: Option<&Value>,
    ) -> Option<(Answer, String)> {
        let correlation = self.dice.uuid();
        match self.api.call(method, url, body, Some(&correlation)).await {
            Ok(answer) if answer.ok() => Some((answer, correlation)),
            Ok(answer) if answer.status < 500 => {
                tokio::task::yield_now().await;
                None
            }
            _ => {
                breathe().await;
                None
            }
        }
    }
}

/// A server that is gone, or refuses, is not asked a thousand times a second.
async fn breathe() {
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
}
