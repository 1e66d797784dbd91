use pentad_model::Path;

use super::sign::{Alone, Input, call, made, one};
use crate::{failure::Failure, session::Session, value::WithValue};

/// Encrypt for a stored RSA key
///
/// RSA-OAEP with SHA-256, for something short: up to 190 bytes for a key of 2048 bits. Encrypt what
/// is longer under a key of its own, and that key with this. The ciphertext names the version that
/// made it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad encrypt prod/backup-key --in session.key > session.key.enc
  head -c 32 /dev/urandom | pentad encrypt prod/backup-key")]
pub(super) struct Args {
    /// The key
    path: Path,
    #[command(flatten)]
    input: Input,
    /// The ciphertext's bytes alone, without the version
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let plaintext = self.input.read()?;
        let call = call("encrypt", &self.path, &WithValue::new(&Alone {}, Some(&plaintext)))?;
        made(session, &one(session, call).await?, "ciphertext", self.raw)
    }
}
