use std::{collections::BTreeMap, str::FromStr};

use pentad_model::{Kind, Name, Path, rotation::Strategy};
use serde::Serialize;

use super::{pair, seconds};
use crate::{
    client::{Call, at},
    failure::Failure,
    output::{Tone, field},
    session::Session,
    value::{Source, WithValue},
};

/// Store a value: a new credential, a new version of one, or new metadata
///
/// The value comes from standard input, a file, a prompt or Pentad itself; never from an argument,
/// which others could read in the list of processes. One newline at its end is dropped.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad put prod/orders/db --kind database --generate
  printf %s \"$PASSWORD\" | pentad put prod/mail --kind password --owner team-a --tag env=prod
  pentad put prod/tls --kind certificate --value-file server.pem
  pentad put prod/orders/db --target pg --account orders --owned --grace 60s --metadata
  pentad import .env --prefix prod/app --dry-run       # many at once")]
pub(super) struct Args {
    /// Where, such as prod/orders/db
    path: Path,
    #[command(flatten)]
    source: Source,
    /// Change metadata only; no value is read
    #[arg(long, conflicts_with_all = ["value_file", "generate"])]
    metadata: bool,
    #[command(flatten)]
    about: About,
    /// Only if it does not exist yet
    #[arg(long, conflicts_with = "if_revision")]
    new: bool,
    /// Only if its metadata is at this revision
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
}

/// What is known of a credential beside its value.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct About {
    /// What sort; `pentad kinds` lists them
    #[arg(long, value_parser = Kind::from_str)]
    kind: Option<Kind>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Who issued it
    #[arg(long, value_name = "TEXT")]
    provider: Option<String>,
    /// A person or team
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// A tag; all of them replace those that there are
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    tag: Vec<(String, String)>,
    /// A credential to rotate before this one
    #[arg(long, value_name = "PATH")]
    depends_on: Vec<Path>,
    /// The credential policy
    #[arg(long, value_name = "NAME")]
    policy: Option<Name>,
    /// When it stops working by itself, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// How new values are made, as JSON such as {"type":"password","length":32,"alphabet":"safe"}
    #[arg(long, value_name = "JSON", value_parser = json)]
    generator: Option<serde_json::Value>,
    /// Store a value that policy would refuse, on record
    #[arg(long)]
    accept_weak: bool,
    #[command(flatten)]
    binding: Bound,
}

/// Where and how it is rotated.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Rotation")]
struct Bound {
    /// The target that it belongs to
    #[arg(long, value_name = "NAME", requires = "account")]
    target: Option<Name>,
    /// Its account there
    #[arg(long, value_name = "ACCOUNT", requires = "target")]
    account: Option<String>,
    /// A second account with the same rights, to take turns with
    #[arg(long, value_name = "ACCOUNT", requires = "target")]
    alternate: Option<String>,
    /// in_place, overlap or alternating; chosen by the target's abilities without it
    #[arg(long, requires = "target", value_parser = strategy)]
    strategy: Option<Strategy>,
    /// Pentad owns the account: it may overwrite what somebody else set there
    #[arg(long, requires = "target")]
    owned: bool,
    /// How long the old value stays valid after a rotation, where the target can
    #[arg(long, requires = "target", value_name = "DURATION", value_parser = seconds)]
    grace: Option<u64>,
    /// A file to write each new value to
    #[arg(long, requires = "target", value_name = "FILE")]
    deliver_to: Vec<String>,
}

/// The body of a put, without the value.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Content {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tags: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) depends_on: Option<Vec<Path>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) generator: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) binding: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) accept_weak: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) generate: bool,
}

