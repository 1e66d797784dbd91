//! The integration agent: the only one that speaks to the outside.
//!
//! It carries out one effect at one target and says truthfully how it ended. A session that it
//! can't find any more (it was restarted meanwhile) makes the outcome unknown, never done and never
//! refused: the rotation protocol then probes.

use std::{collections::HashMap, path::Path as FilePath, sync::Arc, time::Duration};

use parking_lot::Mutex;
use pentad_connectors::{
    AccountChange, AccountState, Admin, Cause, ConnectError, Connector, EFFECT_BOUND,
    Fence as Killed, Keeps, Outcome, Profile, Session, registry,
};
use pentad_model::{
    Clock, Context, Id, Name, Secret, Target, Tenant, Timestamp,
    id::Entropy,
    rotation::{Login, Strategy},
};
use pentad_runtime::{Agent, Envelope};

use crate::{
    Fault,
    contract::integration::{
        Check, Checked, Compare, Complaint, Deliver, Effect, Ended, Fence, Fenced, Integrates,
        OpenSession, Opened, Release, Reply, Request, RunEffect, TestLogin, Tried, dispatch,
    },
    files::Directories,
    handoff::{Bearer, Handoff, Ticket},
};

/// How long an unused session is kept for the next rotation at the same target.
const IDLE: Duration = Duration::from_secs(10);
/// Unused sessions kept for one target.
const IDLE_AT_ONE_TARGET: usize = 64;
/// The longest that a test login, an opening or a fence may take.
const LOOK_BOUND: Duration = Duration::from_secs(10);

/// What a connector is and can do.
pub fn profile(system: &str) -> Result<&'static Profile, Fault> {
    connector(system).map(|connector| connector.profile())
}

/// Every connector's profile.
pub fn profiles() -> impl Iterator<Item = &'static Profile> {
    registry::all().iter().map(|connector| connector.profile())
}

/// Checks a target's settings without reaching out.
pub fn validate(target: &Target) -> Result<(), Fault> {
    let connector = connector(&target.system)?;
    let needs_admin = connector.profile().needs_admin;
    if needs_admin && (target.admin_account.is_none() || target.admin_credential.is_none()) {
        return Err(Fault::invalid(format!(
            "a {} target needs `admin_account` and `admin_credential`: the account that may change \
             others, and where in Pentad its password is",
            target.system
        )));
    }
    connector
        .validate(target)
        .map_err(|error| Fault::invalid(error.to_string()))
}

/// Whether a target of this system is a file on this machine.
pub(crate) fn is_file(system: &str) -> bool {
    system == "envfile"
}

fn connector(system: &str) -> Result<&'static dyn Connector, Fault> {
    registry::by_name(system).ok_or_else(|| {
        let known: Vec<&str> = profiles().map(|profile| profile.name).collect();
        Fault::invalid(format!(
            "`{system}` is not a system; known: {}",
            known.join(", ")
        ))
    })
}

/// See the module.
#[derive(Clone)]
pub struct Integration {
    /// Where values come from.
    pub handoff: Handoff,
    /// Which files may be touched.
    pub files: Directories,
    /// For deadlines.
    pub clock: Arc<dyn Clock>,
    /// For the numbers of sessions.
    pub entropy: Arc<dyn Entropy>,
    sessions: Arc<Mutex<Sessions>>,
}

#[derive(Default)]
struct Sessions {
    /// In a rotation's hands.
    open: HashMap<Id, Held>,
    /// Waiting for the next one.
    idle: HashMap<Place, Vec<Idle>>,
}

impl Sessions {
    /// Closes what nobody uses.
    fn sweep(&mut self, now: Timestamp) {
        // Nobody holds a session for so long: whoever opened these crashed.
        self.open
            .retain(|_, held| now.since(held.since) < LOOK_BOUND * 6);
        self.idle.retain(|_, waiting| {
            waiting.retain(|idle| now.since(idle.since) < IDLE);
            !waiting.is_empty()
        });
    }
}

struct Idle {
    session: Box<dyn Session>,
    since: Timestamp,
}

struct Held {
    session: Box<dyn Session>,
    place: Place,
    since: Timestamp,
}

/// A target at one of its revisions: changed settings need new sessions, and so does another target
/// of the same name, whose revisions count from one again.
type Place = (Tenant, Name, u64, Timestamp);

fn place(target: &Target) -> Place {
    (
        target.tenant.clone(),
        target.name.clone(),
        target.revision,
        target.created_at,
    )
}

