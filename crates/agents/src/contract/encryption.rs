//! What may be asked of the encryption agent.

use pentad_keys::operations::SignatureAlgorithm;
use pentad_model::{Id, Kind, Path, Sealed, Stage, Version, kind::Generator, secret::Fingerprint};
use pentad_store::Document;
use serde::{Deserialize, Serialize};

use crate::{
    Fault,
    handoff::{Bearer, Ticket},
};

super::contract! {
    /// What may be asked of the encryption agent. The tenant is the context's.
    agent "encryption" handled by Encrypts;

    /// Seals a value that somebody put.
    seal(Seal: Seal) -> SealedValue;
    /// Makes a new value and seals it.
    draft(Draft: Draft) -> Drafted;
    /// Opens a version for one use by a bearer.
    open(Open: Open) -> Opened;
    /// Works with a version that is a key, which stays where it is.
    operate(Operate: Operate) -> Operated;
    /// Makes a random value that belongs to nobody: the control of a probe.
    decoy(Decoy: Decoy) -> Ticket;
    /// MACs for stages that a version is about to enter.
    stage_macs(StageMacs: StageMacs) -> Vec<Fingerprint>;
    /// Seals documents as they are about to be written, each with the revision that it will have.
    seal_documents(SealDocuments: SealDocuments) -> Vec<Fingerprint>;
    /// For each of these documents, as they were read, whether it carries our seal.
    check_documents(CheckDocuments: CheckDocuments) -> Vec<bool>;
    /// Hashes a user's password.
    hash_password(HashPassword: HashPassword) -> String;
    /// Checks a user's password; without a hash it takes as long and answers no.
    check_password(CheckPassword: CheckPassword) -> bool;
    /// Makes a key for a new tenant, wrapped for the store.
    tenant_key(TenantKey: TenantKey) -> serde_json::Value;
    /// The keyed digest of a value: equal for equal values of the tenant.
    fingerprint(Fingerprint: FingerprintOf) -> Fingerprint;
    /// Makes the header of a backup that is about to be written.
    begin_backup(BeginBackup: BeginBackup) -> Vec<u8>;
    /// Seals a frame of a backup.
    seal_frame(SealFrame: SealFrame) -> Vec<u8>;
    /// Opens a frame of a backup.
    open_frame(OpenFrame: OpenFrame) -> OpenedFrame;
    /// Opens versions, compares them with their fingerprints, and forgets them: for each, what is
    /// wrong with it.
    prove(Prove: Prove) -> Vec<Option<String>>;
    /// Seals the path at which a listing stopped, for whoever may not know it.
    seal_cursor(SealCursor: SealCursor) -> Sealed;
    /// Opens what `seal_cursor` made.
    open_cursor(OpenCursor: OpenCursor) -> Path;
    /// Signs a checkpoint's body (Ed25519).
    sign_checkpoint(SignCheckpoint: SignCheckpoint) -> Vec<u8>;
    /// The public half of the checkpoint key.
    checkpoint_key(CheckpointKey: CheckpointKey) -> [u8; 32];
}

/// See [`Encrypts::seal`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seal {
    /// The credential.
    pub path: Path,
    /// Its kind.
    pub kind: Kind,
    /// The version's number.
    pub number: u32,
    /// The stage that it enters.
    pub stage: Stage,
    /// The value.
    pub value: Ticket,
    /// Other versions of the credential, and the stages that they are to enter with it.
    pub moves: Vec<Move>,
}

/// A version that is to enter another stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Move {
    /// Which.
    pub number: u32,
    /// Where it is.
    pub from: Stage,
    /// The MAC of that. A version that is there by somebody else's hand moves nowhere but to
    /// [`Stage::Retired`], for which none is needed: from there no value is tried.
    pub label: Option<Fingerprint>,
    /// Where to.
    pub to: Stage,
}

/// A sealed value with its keyed digests.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SealedValue {
    /// The sealed bytes.
    pub sealed: Sealed,
    /// Equal for equal values of the tenant.
    pub fingerprint: Fingerprint,
    /// Over the stage that it enters.
    pub stage_mac: Fingerprint,
    /// Over those that others enter with it, in the order asked.
    pub moved: Vec<Fingerprint>,
    /// For the audit record.
    pub value_mac: Fingerprint,
}

/// See [`Encrypts::draft`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Draft {
    /// The credential.
    pub path: Path,
    /// Its kind.
    pub kind: Kind,
    /// The version's number.
    pub number: u32,
    /// The stage that it enters.
    pub stage: Stage,
    /// How the value is made.
    pub generator: Generator,
    /// Other versions of the credential, and the stages that they are to enter with it.
    pub moves: Vec<Move>,
}

/// A value that was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Drafted {
    /// Sealed.
    pub value: SealedValue,
    /// For the validation agent to judge.
    pub to_judge: Ticket,
    /// From how many values it was drawn uniformly, as a power of two, if it is such a text.
    pub drawn_bits: Option<u16>,
}

