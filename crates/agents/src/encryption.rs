//! The encryption agent: the only one that holds keys.
//!
//! It generates, seals, opens, and hands a plaintext on only as a one-use ticket for a named
//! bearer. It refuses to open a version whose stage label does not carry our MAC: whoever can write
//! to the store still can't promote an old version. The keyring outlives a restart of the agent: it
//! came from a key file or from a passphrase that nobody is there to type again.

use std::{sync::Arc, time::Duration};

use pentad_keys::{
    Binding, Keyring, WrappedTenantKey, document::Document as Spoken, generate, password,
};
use pentad_model::{
    Clock, Context, Id, Path, Sealed, Secret, Stage, Tenant,
    id::Entropy,
    kind::{Alphabet, Generator},
    secret::Fingerprint,
};
use pentad_runtime::{Agent, Envelope};
use pentad_store::{Collection, Document, Reader};

use crate::{
    Fault,
    contract::encryption::{
        BeginBackup, CheckDocuments, CheckPassword, CheckpointKey, Decoy, Draft, Drafted, Encrypts,
        FingerprintOf, HashPassword, Move, Open, OpenCursor, OpenFrame, Opened, OpenedFrame,
        Operate, Operated, Prove, Reply, Request, Seal, SealCursor, SealDocuments, SealFrame,
        SealedValue, SignCheckpoint, StageMacs, TenantKey, dispatch,
    },
    handoff::{Bearer, Deposit, Handoff, Ticket},
};

mod backup;
mod cursor;
mod operate;

/// The document that holds a tenant's wrapped key.
pub const TENANT_KEY: &str = "tenant";

/// See the module.
#[derive(Clone)]
pub struct Encryption {
    /// The keys.
    pub keyring: Arc<Keyring>,
    /// Where the wrapped tenant keys are.
    pub reader: Arc<dyn Reader>,
    /// Where plaintext changes hands.
    pub handoff: Handoff,
    /// For the validity of certificates.
    pub clock: Arc<dyn Clock>,
    /// For everything random.
    pub entropy: Arc<dyn Entropy>,
}

impl Agent for Encryption {
    const NAME: &'static str = "encryption";
    const COMPUTES: bool = true;
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
        // The longest is a pair of RSA keys on a busy machine; nothing outside is waited for.
        if Self::is_heavy(request) {
            Duration::from_secs(10)
        } else {
            Duration::from_secs(1)
        }
    }

    /// Some microseconds of AES and HMAC; only a tenant's first request waits, for its key.
    fn is_brief(request: &Request) -> bool {
        matches!(
            request,
            Request::Open(_)
                | Request::Seal(_)
                | Request::StageMacs(_)
                | Request::SealDocuments(_)
                | Request::CheckDocuments(_)
        )
    }

    fn is_heavy(request: &Request) -> bool {
        match request {
            Request::HashPassword(_) | Request::CheckPassword(_) | Request::Operate(_) => true,
            Request::Draft(draft) => generate::is_heavy(&draft.generator),
            _ => false,
        }
    }
}

impl Encrypts for Encryption {
    async fn seal(&self, context: &Context, ask: Seal) -> Result<SealedValue, Fault> {
        let value = self.handoff.redeem(ask.value, Bearer::Encryption)?;
        let binding = Binding {
            tenant: &context.tenant,
            path: &ask.path,
            version: ask.number,
            kind: ask.kind,
        };
        self.sealed(&binding, ask.stage, &ask.moves, &value).await
    }

    async fn draft(&self, context: &Context, ask: Draft) -> Result<Drafted, Fault> {
        let made = generate::generate(&ask.generator, self.clock.now(), &*self.entropy)
            .map_err(|error| Fault::invalid(error.to_string()))?;
        let binding = Binding {
            tenant: &context.tenant,
            path: &ask.path,
            version: ask.number,
            kind: ask.kind,
        };
        Ok(Drafted {
            value: self.sealed(&binding, ask.stage, &ask.moves, &made).await?,
            to_judge: self
                .handoff
                .deposit(&context.tenant, made, Bearer::Validation)?
                .leave(),
            drawn_bits: generate::drawn_bits(&ask.generator),
        })
    }

    async fn open(&self, context: &Context, ask: Open) -> Result<Opened, Fault> {
        let value = self.unsealed(context, &ask).await?;
        let value_mac = self
            .keyring
            .audit_mac(&value)
            .map_err(|error| self.fault(&ask.path, ask.number, &error))?;
        Ok(Opened {
            ticket: self
                .handoff
                .deposit(&context.tenant, value, ask.bearer)?
                .leave(),
            value_mac,
        })
    }

    async fn operate(&self, context: &Context, ask: Operate) -> Result<Operated, Fault> {
        let key = self.unsealed(context, &ask.key).await?;
        operate::operate(self, &context.tenant, &ask.key, &key, ask.work)
    }

