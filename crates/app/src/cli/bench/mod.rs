//! Measuring Pentad on this machine, against a real target.
//!
//! | module | holds |
//! |---|---|
//! | [`rotate`] | the measurement: what runs when, and what each figure means |
//! | [`server`] | the PostgreSQL server, over connections of the bench's own |
//! | [`floor`] | the same work at the target without Pentad |
//! | [`proxy`] | a server that looks far away |
//! | [`report`] | the figures, for people and as JSON |
//!
//! What always holds: the store is a throw-away one, the accounts are the bench's own and are
//! dropped at the end, and nothing else at the target is touched.

use clap::Subcommand;

use crate::{failure::Failure, session::Session};

mod floor;
mod proxy;
mod report;
mod rotate;
mod server;

/// Measure how fast this machine rotates
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Rotate(rotate::Args),
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.what {
            What::Rotate(args) => args.run(session).await,
        }
    }
}
