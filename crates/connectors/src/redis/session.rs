//! An administrating session: the effects, the fence, and what `ACL GETUSER` says.

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest;
use pentad_model::{Secret, Target, rotation::Strategy};
use redis::{Cmd, RedisError, RedisResult, Value};
use tokio::time::{Instant, sleep};

use super::{Connected, explain};
use crate::{
    AccountChange, AccountState, Cause, Complaint, ConnectError, Fence, Outcome, Rejection, Session,
};

/// How long to wait before an effect that met a server in trouble is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a fence waits for the killed connection to go.
const FENCE_WAIT: Duration = Duration::from_secs(5);

/// See [`Session`].
pub(super) struct RedisSession {
    connected: Connected,
    admin: String,
    saving: Saving,
    run: String,
    identity: String,
}

/// How the server keeps users over a restart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Saving {
    AclFile,
    ConfigFile,
    /// Chosen by the target's option `persist`.
    Never,
}

/// A user as `ACL GETUSER` shows it.
struct User {
    on: bool,
    nopass: bool,
    hashes: Vec<String>,
}

impl RedisSession {
    /// Reads who we are at the server, and how it saves users.
    pub(super) async fn start(
        mut connected: Connected,
        target: &Target,
        admin: &str,
        persist: bool,
    ) -> Result<Self, ConnectError> {
        let unreachable = |reason: String| ConnectError::Unreachable {
            target: target.address.clone(),
            reason,
        };
        let words = |error: RedisError| match error.code() {
            Some("NOPERM") => ConnectError::Refused {
                target: target.address.clone(),
                account: admin.to_owned(),
                reason: format!("{}; grant it: {}", explain(&error), grant(admin)),
            },
            _ => unreachable(explain(&error)),
        };
        let redis = &mut connected.redis;
        let id: u64 = redis::cmd("CLIENT")
            .arg("ID")
            .query_async(redis)
            .await
            .map_err(words)?;
        let info: String = redis::cmd("INFO")
            .arg("server")
            .query_async(redis)
            .await
            .map_err(words)?;
        let run = info
            .lines()
            .find_map(|line| line.strip_prefix("run_id:"))
            .ok_or_else(|| unreachable("INFO server shows no run_id".into()))?
            .trim()
            .to_owned();
        let saving = if persist {
            let (_, file): (String, String) = redis::cmd("CONFIG")
                .arg("GET")
                .arg("aclfile")
                .query_async(redis)
                .await
                .map_err(words)?;
            if file.is_empty() {
                Saving::ConfigFile
            } else {
                Saving::AclFile
            }
        } else {
            Saving::Never
        };
        Ok(Self {
            identity: format!("{id}/{run}"),
            connected,
            admin: admin.to_owned(),
            saving,
            run,
        })
    }

    async fn user(&mut self, name: &str) -> RedisResult<Option<User>> {
        let mut command = redis::cmd("ACL");
        command.arg("GETUSER").arg(name);
        match command.query_async(&mut self.connected.redis).await? {
            Value::Nil => Ok(None),
            shown => Ok(Some(User::of(&shown))),
        }
    }

    /// Gives `name`, after it was seen to exist, these rules, and saves.
    async fn set(&mut self, name: &str, rules: &[String]) -> Outcome {
        let before = match self.user(name).await {
            Ok(Some(user)) => user,
            Ok(None) => {
                return rejected(format!(
                    "there is no user `{name}`; create it: ACL SETUSER {name} on, with its rights"
                ));
            }
            // So far only a look was taken.
            Err(error) => return self.refused(&error, Outcome::Throttled(AGAIN)),
        };
        let mut transaction = redis::pipe();
        transaction
            .atomic()
            .ignore_errors()
            .add_command(set_user(name, rules));
        match self.saving {
            Saving::AclFile => transaction.cmd("ACL").arg("SAVE"),
            Saving::ConfigFile => transaction.cmd("CONFIG").arg("REWRITE"),
            Saving::Never => &mut transaction,
        };
        let replies: RedisResult<Vec<RedisResult<Value>>> =
            transaction.query_async(&mut self.connected.redis).await;
        let replies = match replies {
            Ok(replies) => replies,
            Err(error) => return self.refused(&error, Outcome::Unknown(explain(&error))),
        };
        match (replies.first(), replies.get(1)) {
            (Some(Ok(_)), Some(Err(error))) => self.take_back(name, &before, error).await,
            (Some(Ok(_)), _) => Outcome::Done,
            // SETUSER checks all its rules before it changes anything.
            (Some(Err(error)), _) => self.refused(error, rejected(explain(error))),
            (None, _) => Outcome::Unknown("the server's answer has another shape".into()),
        }
    }

