//! One moment of the whole store, row by row: what a backup is made of.
//!
//! A store hands out every row as it was at one moment, while others go on writing; what is missing
//! at the end is an error, never a shorter store. Rows keep the form in which their objects are
//! stored anywhere, the object's JSON, so that a backup of one store can be loaded into another.

use pentad_model::{Credential, Record, Rotation, Sealed, Timestamp, Version};
use tokio::sync::mpsc;

use crate::{Document, StoreError};

macro_rules! tables {
    ($($(#[$doc:meta])* $variant:ident = $tag:literal => $text:literal),+ $(,)?) => {
        /// What sorts of row there are, in the order in which a snapshot has them: what refers to
        /// something comes after it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Table { $($(#[$doc])* $variant = $tag),+ }

        impl Table {
            /// Every sort.
            pub const ALL: &'static [Table] = &[$(Table::$variant),+];

            /// Its name in manifests and messages.
            pub fn as_str(self) -> &'static str {
                match self { $(Table::$variant => $text),+ }
            }

            /// Its number in a backup; never given to another sort.
            pub fn tag(self) -> u8 {
                self as u8
            }

            /// The sort with this number.
            pub fn of_tag(tag: u8) -> Option<Self> {
                match tag { $($tag => Some(Table::$variant),)+ _ => None }
            }
        }
    };
}

tables! {
    /// Credentials' metadata.
    Credentials = 1 => "credentials",
    /// Versions, with their sealed values.
    Versions = 2 => "versions",
    /// Rotations.
    Rotations = 3 => "rotations",
    /// Documents.
    Documents = 4 => "documents",
    /// Audit records that are not in the audit log for certain, oldest first.
    Outbox = 5 => "records",
}

/// One row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Which sort.
    pub table: Table,
    /// What tells it from others of its sort, as long as it exists: `tenant/path`.
    pub key: String,
    /// The object's JSON, as [`Row::parse`] reads it.
    pub body: Vec<u8>,
    /// A version's sealed value.
    pub sealed: Option<Vec<u8>>,
    /// When a version's value was destroyed.
    pub destroyed_at: Option<Timestamp>,
}

/// A row's object.
#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    /// A credential.
    Credential(Credential),
    /// A version, and when its value was destroyed.
    Version(Version, Option<Timestamp>),
    /// A rotation.
    Rotation(Rotation),
    /// A document, with the revision that it has.
    Document(Document),
    /// A record on its way to the audit log.
    Record(Record),
}

impl Row {
    /// The object.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is none of its sort.
    pub fn parse(&self) -> Result<Item, StoreError> {
        let body = &self.body;
        let parsed = match self.table {
            Table::Credentials => serde_json::from_slice(body).map(Item::Credential),
            Table::Versions => serde_json::from_slice(body).map(|version: Version| {
                let sealed = self.sealed.clone().map(Sealed::from_bytes);
                Item::Version(Version { sealed, ..version }, self.destroyed_at)
            }),
            Table::Rotations => serde_json::from_slice(body).map(Item::Rotation),
            Table::Documents => serde_json::from_slice(body).map(Item::Document),
            Table::Outbox => serde_json::from_slice(body).map(Item::Record),
        };
        parsed.map_err(|error| StoreError::Corrupt {
            what: format!("{} `{}`", self.table.as_str(), self.key),
            reason: error.to_string(),
        })
    }
}

/// A new store that is filled with the rows of a snapshot: there whole once it is finished, or not at
/// all. Its calls block.
pub trait Load: Send {
    /// Adds an object: credentials before their versions.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if it was added before; it may be told later.
    fn insert(&mut self, item: &Item) -> Result<(), StoreError>;

    /// Makes the store durable, and there.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Fatal`], [`StoreError::Unavailable`].
    fn finish(self: Box<Self>) -> Result<(), StoreError>;
}

impl Load for crate::sqlite::Loader {
    fn insert(&mut self, item: &Item) -> Result<(), StoreError> {
        Self::insert(self, item)
    }

    fn finish(self: Box<Self>) -> Result<(), StoreError> {
        Self::finish(*self)
    }
}

/// A snapshot that is being read. Dropping it ends it.
#[derive(Debug)]
pub struct Snapshot {
    /// How many rows there are of each sort.
    pub counts: Vec<(Table, u64)>,
    batches: mpsc::Receiver<Batch>,
}

/// What a store sends.
pub(crate) enum Batch {
    /// Rows.
    Rows(Vec<Row>),
    /// That was all.
    End,
    /// It can't go on.
    Failed(StoreError),
}

impl Snapshot {
    pub(crate) fn new(counts: Vec<(Table, u64)>, batches: mpsc::Receiver<Batch>) -> Self {
        Self { counts, batches }
    }

    /// The next rows; `None` once all were handed out.
    ///
    /// # Errors
    /// Whatever keeps the rest from being read: then there is no backup.
    pub async fn next(&mut self) -> Result<Option<Vec<Row>>, StoreError> {
        match self.batches.recv().await {
            Some(Batch::Rows(rows)) => Ok(Some(rows)),
            Some(Batch::End) => Ok(None),
            Some(Batch::Failed(error)) => Err(error),
            None => Err(StoreError::Unavailable {
                reason: "its snapshot ended early".to_owned(),
            }),
        }
    }
}