impl Integration {
    /// An agent without sessions. Unused ones are closed by a task that ends with it.
    pub fn new(
        handoff: Handoff,
        files: Directories,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let sessions = Arc::new(Mutex::new(Sessions::default()));
        let (held, now) = (Arc::downgrade(&sessions), clock.clone());
        tokio::spawn(async move {
            while let Some(sessions) = held.upgrade() {
                sessions.lock().sweep(now.now());
                drop(sessions);
                tokio::time::sleep(IDLE).await;
            }
        });
        Self {
            handoff,
            files,
            clock,
            entropy,
            sessions,
        }
    }
}

impl Agent for Integration {
    const NAME: &'static str = "integration";
    type Request = Request;
    type Reply = Reply;

    async fn handle(&self, envelope: Envelope<Request>) -> Reply {
        let turn = Self {
            handoff: self.handoff.during(envelope.id),
            ..self.clone()
        };
        dispatch(&turn, &envelope.context, envelope.body).await
    }

    fn settled(&self, envelope: Id) {
        self.handoff.settle(envelope);
    }

    fn ask(request: &Request) -> &'static str {
        request.name()
    }

    fn budget(request: &Request) -> Duration {
        // What waits for a target has bounds of its own, and answers when they have passed; it hangs
        // only if it does not even do that.
        let bound = match request {
            Request::Release(_) => Duration::ZERO,
            Request::Effect(_) => EFFECT_BOUND * 2,
            Request::Session(_) | Request::Login(_) | Request::Compare(_) | Request::Deliver(_) => {
                LOOK_BOUND
            }
            Request::Fence(_) => LOOK_BOUND * 2,
            Request::Check(_) => LOOK_BOUND * 3,
        };
        bound + Duration::from_secs(1)
    }
}

impl Integrates for Integration {
    async fn session(&self, _: &Context, ask: OpenSession) -> Result<Opened, Fault> {
        let admin = ask.admin.map(|ticket| self.redeem(ticket)).transpose()?;
        let place = place(&ask.target);
        let session = match self.idle(&place) {
            Some(session) => session,
            None => open(&self.admitted(ask.target).await?, admin.as_ref()).await?,
        };
        let connection = session.connection().map(str::to_owned);
        let now = self.clock.now();
        let id = Id::generate(now, &*self.entropy);
        self.sessions.lock().open.insert(
            id,
            Held {
                session,
                place,
                since: now,
            },
        );
        Ok(Opened {
            session: id,
            connection,
        })
    }

    async fn release(&self, _: &Context, ask: Release) -> Result<(), Fault> {
        let held = self.sessions.lock().open.remove(&ask.session);
        if let Some(held) = held {
            self.keep(held.place, held.session);
        }
        Ok(())
    }

    async fn compare(&self, _: &Context, ask: Compare) -> Result<bool, Fault> {
        let value = self.redeem(ask.value)?;
        let held = self.sessions.lock().open.remove(&ask.session);
        let Some(mut held) = held else {
            return Ok(false);
        };
        let comparing = held.session.keeps(&ask.account, &value);
        // A session that does not answer now is not given to an effect either.
        let Ok(keeps) = tokio::time::timeout(LOOK_BOUND, comparing).await else {
            return Ok(false);
        };
        self.sessions.lock().open.insert(ask.session, held);
        Ok(keeps == Keeps::This)
    }

    async fn effect(&self, _: &Context, ask: RunEffect) -> Result<Ended, Fault> {
        let Some(mut held) = self.sessions.lock().open.remove(&ask.session) else {
            return Ok(unknown("the session was lost in a restart"));
        };
        let outcome = match self.values(&ask.effect) {
            Ok(values) if self.clock.now() < ask.deadline => {
                let run = run(held.session.as_mut(), &ask.effect, ask.strategy, &values);
                match tokio::time::timeout(EFFECT_BOUND * 2, run).await {
                    Ok(outcome) => outcome,
                    Err(_) => return Ok(unknown("the target did not answer in time")),
                }
            }
            // Nothing was sent. Saying so as "unknown" costs a probe and can't be wrong.
            Ok(_) => return Ok(unknown("the moment to begin it has passed")),
            Err(fault) => return Ok(unknown(&fault.to_string())),
        };
        // A throttled session may be one that died while it waited; an unknown one certainly may.
        if matches!(outcome, Outcome::Done | Outcome::Rejected(_)) {
            self.keep(held.place, held.session);
        }
        Ok(ended(outcome))
    }