    /// The change is in memory and could not be saved: a restart would undo it. So it is undone
    /// now, and only if that is confirmed has nothing changed.
    async fn take_back(&mut self, name: &str, before: &User, why: &RedisError) -> Outcome {
        let mut rules = vec!["resetpass".to_owned()];
        rules.extend(before.hashes.iter().map(|hash| format!("#{hash}")));
        if before.nopass {
            rules.push("nopass".into());
        }
        let undone = set_user(name, &rules)
            .exec_async(&mut self.connected.redis)
            .await;
        match undone {
            Ok(()) => rejected(format!(
                "the change could not be saved and was taken back: {}; configure `aclfile`, or \
                 start the server with a configuration file that it may write, or set the option \
                 `persist` to `no`",
                explain(why)
            )),
            Err(error) => Outcome::Unknown(format!(
                "the change could not be saved ({}), nor taken back ({})",
                explain(why),
                explain(&error)
            )),
        }
    }

    /// What a server's refusal before any change means; `otherwise` for all that is not one.
    fn refused(&self, error: &RedisError, otherwise: Outcome) -> Outcome {
        let text = explain(error);
        match error.code() {
            Some("NOPERM") => rejected(format!("{text}; grant it: {}", grant(&self.admin))),
            // A command was refused when the transaction was put together: none of it ran.
            Some("EXECABORT") => rejected(format!("{text}; grant it: {}", grant(&self.admin))),
            Some("LOADING" | "BUSY" | "TRYAGAIN" | "MASTERDOWN" | "OOM") => {
                Outcome::Throttled(AGAIN)
            }
            _ => otherwise,
        }
    }
}

#[async_trait]
impl Session for RedisSession {
    fn connection(&self) -> Option<&str> {
        Some(&self.identity)
    }

    async fn apply(&mut self, change: &AccountChange<'_>) -> Outcome {
        if change.new.is_empty() {
            return Outcome::Rejected(Rejection {
                cause: Cause::Value,
                message: "an empty password is none".into(),
            });
        }
        let rules = match change.strategy {
            Strategy::InPlace => vec!["resetpass".to_owned(), hashed(change.new)],
            // Adding leaves every other password as it is. The old one is named too, so that both
            // are valid afterwards whatever was there.
            Strategy::Overlap => change
                .old
                .into_iter()
                .chain([change.new])
                .map(hashed)
                .collect(),
            Strategy::Alternating => {
                return rejected("redis overlaps instead: use the strategy overlap".into());
            }
        };
        self.set(change.account, &rules).await
    }

    async fn retire(&mut self, account: &str, keep: Option<&Secret>) -> Outcome {
        let rules: Vec<String> = std::iter::once("resetpass".to_owned())
            .chain(keep.map(hashed))
            .collect();
        self.set(account, &rules).await
    }

    async fn fence(&mut self, connection: &str) -> Fence {
        let parsed = connection
            .split_once('/')
            .and_then(|(id, run)| Some((id.parse::<u64>().ok()?, run)));
        let Some((id, run)) = parsed else {
            return Fence::CantTell(format!("`{connection}` is not a Redis connection"));
        };
        if run != self.run {
            return Fence::Gone; // the server was restarted since
        }
        let redis = &mut self.connected.redis;
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("ID").arg(id);
        if let Err(error) = kill.exec_async(redis).await {
            return Fence::CantTell(format!("{}; {}", explain(&error), grant(&self.admin)));
        }
        let until = Instant::now() + FENCE_WAIT;
        loop {
            let mut list = redis::cmd("CLIENT");
            list.arg("LIST").arg("ID").arg(id);
            match list.query_async::<String>(redis).await {
                Err(error) => return Fence::CantTell(explain(&error)),
                Ok(clients) if clients.trim().is_empty() => return Fence::Gone,
                Ok(_) if Instant::now() >= until => {
                    return Fence::CantTell(format!("client {id} was killed and is still listed"));
                }
                Ok(_) => sleep(Duration::from_millis(10)).await,
            }
        }
    }

