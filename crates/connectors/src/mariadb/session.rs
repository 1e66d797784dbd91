//! An administrating session: the effects, the fence, and what the grant tables say.

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest;
use mysql_async::{Conn, FromRowError, Row, prelude::Queryable as _};
use pentad_model::{
    Secret, Target,
    id::{Entropy as _, OsEntropy},
    rotation::{Login, Strategy},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    MariaDb,
    account::{Account, literal, native_verifier},
    outcome::{AGAIN, explain, of_error, rejected},
};
use crate::{
    AccountChange, AccountState, Cause, Complaint, ConnectError, Connector as _, EFFECT_BOUND,
    Fence, Outcome, Session,
};

/// How long an effect waits for the account's lock, in seconds; its statement may wait as long for
/// the grant tables and then run as long. Together they stay below [`EFFECT_BOUND`].
const WAIT: u32 = 1;
/// How long a reply may take: the target's own bound, and the way back.
const REPLY: Duration = EFFECT_BOUND.saturating_add(Duration::from_secs(1));
/// How long a fence waits for the killed session to end.
const FENCE_WAIT: Duration = Duration::from_secs(5);

/// See [`Session`].
pub(super) struct MariaDbSession {
    conn: Conn,
    target: Target,
    admin: String,
    dialect: Dialect,
    identity: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    MariaDb,
    MySql,
}

impl MariaDbSession {
    /// Bounds the session's waits and takes the lock that identifies it.
    pub(super) async fn start(
        conn: Conn,
        target: &Target,
        admin: &str,
    ) -> Result<Self, ConnectError> {
        let mut session = Self {
            conn,
            target: target.clone(),
            admin: admin.to_owned(),
            dialect: Dialect::MariaDb,
            identity: String::new(),
        };
        session
            .introduce()
            .await
            .map_err(|reason| ConnectError::Unreachable {
                target: target.address.clone(),
                reason,
            })?;
        Ok(session)
    }

    async fn introduce(&mut self) -> Result<(), String> {
        let version: Option<String> = self.first("SELECT VERSION()").await?;
        if !version.is_some_and(|version| version.contains("MariaDB")) {
            self.dialect = Dialect::MySql;
        }
        let bound = match self.dialect {
            Dialect::MariaDb => format!(", max_statement_time = {WAIT}"),
            Dialect::MySql => String::new(), // its max_execution_time is for SELECT alone
        };
        self.run(&format!(
            "SET SESSION sql_mode = '', lock_wait_timeout = {WAIT}{bound}"
        ))
        .await
        .map_err(|e| e.map_or_else(timed_out, |e| explain(&e)))?;

        let mut nonce = [0u8; 16];
        OsEntropy.fill(&mut nonce);
        let nonce = hex::encode(nonce);
        let look = format!(
            "SELECT CONNECTION_ID(), GET_LOCK({}, 0)",
            literal(&session_lock(&nonce))
        );
        match self.first::<(u64, Option<i64>)>(&look).await? {
            Some((id, Some(1))) => {
                self.identity = format!("{id}/{nonce}");
                Ok(())
            }
            _ => Err("the server gives no locks (GET_LOCK)".into()),
        }
    }

    /// A statement without rows. `Err(None)` is a time-out.
    async fn run(&mut self, statement: &str) -> Result<(), Option<mysql_async::Error>> {
        match timeout(REPLY, self.conn.query_drop(statement)).await {
            Ok(result) => result.map_err(Some),
            Err(_) => Err(None),
        }
    }

