//! An administrating session: the effects, the fence, and what the catalogues say.

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest;
use pentad_model::{
    Secret, Target,
    id::{Entropy as _, OsEntropy},
    rotation::Strategy,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::{
    Connected,
    outcome::{explain, of_error, rejected},
    recent,
    sql::{Role, ident, literal},
    verifier::{SALT, Verifier, is_of},
};
use crate::{
    AccountChange, AccountState, Cause, Complaint, ConnectError, EFFECT_BOUND, Fence, Keeps,
    Outcome, Session,
};

/// How long an effect waits for the advisory lock.
const LOCK_WAIT: Duration = Duration::from_millis(1_500);
/// What its statements may take together. With the wait it stays below [`EFFECT_BOUND`].
const STATEMENTS: Duration = Duration::from_secs(3);
/// How long a reply may take: the target's own bound, and the way back.
const REPLY: Duration = EFFECT_BOUND.saturating_add(Duration::from_secs(1));
/// How long a fence waits for the killed session to end.
const FENCE_WAIT: Duration = Duration::from_secs(5);

/// See [`Session`].
pub(super) struct PostgreSqlSession {
    connected: Connected,
    admin: String,
    /// `server_version_num`: 160002 is 16.2.
    version: u32,
    identity: String,
    /// Whether it may look at what the server keeps; to be refused would be an error in its log.
    sees_verifiers: bool,
}

impl PostgreSqlSession {
    /// Reads who we are at the server.
    pub(super) async fn start(
        connected: Connected,
        target: &Target,
        admin: &str,
    ) -> Result<Self, ConnectError> {
        let mut session = Self {
            connected,
            admin: admin.to_owned(),
            version: 0,
            identity: String::new(),
            sees_verifiers: false,
        };
        let unreachable = |reason: String| ConnectError::Unreachable {
            target: target.address.clone(),
            reason,
        };
        // The bounds are the session's, so that an effect need not set them.
        let query = format!(
            "SELECT a.pid || '/' || (extract(epoch FROM a.backend_start) * 1000000)::bigint, \
             current_setting('server_version_num'), pg_is_in_recovery(), \
             set_config('lock_timeout', '{wait}', false), \
             set_config('statement_timeout', '{wait}', false), \
             has_table_privilege('pg_catalog.pg_authid', 'SELECT') \
             FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()",
            wait = LOCK_WAIT.as_millis()
        );
        let row = session.row(&query).await.map_err(unreachable)?;
        let row = row.ok_or_else(|| unreachable("the server does not list our session".into()))?;
        session.identity = text(&row, 0).to_owned();
        session.version = text(&row, 1).parse().unwrap_or(0);
        session.sees_verifiers = truth(&row, 5);
        if truth(&row, 2) {
            return Err(ConnectError::Settings(
                "the server is a standby; the address must lead to the primary".into(),
            ));
        }
        if session.version < 100_000 {
            return Err(ConnectError::Settings(
                "PostgreSQL before 10 has no SCRAM-SHA-256".into(),
            ));
        }
        Ok(session)
    }

    /// The first row of a query, or the server's words.
    async fn row(&self, query: &str) -> Result<Option<SimpleQueryRow>, String> {
        match timeout(REPLY, self.connected.client.simple_query(query)).await {
            Err(_) => Err(format!("no answer within {} s", REPLY.as_secs())),
            Ok(Err(error)) => Err(explain(&error)),
            Ok(Ok(messages)) => Ok(messages.into_iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })),
        }
    }

    /// Runs `statements` as one transaction under `role`'s lock, as one message: from the first
    /// statement to COMMIT the server waits for nothing of ours.
    async fn transact(&self, role: Role<'_>, statements: &[String]) -> Outcome {
        // COMMIT is a statement too: it may wait for a standby.
        let each = STATEMENTS
            / (u32::try_from(statements.len())
                .unwrap_or(u32::MAX)
                .saturating_add(1));
        // The session's own bound is that of a single statement.
        let bound = match each < LOCK_WAIT {
            true => format!(" SET LOCAL statement_timeout = {};", each.as_millis()),
            false => String::new(),
        };
        let batch = format!(
            "BEGIN; SELECT pg_advisory_xact_lock({key});{bound} {work}; COMMIT",
            key = lock_key(role),
            work = statements.join("; "),
        );
        match timeout(REPLY, self.connected.client.batch_execute(&batch)).await {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(error)) => {
                // The transaction is aborted already, or the connection is gone and with it the
                // transaction; this only makes the session usable again.
                let rollback = self.connected.client.batch_execute("ROLLBACK");
                let _ = timeout(REPLY, rollback).await;
                of_error(&error, &self.grant(role))
            }
            Err(_) => Outcome::Unknown(format!("no answer within {} s", REPLY.as_secs())),
        }
    }

    /// The statements that make `idle` able to take turns with `like`.
    async fn twin(&self, idle: Role<'_>, like: Role<'_>) -> Result<Vec<String>, Outcome> {
        if idle.name() == like.name() {
            return Err(rejected(
                Cause::Stop,
                "alternating needs two accounts, and both names are the same",
            ));
        }
        let found = self
            .row(&format!(
                "SELECT l.oid IS NOT NULL, i.oid IS NOT NULL, \
                 EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = l.oid AND m.member = i.oid), \
                 (SELECT substr(c, 13) FROM pg_db_role_setting s, unnest(s.setconfig) c \
                  WHERE s.setrole = l.oid AND s.setdatabase = 0 AND c LIKE 'search\\_path=%'), \
                 EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = i.oid AND m.member = l.oid) \
                 FROM (SELECT) one LEFT JOIN pg_roles l ON l.rolname = {} \
                 LEFT JOIN pg_roles i ON i.rolname = {}",
                like.literal(),
                idle.literal()
            ))
            .await
            // Nothing was asked for yet but a look.
            .map_err(|_| Outcome::Throttled(Duration::from_secs(1)))?;
        let Some(found) = found else {
            return Err(Outcome::Throttled(Duration::from_secs(1)));
        };
        if !truth(&found, 0) {
            return Err(missing(like));
        }
        // The twin had its turn, and it is the first role's again: the rights are its own.
        if truth(&found, 4) {
            return Ok(Vec::new());
        }
        let mut statements = Vec::new();
        if !truth(&found, 1) {
            statements.push(format!(
                "CREATE ROLE {} LOGIN INHERIT IN ROLE {}",
                idle.ident(),
                like.ident()
            ));
        } else if !truth(&found, 2) {
            statements.push(format!("GRANT {} TO {}", like.ident(), idle.ident()));
        }
        // Membership alone would let it read, but what it creates would be its own, out of the
        // other's reach. Switched at login, it *is* the other for every right and ownership.
        statements.push(format!(
            "ALTER ROLE {} SET role = {}",
            idle.ident(),
            like.literal()
        ));
        // Names resolve by the settings of the role that logged in, not of the one switched to.
        // The list form of the value can't be written as one literal; hence FROM CURRENT.
        if let Some(path) = found.get(3) {
            statements.push(format!(
                "SELECT set_config('search_path', {}, true)",
                literal(path)
            ));
            statements.push(format!(
                "ALTER ROLE {} SET search_path FROM CURRENT",
                idle.ident()
            ));
        }
        Ok(statements)
    }

    /// The statement that lets the administrating account change `role`.
    fn grant(&self, role: Role<'_>) -> String {
        let admin = ident(&self.admin);
        if self.version >= 160_000 {
            format!(
                "ALTER ROLE {admin} CREATEROLE; GRANT {} TO {admin} WITH ADMIN OPTION",
                role.ident()
            )
        } else {
            format!("ALTER ROLE {admin} CREATEROLE")
        }
    }
}

