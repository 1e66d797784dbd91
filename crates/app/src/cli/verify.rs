use std::path::PathBuf;

use pentad_model::Path;
use serde::Serialize;

use super::sign::{Input, call, one};
use crate::{
    failure::{Exit, Failure},
    session::Session,
    value::{self, WithValue},
};

/// Verify a signature of a stored key
///
/// By the version that the signature names, as long as that has not been destroyed. Exit code 6 if
/// the signature is not the key's, or not of these bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad verify prod/release-key --in app.tar.gz --signature-file app.tar.gz.sig
  sha256sum app.iso | pentad verify prod/release-key pentad:v1:MEUCIQ")]
pub(super) struct Args {
    /// The key
    path: Path,
    /// The signature, as `pentad sign` showed it
    #[arg(required_unless_present = "signature_file")]
    signature: Option<String>,
    /// Read the signature from this file
    #[arg(long, value_name = "FILE", conflicts_with = "signature")]
    signature_file: Option<PathBuf>,
    #[command(flatten)]
    input: Input,
}

#[derive(Serialize)]
struct Signature<'a> {
    signature: &'a str,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let kept = match &self.signature_file {
            Some(file) => value::exact(Some(file))?.expose_str().unwrap_or_default().to_owned(),
            None => self.signature.clone().unwrap_or_default(),
        };
        let message = self.input.read()?;
        let signature = Signature { signature: kept.trim() };
        let call = call("verify", &self.path, &WithValue::new(&signature, Some(&message)))?;
        let result = one(session, call).await?;
        if session.output.json {
            session.output.value(&result)?;
        }
        let version = &result["version"];
        match (result["valid"] == true, session.output.json) {
            (true, true) => Ok(()),
            (true, false) => session.output.line(format!("signed by version {version}")),
            (false, _) => Err(Failure::new(
                Exit::Refused,
                format!("version {version} of {} did not sign this", self.path),
            )
            .hint("the bytes must be the same to the last, newlines included")),
        }
    }
}
