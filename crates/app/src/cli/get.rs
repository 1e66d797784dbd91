use std::io::IsTerminal as _;

use pentad_model::{Path, Secret};

use crate::{
    client::{Answer, Call, at},
    failure::{Exit, Failure},
    session::Session,
    value::Reading,
};

/// Show a value, on record
///
/// The value goes to standard output as it is; a newline follows on a terminal only.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad get prod/orders/db
  pentad get prod/orders/db --version 3
  pentad get prod/app/config --field database.password
  pentad get prod/tls > server.pem")]
#[command(disable_version_flag = true)]
pub(super) struct Args {
    /// Which
    path: Path,
    /// This version instead of the current one
    #[arg(long = "version", value_name = "N")]
    number: Option<u32>,
    /// One member of a value that is JSON, by its name or dotted path
    #[arg(long, value_name = "NAME", conflicts_with = "json")]
    field: Option<String>,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let answer = read(session, &self.path, self.number).await?;
        let out = session.output;
        if out.json {
            out.raw(answer.bytes())?;
            return out.raw(b"\n");
        }
        let reading: Reading = answer.parse()?;
        if reading.in_doubt {
            out.note(format!(
                "note: {} is in doubt: it is being rotated, or its target may hold another value; if version \
                 {} is refused there, `pentad describe {}` tells more",
                self.path, reading.version, self.path
            ));
        }
        let value = reading.into_secret()?;
        let value = match &self.field {
            None => value,
            Some(name) => member(&self.path, &value, name)?,
        };
        out.raw(value.expose())?;
        match std::io::stdout().is_terminal() {
            true => out.raw(b"\n"),
            false => Ok(()),
        }
    }
}

/// Asks for a value.
pub(super) async fn read(
    session: &Session,
    path: &Path,
    version: Option<u32>,
) -> Result<Answer, Failure> {
    session.send(Call::get(at("values", path.as_str())).query("version", version)).await
}

/// A member of a value that is JSON.
pub(super) fn member(path: &Path, value: &Secret, name: &str) -> Result<Secret, Failure> {
    let parsed: serde_json::Value = serde_json::from_slice(value.expose()).map_err(|_| {
        Failure::usage(format!("the value of {path} is not JSON: it has no members"))
    })?;
    let found = name.split('.').try_fold(&parsed, |inner, part| inner.get(part));
    match found {
        Some(serde_json::Value::String(text)) => Ok(Secret::new(text.as_str())),
        Some(other) => Ok(Secret::new(other.to_string())),
        None => Err(Failure::new(Exit::Missing, format!("{path} has no member `{name}`"))),
    }
}
