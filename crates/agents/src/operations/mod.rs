//! What an interface offers: each operation authenticates, decides access, asks the agents, and
//! answers only after the record is durable. One file a subject.
//!
//! To add an operation: a method in the subject's file here, a route in `pentad-api`, a command in
//! the `pentad` program.

use std::sync::Arc;

use pentad_model::{
    Clock, Context, Id, Path, Record, Verb,
    access::{Effect, Role},
    id::Entropy,
    record::Outcome,
};
use pentad_policy::access::Access;
use pentad_runtime::{
    Priority, Supervisor,
    gate::{Gate, Pass},
};
use pentad_store::Reader;

use crate::{
    Fault, contract,
    documents::Documents,
    encryption::Encryption,
    files::Directories,
    handoff::Handoff,
    hot::{Authority, Hot},
    integration::Integration,
    monitoring::Monitoring,
    rotation::RotationAgent,
    validation::Validation,
};

mod audit;
mod authentication;
mod backup;
mod bench;
mod bindings;
mod checks;
mod compliance;
mod credentials;
mod crypto;
mod documents;
mod erasure;
mod foresee;
mod idempotency;
mod listing;
mod nearest;
mod policies;
pub(crate) mod probe;
mod retention;
mod roles;
mod rotations;
pub(crate) mod sweep;
mod targets;
mod tenants;
mod tokens;
mod turns;
mod users;
mod versions;

pub use crate::hot::Current;
pub use authentication::Login;
pub use backup::{Backup, Parent, Proven};
pub use checks::Checked;
pub use compliance::{Counted, Failing, Report};
pub use credentials::{Put, Reading, Stored, Value};
pub use crypto::{Made, Output, PublicKey, Task, Worked};
pub use erasure::{Erased, Person};
pub use foresee::{Fate, Foreseen};
pub use idempotency::{Attempt, Begun};
pub use listing::Listed;
pub use probe::Probed;
pub use retention::{Gone, Kept, Place, Walked};
pub use roles::Explained;
pub use rotations::Rotations;
pub use sweep::Sweeps;
pub use tokens::{NewToken, TokenIssued};
// The nouns of the operations' questions and answers, so that an interface needs no store crate.
pub use pentad_keys::operations::SignatureAlgorithm;
pub use pentad_runtime::gate::Figures;
pub use pentad_store::{CredentialQuery, Page, RotationQuery};

/// The running system, as interfaces see it. Cheap to clone.
#[derive(Clone)]
pub struct Pentad(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) encryption: contract::encryption::Client<Encryption>,
    pub(crate) validation: contract::validation::Client<Validation>,
    pub(crate) monitoring: contract::monitoring::Client<Monitoring>,
    pub(crate) integration: contract::integration::Client<Integration>,
    pub(crate) rotation: contract::rotation::Client<RotationAgent>,
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) documents: Documents,
    pub(crate) hot: Hot,
    pub(crate) handoff: Handoff,
    pub(crate) files: Directories,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) supervisor: Supervisor,
    pub(crate) gate: Arc<Gate>,
    pub(crate) bench: bench::Bench,
    pub(crate) turns: turns::Turns,
    pub(crate) desk: Arc<crate::monitoring::Desk>,
    /// Held while a backup is made.
    pub(crate) backing_up: Arc<tokio::sync::Mutex<()>>,
}

/// An authenticated caller: who, for which tenant, with which rights.
#[derive(Clone)]
pub struct Caller {
    /// Who asks, under which correlation id.
    pub context: Context,
    /// What the caller's roles allow.
    pub rights: Rights,
    /// How urgent the caller's requests are.
    pub priority: Priority,
}

/// What some roles allow, compiled. Cheap to clone.
#[derive(Clone)]
pub struct Rights {
    /// The decisions.
    pub access: Arc<Access>,
    /// Verbs that some role denies somewhere.
    denied: Arc<[Verb]>,
}