    /// The first row of a query, or the server's words.
    async fn first<T>(&mut self, query: &str) -> Result<Option<T>, String>
    where
        T: mysql_async::prelude::FromRow + Send + 'static,
    {
        match timeout(REPLY, self.conn.query_first::<Row, _>(query)).await {
            Err(_) => Err(timed_out()),
            Ok(Err(error)) => Err(explain(&error)),
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(row))) => T::from_row_opt(row)
                .map(Some)
                .map_err(|FromRowError(_)| "the server's answer has another shape".into()),
        }
    }

    /// Runs `statements` one after the other under the account's lock.
    async fn effect(&mut self, account: Account<'_>, statements: &[String]) -> Outcome {
        let lock = literal(&account_lock(account));
        // Nothing was changed yet: a lock that could not be had, for whatever reason, is "not now".
        match self
            .first::<(Option<i64>,)>(&format!("SELECT GET_LOCK({lock}, {WAIT})"))
            .await
        {
            Ok(Some((Some(1),))) => {}
            _ => return Outcome::Throttled(AGAIN),
        }
        let grant = self.grant();
        let mut outcome = Outcome::Done;
        for (index, statement) in statements.iter().enumerate() {
            outcome = match self.run(statement).await {
                Ok(()) => continue,
                Err(None) => Outcome::Unknown(timed_out()),
                Err(Some(error)) => of_error(&error, &grant),
            };
            if index > 0 {
                outcome = Outcome::Unknown("the first of two statements took effect".into());
            }
            break;
        }
        // If this is lost, the lock goes with the session.
        let _ = self.run(&format!("DO RELEASE_LOCK({lock})")).await;
        outcome
    }

    /// MySQL's statements take the password itself. `secondary`: the current one stays valid.
    async fn mysql_set(
        &mut self,
        account: Account<'_>,
        text: &str,
        value: &Secret,
        secondary: bool,
    ) -> Outcome {
        let Some(password) = value.expose_str() else {
            return rejected(Cause::Value, "MySQL takes only UTF-8 passwords");
        };
        let mut set = format!("ALTER USER {account} IDENTIFIED BY {}", literal(password));
        let statements = if secondary {
            // Retaining twice would push the old value out. So if the new one works, that was it.
            if MariaDb.login(&self.target, text, value).await.login == Login::Works {
                return Outcome::Done;
            }
            set.push_str(" RETAIN CURRENT PASSWORD");
            vec![set]
        } else {
            vec![set, format!("ALTER USER {account} DISCARD OLD PASSWORD")]
        };
        let outcome = self.effect(account, &statements).await;
        statements
            .into_iter()
            .for_each(|mut s| zeroize::Zeroize::zeroize(&mut s));
        outcome
    }

    /// The statement that lets the administrating account do its work.
    fn grant(&self) -> String {
        let admin = Account::parse(&self.admin);
        match self.dialect {
            Dialect::MariaDb => {
                format!("GRANT CREATE USER, CONNECTION ADMIN, SELECT ON *.* TO {admin}")
            }
            Dialect::MySql => format!(
                "GRANT CREATE USER, SELECT ON *.* TO {admin}; \
                 GRANT CONNECTION_ADMIN, APPLICATION_PASSWORD_ADMIN ON *.* TO {admin}"
            ),
        }
    }

    /// Locked, expired, and the authentication plugin; `None` for an account that is not there.
    async fn state(
        &mut self,
        account: Account<'_>,
    ) -> Result<Option<(bool, bool, String)>, String> {
        let columns = match self.dialect {
            Dialect::MariaDb => {
                "IFNULL(JSON_VALUE(Priv, '$.account_locked') IN ('1', 'true'), 0), \
                 IFNULL(JSON_VALUE(Priv, '$.password_last_changed') = 0, 0), \
                 IFNULL(JSON_VALUE(Priv, '$.plugin'), 'mysql_native_password') \
                 FROM mysql.global_priv WHERE \
                 IFNULL(JSON_VALUE(Priv, '$.is_role'), 'false') NOT IN ('1', 'true') AND "
            }
            Dialect::MySql => {
                "account_locked = 'Y', password_expired = 'Y', plugin FROM mysql.user WHERE "
            }
        };
        let query = format!(
            "SELECT {columns} User = {} AND Host = {}",
            literal(account.user),
            literal(account.host)
        );
        self.first(&query).await
    }
}

#[async_trait]
impl Session for MariaDbSession {
    fn connection(&self) -> Option<&str> {
        Some(&self.identity)
    }

    async fn apply(&mut self, change: &AccountChange<'_>) -> Outcome {
        let account = Account::parse(change.account);
        if change.new.is_empty() {
            return rejected(Cause::Value, "an empty password would let anybody in");
        }
        // A credential without an old value overlaps with nothing.
        let old = match change.strategy {
            Strategy::InPlace => None,
            Strategy::Overlap => change.old,
            Strategy::Alternating => {
                return rejected(Cause::Stop, "mariadb overlaps instead: use overlap");
            }
        };
        if self.dialect == Dialect::MySql {
            return self
                .mysql_set(account, change.account, change.new, old.is_some())
                .await;
        }
        let mut statement = format!("ALTER USER {account} IDENTIFIED VIA ");
        if let Some(old) = old {
            statement.push_str(&via(&native_verifier(old)));
            statement.push_str(" OR ");
        }
        statement.push_str(&via(&native_verifier(change.new)));
        self.effect(account, &[statement]).await
    }

    async fn retire(&mut self, account: &str, keep: Option<&Secret>) -> Outcome {
        let parsed = Account::parse(account);
        let mut nobodys = [0u8; 32];
        OsEntropy.fill(&mut nobodys);
        let nobodys = Secret::new(hex::encode(nobodys));
        let value = keep.unwrap_or(&nobodys);
        if self.dialect == Dialect::MySql {
            return self.mysql_set(parsed, account, value, false).await;
        }
        let statement = format!(
            "ALTER USER {parsed} IDENTIFIED VIA {}",
            via(&native_verifier(value))
        );
        self.effect(parsed, &[statement]).await
    }

