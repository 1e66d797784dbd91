//! Measuring Pentad on this machine: each figure beside what the machine, or the same work without
//! Pentad, could do at best, in the same run.
//!
//! | module | holds |
//! |---|---|
//! | [`rotate`] | a batch of rotations at a real target: what runs when, and what each figure means |
//! | [`scale`], [`estate`] | a large estate behind a server that was killed, and how it is made |
//! | [`store`], [`audit`], [`crypto`] | one part each, beside its floor |
//! | [`targets`] | what the first users asked for, beside what is measured |
//! | [`server`] | the PostgreSQL server, over connections of the bench's own |
//! | [`floor`] | the same work at the target without Pentad |
//! | [`proxy`] | a server that looks far away |
//! | [`report`], [`scratch`] | the figures, for people and as JSON; where files go |
//!
//! What always holds: the store is a throw-away one, the accounts are the bench's own and are
//! dropped at the end, and nothing else at the target is touched.

use clap::Subcommand;

use crate::{failure::Failure, session::Session};

mod audit;
mod crypto;
mod estate;
mod floor;
mod proxy;
mod report;
mod rotate;
mod scale;
mod scratch;
mod server;
mod store;
mod targets;

/// Measure how fast this machine is
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Rotate(rotate::Args),
    Scale(scale::Args),
    Store(store::Args),
    Audit(audit::Args),
    Crypto(crypto::Args),
    Targets(targets::Args),
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.what {
            What::Rotate(args) => args.run(session).await,
            What::Scale(args) => args.run(session).await,
            What::Store(args) => args.run(session).await,
            What::Audit(args) => args.run(session).await,
            What::Crypto(args) => args.run(session).await,
            What::Targets(args) => args.run(session).await,
        }
    }
}