    async fn decoy(&self, context: &Context, _: Decoy) -> Result<Ticket, Fault> {
        let recipe = Generator::Password {
            length: 32,
            alphabet: Alphabet::Alphanumeric,
        };
        let value = generate::generate(&recipe, self.clock.now(), &*self.entropy)
            .map_err(|error| Fault::internal(error.to_string()))?;
        self.handoff
            .deposit(&context.tenant, value, Bearer::Integration)
            .map(Deposit::leave)
    }

    async fn stage_macs(
        &self,
        context: &Context,
        ask: StageMacs,
    ) -> Result<Vec<Fingerprint>, Fault> {
        self.loaded(&context.tenant).await?;
        self.moved(&context.tenant, &ask.path, &ask.moves)
    }

    async fn seal_documents(
        &self,
        context: &Context,
        ask: SealDocuments,
    ) -> Result<Vec<Fingerprint>, Fault> {
        self.loaded(&context.tenant).await?;
        let internal = |error: String| Fault::internal(error);
        ask.documents
            .iter()
            .map(|document| {
                if document.tenant != context.tenant {
                    return Err(internal("a document of another tenant".to_owned()));
                }
                // As it will be read: a fraction may come back as its neighbour.
                let written = document.body.to_string();
                let read: serde_json::Value =
                    serde_json::from_str(&written).map_err(|error| internal(error.to_string()))?;
                self.keyring
                    .seal_document(&spoken_of(document, &read.to_string()))
                    .map_err(|error| internal(error.to_string()))
            })
            .collect()
    }

    async fn check_documents(
        &self,
        context: &Context,
        ask: CheckDocuments,
    ) -> Result<Vec<bool>, Fault> {
        self.loaded(&context.tenant).await?;
        let check = |document: &Document| {
            let Some(seal) = document.seal.filter(|_| document.tenant == context.tenant) else {
                return Ok(false);
            };
            let body = document.body.to_string();
            match self
                .keyring
                .check_document(&spoken_of(document, &body), &seal)
            {
                Ok(()) => Ok(true),
                Err(pentad_keys::Error::DocumentForged) => Ok(false),
                Err(error) => Err(Fault::internal(error.to_string())),
            }
        };
        ask.documents.iter().map(check).collect()
    }

    async fn hash_password(&self, _: &Context, ask: HashPassword) -> Result<String, Fault> {
        let value = self.handoff.redeem(ask.password, Bearer::Encryption)?;
        password::hash(&value, &*self.entropy).map_err(|error| Fault::invalid(error.to_string()))
    }

    async fn check_password(&self, _: &Context, ask: CheckPassword) -> Result<bool, Fault> {
        let value = self.handoff.redeem(ask.password, Bearer::Encryption)?;
        match ask.hash {
            Some(hash) => password::verify(&value, &hash).map_err(|error| Fault::Damaged {
                message: error.to_string(),
            }),
            None => {
                password::dummy_verify(&value);
                Ok(false)
            }
        }
    }

    async fn tenant_key(
        &self,
        context: &Context,
        _: TenantKey,
    ) -> Result<serde_json::Value, Fault> {
        let wrapped = self
            .keyring
            .create_tenant_key(&context.tenant)
            .map_err(|error| Fault::internal(error.to_string()))?;
        serde_json::to_value(wrapped).map_err(|error| Fault::internal(error.to_string()))
    }

    async fn fingerprint(
        &self,
        context: &Context,
        ask: FingerprintOf,
    ) -> Result<Fingerprint, Fault> {
        self.loaded(&context.tenant).await?;
        let value = self.handoff.redeem(ask.value, Bearer::Encryption)?;
        self.keyring
            .fingerprint(&context.tenant, &value)
            .map_err(|error| Fault::internal(error.to_string()))
    }

    async fn begin_backup(&self, _: &Context, ask: BeginBackup) -> Result<Vec<u8>, Fault> {
        backup::begin(self, ask)
    }

    async fn seal_frame(&self, _: &Context, ask: SealFrame) -> Result<Vec<u8>, Fault> {
        backup::seal(self, &ask)
    }

    async fn open_frame(&self, _: &Context, ask: OpenFrame) -> Result<OpenedFrame, Fault> {
        backup::open(self, &ask)
    }

    async fn prove(&self, context: &Context, ask: Prove) -> Result<Vec<Option<String>>, Fault> {
        let mut found = Vec::with_capacity(ask.versions.len());
        for (kind, version) in &ask.versions {
            found.push(backup::prove(self, context, *kind, version).await?);
        }
        Ok(found)
    }

    async fn seal_cursor(&self, context: &Context, ask: SealCursor) -> Result<Sealed, Fault> {
        self.loaded(&context.tenant).await?;
        cursor::seal(&self.keyring, &context.tenant, &ask.path)
    }