    async fn account(&mut self, account: &str) -> AccountState {
        match self.user(account).await {
            Err(error) => AccountState::CantTell(explain(&error)),
            Ok(None) => AccountState::Missing,
            Ok(Some(user)) if !user.on => AccountState::Barred("the user is off".into()),
            Ok(Some(_)) => AccountState::Open,
        }
    }

    async fn check(&mut self, account: &str, strategy: Strategy) -> Vec<Complaint> {
        let mut found = Vec::new();
        let mut add = |problem: String, remedy: String| found.push(Complaint { problem, remedy });
        if strategy == Strategy::Alternating {
            add(
                "redis does not alternate between users".into(),
                "use the strategy overlap: a user may have several passwords".into(),
            );
        }
        match self.user(account).await {
            Err(error) => add(explain(&error), grant(&self.admin)),
            Ok(None) => add(
                format!("there is no user `{account}`"),
                format!("ACL SETUSER {account} on"),
            ),
            Ok(Some(user)) => {
                if !user.on {
                    add(
                        format!("`{account}` is off"),
                        format!("ACL SETUSER {account} on"),
                    );
                }
                if user.nopass {
                    add(
                        format!("`{account}` takes any password"),
                        format!("ACL SETUSER {account} resetpass"),
                    );
                }
            }
        }
        let admin = self.admin.clone();
        let save: &[&str] = match self.saving {
            Saving::AclFile => &["ACL", "SAVE"],
            Saving::ConfigFile => &["CONFIG", "REWRITE"],
            Saving::Never => &["PING"],
        };
        for command in [&["ACL", "SETUSER", "x"][..], &["CLIENT", "KILL", "x"], save] {
            let mut dry = redis::cmd("ACL");
            dry.arg("DRYRUN").arg(&admin).arg(command);
            // Before 7.0 there is no DRYRUN, and its absence is no complaint.
            if let Ok(answer) = dry.query_async::<String>(&mut self.connected.redis).await
                && answer.contains("no permissions")
            {
                add(answer, grant(&admin));
            }
        }
        let info: RedisResult<String> = redis::cmd("INFO")
            .arg("replication")
            .query_async(&mut self.connected.redis)
            .await;
        if info.is_ok_and(|info| !info.contains("connected_slaves:0")) {
            add(
                "the server has replicas, and Redis does not replicate users".into(),
                "make each node a target of its own".into(),
            );
        }
        found
    }
}

impl User {
    /// RESP2 shows a flat list of names and values, RESP3 a map.
    fn of(shown: &Value) -> Self {
        let pairs: Vec<(&Value, &Value)> = match shown {
            Value::Array(items) => items
                .chunks_exact(2)
                .map(|pair| (&pair[0], &pair[1]))
                .collect(),
            Value::Map(pairs) => pairs.iter().map(|(key, value)| (key, value)).collect(),
            _ => Vec::new(),
        };
        let field = |name: &str| -> Vec<String> {
            pairs
                .iter()
                .find(|(key, _)| word(key) == Some(name))
                .map(|(_, value)| words(value))
                .unwrap_or_default()
        };
        let flags = field("flags");
        Self {
            on: flags.iter().any(|flag| flag == "on"),
            nopass: flags.iter().any(|flag| flag == "nopass"),
            hashes: field("passwords"),
        }
    }
}

fn word(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) | Value::Set(items) => {
            items.iter().filter_map(word).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

fn set_user(name: &str, rules: &[String]) -> Cmd {
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg(name).arg(rules);
    command
}

/// `#` and the SHA-256 in lower-case hex, the form in which Redis keeps a password.
fn hashed(value: &Secret) -> String {
    let hash = digest::digest(&digest::SHA256, value.expose());
    format!("#{}", hex::encode(hash.as_ref()))
}

fn grant(admin: &str) -> String {
    format!("ACL SETUSER {admin} +acl +client +info +multi +exec +config|get +config|rewrite")
}

fn rejected(message: String) -> Outcome {
    Outcome::Rejected(Rejection {
        cause: Cause::Stop,
        message,
    })
}
