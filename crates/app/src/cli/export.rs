use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Filter, Paging, items, pages};
use crate::{
    client::Call,
    credentials_file::{FileKey, Writer},
    failure::{Exit, Failure},
    output::{Tone, field},
    progress::Progress,
    session::Session,
};

/// Values that are read with one request.
const AT_ONCE: usize = 100;

/// Write credentials and their values into an encrypted file, which `pentad import` reads
///
/// Each value is read with your rights and is on record as read before it leaves. The file opens with
/// the passphrase that you are asked for, or with a key file: keep that elsewhere.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad export credentials.json.enc
  pentad export app.json.enc --prefix prod/app --key-file app.key   # makes the key if there is none
  pentad import app.json.enc --key-file app.key")]
pub(super) struct Args {
    /// The file to make; one that is there is not written over
    file: PathBuf,
    #[command(flatten)]
    key: FileKey,
    #[command(flatten)]
    filter: Filter,
}

/// One credential in the file.
#[derive(Serialize)]
struct Exported<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<&'a str>,
    #[serde(flatten)]
    about: Value,
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Got>,
}

#[derive(Deserialize)]
struct Got {
    path: String,
    #[serde(default)]
    body: Option<Read>,
    #[serde(default)]
    problem: Option<Value>,
}

#[derive(Deserialize)]
struct Read {
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    value_base64: Option<String>,
}

impl Drop for Read {
    fn drop(&mut self) {
        self.value.zeroize();
        self.value_base64.zeroize();
    }
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        if self.file.exists() {
            return Err(Failure::new(
                Exit::Conflict,
                format!("{} is there already", self.file.display()),
            )
            .hint("name another file"));
        }
        let call = || self.filter.on(Call::get("/v1/credentials"));
        let all = pages(session, &Paging::default(), "after", call).await?;
        let mut file = Writer::new(&self.file, &self.key)?;
        let out = session.output;
        let listed: Vec<&Value> = items(&all).filter(|it| it["current"].is_u64()).collect();
        let progress = Progress::new(out, listed.len());
        let (mut written, mut not) = (0, Vec::new());
        file.push(b"{")?;
        for chunk in listed.chunks(AT_ONCE) {
            progress.at(written, "");
            let gets = chunk
                .iter()
                .map(|it| json!({"op": "get", "path": it["path"]}));
            let gets: Vec<Value> = gets.collect();
            let call = Call::post("/v1/batch").json(&json!({"operations": gets}))?;
            let sent = session.send(call).await.inspect_err(|_| progress.end())?;
            let answer: Answer = sent.parse()?;
            for (listed, got) in chunk.iter().zip(answer.results) {
                let Some(read) = &got.body else {
                    let why = got.problem.unwrap_or_default();
                    not.push((got.path, field(&why, "detail")));
                    continue;
                };
                let mut line = Zeroizing::new(Vec::with_capacity(4096));
                line.extend_from_slice(if written == 0 { b"\n" } else { b",\n" });
                let exported = Exported {
                    value: read.value.as_deref(),
                    value_base64: read.value_base64.as_deref(),
                    about: about(listed),
                };
                let failed = |error: serde_json::Error| Failure::internal(error.to_string());
                serde_json::to_writer(&mut *line, &got.path).map_err(failed)?;
                line.push(b':');
                serde_json::to_writer(&mut *line, &exported).map_err(failed)?;
                file.push(&line)?;
                written += 1;
            }
        }
        progress.end();
        file.push(b"\n}\n")?;
        file.finish(&self.file)?;
        if out.json {
            let not: Vec<Value> = not
                .iter()
                .map(|(path, why)| json!({"path": path, "why": why}))
                .collect();
            out.value(&json!({"file": self.file, "written": written, "not": not}))?;
        } else {
            for (path, why) in &not {
                out.line(format!("{}: {why}", out.paint(Tone::Bad, path)))?;
            }
            out.line(format!("{}: {written} credentials", self.file.display()))?;
        }
        match not.len() {
            0 => Ok(()),
            many => Err(Failure::new(
                Exit::Partial,
                format!("{many} of {} are not in the file", listed.len()),
            )
            .hint("a role that may read them is needed; `pentad role explain` says why")),
        }
    }
}

/// What the file says of a credential beside its value.
fn about(listed: &Value) -> Value {
    let mut about = json!({"kind": listed["kind"]});
    for name in ["description", "provider", "owner"] {
        if listed[name].as_str().is_some_and(|text| !text.is_empty()) {
            about[name] = listed[name].clone();
        }
    }
    if listed["tags"]
        .as_object()
        .is_some_and(|tags| !tags.is_empty())
    {
        about["tags"] = listed["tags"].clone();
    }
    if listed["binding"].is_object() {
        about["target"] = listed["binding"]["target"].clone();
        about["account"] = listed["binding"]["account"].clone();
    }
    if listed["in_doubt"] == true {
        about["in_doubt"] = true.into();
    }
    about
}
