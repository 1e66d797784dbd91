//! Every door that a value can go through, the wrong ones too.

use anyhow::{Result, bail};
use reqwest::Method;
use serde_json::{Value, json};

use super::{bait::Bait, traces::Finding};
use crate::{
    api::{Api, text},
    dice::Dice,
    server::Installation,
    systems::{Place, System, target},
};

/// See the [module](self).
pub struct Doors<'a> {
    pub(super) installation: &'a Installation,
    pub(super) address: &'a str,
    pub(super) token: &'a str,
    pub(super) dice: Dice,
    /// What went in.
    pub baits: Vec<Bait>,
    /// What came out where it should not.
    pub leaks: Vec<Finding>,
}

/// What a door is expected to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// Let it in.
    In,
    /// Refuse it.
    Refused,
}

impl<'a> Doors<'a> {
    /// Doors of one server, or of a directory without one.
    pub fn new(
        installation: &'a Installation,
        address: &'a str,
        token: &'a str,
        seed: u64,
    ) -> Self {
        let dice = Dice::new(seed, 77);
        Self {
            installation,
            address,
            token,
            dice,
            baits: Vec::new(),
            leaks: Vec::new(),
        }
    }

    pub(super) fn bait(&mut self, name: &str) -> String {
        let value = self.dice.password();
        self.baits.push(Bait::kept(name, &value));
        value
    }

    /// Sends a body with a bait in it; an answer that is no read must not hold it.
    async fn send(
        &mut self,
        api: &Api,
        method: Method,
        path: &str,
        body: Value,
        expect: Expect,
    ) -> Result<Value> {
        let answer = api.call(method.clone(), path, Some(&body), None).await?;
        let name = format!("the answer to {method} {path}");
        let said = answer.body.to_string();
        self.judge(&name, said.as_bytes());
        let right = match expect {
            Expect::In => answer.ok(),
            Expect::Refused => (400..600).contains(&answer.status) && answer.status != 500,
        };
        if !right {
            bail!("{name} was {}: {said}", answer.status);
        }
        Ok(answer.body)
    }

    pub(super) fn judge(&mut self, place: &str, bytes: &[u8]) {
        for bait in self.baits.iter().filter(|bait| bait.shows_in(bytes)) {
            self.leaks.push(Finding {
                place: place.to_owned(),
                what: bait.name.clone(),
            });
        }
    }

    /// Over the network.
    pub async fn by_http(&mut self, api: &Api) -> Result<()> {
        let stored = self.bait("a stored value");
        let put = json!({"kind": "secret", "value": stored});
        self.send(
            api,
            Method::PUT,
            "/v1/credentials/canary/stored",
            put,
            Expect::In,
        )
        .await?;
        let read = api.get("/v1/values/canary/stored").await?.body()?;
        if text(&read, "value") != stored {
            bail!("what was stored is not what is read");
        }
        let base64 = self.bait("a value in base64");
        let put = json!({"kind": "secret", "value_base64": encoded(base64.as_bytes())});
        self.send(
            api,
            Method::PUT,
            "/v1/credentials/canary/base64",
            put,
            Expect::In,
        )
        .await?;

        self.refusals(api).await?;
        self.people(api).await?;
        self.batch(api).await?;
        self.keys(api).await?;
        self.at_a_target(api).await?;
        for path in [
            "/v1/checks/canary/stored",
            "/v1/history/canary/stored",
            "/v1/credentials",
        ] {
            let answer = api.get(path).await?;
            self.judge(
                &format!("the answer to GET {path}"),
                answer.body.to_string().as_bytes(),
            );
        }
        Ok(())
    }

