use std::io::IsTerminal as _;

use pentad_model::Path;
use serde::Serialize;

use super::sign::{Input, call, first};
use crate::{failure::Failure, session::Session, value::Reading};

/// Decrypt with a stored RSA key, which stays where it is
///
/// Takes what `pentad encrypt` made, by whichever version that has not been destroyed. The plaintext
/// goes to standard output as it is; a newline follows on a terminal only.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  pentad decrypt prod/backup-key --in session.key.enc > session.key")]
pub(super) struct Args {
    /// The key
    path: Path,
    #[command(flatten)]
    input: Input,
}

#[derive(Serialize)]
struct Item<'a> {
    ciphertext: &'a str,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let given = self.input.read()?;
        let ciphertext = given.expose_str().unwrap_or_default().trim();
        let answer = session.send(call("decrypt", &self.path, &Item { ciphertext })?).await?;
        let out = session.output;
        let reading: Reading = first(&answer)?;
        if out.json {
            out.raw(answer.bytes())?;
            return out.raw(b"\n");
        }
        out.raw(reading.into_secret()?.expose())?;
        match std::io::stdout().is_terminal() {
            true => out.raw(b"\n"),
            false => Ok(()),
        }
    }
}
