use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use pentad_model::{Path, Secret};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    client::{self, Answer, Call, at},
    failure::Failure,
    session::Session,
    value::{self, WithValue},
};

/// Sign with a stored key, which stays where it is
///
/// The bytes are signed as they are, a newline at their end included: Ed25519, ECDSA or RSA-PSS, as
/// the key's type says. The signature names the version that made it, so that `pentad verify` finds
/// that version after a rotation.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad sign prod/release-key --in app.tar.gz > app.tar.gz.sig
  sha256sum app.iso | pentad sign prod/release-key
  pentad sign prod/release-key --in app.tar.gz --raw > app.sig   # for other programs")]
pub(super) struct Args {
    /// The key
    path: Path,
    #[command(flatten)]
    input: Input,
    /// The signature's bytes alone, without the version
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

/// What is worked on.
#[derive(Debug, clap::Args)]
pub(super) struct Input {
    /// Read it from this file instead of standard input
    #[arg(long = "in", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Input {
    pub(super) fn read(&self) -> Result<Secret, Failure> {
        value::exact(self.file.as_deref())
    }
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let message = self.input.read()?;
        let call = call("sign", &self.path, &WithValue::new(&Alone {}, Some(&message)))?;
        made(session, &one(session, call).await?, "signature", self.raw)
    }
}

/// An item that has nothing beside its value.
#[derive(Serialize)]
pub(super) struct Alone {}

/// A request with one item.
pub(super) fn call(work: &str, path: &Path, item: &impl Serialize) -> Result<Call, Failure> {
    #[derive(Serialize)]
    struct Items<'a, T> {
        items: [&'a T; 1],
    }
    Call::post(at(&format!("crypto/{work}"), path.as_str())).json(&Items { items: [item] })
}

/// The one result, which must not be a problem. Not for answers that hold a value.
pub(super) async fn one(session: &Session, call: Call) -> Result<Value, Failure> {
    first(&session.send(call).await?)
}

/// The one result of an answer, which must not be a problem.
pub(super) fn first<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    #[derive(Deserialize)]
    struct Failed {
        problem: Option<Value>,
    }
    #[derive(Deserialize)]
    struct Results<T> {
        results: [T; 1],
    }
    let wrong = |_| Failure::internal("the server's answer is not what pentad knows");
    let Results { results: [failed] } =
        serde_json::from_slice::<Results<Failed>>(answer.bytes()).map_err(wrong)?;
    if let Some(problem) = failed.problem {
        let status = problem["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Err(client::problem(status, problem.to_string().as_bytes()));
    }
    let Results { results: [result] } =
        serde_json::from_slice::<Results<T>>(answer.bytes()).map_err(wrong)?;
    Ok(result)
}

/// Shows a signature or ciphertext.
pub(super) fn made(
    session: &Session,
    result: &Value,
    name: &str,
    raw: bool,
) -> Result<(), Failure> {
    let out = session.output;
    if out.json {
        return out.value(result);
    }
    let wrong = || Failure::internal(format!("the server's answer holds no {name}"));
    let text = result[name].as_str().ok_or_else(wrong)?;
    if !raw {
        return out.line(text);
    }
    let (_, base64) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bytes = STANDARD.decode(base64).map_err(|_| wrong())?;
    out.raw(&Zeroizing::new(bytes))
}
