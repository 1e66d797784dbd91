//! PostgreSQL by `tokio-postgres`.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use tokio_postgres::{Client, Config, NoTls, config::SslMode, error::SqlState};

use super::{Obstacle, Place, Target};

pub(super) struct Postgres(pub(super) Place);

impl Postgres {
    async fn connect(&self, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
        let (host, port) = self.0.host_port().unwrap_or(("127.0.0.1", 5432));
        let (client, connection) = Config::new()
            .host(host)
            .port(port)
            .user(user)
            .password(password)
            .dbname("postgres")
            .application_name("trial")
            .ssl_mode(SslMode::Disable)
            .connect_timeout(Duration::from_secs(5))
            .connect(NoTls)
            .await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn admin(&self) -> Result<Client> {
        Ok(self.connect(&self.0.admin, &self.0.password).await?)
    }
}

#[async_trait]
impl Target for Postgres {
    async fn create(&self, account: &str, password: &str) -> Result<()> {
        let statement = format!("CREATE ROLE \"{account}\" LOGIN PASSWORD '{password}'");
        Ok(self.admin().await?.batch_execute(&statement).await?)
    }

    async fn remove(&self, accounts: &[String]) -> Result<()> {
        let admin = self.admin().await?;
        for account in accounts {
            admin
                .batch_execute(&format!("DROP ROLE IF EXISTS \"{account}\""))
                .await?;
        }
        Ok(())
    }

    async fn login(&self, account: &str, password: &str) -> Result<bool> {
        match self.connect(account, password).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some(&SqlState::INVALID_PASSWORD) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn set_password(&self, account: &str, password: &str) -> Result<()> {
        let statement = format!("ALTER ROLE \"{account}\" PASSWORD '{password}'");
        Ok(self.admin().await?.batch_execute(&statement).await?)
    }

    async fn verifiers(&self, account: &str) -> Result<Vec<String>> {
        let query =
            "SELECT rolpassword FROM pg_authid WHERE rolname = $1 AND rolpassword IS NOT NULL";
        let rows = self.admin().await?.query(query, &[&account]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Salted: only a login tells.
    fn verifier(&self, _password: &str) -> Option<String> {
        None
    }

    async fn obstruct(&self, account: &str) -> Result<Option<Obstacle>> {
        let client = self.admin().await?;
        let statement = format!("BEGIN; ALTER ROLE \"{account}\" CONNECTION LIMIT -1");
        client.batch_execute(&statement).await?;
        Ok(Some(Obstacle::Postgres(client)))
    }
}