    /// What a stored key works on, and the key itself.
    async fn keys(&mut self, api: &Api) -> Result<()> {
        let put = json!({
            "kind": "signing_key", "generate": true, "generator": {"type": "rsa", "bits": 2048},
        });
        let path = "/v1/credentials/canary/key";
        self.send(api, Method::PUT, path, put, Expect::In).await?;
        let read = api.get("/v1/values/canary/key").await?.body()?;
        let key = text(&read, "value");
        // A line from the middle: PEM is broken into lines, and other forms of it are not.
        let line = key.lines().nth(5).unwrap_or_default();
        self.baits
            .push(Bait::kept("a private key that works", line));

        let signed = self.bait("a signed message");
        let items = json!({"items": [{"value": signed}]});
        let path = "/v1/crypto/sign/canary/key";
        let made = self
            .send(api, Method::POST, path, items, Expect::In)
            .await?;
        let signature = made["results"][0]["signature"].clone();
        let items = json!({"items": [{"value": signed, "signature": signature}]});
        let path = "/v1/crypto/verify/canary/key";
        self.send(api, Method::POST, path, items, Expect::In)
            .await?;

        let plain = self.bait("an encrypted plaintext");
        let path = "/v1/crypto/encrypt/canary/key";
        let items = json!({"items": [{"value": plain}, {"value": plain.repeat(20)}]});
        let made = self
            .send(api, Method::POST, path, items, Expect::In)
            .await?;
        let ciphertext = made["results"][0]["ciphertext"].clone();
        let items = json!({"items": [{"ciphertext": ciphertext}]});
        let path = "/v1/crypto/decrypt/canary/key";
        // The one answer in which it may be.
        let opened = api.call(Method::POST, path, Some(&items), None).await?;
        if opened.body()?["results"][0]["value"] != plain {
            bail!("what was encrypted is not what is decrypted");
        }
        let misplaced = self.bait("a plaintext where a ciphertext belongs");
        for items in [
            json!({"items": [{"ciphertext": misplaced}]}),
            json!({"items": [{"value": misplaced}]}),
        ] {
            self.send(api, Method::POST, path, items, Expect::In)
                .await?;
        }
        Ok(())
    }

    async fn refusals(&mut self, api: &Api) -> Result<()> {
        let path = "/v1/credentials/canary/refused";
        let weak = self.dice.password().split_off(15);
        self.baits
            .push(Bait::kept("a value that policy refuses", &weak));
        let put = json!({"kind": "password", "value": weak});
        self.send(api, Method::PUT, path, put, Expect::Refused)
            .await?;

        let wrong = |value: String| {
            [
                (
                    "a list as value",
                    json!({"kind": "secret", "value": [value.clone()]}),
                ),
                (
                    "an object as value",
                    json!({"kind": "secret", "value": {"is": value.clone()}}),
                ),
                (
                    "two values",
                    json!({"kind": "secret", "value": value.clone(), "generate": true}),
                ),
                (
                    "an unknown field",
                    json!({"kind": "secret", "valeu": value.clone()}),
                ),
                (
                    "a broken base64",
                    json!({"kind": "secret", "value_base64": format!("{value}*")}),
                ),
                (
                    "no such kind",
                    json!({"kind": "nothing", "value": value.clone()}),
                ),
                (
                    "a bad binding",
                    json!({"value": value.clone(), "binding": {"target": "none", "account": "x"}}),
                ),
                (
                    "a value as flag",
                    json!({"kind": "secret", "generate": value}),
                ),
            ]
        };
        for index in 0..wrong(String::new()).len() {
            let value = self.dice.password();
            let (name, body) = wrong(value.clone())[index].clone();
            self.baits.push(Bait::kept(name, &value));
            self.send(api, Method::PUT, path, body, Expect::Refused)
                .await?;
        }
        let no_target = self.bait("a value to adopt without a target");
        self.send(
            api,
            Method::POST,
            "/v1/adopt/canary/adopted",
            json!({"value": no_target}),
            Expect::Refused,
        )
        .await?;

        let broken = self.bait("a value in broken JSON");
        let token = self.token.to_owned();
        self.raw(
            path,
            &token,
            format!("{{\"kind\": \"secret\", \"value\": \"{broken}"),
        )
        .await?;
        let big = self.bait("a value in a body that is too big");
        let body = json!({"kind": "secret", "value": format!("{big}{}", "x".repeat(40 << 20))});
        self.raw(path, &token, body.to_string()).await?;
        let wrong_token = format!("pntd_{}", self.bait("a token that is none"));
        self.raw(path, &wrong_token, json!({"value": "x"}).to_string())
            .await
    }