    async fn open_cursor(&self, context: &Context, ask: OpenCursor) -> Result<Path, Fault> {
        self.loaded(&context.tenant).await?;
        cursor::open(&self.keyring, &context.tenant, &ask.sealed)
    }

    async fn sign_checkpoint(&self, _: &Context, ask: SignCheckpoint) -> Result<Vec<u8>, Fault> {
        Ok(self.keyring.sign_checkpoint(ask.body.as_bytes()).to_vec())
    }

    async fn checkpoint_key(&self, _: &Context, _: CheckpointKey) -> Result<[u8; 32], Fault> {
        Ok(self.keyring.checkpoint_public_key())
    }
}

/// What a document's seal speaks of: all of it.
fn spoken_of<'d>(document: &'d Document, body: &'d str) -> Spoken<'d> {
    let Document {
        collection,
        tenant,
        name,
        revision,
        expires_at,
        body: _,
        seal: _,
    } = document;
    Spoken {
        collection: collection.as_str(),
        tenant,
        name,
        revision: *revision,
        expires_at: *expires_at,
        body,
    }
}

impl Encryption {
    /// A version's value, if the version is what we sealed and in the stage that we put it.
    async fn unsealed(&self, context: &Context, ask: &Open) -> Result<Secret, Fault> {
        let tenant = &context.tenant;
        self.loaded(tenant).await?;
        let fault = |error: pentad_keys::Error| self.fault(&ask.path, ask.number, &error);
        self.keyring
            .check_stage(tenant, &ask.path, ask.number, ask.stage, &ask.stage_mac)
            .map_err(fault)?;
        let binding = Binding {
            tenant,
            path: &ask.path,
            version: ask.number,
            kind: ask.kind,
        };
        self.keyring.open(&binding, &ask.sealed).map_err(fault)
    }

    /// The MACs of stages that versions enter, once the tenant's key is loaded; refused where one is by
    /// somebody else's hand where it is.
    fn moved(
        &self,
        tenant: &Tenant,
        path: &Path,
        moves: &[Move],
    ) -> Result<Vec<Fingerprint>, Fault> {
        let mac = |it: &Move| {
            let keyring = &self.keyring;
            let is_ours = match (it.to, &it.label) {
                (Stage::Retired, _) => Ok(()),
                (_, Some(label)) => keyring.check_stage(tenant, path, it.number, it.from, label),
                (_, None) => Err(pentad_keys::Error::StageForged),
            };
            is_ours
                .and_then(|()| keyring.stage_mac(tenant, path, it.number, it.to))
                .map_err(|error| self.fault(path, it.number, &error))
        };
        moves.iter().map(mac).collect()
    }

    async fn sealed(
        &self,
        binding: &Binding<'_>,
        stage: Stage,
        moves: &[Move],
        value: &Secret,
    ) -> Result<SealedValue, Fault> {
        let Binding {
            tenant,
            path,
            version: number,
            ..
        } = *binding;
        self.loaded(tenant).await?;
        let fault = |error: pentad_keys::Error| self.fault(path, number, &error);
        Ok(SealedValue {
            sealed: self.keyring.seal(binding, value).map_err(fault)?,
            fingerprint: self.keyring.fingerprint(tenant, value).map_err(fault)?,
            stage_mac: self
                .keyring
                .stage_mac(tenant, path, number, stage)
                .map_err(fault)?,
            moved: self.moved(tenant, path, moves)?,
            value_mac: self.keyring.audit_mac(value).map_err(fault)?,
        })
    }

    /// Sees to it that the tenant's key is unwrapped.
    async fn loaded(&self, tenant: &Tenant) -> Result<(), Fault> {
        if self.keyring.has_tenant(tenant) {
            return Ok(());
        }
        let now = self.clock.now();
        let stored = self
            .reader
            .document(Collection::Key, tenant, TENANT_KEY, now)
            .await?;
        let document = stored.ok_or_else(|| Fault::missing(format!("tenant `{tenant}`")))?;
        let damaged = |error: String| Fault::Damaged {
            message: format!("the key of tenant `{tenant}`: {error}"),
        };
        let wrapped: WrappedTenantKey =
            serde_json::from_value(document.body).map_err(|error| damaged(error.to_string()))?;
        if wrapped.tenant() != tenant {
            return Err(damaged("it is another tenant's".to_owned()));
        }
        self.keyring
            .load_tenant_key(&wrapped)
            .map_err(|error| damaged(error.to_string()))
    }

    fn fault(&self, path: &Path, number: u32, error: &pentad_keys::Error) -> Fault {
        match error {
            pentad_keys::Error::TooLarge { .. } => Fault::invalid(error.to_string()),
            pentad_keys::Error::Damaged | pentad_keys::Error::StageForged => Fault::Damaged {
                message: format!("`{path}` version {number}: {error}"),
            },
            _ => Fault::internal(error.to_string()),
        }
    }
}
