use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};

use pentad_model::Name;
use serde::Serialize;

use crate::{
    client::Call,
    config::Config,
    failure::Failure,
    passphrase,
    session::Session,
    value::Issued,
};

/// Exchange a password for a token of 12 hours
///
/// The token goes to standard output, and nothing is kept; with --save it goes to a file that its
/// owner alone can read, and further commands use it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad login ann --save
  pentad login ann --password-file /run/password")]
pub(super) struct Args {
    /// The user's name
    user: Name,
    /// A file with the password in its first line, instead of asking
    #[arg(long, value_name = "FILE")]
    password_file: Option<std::path::PathBuf>,
    /// Keep the token in ~/.config/pentad/token
    #[arg(long)]
    save: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    user: &'a Name,
    password: &'a str,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let password = match &self.password_file {
            Some(path) => passphrase::from_file(path)?,
            None => passphrase::ask(&format!("Password of {}", self.user)).map_err(|failure| {
                match failure.hint {
                    None => failure.hint("name a file that holds it with --password-file"),
                    Some(_) => failure,
                }
            })?,
        };
        let password =
            password.expose_str().ok_or_else(|| Failure::usage("a password is UTF-8 text"))?;
        let body = Body { user: &self.user, password };
        let call = Call::post("/v1/login").json(&body)?.without_token();
        let answer = session.send(call).await.map_err(|failure| match failure.status() {
            Some(401) => failure.hint(
                "look at the name, the tenant and the password; after some wrong ones the user \
                 has to wait, or an admin lifts that with `pentad user unlock`",
            ),
            _ => failure,
        })?;
        let token = answer.parse::<Issued>()?.into_secret();
        let out = session.output;
        if !self.save {
            out.raw(token.expose())?;
            return out.raw(b"\n");
        }
        let path = Config::kept_token()
            .ok_or_else(|| Failure::usage("there is no home directory to keep it in"))?;
        let failed = |error| Failure::file(path.display(), &error);
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        // Made anew, so that an old file's rights don't stay.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        file.write_all(token.expose()).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
        let kept = serde_json::json!({"user": self.user, "token_file": path});
        out.done(&kept, format!("logged in as {}; the token is in {}", self.user, path.display()))
    }
}
