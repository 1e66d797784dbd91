//! Blocks into frames, and the recipe that names them all.

use std::collections::{BTreeMap, HashSet};

use pentad_keys::framed::{MAX_PLAIN, address};
use pentad_store::snapshot::{Row, Table};

use super::{
    BLOCKS, MANIFEST, RECIPE,
    blocks::{Gather, piece},
    header::{LogState, Manifest},
};
use crate::Fault;

/// Bytes of blocks after which a frame is full; the next block may make it longer.
const FULL: usize = 1 << 20;

/// The SHA-256 of a block.
pub type Digest = [u8; 32];

/// A frame's content, to be sealed at its place.
pub struct Plain {
    /// What it holds.
    pub kind: u8,
    /// Whether it is the last.
    pub last: bool,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Makes frames of rows and of the log, in the order in which they are to stand in the file.
pub struct Assembler {
    /// Blocks that need not be written: the parent's, and those that were.
    known: HashSet<Digest>,
    gather: Gather,
    frame: Vec<u8>,
    recipe: Vec<u8>,
    rows: BTreeMap<String, u64>,
    blocks: u64,
    new_blocks: u64,
    frames: u64,
}

impl Assembler {
    /// Leaves out the blocks that a parent has.
    pub fn new(parent: HashSet<Digest>) -> Self {
        let rows = Table::ALL
            .iter()
            .map(|table| (table.as_str().to_owned(), 0))
            .collect();
        Self {
            known: parent,
            gather: Gather::default(),
            frame: Vec::new(),
            recipe: Vec::new(),
            rows,
            blocks: 0,
            new_blocks: 0,
            frames: 0,
        }
    }

    /// Adds a row; answers frames that are full.
    ///
    /// # Errors
    /// [`Fault::Invalid`] if the row is longer than a frame can be.
    pub fn row(&mut self, row: &Row) -> Result<Vec<Plain>, Fault> {
        *self.rows.entry(row.table.as_str().to_owned()).or_default() += 1;
        let mut frames = Vec::new();
        for block in self.gather.row(row) {
            frames.extend(self.block(&block)?);
        }
        Ok(frames)
    }

    /// Adds a piece of the log.
    ///
    /// # Errors
    /// As [`row`](Self::row).
    pub fn log(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<Vec<Plain>, Fault> {
        let mut frames = Vec::new();
        if let Some(rest) = self.gather.rest() {
            frames.extend(self.block(&rest)?);
        }
        frames.extend(self.block(&piece(name, offset, bytes))?);
        Ok(frames)
    }

    fn block(&mut self, block: &[u8]) -> Result<Option<Plain>, Fault> {
        let digest = address(block);
        self.recipe.extend_from_slice(&digest);
        self.blocks += 1;
        if !self.known.insert(digest) {
            return Ok(None);
        }
        self.new_blocks += 1;
        if block.len() + 4 > MAX_PLAIN {
            return Err(Fault::invalid(
                "a row of the store is longer than a backup can hold",
            ));
        }
        let full = self.frame.len() + 4 + block.len() > MAX_PLAIN;
        let before = full.then(|| self.flush());
        let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
        self.frame.extend_from_slice(&length.to_be_bytes());
        self.frame.extend_from_slice(block);
        match before {
            Some(frame) => Ok(Some(frame)),
            None if self.frame.len() >= FULL => Ok(Some(self.flush())),
            None => Ok(None),
        }
    }

    fn flush(&mut self) -> Plain {
        self.frames += 1;
        Plain {
            kind: BLOCKS,
            last: false,
            bytes: std::mem::take(&mut self.frame),
        }
    }

    /// The rest: blocks, recipe, manifest.
    ///
    /// # Errors
    /// As [`row`](Self::row).
    pub fn finish(mut self, log: LogState) -> Result<(Vec<Plain>, Manifest), Fault> {
        let mut frames = Vec::new();
        if let Some(rest) = self.gather.rest() {
            frames.extend(self.block(&rest)?);
        }
        if !self.frame.is_empty() {
            frames.push(self.flush());
        }
        let manifest = Manifest {
            rows: self.rows,
            blocks: self.blocks,
            new_blocks: self.new_blocks,
            recipe: hex::encode(address(&self.recipe)),
            recipe_from: self.frames,
            log,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        for part in self.recipe.chunks(FULL) {
            frames.push(Plain {
                kind: RECIPE,
                last: false,
                bytes: part.to_vec(),
            });
        }
        let bytes =
            serde_json::to_vec(&manifest).map_err(|error| Fault::internal(error.to_string()))?;
        frames.push(Plain {
            kind: MANIFEST,
            last: true,
            bytes,
        });
        Ok((frames, manifest))
    }
}

/// The digests of a recipe.
///
/// # Errors
/// [`Fault::Damaged`] if it is none.
pub fn digests(recipe: &[u8]) -> Result<impl Iterator<Item = Digest> + '_, Fault> {
    let (digests, rest) = recipe.as_chunks::<32>();
    match rest.is_empty() {
        true => Ok(digests.iter().copied()),
        false => Err(Fault::Damaged {
            message: "the backup's recipe is cut".to_owned(),
        }),
    }
}
