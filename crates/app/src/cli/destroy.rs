use pentad_model::Path;

use super::confirm;
use crate::{
    client::{Call, at},
    failure::Failure,
    session::Session,
};

/// Forget the value of an old version for good
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
#[command(after_help = "Example:
  pentad destroy prod/orders/db --version 3 --yes")]
pub(super) struct Args {
    /// Which
    path: Path,
    /// Which version; not the current one
    #[arg(long = "version", value_name = "N")]
    number: u32,
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Self { path, number, yes } = self;
        confirm(yes, &format!("Version {number} of {path} can't be brought back. Destroy it?"))?;
        let target = at("versions", &format!("{number}/{path}"));
        session.send(Call::delete(target)).await?;
        session.output.line(format!("version {number} of {path} is destroyed"))
    }
}