    async fn fence(&mut self, connection: &str) -> Fence {
        let parsed = connection
            .split_once('/')
            .and_then(|(id, nonce)| Some((id.parse::<u64>().ok()?, nonce)));
        let Some((id, nonce)) = parsed else {
            return Fence::CantTell(format!("`{connection}` is not a MariaDB connection"));
        };
        let held = format!("SELECT IS_USED_LOCK({})", literal(&session_lock(nonce)));
        let listed = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE ID = {id}");
        let until = Instant::now() + FENCE_WAIT;
        let mut asked = false;
        loop {
            match self.first::<(Option<u64>,)>(&held).await {
                Err(reason) => return Fence::CantTell(reason),
                Ok(Some((Some(holder),))) if holder == id => {}
                Ok(Some((None,))) if !asked => return Fence::Gone,
                // After a kill the lock goes a moment before the thread: wait for both.
                Ok(Some((None,))) => match self.first::<(u64,)>(&listed).await {
                    Ok(Some((0,))) => return Fence::Gone,
                    Ok(_) => {}
                    Err(reason) => return Fence::CantTell(reason),
                },
                Ok(_) => return Fence::CantTell("the session's lock has another holder".into()),
            }
            if !asked {
                asked = true;
                match self.run(&format!("KILL CONNECTION {id}")).await {
                    Ok(()) => {}
                    Err(Some(mysql_async::Error::Server(e))) if e.code == 1094 => {} // just ended
                    Err(Some(error)) => {
                        return Fence::CantTell(format!("{}; {}", explain(&error), self.grant()));
                    }
                    Err(None) => return Fence::CantTell(timed_out()),
                }
            } else if Instant::now() >= until {
                return Fence::CantTell(format!("connection {id} was killed and still runs"));
            } else {
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn account(&mut self, account: &str) -> AccountState {
        match self.state(Account::parse(account)).await {
            Err(reason) => AccountState::CantTell(reason),
            Ok(None) => AccountState::Missing,
            Ok(Some((true, _, _))) => AccountState::Barred("ACCOUNT LOCK".into()),
            Ok(Some((_, true, _))) => AccountState::Barred("PASSWORD EXPIRE".into()),
            Ok(Some(_)) => AccountState::Open,
        }
    }

    async fn check(&mut self, account: &str, strategy: Strategy) -> Vec<Complaint> {
        let mut found = Vec::new();
        let mut add = |problem: String, remedy: String| found.push(Complaint { problem, remedy });
        if strategy == Strategy::Alternating {
            add(
                "mariadb does not alternate between accounts".into(),
                "use the strategy overlap: both passwords of one account work".into(),
            );
        }
        let grants = "SELECT COUNT(*) FROM information_schema.user_privileges \
                      WHERE GRANTEE = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''') \
                      AND PRIVILEGE_TYPE = 'CREATE USER'";
        match self.first::<(u64,)>(grants).await {
            Ok(Some((count,))) if count > 0 => {}
            Ok(_) => add(
                format!("`{}` may not change accounts", self.admin),
                self.grant(),
            ),
            Err(reason) => add(reason, self.grant()),
        }
        let parsed = Account::parse(account);
        match self.state(parsed).await {
            Err(reason) => add(
                format!("the accounts can't be read: {reason}"),
                self.grant(),
            ),
            Ok(None) => add(
                format!("there is no account {parsed}"),
                format!("CREATE USER {parsed}; another host is written user@host"),
            ),
            Ok(Some((_, _, plugin)))
                if self.dialect == Dialect::MariaDb && plugin != "mysql_native_password" =>
            {
                add(
                    format!("{parsed} logs in by {plugin}, which a rotation would replace"),
                    format!("ALTER USER {parsed} IDENTIFIED VIA mysql_native_password"),
                );
            }
            Ok(Some(_)) => {}
        }
        found
    }
}

fn via(verifier: &str) -> String {
    format!("mysql_native_password USING {}", literal(verifier))
}

/// The lock that a session holds all its life. At most 64 characters.
fn session_lock(nonce: &str) -> String {
    format!("pentad/session/{nonce}")
}

/// The lock under which an account is changed. Hashed, for a lock's name has at most 64 characters.
fn account_lock(account: Account<'_>) -> String {
    let hash = digest::digest(&digest::SHA256, account.to_string().as_bytes());
    format!("pentad/account/{}", hex::encode(&hash.as_ref()[..16]))
}

fn timed_out() -> String {
    format!("no answer within {} s", REPLY.as_secs())
}
