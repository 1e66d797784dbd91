//! A segment's blocks, read and their records hashed on a thread of their own, ahead of whoever
//! checks them: verification takes the longer of both times and not their sum.
//!
//! Bounded: so many blocks wait for the checker at most, and a block has 4 MiB at most.

use std::{
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use super::{
    block::{self, Block, Flaw},
    error::AuditError,
    hash::{Hash, leaf_hash},
    segment::{Halt, Walk},
};

/// Blocks that wait for the checker at most.
const AHEAD: usize = 4;

/// What a walk over a segment comes by, in order.
pub(super) enum Step {
    /// A whole block.
    Block {
        /// Where it begins in the file.
        offset: u64,
        block: Block,
        bytes: Vec<u8>,
        /// Of each record.
        hashes: Vec<Hash>,
    },
    /// Bytes that are no block; the walk goes on with the next whole one behind them.
    Flaw { offset: u64, flaw: Flaw },
}

/// Has `check` look at the steps of a walk over the segment at `path`, as they come.
///
/// # Errors
/// [`AuditError::Io`] if the segment can't be read, after what came before was checked.
pub(super) fn walk(path: &Path, mut check: impl FnMut(Step)) -> Result<(), AuditError> {
    thread::scope(|scope| {
        let (steps, ahead): (SyncSender<_>, Receiver<_>) = sync_channel(AHEAD);
        thread::Builder::new()
            .name("audit-reader".to_owned())
            .spawn_scoped(scope, move || {
                // A checker that went away wants nothing more.
                let send = |step| steps.send(step).is_ok();
                if let Err(error) = read(path, |step| send(Ok(step))) {
                    send(Err(error));
                }
            })
            .map_err(|error| AuditError::io(path, &error))?;
        ahead.into_iter().try_for_each(|step| {
            check(step?);
            Ok(())
        })
    })
}

fn read(path: &Path, mut send: impl FnMut(Step) -> bool) -> Result<(), AuditError> {
    let mut walk = Walk::open(path)?;
    loop {
        let step = match walk.next() {
            Ok(None) => return Ok(()),
            Ok(Some((offset, block, bytes))) => Step::Block {
                offset,
                hashes: block
                    .leaves
                    .iter()
                    .map(|leaf| leaf_hash(&bytes[leaf.clone()]))
                    .collect(),
                block,
                bytes: bytes.to_vec(),
            },
            Err(Halt::Io(error)) => return Err(error),
            Err(Halt::Flaw(offset, flaw)) => {
                if !send(Step::Flaw { offset, flaw }) {
                    return Ok(());
                }
                let rest = walk.rest(offset)?;
                let Some((step, _)) = block::find(&rest, 1) else {
                    return Ok(());
                };
                walk.jump(offset + step as u64)?;
                continue;
            }
        };
        if !send(step) {
            return Ok(());
        }
    }
}
