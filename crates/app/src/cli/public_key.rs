use pentad_model::Path;

use crate::{
    client::{Call, at},
    failure::Failure,
    output::field,
    session::Session,
};

/// Show the public half of a stored key
///
/// PEM, for others to verify and encrypt with.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad public-key prod/release-key > release.pub.pem
  pentad public-key prod/release-key --version 1")]
#[command(disable_version_flag = true)]
pub(super) struct Args {
    /// The key
    path: Path,
    /// This version instead of the current one
    #[arg(long = "version", value_name = "N")]
    number: Option<u32>,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let call = Call::get(at("crypto/public-key", self.path.as_str()));
        let found = session.send(call.query("version", self.number)).await?.json()?;
        if session.output.json {
            return session.output.value(&found);
        }
        session.output.raw(field(&found, "public_key").as_bytes())
    }
}
