//! MariaDB by `mysql_async`.

use anyhow::Result;
use async_trait::async_trait;
use mysql_async::{Conn, OptsBuilder, prelude::Queryable as _};
use sha1::{Digest as _, Sha1};

use super::{Obstacle, Place, Target};

/// `ER_ACCESS_DENIED_ERROR`.
const DENIED: u16 = 1045;

pub(super) struct MariaDb(pub(super) Place);

impl MariaDb {
    async fn connect(&self, user: &str, password: &str) -> Result<Conn, mysql_async::Error> {
        let (host, port) = self.0.host_port().unwrap_or(("127.0.0.1", 3306));
        let opts = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port)
            .user(Some(user))
            .pass(Some(password))
            .prefer_socket(false);
        Conn::new(opts).await
    }

    async fn admin(&self) -> Result<Conn> {
        Ok(self.connect(&self.0.admin, &self.0.password).await?)
    }

    async fn run(&self, statement: String) -> Result<()> {
        let mut admin = self.admin().await?;
        admin.query_drop(statement).await?;
        Ok(admin.disconnect().await?)
    }
}

#[async_trait]
impl Target for MariaDb {
    async fn create(&self, account: &str, password: &str) -> Result<()> {
        self.run(format!(
            "CREATE USER '{account}'@'%' IDENTIFIED BY '{password}'"
        ))
        .await
    }

    async fn remove(&self, accounts: &[String]) -> Result<()> {
        for account in accounts {
            self.run(format!("DROP USER IF EXISTS '{account}'@'%'"))
                .await?;
        }
        Ok(())
    }

    async fn login(&self, account: &str, password: &str) -> Result<bool> {
        match self.connect(account, password).await {
            Ok(connection) => {
                let _ = connection.disconnect().await;
                Ok(true)
            }
            Err(mysql_async::Error::Server(error)) if error.code == DENIED => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn set_password(&self, account: &str, password: &str) -> Result<()> {
        self.run(format!(
            "ALTER USER '{account}'@'%' IDENTIFIED BY '{password}'"
        ))
        .await
    }

    async fn verifiers(&self, account: &str) -> Result<Vec<String>> {
        let mut admin = self.admin().await?;
        let query =
            "SELECT CAST(Priv AS CHAR) FROM mysql.global_priv WHERE User = ? AND Host = '%'";
        let found: Option<String> = admin.exec_first(query, (account,)).await?;
        admin.disconnect().await?;
        let mut verifiers = Vec::new();
        if let Some(found) = found {
            collect(&serde_json::from_str(&found)?, &mut verifiers);
        }
        Ok(verifiers)
    }

    /// All accounts are in one table: everybody's effects wait. Logins don't.
    async fn obstruct(&self, _account: &str) -> Result<Option<Obstacle>> {
        let mut connection = self.admin().await?;
        connection
            .query_drop("LOCK TABLES mysql.global_priv READ")
            .await?;
        Ok(Some(Obstacle::MariaDb(Box::new(connection))))
    }

    /// `mysql_native_password`: `*` and SHA1(SHA1(password)).
    fn verifier(&self, password: &str) -> Option<String> {
        Some(format!(
            "*{}",
            hex::encode_upper(Sha1::digest(Sha1::digest(password)))
        ))
    }
}

/// Every `authentication_string`, the alternatives under `auth_or` too.
fn collect(privileges: &serde_json::Value, into: &mut Vec<String>) {
    if let Some(text) = privileges["authentication_string"].as_str() {
        into.push(text.to_owned());
    }
    for alternative in privileges["auth_or"].as_array().into_iter().flatten() {
        collect(alternative, into);
    }
    into.sort();
    into.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_seen() {
        let privileges = serde_json::json!({
            "plugin": "mysql_native_password", "authentication_string": "*A",
            "auth_or": [{}, {"plugin": "mysql_native_password", "authentication_string": "*B"}],
        });
        let mut found = Vec::new();
        collect(&privileges, &mut found);
        assert_eq!(found, ["*A", "*B"]);
    }
}
