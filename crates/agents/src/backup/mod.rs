//! Backups: what is in one, how it is made, and how a store comes out of it again.
//!
//! A backup is one moment of the whole store and its audit log, in one file that is written from its
//! beginning to its end. Values are in it as the store has them, sealed under their tenants' keys, and
//! the file is sealed once more as a whole, in [frames](pentad_keys::framed) under a key that is
//! derived from the root key. The root key itself is not in it, unless somebody adds it under a
//! passphrase ([`Recovery`](pentad_keys::root::recovery::Recovery), the file's note).
//!
//! | frames of kind | hold |
//! |---|---|
//! | [`BLOCKS`] | [blocks](blocks): some rows of the store, or a piece of the log |
//! | [`RECIPE`] | the SHA-256 of every block that the backup is made of, in order |
//! | [`MANIFEST`] | the last frame: what there is in all ([`Manifest`]) |
//!
//! **An increment** has the same recipe as a full backup would have, and only those blocks that its
//! parent's recipe does not name; the others are in the parent, or in the parent's parent. Nothing has
//! to be kept in the store for that: what was changed, added or removed makes another block, whatever
//! changed it. So an increment is as sound as SHA-256, and restoring one needs all files back to the
//! full one, its [`Chain`].
//!
//! What always holds: a store comes out of a backup only after every frame of every file was opened
//! in its place, every block was found under its digest, and what the manifest counts was counted.
//!
//! | module | holds |
//! |---|---|
//! | [`header`] | what stands in the clear before the frames; the manifest |
//! | [`blocks`] | rows and pieces of the log as blocks |
//! | [`assemble`] | blocks into frames, and the recipe |
//! | [`chain`] | reading files back, the increment with its parents |
//! | [`restore`] | a store in a new directory, in doubt of its targets |

pub mod assemble;
pub mod blocks;
pub mod chain;
pub mod header;
pub mod restore;

pub use chain::{Chain, ChainError};
pub use header::{Header, LogState, Manifest};

/// Blocks.
pub const BLOCKS: u8 = 1;
/// Digests of blocks.
pub const RECIPE: u8 = 2;
/// What there is in all; the last one.
pub const MANIFEST: u8 = 3;

/// The file name's ending.
pub const EXTENSION: &str = "pentad-backup";