#[async_trait]
impl Session for PostgreSqlSession {
    fn connection(&self) -> Option<&str> {
        Some(&self.identity)
    }

    fn is_alive(&self) -> bool {
        !self.connected.client.is_closed()
    }

    async fn apply(&mut self, change: &AccountChange<'_>) -> Outcome {
        let role = match Role::parse(change.account) {
            Ok(role) => role,
            Err(message) => return rejected(Cause::Stop, message),
        };
        let verifier = match verifier_of(change.new) {
            Ok(verifier) => verifier,
            Err(outcome) => return outcome,
        };
        let mut statements = match (change.strategy, change.like.map(Role::parse)) {
            (Strategy::InPlace, _) => Vec::new(),
            (Strategy::Alternating, Some(Ok(like))) => match self.twin(role, like).await {
                Ok(statements) => statements,
                Err(outcome) => return outcome,
            },
            (Strategy::Alternating, Some(Err(message))) => return rejected(Cause::Stop, message),
            (Strategy::Alternating, None) => {
                return rejected(
                    Cause::Stop,
                    "alternating needs the account whose rights the idle one takes",
                );
            }
            (Strategy::Overlap, _) => {
                return rejected(
                    Cause::Stop,
                    "PostgreSQL keeps one password a role: use alternating or in_place",
                );
            }
        };
        statements.push(set_password(role, &verifier));
        let outcome = self.transact(role, &statements).await;
        if outcome == Outcome::Done {
            let Verifier { salt, keys, .. } = verifier;
            recent::keep(change.new.expose(), salt, Verifier::ITERATIONS, keys);
        }
        outcome
    }