impl Rights {
    pub(crate) fn of(roles: &[Role]) -> Result<Self, Fault> {
        let access = Access::compile(roles).map_err(|e| Fault::internal(e.to_string()))?;
        Ok(Self {
            access: Arc::new(access),
            denied: roles::verbs(roles, Effect::Deny).into(),
        })
    }
}

impl Caller {
    fn new(context: Context, roles: &[Role], priority: Priority) -> Result<Self, Fault> {
        let rights = Rights::of(roles)?;
        Ok(Self {
            context,
            rights,
            priority,
        })
    }

    /// Who bears a token, in the context in which it was shown.
    fn with(stranger: Context, authority: &Authority) -> Self {
        Self {
            context: Context {
                principal: authority.principal.clone(),
                ..stranger
            },
            rights: authority.rights.clone(),
            priority: authority.priority,
        }
    }
}

impl Pentad {
    /// The look-up half of the store, for interfaces that show the system's own state.
    pub fn supervisor(&self) -> &Supervisor {
        &self.0.supervisor
    }

    /// Waits for a place to be carried out in; to be held until the answer is made. Interfaces ask
    /// for one before each request: queues inside are short because of it.
    pub async fn admit(&self, priority: Priority) -> Result<Pass, Fault> {
        Ok(self.0.gate.enter(priority).await?)
    }

    /// How many requests of each priority are carried out and wait, critical first.
    pub fn admission(&self) -> [Figures; Priority::ALL.len()] {
        self.0.gate.figures()
    }

    /// How many plaintext values wait at the hand-off between agents.
    pub fn under_way(&self) -> usize {
        self.0.handoff.under_way()
    }

    /// A correlation id for a request that brought none.
    pub fn correlation(&self) -> Id {
        self.id()
    }

    fn id(&self) -> Id {
        Id::generate(self.0.clock.now(), &*self.0.entropy)
    }

    fn record(&self, caller: &Caller, action: &str, outcome: Outcome) -> Record {
        Record::new(
            self.id(),
            self.0.clock.now(),
            &caller.context,
            action,
            outcome,
        )
    }

    /// Decides access to a path. A refusal is on record before the caller hears of it.
    async fn permit(&self, caller: &Caller, verb: Verb, path: &Path) -> Result<(), Fault> {
        let decision = caller.rights.access.decide(verb, path);
        if decision.allowed {
            return Ok(());
        }
        let why = decision.because.to_string();
        let record = self
            .record(caller, &format!("credential.{verb}"), Outcome::Denied)
            .on(path, None)
            .detail(why.clone());
        self.write_down(caller, record).await?;
        Err(Fault::Denied {
            message: format!(
                "{} may not {verb} `{path}`: {why}",
                caller.context.principal
            ),
        })
    }

    /// Decides access to what lies on no path: targets, users, the audit log.
    async fn permit_system(&self, caller: &Caller, verb: Verb) -> Result<(), Fault> {
        let decision = caller.rights.access.decide_system(verb);
        if decision.allowed {
            return Ok(());
        }
        let why = decision.because.to_string();
        let record = self
            .record(caller, &format!("system.{verb}"), Outcome::Denied)
            .detail(why.clone());
        self.write_down(caller, record).await?;
        Err(Fault::Denied {
            message: format!("{} may not use `{verb}`: {why}", caller.context.principal),
        })
    }

    async fn write_down(&self, caller: &Caller, record: Record) -> Result<(), Fault> {
        self.0
            .monitoring
            .record(&caller.context, caller.priority, vec![record])
            .await
    }

    async fn commit(
        &self,
        caller: &Caller,
        ops: Vec<pentad_store::Op>,
        record: Record,
    ) -> Result<(), Fault> {
        let change = pentad_store::Change {
            ops,
            records: vec![record],
        };
        self.0
            .monitoring
            .commit(&caller.context, caller.priority, Box::new(change))
            .await
    }
}
