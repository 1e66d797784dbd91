//! Wiring: the five agents under their supervisor, each with what it may have and nothing else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pentad_keys::Keyring;
use pentad_model::{Clock, Context, Id, Principal, Record, Tenant, id::Entropy, record::Outcome};
use pentad_runtime::{
    Address, Agent, Options, Supervisor, Surroundings,
    gate::{Gate, Limits},
};
use pentad_store::{Change, Collection, Document, Expect, Op, Reader, Writer, audit::AuditLog};
use tokio::sync::Notify;

use crate::{
    Fault, contract,
    documents::{Documents, Remembered},
    encryption::{Encryption, TENANT_KEY},
    files::Directories,
    handoff::Handoff,
    hot::Hot,
    integration::Integration,
    monitoring::{self, Monitoring},
    operations::{Inner, Pentad, probe, sweep},
    rotation::{self, RotationAgent},
    validation::Validation,
};

/// The document that tells which root key a store belongs to, and how that is derived.
pub const ROOT: &str = "root";
/// How long a start may take before it counts as failed.
const START_BOUND: Duration = Duration::from_secs(20);

/// What a running system is made of.
pub struct Parts {
    /// The keys.
    pub keyring: Arc<Keyring>,
    /// The store's reading half.
    pub reader: Arc<dyn Reader>,
    /// The store's writing half; it ends up with the monitoring agent alone.
    pub writer: Arc<dyn Writer>,
    /// The audit log.
    pub audit: AuditLog,
    /// The log's name in checkpoints, for example the host's.
    pub origin: String,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// Makes a new store's first documents: the default tenant's key, and what the root key is
/// recognised by. Refuses a store that has them.
pub async fn initialise(
    writer: &dyn Writer,
    keyring: &Keyring,
    root: serde_json::Value,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<(), Fault> {
    let tenant = Tenant::default_tenant();
    let wrapped = keyring
        .create_tenant_key(&tenant)
        .map_err(|error| Fault::internal(error.to_string()))?;
    let wrapped =
        serde_json::to_value(wrapped).map_err(|error| Fault::internal(error.to_string()))?;
    let context = Context {
        correlation: Id::generate(clock.now(), entropy),
        tenant: tenant.clone(),
        principal: Principal::Agent {
            name: "encryption".to_owned(),
        },
        origin: "init".to_owned(),
    };
    let id = Id::generate(clock.now(), entropy);
    let record = Record::new(id, clock.now(), &context, "system.init", Outcome::Done);
    let ops = [(ROOT, root), (TENANT_KEY, wrapped)]
        .into_iter()
        .map(|(name, body)| key_document(&tenant, name, body))
        .collect();
    Ok(writer
        .commit(Change {
            ops,
            records: vec![record],
        })
        .await?)
}

/// A key document that must not exist yet: a second key for the same tenant would orphan all that
/// the first one sealed.
pub(crate) fn key_document(tenant: &Tenant, name: &str, body: serde_json::Value) -> Op {
    Op::PutDocument {
        document: Document {
            collection: Collection::Key,
            tenant: tenant.clone(),
            name: name.to_owned(),
            revision: 0,
            expires_at: None,
            body,
            seal: None,
        },
        expect: Expect::Absent,
    }
}

/// Starts the five agents and waits until all serve. No file of others may be touched: see
/// [`start_with`].
pub async fn start(parts: Parts) -> Result<Pentad, Fault> {
    start_with(parts, Directories::default()).await
}

/// As [`start`], with the directories below which `.env` targets and consumers' files may be.
pub async fn start_with(parts: Parts, files: Directories) -> Result<Pentad, Fault> {
    start_within(parts, files, Limits::default()).await
}

/// As [`start_with`], with the limits of the gate that requests enter by.
pub async fn start_within(
    parts: Parts,
    files: Directories,
    limits: Limits,
) -> Result<Pentad, Fault> {
    let Parts {
        keyring,
        reader,
        writer,
        audit,
        origin,
        clock,
        entropy,
    } = parts;
    let audit = Arc::new(audit);
    let handoff = Handoff::new(clock.clone(), entropy.clone());
    let surroundings = surroundings(&audit, &clock, &entropy);
    let gate = Gate::new(limits, surroundings.monotonic.clone());
    let supervisor = Supervisor::start(surroundings).map_err(|error| Fault::Unavailable {
        message: format!("no thread to run on: {error}"),
    })?;

    let encryption: Address<Encryption> = supervisor.spawn(
        {
            let (keyring, reader) = (keyring.clone(), reader.clone());
            let (handoff, clock, entropy) = (handoff.clone(), clock.clone(), entropy.clone());
            move |_| {
                let (keyring, reader, handoff) = (keyring.clone(), reader.clone(), handoff.clone());
                let (clock, entropy) = (clock.clone(), entropy.clone());
                infallible(Encryption {
                    keyring,
                    reader,
                    handoff,
                    clock,
                    entropy,
                })
            }
        },
        Options::default(),
        |from, ask: &contract::encryption::Request| {
            contract::permits(from, Encryption::NAME, ask.name())
        },
    );
    let desk = Arc::new(monitoring::Desk {
        writer,
        reader: reader.clone(),
        audit,
        encryption: contract::encryption::Client::new(encryption.from(Monitoring::NAME)),
        origin,
        clock: clock.clone(),
        entropy: entropy.clone(),
        drain: Notify::new(),
        noted: (AtomicU64::new(0), AtomicU64::new(0)),
        uncleared: Default::default(),
    });
    let monitoring: Address<Monitoring> = supervisor.spawn(
        {
            let desk = desk.clone();
            move |_| infallible(Monitoring::at(desk.clone()))
        },
        // Its handlers wait for an fsync that they share.
        Options {
            workers: 64..=256,
            ..Options::default()
        },
        |from, ask: &contract::monitoring::Request| {
            contract::permits(from, Monitoring::NAME, ask.name())
        },
    );
    let documents = |me: &'static str| Documents {
        reader: reader.clone(),
        encryption: contract::encryption::Client::new(encryption.from(me)),
        monitoring: contract::monitoring::Client::new(monitoring.from(me)),
        clock: clock.clone(),
        entropy: entropy.clone(),
        remembered: Remembered::default(),
    };
    let validation: Address<Validation> = supervisor.spawn(
        {
            let (reader, documents) = (reader.clone(), documents(Validation::NAME));
            let (handoff, clock) = (handoff.clone(), clock.clone());
            move |_| {
                let (reader, documents) = (reader.clone(), documents.clone());
                let (handoff, clock) = (handoff.clone(), clock.clone());
                infallible(Validation {
                    reader,
                    documents,
                    handoff,
                    clock,
                })
            }
        },
        Options::default(),
        |from, ask: &contract::validation::Request| {
            contract::permits(from, Validation::NAME, ask.name())
        },
    );
    let integration: Address<Integration> = supervisor.spawn(
        {
            let (handoff, files) = (handoff.clone(), files.clone());
            let (clock, entropy) = (clock.clone(), entropy.clone());
            move |_| {
                let (handoff, files) = (handoff.clone(), files.clone());
                infallible(Integration::new(
                    handoff,
                    files,
                    clock.clone(),
                    entropy.clone(),
                ))
            }
        },
        // Its handlers wait for targets and compute little: more of them than elsewhere, and none
        // fewer where the processor is short.
        Options {
            workers: 64..=96,
            ..Options::default()
        },
        |from, ask: &contract::integration::Request| {
            contract::permits(from, Integration::NAME, ask.name())
        },
    );
    let me = RotationAgent::NAME;
    let rotation_desk = Arc::new(rotation::Desk {
        reader: reader.clone(),
        documents: documents(me),
        encryption: contract::encryption::Client::new(encryption.from(me)),
        validation: contract::validation::Client::new(validation.from(me)),
        monitoring: contract::monitoring::Client::new(monitoring.from(me)),
        integration: contract::integration::Client::new(integration.from(me)),
        clock: clock.clone(),
        entropy: entropy.clone(),
    });
    let process = Id::generate(clock.now(), &*entropy);
    let incarnation = AtomicU64::new(0);
    let rotation: Address<RotationAgent> = supervisor.spawn(
        move |_| {
            let incarnation = incarnation.fetch_add(1, Ordering::Relaxed);
            let node = rotation_desk.reader.node();
            let node = node.map(|node| format!("{node}/")).unwrap_or_default();
            let holder = format!("{node}{process}/{incarnation}");
            infallible(RotationAgent::at(rotation_desk.clone(), holder))
        },
        Options::default(),
        |from, ask: &contract::rotation::Request| {
            contract::permits(from, RotationAgent::NAME, ask.name())
        },
    );

    if !supervisor.ready(START_BOUND).await {
        return Err(Fault::Unavailable {
            message: "not all agents started; the log says why".to_owned(),
        });
    }
    match monitoring::settle(&desk).await {
        // An administrator must be able to log in and free some space.
        Err(Fault::Full) => tracing::warn!("the disk is full: only what needs no space will work"),
        settled => settled?,
    }
    let me = contract::INTERFACE;
    let inner = Arc::new(Inner {
        encryption: contract::encryption::Client::new(encryption.from(me)),
        validation: contract::validation::Client::new(validation.from(me)),
        monitoring: contract::monitoring::Client::new(monitoring.from(me)),
        integration: contract::integration::Client::new(integration.from(me)),
        rotation: contract::rotation::Client::new(rotation.from(me)),
        documents: documents(me),
        hot: Hot::new(reader.clone()),
        desk,
        reader,
        handoff,
        files,
        clock,
        entropy,
        supervisor,
        gate,
        bench: Default::default(),
        turns: Default::default(),
        backing_up: Default::default(),
    });
    sweep::start(&inner);
    probe::start(&inner);
    Ok(Pentad(inner))
}

impl Pentad {
    /// What keeps it from working although all agents serve, by name: the `store` can't be read, or
    /// the audit `log` takes no more records. After a failed fsync that lasts until a restart.
    pub async fn failed(&self) -> Vec<&'static str> {
        let (inner, tenant) = (&self.0, Tenant::default_tenant());
        let note = inner.reader.document(
            Collection::State,
            &tenant,
            monitoring::HIGH_WATER,
            inner.clock.now(),
        );
        let mut failed = Vec::new();
        if note.await.is_err() {
            failed.push("store");
        }
        if inner.desk.audit.health().is_err() {
            failed.push("log");
        }
        failed
    }

