//! The write model. One [`Change`] is one act.

use pentad_model::{
    Credential, Id, Path, Record, Rotation, Stage, Tenant, Timestamp, Version, secret::Fingerprint,
};
use serde::{Deserialize, Serialize};

/// One act: operations that take effect together, with the audit records that tell of it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Change {
    /// In order. Each sees the effects of those before it.
    pub ops: Vec<Op>,
    /// Written to the outbox in the same transaction; a record whose id is there already, or was
    /// within the last day, is not written again, and the whole change is then taken as done
    /// before ([`Change::commit` is idempotent by its first record's id](crate::Writer::commit)).
    pub records: Vec<Record>,
}

/// One operation with its precondition.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// A new credential. Precondition: none at that path, deleted or not.
    CreateCredential {
        /// With `revision` 1.
        credential: Credential,
    },
    /// New metadata for a credential. Precondition: the stored revision is `expect`.
    UpdateCredential {
        /// With `revision` greater than `expect`.
        credential: Credential,
        /// The revision that the caller saw.
        expect: u64,
    },
    /// Removes a credential and its versions for good. Precondition: the stored revision is
    /// `expect` and it is soft-deleted.
    RemoveCredential {
        /// Whose.
        tenant: Tenant,
        /// Which.
        path: Path,
        /// The revision that the caller saw.
        expect: u64,
    },
    /// A new version. Precondition: the credential exists, and that number is unused.
    AddVersion {
        /// The version.
        version: Version,
    },
    /// Moves a version to another stage. Precondition: it is in stage `from`.
    SetStage {
        /// Whose.
        tenant: Tenant,
        /// Which credential's.
        path: Path,
        /// Which version.
        number: u32,
        /// The stage that the caller saw.
        from: Stage,
        /// The stage to go to.
        to: Stage,
        /// The MAC over the new stage.
        mac: Fingerprint,
        /// When.
        at: Timestamp,
    },
    /// Forgets a version's sealed value; its metadata stays. Precondition: the version exists, is in
    /// stage `stage`, and is not current, neither by that nor by its credential's `current`.
    /// Forgetting it twice is no error.
    DestroyVersion {
        /// Whose.
        tenant: Tenant,
        /// Which credential's.
        path: Path,
        /// Which version.
        number: u32,
        /// The stage that the caller saw.
        stage: Stage,
        /// When.
        at: Timestamp,
    },
    /// A new rotation. Precondition: the credential exists and has no unfinished one; the
    /// rotation's id is unused.
    CreateRotation {
        /// With `revision` 1.
        rotation: Rotation,
    },
    /// Moves a rotation, never to another credential. Precondition: the stored revision is
    /// `expect`. This is the fence: whoever lost the lease has lost the revision too.
    UpdateRotation {
        /// With `revision` greater than `expect`.
        rotation: Rotation,
        /// The revision that the caller saw.
        expect: u64,
    },
    /// Writes a small object: a target, role, user, token, policy, wrapped key.
    PutDocument {
        /// The object; its `revision` is set by the store.
        document: Document,
        /// Precondition.
        expect: Expect,
    },
    /// Removes a small object. Precondition: it exists and has not expired.
    RemoveDocument {
        /// Which collection.
        collection: Collection,
        /// Whose.
        tenant: Tenant,
        /// Its name.
        name: String,
    },
    /// Changes nothing: ties the change to a document that it was decided by. Precondition: what is
    /// expected of the document holds.
    CheckDocument {
        /// Which collection.
        collection: Collection,
        /// Whose.
        tenant: Tenant,
        /// Its name.
        name: String,
        /// Precondition.
        expect: Expect,
    },
}

/// What must be true of a document before it is written, or something else is. One that has expired by the store's clock
/// does not exist, swept or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// Nothing.
    Any,
    /// It does not exist.
    Absent,
    /// It exists at this revision.
    Revision(u64),
}

macro_rules! collections {
    ($($(#[$doc:meta])* $variant:ident => $text:literal),+ $(,)?) => {
        /// What sorts of small object there are.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Collection { $($(#[$doc])* $variant),+ }

        impl Collection {
            /// Every collection.
            pub const ALL: &'static [Collection] = &[$(Collection::$variant),+];

            /// Its name in the store.
            pub fn as_str(self) -> &'static str {
                match self { $(Collection::$variant => $text),+ }
            }
        }
    };
}

collections! {
    /// Tenants.
    Tenant => "tenant",
    /// Targets, by name.
    Target => "target",
    /// Where credentials' values go, by path: what their own `binding` is held against.
    Binding => "binding",
    /// Roles, by name.
    Role => "role",
    /// Users, by name.
    User => "user",
    /// Tokens, by the SHA-256 of their secret half.
    Token => "token",
    /// Credential policies, by name.
    Policy => "policy",
    /// Compliance rule sets of a tenant's own, by id.
    Compliance => "compliance",
    /// Retention rules, by name.
    Retention => "retention",
    /// What is left of credentials that were removed for good, by path: their last version number.
    Removed => "removed",
    /// Wrapped tenant keys and the root key's check value.
    Key => "key",
    /// Answers already given, by idempotency key; they hold no plaintext.
    Idempotency => "idempotency",
    /// Batches of rotations, by id.
    Batch => "batch",
    /// What the system notes for itself, such as the audit log's high-water mark.
    State => "state",
    /// Quarantined envelopes, by id.
    Quarantine => "quarantine",
}

/// A small object, as JSON.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Document {
    /// Its sort.
    pub collection: Collection,
    /// Whose it is.
    pub tenant: Tenant,
    /// Its name within tenant and collection.
    pub name: String,
    /// Counts changes; set by the store.
    pub revision: u64,
    /// Swept some time after then, and never returned from then on.
    pub expires_at: Option<Timestamp>,
    /// Its content.
    pub body: serde_json::Value,
    /// A MAC over all of the above, by whoever holds the keys; the store neither makes nor checks
    /// it. Stored as part of the object, and as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Fingerprint>,
}

impl Change {
    /// An act of one operation and one record.
    pub fn new(op: Op, record: Record) -> Self {
        Self {
            ops: vec![op],
            records: vec![record],
        }
    }

    /// The id that makes committing it again harmless.
    pub fn id(&self) -> Option<Id> {
        self.records.first().map(|record| record.id)
    }
}