    async fn fence(&self, _: &Context, ask: Fence) -> Result<Fenced, Fault> {
        let admin = ask.admin.map(|ticket| self.redeem(ticket)).transpose()?;
        let target = self.admitted(ask.target).await?;
        let mut session = open(&target, admin.as_ref()).await?;
        let fenced = tokio::time::timeout(LOOK_BOUND, session.fence(&ask.connection)).await;
        Ok(match fenced {
            Ok(Killed::Gone) => {
                self.keep(place(&target), session);
                Fenced::Gone
            }
            Ok(Killed::CantTell(note)) => Fenced::CantTell { note },
            Err(_) => Fenced::CantTell {
                note: "the target did not answer in time".to_owned(),
            },
        })
    }

    async fn login(&self, _: &Context, ask: TestLogin) -> Result<Tried, Fault> {
        let value = self.redeem(ask.value)?;
        try_login(&self.admitted(ask.target).await?, &ask.account, &value).await
    }

    async fn check(&self, _: &Context, ask: Check) -> Result<Checked, Fault> {
        let admin = ask.admin.map(|ticket| self.redeem(ticket)).transpose()?;
        let target = self.admitted(ask.target).await?;
        let mut session = open(&target, admin.as_ref()).await?;
        let looking = look_at_accounts(session.as_mut(), &ask.accounts);
        let mut checked = tokio::time::timeout(LOOK_BOUND, looking)
            .await
            .map_err(|_| too_slow(&target))?;
        if let (Some(decoy), Some((account, _))) = (ask.decoy, ask.accounts.first()) {
            let decoy = self.redeem(decoy)?;
            let tried = try_login(&target, account, &decoy).await?;
            match tried.login {
                Login::Fails => {
                    checked
                        .notes
                        .push("a random password is refused, as it must be".to_owned());
                }
                Login::Works => checked.complaints.push(Complaint {
                    problem: format!("a random password was accepted for `{account}`"),
                    remedy: "make the target check passwords (no trust, no nopass)".to_owned(),
                }),
                Login::CantTell => checked.notes.push(tried.note),
            }
        }
        checked.complaints.dedup();
        Ok(checked)
    }

    async fn deliver(&self, _: &Context, ask: Deliver) -> Result<(), Fault> {
        let value = self.redeem(ask.value)?;
        let file = self.files.admit(&ask.file).await?;
        let writing = tokio::task::spawn_blocking(move || write_atomically(&file, &value));
        match tokio::time::timeout(LOOK_BOUND, writing).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(Fault::Target {
                message: format!("{}: {error}", ask.file),
            }),
            Ok(Err(_)) => Err(Fault::internal("writing the file was interrupted")),
            Err(_) => Err(Fault::Unavailable {
                message: format!("{} could not be written in time", ask.file),
            }),
        }
    }
}

impl Integration {
    fn redeem(&self, ticket: Ticket) -> Result<Secret, Fault> {
        self.handoff.redeem(ticket, Bearer::Integration)
    }

    /// The target with its address as it may be used: for a file, where its path leads to.
    async fn admitted(&self, mut target: Target) -> Result<Target, Fault> {
        if is_file(&target.system) {
            let file = self.files.admit(&target.address).await?;
            target.address = file.into_os_string().into_string().map_err(|_| {
                Fault::invalid(format!(
                    "`{}` leads to a path that is no text",
                    target.address
                ))
            })?;
        }
        Ok(target)
    }

    fn idle(&self, place: &Place) -> Option<Box<dyn Session>> {
        let mut sessions = self.sessions.lock();
        sessions.sweep(self.clock.now());
        let waiting = sessions.idle.get_mut(place)?;
        // One that died while it waited would make the next effect's outcome unknown.
        std::iter::from_fn(|| waiting.pop())
            .map(|idle| idle.session)
            .find(|session| session.is_alive())
    }

    fn keep(&self, place: Place, session: Box<dyn Session>) {
        let now = self.clock.now();
        let mut sessions = self.sessions.lock();
        let waiting = sessions.idle.entry(place).or_default();
        if waiting.len() < IDLE_AT_ONE_TARGET {
            waiting.push(Idle {
                session,
                since: now,
            });
        }
    }

    fn values(&self, effect: &Effect) -> Result<Values, Fault> {
        Ok(match effect {
            Effect::Apply { new, old, .. } => Values {
                main: Some(self.redeem(*new)?),
                beside: old.map(|ticket| self.redeem(ticket)).transpose()?,
            },
            Effect::Retire { keep, .. } => Values {
                main: keep.map(|ticket| self.redeem(ticket)).transpose()?,
                beside: None,
            },
        })
    }
}

struct Values {
    main: Option<Secret>,
    beside: Option<Secret>,
}

