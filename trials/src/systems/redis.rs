//! Redis by the `redis` crate, one connection a login.

use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use redis::{
    Client, Cmd, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, RedisError, Value,
    aio::MultiplexedConnection,
};
use sha2::{Digest as _, Sha256};

use super::{Place, Target};

pub(super) struct Redis(pub(super) Place);

impl Redis {
    /// Says the two-word AUTH itself: the library's own hides why it was refused.
    async fn connect(
        &self,
        user: &str,
        password: &str,
    ) -> Result<MultiplexedConnection, RedisError> {
        let (host, port) = self.0.host_port().unwrap_or(("127.0.0.1", 6379));
        let nobody = RedisConnectionInfo::default().set_skip_set_lib_name();
        let place = ConnectionAddr::Tcp(host.to_owned(), port).into_connection_info()?;
        let client = Client::open(place.set_redis_settings(nobody))?;
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(5)));
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        redis::cmd("AUTH")
            .arg(user)
            .arg(password)
            .exec_async(&mut connection)
            .await?;
        Ok(connection)
    }

    async fn run(&self, command: &Cmd) -> Result<Value> {
        let mut admin = self.connect(&self.0.admin, &self.0.password).await?;
        Ok(command.query_async(&mut admin).await?)
    }
}

fn acl(words: &[&str]) -> Cmd {
    let mut command = redis::cmd("ACL");
    command.arg(words);
    command
}

#[async_trait]
impl Target for Redis {
    async fn create(&self, account: &str, password: &str) -> Result<()> {
        let rule = format!(">{password}");
        self.run(&acl(&["SETUSER", account, "reset", "on", &rule, "+ping"]))
            .await
            .map(drop)
    }

    async fn remove(&self, accounts: &[String]) -> Result<()> {
        let words: Vec<&str> = accounts.iter().map(String::as_str).collect();
        if words.is_empty() {
            return Ok(());
        }
        self.run(&acl(&[&["DELUSER"][..], &words].concat())).await?;
        self.run(&acl(&["SAVE"])).await.map(drop)
    }

    async fn login(&self, account: &str, password: &str) -> Result<bool> {
        match self.connect(account, password).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("WRONGPASS") => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn set_password(&self, account: &str, password: &str) -> Result<()> {
        let rule = format!(">{password}");
        self.run(&acl(&["SETUSER", account, "resetpass", &rule]))
            .await
            .map(drop)
    }

    async fn verifiers(&self, account: &str) -> Result<Vec<String>> {
        let fields = match self.run(&acl(&["GETUSER", account])).await? {
            Value::Nil => return Ok(Vec::new()),
            Value::Array(fields) => fields,
            other => anyhow::bail!("ACL GETUSER answered in another shape: {other:?}"),
        };
        let named = |name: &str| {
            let mut pairs = fields.chunks_exact(2);
            pairs.find(|pair| {
                redis::from_redis_value_ref::<String>(&pair[0]).is_ok_and(|n| n == name)
            })
        };
        let words = |name: &str| -> Result<Vec<String>> {
            let pair = named(name).with_context(|| format!("ACL GETUSER shows no {name}"))?;
            Ok(redis::from_redis_value_ref(&pair[1])?)
        };
        let mut all = words("passwords")?;
        // Any password would do: no verifier says so better than its name.
        all.extend(words("flags")?.into_iter().filter(|flag| flag == "nopass"));
        Ok(all)
    }

    fn verifier(&self, password: &str) -> Option<String> {
        Some(hex::encode(Sha256::digest(password)))
    }
}