    /// A body that is no JSON, or a token that is none.
    async fn raw(&mut self, path: &str, token: &str, body: String) -> Result<()> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let request = client
            .put(format!("{}{path}", self.address))
            .bearer_auth(token)
            .header("content-type", "application/json")
            .body(body);
        // A server may close the connection on a body that is too big.
        if let Ok(answer) = request.send().await {
            if answer.status().is_success() {
                bail!("PUT {path} let in what it should refuse");
            }
            let said = answer.text().await.unwrap_or_default();
            self.judge(&format!("the answer to a raw PUT {path}"), said.as_bytes());
        }
        Ok(())
    }

    async fn people(&mut self, api: &Api) -> Result<()> {
        let password = self.bait("a user's password");
        let user = json!({"password": password, "roles": ["admin"]});
        self.send(api, Method::PUT, "/v1/users/ann", user, Expect::In)
            .await?;
        let wrong = self.bait("a wrong password");
        let login = json!({"user": "ann", "password": wrong});
        self.send(api, Method::POST, "/v1/login", login, Expect::Refused)
            .await?;
        let login = json!({"user": "ann", "password": password});
        let session = self
            .send(api, Method::POST, "/v1/login", login, Expect::In)
            .await?;
        self.baits
            .push(Bait::kept("a session's token", text(&session, "token")));
        let ask = json!({"name": "ci", "roles": ["admin"]});
        let made = self
            .send(api, Method::POST, "/v1/tokens", ask, Expect::In)
            .await?;
        self.baits.push(Bait::kept("a token", text(&made, "token")));
        Ok(())
    }

    async fn batch(&mut self, api: &Api) -> Result<()> {
        let (good, bad) = (
            self.bait("a value in a batch"),
            self.bait("a bad value in a batch"),
        );
        let operations = json!({"operations": [
            {"op": "put", "path": "canary/batch", "kind": "secret", "value": good},
            {"op": "put", "path": "canary/stored", "kind": "certificate", "value": bad},
        ]});
        self.send(api, Method::POST, "/v1/batch", operations, Expect::In)
            .await
            .map(drop)
    }

    /// A wrong and a right value to adopt, and one that Pentad generates; where PostgreSQL is there.
    async fn at_a_target(&mut self, api: &Api) -> Result<()> {
        let Ok(place) = Place::of(System::Postgres) else {
            return Ok(());
        };
        let postgres = target(System::Postgres)?;
        let account = format!("canary_{}", std::process::id());
        let (right, wrong) = (
            self.bait("an adopted value"),
            self.bait("a wrong value to adopt"),
        );
        postgres.create(&account, &right).await?;
        self.baits
            .push(Bait::kept("an administrating password", &place.password));
        let admin = json!({"kind": "password", "value": place.password, "accept_weak": true});
        self.send(
            api,
            Method::PUT,
            "/v1/credentials/canary/admin",
            admin,
            Expect::In,
        )
        .await?;
        let content = json!({"system": "postgresql", "address": place.address, "tls": "plain",
            "admin_account": place.admin, "admin_credential": "canary/admin"});
        self.send(api, Method::PUT, "/v1/targets/canary", content, Expect::In)
            .await?;
        let binding = json!({"target": "canary", "account": account, "strategy": "in_place",
            "deliver_to": [self.installation.files.join("delivered")]});
        for (value, expect) in [(wrong, Expect::Refused), (right, Expect::In)] {
            let adopt = json!({"kind": "password", "value": value, "binding": binding});
            self.send(api, Method::POST, "/v1/adopt/canary/account", adopt, expect)
                .await?;
        }
        let ask = json!({"paths": ["canary/account"]});
        self.send(api, Method::POST, "/v1/rotations", ask, Expect::In)
            .await?;
        for _ in 0..200 {
            let left = api.get("/v1/rotations?unfinished=true").await?.body()?;
            if left["items"].as_array().is_some_and(Vec::is_empty) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let read = api.get("/v1/values/canary/account").await?.body()?;
        self.baits
            .push(Bait::kept("a generated value", text(&read, "value")));
        if read["version"] != 2 {
            bail!(
                "the rotation of canary/account did not end: {}",
                read["version"]
            );
        }
        postgres.remove(&[account]).await
    }
}

/// Standard base64.
fn encoded(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0u32, |sum, byte| sum << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for letter in 0..4 {
            let six = (word >> (18 - 6 * letter)) as usize & 63;
            text.push(if letter <= chunk.len() {
                char::from(ALPHABET[six])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_standard() {
        let encode = |text: &str| super::encoded(text.as_bytes());
        assert_eq!(
            [encode("f"), encode("fo"), encode("foo")],
            ["Zg==", "Zm8=", "Zm9v"]
        );
    }
}