async fn open(target: &Target, admin: Option<&Secret>) -> Result<Box<dyn Session>, Fault> {
    let connector = connector(&target.system)?;
    let account = target.admin_account.as_deref().unwrap_or_default();
    let opening = connector.open(
        target,
        Admin {
            account,
            password: admin,
        },
    );
    match tokio::time::timeout(LOOK_BOUND, opening).await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(error @ ConnectError::Unreachable { .. })) => Err(Fault::Unavailable {
            message: error.to_string(),
        }),
        Ok(Err(error)) => Err(Fault::Target {
            message: error.to_string(),
        }),
        Err(_) => Err(too_slow(target)),
    }
}

fn too_slow(target: &Target) -> Fault {
    Fault::Unavailable {
        message: format!("{} did not answer in time", target.address),
    }
}

async fn look_at_accounts(session: &mut dyn Session, accounts: &[(String, Strategy)]) -> Checked {
    let mut checked = Checked::default();
    for complaint in session.check_itself().await {
        let (problem, remedy) = (complaint.problem, complaint.remedy);
        checked.complaints.push(Complaint { problem, remedy });
    }
    if accounts.is_empty() {
        checked.notes.push(
            "no credential is bound to it yet: rights at accounts were not looked at".to_owned(),
        );
    }
    for (account, strategy) in accounts {
        match session.account(account).await {
            AccountState::Open => {}
            AccountState::Missing => checked.complaints.push(Complaint {
                problem: format!("there is no account `{account}`"),
                remedy: "create it, or correct the credential's binding".to_owned(),
            }),
            AccountState::Barred(why) => checked.complaints.push(Complaint {
                problem: format!("`{account}` can't log in: {why}"),
                remedy: "unlock or extend it at the target".to_owned(),
            }),
            AccountState::CantTell(why) => checked.notes.push(format!("{account}: {why}")),
        }
        for complaint in session.check(account, *strategy).await {
            let (problem, remedy) = (complaint.problem, complaint.remedy);
            checked.complaints.push(Complaint { problem, remedy });
        }
    }
    checked
}

async fn try_login(target: &Target, account: &str, value: &Secret) -> Result<Tried, Fault> {
    let connector = connector(&target.system)?;
    let trying = connector.login(target, account, value);
    Ok(match tokio::time::timeout(LOOK_BOUND, trying).await {
        Ok(attempt) => Tried {
            login: attempt.login,
            sole: attempt.sole,
            note: attempt.note,
        },
        Err(_) => Tried {
            login: Login::CantTell,
            sole: false,
            note: format!("{} did not answer in time", target.address),
        },
    })
}

async fn run(
    session: &mut dyn Session,
    effect: &Effect,
    strategy: Strategy,
    values: &Values,
) -> Outcome {
    match (effect, &values.main) {
        (Effect::Apply { account, like, .. }, Some(new)) => {
            let change = AccountChange {
                account,
                new,
                old: values.beside.as_ref(),
                like: like.as_deref(),
                strategy,
            };
            session.apply(&change).await
        }
        (Effect::Apply { .. }, None) => Outcome::Unknown("the new value is missing".to_owned()),
        (Effect::Retire { account, .. }, keep) => session.retire(account, keep.as_ref()).await,
    }
}

fn ended(outcome: Outcome) -> Ended {
    match outcome {
        Outcome::Done => Ended::Done,
        Outcome::Rejected(rejection) => match rejection.cause {
            Cause::Value => Ended::RejectedValue {
                note: rejection.message,
            },
            Cause::Stop => Ended::RejectedStop {
                note: rejection.message,
            },
        },
        Outcome::Throttled(after) => Ended::Throttled { after },
        Outcome::Unknown(note) => Ended::Unknown { note },
    }
}

fn unknown(note: &str) -> Ended {
    Ended::Unknown {
        note: note.to_owned(),
    }
}

/// Temporary file in the same directory, synced, renamed over the old one, directory synced: a
/// consumer reads the old value or the new one, never half of one. New files are 0600; an existing
/// file's mode and owner are kept. A failure leaves nothing behind.
fn write_atomically(file: &FilePath, value: &Secret) -> std::io::Result<()> {
    use std::fs;

    let directory = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    let directory = directory.unwrap_or(FilePath::new("."));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.pentad-new"));
    let written = write_beside(&temporary, file, value);
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, file)) {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    fs::File::open(directory)?.sync_all()
}

fn write_beside(temporary: &FilePath, file: &FilePath, value: &Secret) -> std::io::Result<()> {
    use std::{
        fs,
        io::Write,
        os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    };
    let _ = fs::remove_file(temporary);
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    if let Ok(old) = fs::metadata(file) {
        let new = out.metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            // Before the mode is widened, and before anything is in it.
            fchown(&out, Some(old.uid()), Some(old.gid()))?;
        }
        out.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
    }
    out.write_all(value.expose())?;
    out.sync_all()
}
