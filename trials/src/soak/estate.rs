//! What is there for the load: credentials, a user, and accounts that are rotated, in a `.env` file and,
//! where there is one (`scripts/services.sh env`), at PostgreSQL.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{
    api::Api,
    dice::Dice,
    systems::{Place, System, Target, target},
};

/// Accounts at each target.
const ACCOUNTS: usize = 8;
/// Operations of one batch.
const BATCH: usize = 500;

/// See the module.
pub struct Estate {
    /// Credentials `soak/00000` and on, so many.
    pub credentials: usize,
    /// The paths of what is rotated.
    pub rotated: Vec<String>,
    /// A user's password; the user is called `soak`.
    pub password: String,
    postgres: Option<(Box<dyn Target>, Vec<String>)>,
}

/// The path of a credential.
pub fn path(number: usize) -> String {
    format!("soak/{number:05}")
}

impl Estate {
    /// Makes all of it.
    pub async fn make(api: &Api, work: &Path, credentials: usize, seed: u64) -> Result<Self> {
        let mut dice = Dice::new(seed, 1);
        for first in (0..credentials).step_by(BATCH) {
            let operations: Vec<_> = (first..credentials.min(first + BATCH))
                .map(|number| {
                    json!({
                        "op": "put", "path": path(number), "kind": "secret",
                        "value": dice.password(), "tags": {"team": format!("t{}", number % 10)},
                    })
                })
                .collect();
            let batch = json!({"operations": operations});
            let stored = api.post("/v1/batch", &batch).await?.body()?;
            ensure!(stored["failed"] == 0, "preparing: {}", stored["results"][0]);
        }
        let password = format!("{}-{}", dice.password(), dice.password());
        let user = json!({"password": password, "roles": ["reader"]});
        api.put("/v1/users/soak", &user).await?.body()?;
        let mut estate = Self {
            credentials,
            rotated: Vec::new(),
            password,
            postgres: None,
        };
        estate.bind_file(api, work, &mut dice).await?;
        estate.bind_postgres(api, &mut dice).await?;
        Ok(estate)
    }

    async fn bind_file(&mut self, api: &Api, work: &Path, dice: &mut Dice) -> Result<()> {
        let file = work.join("soak.env");
        let values: Vec<_> = (0..ACCOUNTS).map(|_| dice.password()).collect();
        let lines = values.iter().enumerate();
        let text: String = lines
            .map(|(n, value)| format!("SOAK_{n}={value}\n"))
            .collect();
        std::fs::write(&file, text)?;
        let target = json!({"system": "envfile", "address": file, "tls": "plain"});
        api.put("/v1/targets/env", &target).await?.body()?;
        for (number, value) in values.iter().enumerate() {
            self.adopt(api, "env", &format!("SOAK_{number}"), value)
                .await?;
        }
        Ok(())
    }

    async fn bind_postgres(&mut self, api: &Api, dice: &mut Dice) -> Result<()> {
        let Ok(place) = Place::of(System::Postgres) else {
            return Ok(());
        };
        let admin = json!({"kind": "database", "value": place.password, "accept_weak": true});
        api.put("/v1/credentials/soak-admin", &admin)
            .await?
            .body()?;
        let body = json!({
            "system": "postgresql", "address": place.address, "tls": "plain",
            "admin_account": place.admin, "admin_credential": "soak-admin",
        });
        api.put("/v1/targets/pg", &body).await?.body()?;
        let server = target(System::Postgres)?;
        let run = dice.roll() % 1_000_000;
        let accounts: Vec<_> = (0..ACCOUNTS).map(|n| format!("soak_{run}_{n}")).collect();
        for account in &accounts {
            let value = dice.password();
            server.create(account, &value).await?;
            self.adopt(api, "pg", account, &value).await?;
        }
        self.postgres = Some((server, accounts));
        Ok(())
    }

    async fn adopt(&mut self, api: &Api, target: &str, account: &str, value: &str) -> Result<()> {
        let path = format!("rotated/{target}/{}", account.to_lowercase());
        let binding = json!({"target": target, "account": account, "owned": true});
        let body = json!({
            "kind": "database", "value": value, "binding": binding, "accept_weak": true,
        });
        api.post(&format!("/v1/adopt/{path}"), &body)
            .await?
            .body()?;
        self.rotated.push(path);
        Ok(())
    }

    /// Takes the accounts at the server away again.
    pub async fn remove(&self) {
        if let Some((server, accounts)) = &self.postgres {
            let _ = server.remove(accounts).await;
        }
    }
}