    async fn retire(&mut self, account: &str, keep: Option<&Secret>) -> Outcome {
        let role = match Role::parse(account) {
            Ok(role) => role,
            Err(message) => return rejected(Cause::Stop, message),
        };
        let statement = match keep {
            Some(value) => match verifier_of(value) {
                Ok(verifier) => set_password(role, &verifier),
                Err(outcome) => return outcome,
            },
            None => format!("ALTER ROLE {} PASSWORD NULL", role.ident()),
        };
        self.transact(role, &[statement]).await
    }

    async fn fence(&mut self, connection: &str) -> Fence {
        let Some((pid, start)) = parse_identity(connection) else {
            return Fence::CantTell(format!("`{connection}` is not a PostgreSQL connection"));
        };
        // The row goes after the session's transaction is rolled back and its locks released, so
        // its absence means that no effect is left. The start is hidden from who may not see it:
        // a row without one is not "somebody else's".
        let look = format!(
            "SELECT (extract(epoch FROM backend_start) * 1000000)::bigint \
             FROM pg_stat_activity WHERE pid = {pid}"
        );
        let kill = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = {pid} \
             AND (extract(epoch FROM backend_start) * 1000000)::bigint = {start}"
        );
        let until = Instant::now() + FENCE_WAIT;
        let mut asked = false;
        loop {
            match self.row(&look).await {
                Err(reason) => return Fence::CantTell(reason),
                Ok(None) => return Fence::Gone,
                Ok(Some(row)) => match row.get(0).map(str::parse::<i64>) {
                    Some(Ok(seen)) if seen != start => return Fence::Gone,
                    Some(Ok(_)) => {}
                    _ => {
                        return Fence::CantTell(format!(
                            "process {pid} belongs to another account; GRANT pg_read_all_stats, \
                             pg_signal_backend TO {}",
                            ident(&self.admin)
                        ));
                    }
                },
            }
            if !asked {
                if let Err(reason) = self.row(&kill).await {
                    return Fence::CantTell(reason);
                }
                asked = true;
            } else if Instant::now() >= until {
                return Fence::CantTell(format!("process {pid} was told to end and still runs"));
            } else {
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn account(&mut self, account: &str) -> AccountState {
        let role = match Role::parse(account) {
            Ok(role) => role,
            Err(message) => return AccountState::CantTell(message),
        };
        let query = format!(
            "SELECT rolcanlogin, coalesce(rolvaliduntil <= now(), false), rolvaliduntil, \
             rolconnlimit = 0 FROM pg_roles WHERE rolname = {}",
            role.literal()
        );
        match self.row(&query).await {
            Err(reason) => AccountState::CantTell(reason),
            Ok(None) => AccountState::Missing,
            Ok(Some(row)) if !truth(&row, 0) => AccountState::Barred("NOLOGIN".into()),
            Ok(Some(row)) if truth(&row, 1) => {
                AccountState::Barred(format!("expired: VALID UNTIL {}", text(&row, 2)))
            }
            Ok(Some(row)) if truth(&row, 3) => AccountState::Barred("CONNECTION LIMIT 0".into()),
            Ok(Some(_)) => AccountState::Open,
        }
    }

    async fn keeps(&mut self, account: &str, value: &Secret) -> Keeps {
        let role = match Role::parse(account) {
            Ok(role) => role,
            Err(message) => return Keeps::CantTell(message),
        };
        // Before 11 there is no sha256().
        if !self.sees_verifiers || self.version < 110_000 {
            return Keeps::CantTell("the administrating account may not read pg_authid".into());
        }
        // Of the verifier no more crosses than the comparison needs: its salt, and a digest of one of
        // its keys.
        let query = format!(
            "SELECT split_part(rolpassword, '$', 2), \
             encode(sha256(split_part(split_part(rolpassword, '$', 3), ':', 1)::bytea), 'hex'), \
             rolcanlogin AND rolconnlimit <> 0 AND coalesce(rolvaliduntil > now(), true) \
             FROM pg_authid WHERE rolname = {} AND rolpassword LIKE 'SCRAM-SHA-256$%'",
            role.literal()
        );
        let row = match self.row(&query).await {
            Ok(Some(row)) if truth(&row, 2) => row,
            Ok(_) => return Keeps::CantTell("no SCRAM verifier, or the role is barred".into()),
            Err(reason) => return Keeps::CantTell(reason),
        };
        match is_of(value.expose(), text(&row, 0), text(&row, 1)) {
            Some(true) => Keeps::This,
            Some(false) => Keeps::Another,
            None => Keeps::CantTell("a verifier of another form".into()),
        }
    }

    async fn check(&mut self, account: &str, strategy: Strategy) -> Vec<Complaint> {
        let complain = |problem: String, remedy: String| vec![Complaint { problem, remedy }];
        let role = match Role::parse(account) {
            Ok(role) => role,
            Err(problem) => return complain(problem, "name the role as PostgreSQL does".into()),
        };
        if strategy == Strategy::Overlap {
            return complain(
                "PostgreSQL keeps one password a role".into(),
                "use the strategy alternating or in_place".into(),
            );
        }
        // From 16 on, CREATEROLE reaches only roles over which one has the ADMIN OPTION.
        let admin_option = if self.version >= 160_000 {
            "pg_has_role(me.oid, r.oid, 'MEMBER WITH ADMIN OPTION')"
        } else {
            "NOT r.rolreplication"
        };
        let query = format!(
            "SELECT me.rolsuper, me.rolcreaterole, r.oid IS NOT NULL, r.rolsuper, \
             coalesce({admin_option}, false), r.oid = me.oid, r.rolcanlogin \
             FROM pg_roles me LEFT JOIN pg_roles r ON r.rolname = {} \
             WHERE me.rolname = current_user",
            role.literal()
        );
        let row = match self.row(&query).await {
            Ok(Some(row)) => row,
            Ok(None) => return complain("the server does not list our role".into(), String::new()),
            Err(reason) => return complain(reason, "try again".into()),
        };
        let mut found = Vec::new();
        let mut add = |problem: String, remedy: String| found.push(Complaint { problem, remedy });
        if !truth(&row, 2) {
            add(
                format!("there is no role `{account}`"),
                format!("CREATE ROLE {} LOGIN", role.ident()),
            );
        } else if !truth(&row, 6) {
            add(
                format!("`{account}` may not log in"),
                format!("ALTER ROLE {} LOGIN", role.ident()),
            );
        }
        // Its own password everybody may change.
        let may = truth(&row, 0)
            || (strategy == Strategy::InPlace && truth(&row, 5))
            || (truth(&row, 1) && truth(&row, 4) && !truth(&row, 3));
        if may {
            return found;
        }
        if truth(&row, 3) {
            add(
                format!("`{account}` is a superuser, and only a superuser may change its password"),
                format!("ALTER ROLE {} SUPERUSER", ident(&self.admin)),
            );
        } else if truth(&row, 2) {
            add(
                format!("`{}` may not change `{account}`", self.admin),
                self.grant(role),
            );
        }
        found
    }
}

/// The verifier to send in the value's place, or why the value can't be a password.
fn verifier_of(value: &Secret) -> Result<Verifier, Outcome> {
    if value.is_empty() || value.expose().contains(&0) {
        return Err(rejected(
            Cause::Value,
            "PostgreSQL takes no empty password and no NUL",
        ));
    }
    let mut salt = [0; SALT];
    OsEntropy.fill(&mut salt);
    Verifier::of(value.expose(), salt).map_err(|_| {
        rejected(
            Cause::Stop,
            "the cryptographic library failed; restart the server and check its memory",
        )
    })
}

fn set_password(role: Role<'_>, verifier: &Verifier) -> String {
    let verifier = literal(&verifier.text);
    format!("ALTER ROLE {} PASSWORD {verifier}", role.ident())
}

fn missing(role: Role<'_>) -> Outcome {
    rejected(
        Cause::Stop,
        format!(
            "there is no role `{}`; create it: CREATE ROLE {} LOGIN",
            role.name(),
            role.ident()
        ),
    )
}

/// The advisory lock of a role: the same for every process of ours, whatever its version.
fn lock_key(role: Role<'_>) -> i64 {
    let hash = digest::digest(
        &digest::SHA256,
        format!("pentad/role/{}", role.name()).as_bytes(),
    );
    let mut key = [0u8; 8];
    key.copy_from_slice(&hash.as_ref()[..8]);
    i64::from_be_bytes(key)
}

/// `pid/backend_start in microseconds`.
fn parse_identity(connection: &str) -> Option<(i32, i64)> {
    let (pid, start) = connection.split_once('/')?;
    Some((pid.parse().ok()?, start.parse().ok()?))
}

fn text(row: &SimpleQueryRow, column: usize) -> &str {
    row.get(column).unwrap_or("")
}

fn truth(row: &SimpleQueryRow, column: usize) -> bool {
    row.get(column) == Some("t")
}