/// See [`Encrypts::open`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Open {
    /// The credential.
    pub path: Path,
    /// Its kind.
    pub kind: Kind,
    /// The version's number.
    pub number: u32,
    /// Its stage, as stored.
    pub stage: Stage,
    /// The MAC over that stage, as stored.
    pub stage_mac: Fingerprint,
    /// The sealed bytes.
    pub sealed: Sealed,
    /// Who may use it.
    pub bearer: Bearer,
}

/// An opened value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// Good for one use by the bearer.
    pub ticket: Ticket,
    /// For the audit record.
    pub value_mac: Fingerprint,
}

/// See [`Encrypts::operate`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Operate {
    /// The version that is the key; its bearer is the encryption agent itself.
    pub key: Open,
    /// What to do with it.
    pub work: Vec<Work>,
}

/// One piece of work for a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "work", content = "with", rename_all = "snake_case")]
pub enum Work {
    /// Sign this.
    Sign(Ticket),
    /// Say whether this is the key's signature of that.
    Verify(Ticket, Vec<u8>),
    /// Encrypt this for the key.
    Encrypt(Ticket),
    /// Decrypt this.
    Decrypt(Vec<u8>),
    /// Tell the public key.
    Publish,
}

/// What became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Operated {
    /// What the key signs with; RSA keys encrypt too.
    pub algorithm: SignatureAlgorithm,
    /// In the order of the work, each apart: one that fails takes none of the others with it.
    pub pieces: Vec<Piece>,
}

/// One piece.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Piece {
    /// Of what was signed, verified, encrypted or decrypted: for the audit record.
    pub value_mac: Option<Fingerprint>,
    /// The product.
    pub product: Result<Product, Fault>,
}

/// What a key made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "product", content = "with", rename_all = "snake_case")]
pub enum Product {
    /// A signature or a ciphertext.
    Bytes(Vec<u8>),
    /// Whether the signature is right.
    Valid(bool),
    /// A plaintext, for one use by the interface.
    Plaintext(Ticket),
    /// A public key, PEM.
    PublicKey(String),
}

/// See [`Encrypts::decoy`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decoy {}

/// See [`Encrypts::stage_macs`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageMacs {
    /// The credential.
    pub path: Path,
    /// Versions and the stages that they are to enter.
    pub moves: Vec<Move>,
}

/// See [`Encrypts::seal_documents`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SealDocuments {
    /// All of the context's tenant.
    pub documents: Vec<Document>,
}

/// See [`Encrypts::check_documents`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckDocuments {
    /// Those of another tenant than the context's are not believed.
    pub documents: Vec<Document>,
}

/// See [`Encrypts::hash_password`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HashPassword {
    /// The password.
    pub password: Ticket,
}

/// See [`Encrypts::check_password`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckPassword {
    /// The password.
    pub password: Ticket,
    /// The stored hash, if there is such a user.
    pub hash: Option<String>,
}

/// See [`Encrypts::tenant_key`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantKey {}

/// See [`Encrypts::fingerprint`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FingerprintOf {
    /// The value.
    pub value: Ticket,
}

/// See [`Encrypts::begin_backup`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BeginBackup {
    /// The backup's name.
    pub id: Id,
    /// The backup that it is an increment of.
    pub parent: Option<Id>,
    /// The audit log's name.
    pub log: String,
    /// The store's word on where its root key comes from.
    pub root: serde_json::Value,
}

/// See [`Encrypts::seal_frame`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SealFrame {
    /// The file's header, as [`Encrypts::begin_backup`] made it.
    pub header: Vec<u8>,
    /// Where in the file it stands.
    pub number: u64,
    /// What it holds.
    pub kind: u8,
    /// Whether it is the last.
    pub last: bool,
    /// Its content: rows as they are stored, nothing that was opened.
    pub plain: Vec<u8>,
}

/// See [`Encrypts::open_frame`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenFrame {
    /// The file's header.
    pub header: Vec<u8>,
    /// Where in the file it stands.
    pub number: u64,
    /// All of its bytes.
    pub frame: Vec<u8>,
}

/// A frame's content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenedFrame {
    /// What it holds.
    pub kind: u8,
    /// Whether it is the last.
    pub last: bool,
    /// Its content.
    pub plain: Vec<u8>,
}

/// See [`Encrypts::prove`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Prove {
    /// With the kinds of their credentials, as stored.
    pub versions: Vec<(Kind, Version)>,
}

/// See [`Encrypts::seal_cursor`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SealCursor {
    /// The path.
    pub path: Path,
}

/// See [`Encrypts::open_cursor`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenCursor {
    /// As it was sealed.
    pub sealed: Sealed,
}

/// See [`Encrypts::sign_checkpoint`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignCheckpoint {
    /// The checkpoint's text without its signature.
    pub body: String,
}

/// See [`Encrypts::checkpoint_key`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckpointKey {}
