use clap::Subcommand;

use crate::{config::EXAMPLE, failure::Failure, session::Session};

/// The configuration file
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print a commented file with every key and its default
    #[command(after_help = "Example:\n  pentad config example > pentad.toml")]
    Example {},
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Action::Example {} = self.action;
        session.output.raw(EXAMPLE.as_bytes())
    }
}
