//! The power campaign: a file system that remembers what is durable, a real server on it, a cut at
//! a random moment, and the question what is there when it starts again.
//!
//! `kill -9` keeps the page cache; a power cut does not. So the server's directory is on a file
//! system of the campaign's own, which knows of every byte and every name whether an fsync has
//! covered it. At the cut it freezes, the server is killed, and the next one finds what was synced
//! and a random part of what was not: whole, torn, in its length alone, in any order.
//!
//! ```text
//! clients ──HTTP──▶ pentad server ──▶ FUSE ──▶ disk: now, and what is kept
//!    │                 kill -9                     │ cut
//!    └── ledger: what was acknowledged ◀──checks── disk: kept, and some of the rest
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`disk`] | files and names, as they are now and as they are kept |
//! | [`weather`] | chance: what of the unsynced survives a cut |
//! | [`faults`] | fsyncs that lie, and fsyncs that fail |
//! | [`mount`] | the disk as a file system, with the switch |
//! | [`clients`] | those who use the server meanwhile |
//! | [`ledger`] | what was acknowledged, and what was possible |
//! | [`check`] | after a start: is it there, is it on record |
//! | [`lane`] | a store, life after life |
//! | [`trial`] | the campaign against itself: lies must be found out, failed fsyncs must be fatal |
//! | [`tally`] | what is counted |
//!
//! The same seed draws the same plans and the same weather; what the processor makes of them
//! differs, so a finding keeps all that is needed to look at it: the disk before and after the cut,
//! and the last operations, in `finding-N/`.

pub mod check;
pub mod clients;
pub mod disk;
pub mod faults;
pub mod lane;
pub mod ledger;
pub mod mount;
pub mod tally;
pub mod trial;
pub mod weather;

use std::{path::PathBuf, sync::Arc};

use anyhow::Result;
use futures::future::join_all;

use self::{faults::Kind, lane::Lane, tally::Tally};
use crate::crash::show;

/// How a campaign is run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// So many cuts.
    pub cuts: usize,
    /// For the dice.
    pub seed: u64,
    /// The `pentad` to try.
    pub binary: PathBuf,
    /// Pentads at once.
    pub lanes: usize,
    /// Where logs, checkpoints and findings go.
    pub work: PathBuf,
    /// Whose fsyncs are acknowledged for nothing.
    pub lie: Option<Kind>,
}

impl Campaign {
    /// Runs it; true if nothing was found wrong.
    pub async fn run(&self) -> Result<bool> {
        let tally = Arc::new(Tally::new(self.cuts));
        let whole = self.play(&tally).await;
        show(&tally.report());
        Ok(whole && tally.clean() && tally.cuts() >= self.cuts)
    }

    /// Plays until the tally has all its cuts, or a fault where it is looked for. Whether every lane
    /// went to its end.
    pub(crate) async fn play(&self, tally: &Arc<Tally>) -> bool {
        let lanes = (0..self.lanes).map(|number| async move {
            let mut lane = Lane::open(number, self, Arc::clone(tally))?;
            lane.run().await
        });
        let mut whole = true;
        for (number, ran) in join_all(lanes).await.into_iter().enumerate() {
            if let Err(error) = ran {
                show(&format!("lane {number} broke off: {error:#}"));
                whole = false;
            }
        }
        whole
    }
}
