use pentad_model::Path;

use crate::{
    client::{Call, at},
    failure::Failure,
    session::Session,
};

/// Delete a credential; `pentad restore` takes it back
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad delete prod/old
  pentad delete prod/old --if-revision 4")]
pub(super) struct Args {
    /// Which
    path: Path,
    /// Only if its metadata is at this revision
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let call = Call::delete(at("credentials", self.path.as_str()))
            .header("if-match", self.if_revision.map(|revision| format!("\"{revision}\"")));
        let deleted = session.send(call).await?.json()?;
        match session.output.json {
            true => session.output.value(&deleted),
            false => session.output.line(format!("{} is deleted", self.path)),
        }
    }
}
