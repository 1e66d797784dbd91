use pentad_model::Path;

use crate::{
    client::{Call, at},
    failure::Failure,
    session::Session,
};

/// Take a deletion back
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  pentad restore prod/old")]
pub(super) struct Args {
    /// Which
    path: Path,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let restored = session.send(Call::post(at("restore", self.path.as_str()))).await?.json()?;
        match session.output.json {
            true => session.output.value(&restored),
            false => session.output.line(format!("{} is back", self.path)),
        }
    }
}
