//! What a backup says of itself: in the clear before its frames, and sealed at its end.

use std::collections::BTreeMap;

use pentad_keys::{RootCheck, framed::SALT_LEN};
use pentad_model::{Id, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Fault;

/// The form of rows, blocks, recipe and manifest that this program writes, and the newest that it
/// reads.
pub const FORMAT: u32 = 1;

/// In the clear, so that a directory of backups can be listed, and the right key be asked for, without
/// one. Each frame is bound to it: it is believed once one was opened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// See [`FORMAT`].
    pub format: u32,
    /// The backup's name.
    pub id: Id,
    /// The backup that this one is an increment of.
    pub parent: Option<Id>,
    /// When it was begun.
    pub taken_at: Timestamp,
    /// The audit log's name: which store this is.
    pub log: String,
    /// By which its root key is recognised.
    pub check: RootCheck,
    /// The store's own word on where its root key comes from. Not secret.
    pub root: serde_json::Value,
    /// The salt of the file's key, 32 bytes in hexadecimal.
    pub salt: String,
}

impl Header {
    /// From a file's bytes.
    ///
    /// # Errors
    /// [`Fault::Damaged`] if they are no header; [`Fault::Invalid`] if a newer Pentad wrote them.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        let damaged = |_| Fault::Damaged {
            message: "the backup's header is damaged; use another copy of the file".to_owned(),
        };
        let form: Form = serde_json::from_slice(bytes).map_err(damaged)?;
        if form.format > FORMAT {
            return Err(Fault::invalid(format!(
                "the backup has format {}, this pentad knows formats up to {FORMAT}: use the newer \
                 pentad",
                form.format
            )));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// The salt of the file's key.
    ///
    /// # Errors
    /// [`Fault::Damaged`].
    pub fn salt(&self) -> Result<[u8; SALT_LEN], Fault> {
        let mut salt = [0; SALT_LEN];
        hex::decode_to_slice(&self.salt, &mut salt).map_err(|_| Fault::Damaged {
            message: "the backup's header is damaged; use another copy of the file".to_owned(),
        })?;
        Ok(salt)
    }
}

/// What a backup holds in all.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Rows, by their sort.
    pub rows: BTreeMap<String, u64>,
    /// Blocks in the recipe.
    pub blocks: u64,
    /// Blocks in this file.
    pub new_blocks: u64,
    /// The SHA-256 of the recipe, in hexadecimal.
    pub recipe: String,
    /// The number of the first frame of the recipe.
    pub recipe_from: u64,
    /// The audit log.
    pub log: LogState,
    /// Which Pentad wrote it.
    pub version: String,
}

/// How far the audit log in a backup reaches.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LogState {
    /// How many records it has.
    pub size: u64,
    /// The root over them (RFC 9162), in hexadecimal.
    pub root: String,
    /// A signed checkpoint of so many of them or fewer (C2SP tlog-checkpoint).
    pub checkpoint: String,
    /// The key that verifies it, in C2SP form.
    pub key: String,
}