impl About {
    pub(super) fn content(self) -> Result<Content, Failure> {
        let bound = self.binding;
        let absolute = |file: String| match std::path::absolute(&file) {
            Ok(path) => Ok(path.display().to_string()),
            Err(error) => Err(Failure::file(&file, &error)),
        };
        let deliver_to =
            bound.deliver_to.into_iter().map(absolute).collect::<Result<Vec<_>, _>>()?;
        let binding = bound.target.map(|target| {
            serde_json::json!({
                "target": target,
                "account": bound.account,
                "alternate": bound.alternate,
                "strategy": bound.strategy,
                "owned": bound.owned,
                "grace_seconds": bound.grace.unwrap_or(0),
                "deliver_to": deliver_to,
            })
        });
        let some = |list: Vec<_>| Some(list).filter(|list| !list.is_empty());
        Ok(Content {
            kind: self.kind,
            description: self.description,
            provider: self.provider,
            owner: self.owner,
            tags: Some(self.tag.into_iter().collect()).filter(|tags: &BTreeMap<_, _>| !tags.is_empty()),
            depends_on: some(self.depends_on),
            policy: self.policy,
            expires_at: self.expires_at,
            generator: self.generator,
            binding,
            accept_weak: self.accept_weak,
            generate: false,
        })
    }
}

impl Content {
    /// The target that it is to be bound to.
    pub(super) fn target(&self) -> Option<&str> {
        self.binding.as_ref()?["target"].as_str()
    }
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        self.source.refuse_argument()?;
        let mut content = self.about.content()?;
        let path = self.path;
        let value = match self.metadata {
            true => None,
            false => self.source.read(&format!("Value of {path}"))?,
        };
        content.generate = self.source.generate;
        let call = Call::put(at("credentials", path.as_str()))
            .header("if-none-match", self.new.then_some("*"))
            .header("if-match", self.if_revision.map(|revision| format!("\"{revision}\"")))
            .json(&WithValue::new(&content, value.as_ref()))?;
        let stored = session.send(call).await?.json()?;
        show(session, &stored)
    }
}

/// Says what was stored, and what was found about its value.
pub(super) fn show(session: &Session, stored: &serde_json::Value) -> Result<(), Failure> {
    let out = session.output;
    if out.json {
        return out.value(stored);
    }
    let credential = &stored["credential"];
    let mut line = format!(
        "{} version {} ({})",
        field(credential, "path"),
        field(credential, "current"),
        field(credential, "kind")
    );
    if let Some(score) = stored["assessment"]["score"].as_u64() {
        let tone = if score >= 70 { Tone::Good } else { Tone::Doubtful };
        line = format!("{line}, {}", out.paint(tone, &format!("score {score}")));
    }
    out.line(line)?;
    if let Some(note) = untouched(credential) {
        out.note(note);
    }
    for finding in stored["assessment"]["findings"].as_array().into_iter().flatten() {
        out.note(format!(
            "  {}: {}; {}",
            field(finding, "severity"),
            field(finding, "message"),
            field(finding, "advice")
        ));
    }
    Ok(())
}

/// What a put of a bound credential leaves open: its target was not told.
fn untouched(credential: &serde_json::Value) -> Option<String> {
    if credential["in_doubt"] != true || credential["binding"]["target"].is_null() {
        return None;
    }
    let (path, target) = (field(credential, "path"), field(&credential["binding"], "target"));
    Some(format!(
        "note: {target} was not touched, and {path} is in doubt: `pentad adopt {path}` the value that \
         works there, or `pentad rotate {path}`"
    ))
}

pub(super) fn strategy(text: &str) -> Result<Strategy, String> {
    serde_json::from_value(text.replace('-', "_").into())
        .map_err(|_| "expected in_place, overlap or alternating".to_owned())
}

fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_puts_a_value_of_a_bound_credential_is_told_that_its_target_has_another() {
        let mut put = serde_json::json!({
            "path": "a/b", "in_doubt": true, "binding": {"target": "pg", "account": "app"},
        });
        let note = untouched(&put).unwrap_or_default();
        assert!(note.contains("pg was not touched"), "{note}");
        assert!(note.contains("`pentad adopt a/b`") && note.contains("`pentad rotate a/b`"));
        put["in_doubt"] = false.into();
        assert_eq!(untouched(&put), None);
        assert_eq!(untouched(&serde_json::json!({"path": "a/b", "binding": null})), None);
    }
}