    /// Stops in good order: a last checkpoint, then no new work, accepted work finished.
    pub async fn stop(&self, within: Duration) {
        if let Err(fault) = monitoring::settle(&self.0.desk).await {
            tracing::warn!(%fault, "no last checkpoint; the next start makes it");
        }
        self.0.supervisor.stop(within).await;
    }
}

fn infallible<A>(agent: A) -> Result<A, std::convert::Infallible> {
    Ok(agent)
}

/// The supervisor's surroundings, with quarantined envelopes reported to log and audit.
fn surroundings(
    audit: &Arc<AuditLog>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Surroundings {
    let (log, clock_, entropy_) = (Arc::clone(audit), clock.clone(), entropy.clone());
    let runtime = tokio::runtime::Handle::current();
    Surroundings {
        clock: clock.clone(),
        entropy: entropy.clone(),
        on_quarantine: Arc::new(move |quarantined| {
            tracing::error!(
                agent = %quarantined.agent,
                envelope = %quarantined.envelope,
                correlation = %quarantined.context.correlation,
                "a request crashed its agent too often and was set aside"
            );
            let id = Id::generate(clock_.now(), &*entropy_);
            let record = Record::new(
                id,
                clock_.now(),
                &quarantined.context,
                "agent.quarantine",
                Outcome::Failed,
            )
            .detail(format!("{} {}", quarantined.agent, quarantined.envelope));
            let log = Arc::clone(&log);
            runtime.spawn(async move {
                if let Err(error) = log.append_essential(&record).await {
                    tracing::error!(%error, "a quarantined request could not be recorded");
                }
            });
        }),
        ..Surroundings::system()
    }
}
