use std::path::PathBuf;

use clap::Subcommand;
use pentad_model::{Name, Path};
use serde_json::{Value, json};

use super::{Paging, items, pages, pair};
use crate::{
    client::{Call, at},
    failure::{Exit, Failure},
    output::{Table, Tone, field, moment},
    session::Session,
};

/// Targets: the systems whose credentials are rotated
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make or replace a target
    #[command(after_help = "Examples:
  pentad target put pg --system postgresql --address db.internal:5432 --admin-account pentad --admin-credential admin/pg
  pentad target put app --system envfile --address /srv/app/.env
  pentad target put cache --system redis --address 127.0.0.1:6379 --plain --admin-credential admin/redis")]
    Put(Box<Put>),
    /// Show a target
    #[command(after_help = "Example:\n  pentad target get pg")]
    Get { name: Name },
    /// List targets
    #[command(after_help = "Example:\n  pentad target list")]
    List(Paging),
    /// Remove a target that no credential is bound to
    #[command(after_help = "Example:\n  pentad target delete pg")]
    Delete { name: Name },
    /// Reach out: rights, settings, and whether a random password is refused
    #[command(after_help = "Example:\n  pentad target check pg")]
    Check { name: Name },
}

#[derive(Debug, clap::Args)]
struct Put {
    /// Its name
    name: Name,
    /// The connector; `pentad connectors` lists them
    #[arg(long)]
    system: String,
    /// Host and port, or a file's path
    #[arg(long)]
    address: String,
    /// The administrating account's name there
    #[arg(long, value_name = "ACCOUNT")]
    admin_account: Option<String>,
    /// Where in the store that account's password is
    #[arg(long, value_name = "PATH")]
    admin_credential: Option<Path>,
    /// No TLS; for loopback and Unix sockets only
    #[arg(long)]
    plain: bool,
    /// A CA certificate to trust instead of the system's, PEM
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// How many rotations may run there at once [default: 16]
    #[arg(long, value_name = "N")]
    concurrency: Option<u16>,
    /// Failed logins that lock an account there, if it does so
    #[arg(long, value_name = "N")]
    lockout_limit: Option<u16>,
    /// What only this connector knows
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    option: Vec<(String, String)>,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let out = session.output;
        match self.action {
            Action::Put(put) => {
                let call = Call::put(at("targets", put.name.as_str())).json(&put.body()?)?;
                let stored = session.send(call).await?.json()?;
                match out.json {
                    true => out.value(&stored),
                    false => {
                        out.line(format!("target {} is stored", put.name))?;
                        out.note(format!("`pentad target check {}` tries it", put.name));
                        Ok(())
                    }
                }
            }
            Action::Get { name } => {
                show(session, &session.send(Call::get(at("targets", name.as_str()))).await?.json()?)
            }
            Action::List(paging) => {
                let page =
                    pages(session, &paging, "after", || Call::get("/v1/targets")).await?;
                if out.json {
                    return out.value(&page);
                }
                let head = &["NAME", "SYSTEM", "ADDRESS", "ADMIN", "TLS"];
                let mut table = Table::new(head, "there are none; `pentad target put` makes one");
                for item in items(&page) {
                    table.row(
                        ["name", "system", "address", "admin_account", "tls"]
                            .map(|name| field(item, name)),
                    );
                }
                out.table(&table)
            }
            Action::Delete { name } => {
                let answer = session.send(Call::delete(at("targets", name.as_str()))).await?;
                out.done(&answer.json()?, format!("target {name} is removed"))
            }
            Action::Check { name } => {
                let call = Call::post(format!("{}/check", at("targets", name.as_str())));
                let answer = session.send(call).await.map_err(|failure| match failure.status() {
                    Some(502 | 503) => failure
                        .hint(format!("mend it there, then `pentad target check {name}` again")),
                    _ => failure,
                })?;
                checked(session, &name, &answer.json()?)
            }
        }
    }
}

impl Put {
    fn body(&self) -> Result<Value, Failure> {
        let ca_pem = match &self.ca_cert {
            None => None,
            Some(path) => Some(
                std::fs::read_to_string(path).map_err(|e| Failure::file(path.display(), &e))?,
            ),
        };
        let options: serde_json::Map<String, Value> =
            self.option.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let mut body = json!({
            "system": self.system,
            "address": self.address,
            "tls": if self.plain { "plain" } else { "verify" },
            "options": options,
        });
        for (name, value) in [
            ("admin_account", json!(self.admin_account)),
            ("admin_credential", json!(self.admin_credential)),
            ("ca_pem", json!(ca_pem)),
            ("concurrency", json!(self.concurrency)),
            ("lockout_limit", json!(self.lockout_limit)),
        ] {
            if !value.is_null() {
                body[name] = value;
            }
        }
        Ok(body)
    }
}

fn show(session: &Session, target: &Value) -> Result<(), Failure> {
    let out = session.output;
    if out.json {
        return out.value(target);
    }
    out.facts(&[
        ("name", field(target, "name")),
        ("system", field(target, "system")),
        ("address", field(target, "address")),
        ("admin account", field(target, "admin_account")),
        ("admin credential", field(target, "admin_credential")),
        ("tls", field(target, "tls")),
        ("at once", field(target, "concurrency")),
        ("locks after", field(target, "lockout_limit")),
        ("options", field(target, "options")),
        ("created", moment(target, "created_at")),
    ])
}

fn checked(session: &Session, name: &Name, answer: &Value) -> Result<(), Failure> {
    let out = session.output;
    let complaints = || answer["complaints"].as_array().into_iter().flatten();
    if out.json {
        out.value(answer)?;
    } else {
        for complaint in complaints() {
            let problem = out.paint(Tone::Bad, &field(complaint, "problem"));
            out.line(format!("{problem}\n  {}", field(complaint, "remedy")))?;
        }
        for note in answer["notes"].as_array().into_iter().flatten() {
            out.line(note.as_str().unwrap_or_default())?;
        }
    }
    match complaints().count() {
        0 if out.json => Ok(()),
        0 => out.line(out.paint(Tone::Good, &format!("{name} is ready"))),
        many => {
            let things = if many == 1 { "1 thing" } else { "several things" };
            Err(Failure::new(Exit::Unavailable, format!("{name} is not ready: {things} to mend"))
                .hint(format!("do what stands above, then `pentad target check {name}` again")))
        }
    }
}
