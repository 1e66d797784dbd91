use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Subcommand;
use pentad_model::{Id, Path};
use pentad_store::audit::{self, Checkpoint};
use serde_json::{Value, json};

use super::{Paging, confirm, items, pages};
use crate::{
    client::Call,
    failure::{Exit, Failure},
    output::{Cell, Table, Tone, field, moment},
    session::Session,
    wiring,
};

/// The audit log: read it, prove it, mend it
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List records, the newest first
    #[command(after_help = "Examples:
  pentad audit list --limit 20
  pentad audit list --path prod/orders/db --action credential.read
  pentad audit list --since 2026-01-31T00:00:00Z --json")]
    List(List),
    /// Check every record, off line, from the files alone; with a checkpoint that was kept
    /// elsewhere, this is the proof that nothing before it was changed or removed
    #[command(after_help = "Examples:
  pentad audit verify
  pentad audit verify --checkpoint kept.note --key 'pentad/019a+1b2c3d4e+AQID'")]
    Verify {
        /// A checkpoint that was kept elsewhere; may be given more than once
        #[arg(long, value_name = "FILE", requires = "key")]
        checkpoint: Vec<PathBuf>,
        /// The key that verifies it, as `audit checkpoint` shows it
        #[arg(long, value_name = "VKEY")]
        key: Option<String>,
        /// The log's directory, for a copy that lies elsewhere [default: audit in the store's]
        #[arg(long, value_name = "DIR")]
        log: Option<PathBuf>,
    },
    /// Sign the present state of the log: keep it elsewhere, with its key
    #[command(after_help = "Examples:
  pentad audit checkpoint
  pentad audit checkpoint --out kept.note")]
    Checkpoint {
        /// Write the note to this file
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Prove that a record is in the log, or that an older log is a beginning of a newer one
    #[command(after_help = "Examples:
  pentad audit proof --index 12 --size 100
  pentad audit proof --old 100 --new 200")]
    Proof {
        /// The record's index
        #[arg(long, conflicts_with_all = ["old", "new"], requires = "size", required_unless_present = "old")]
        index: Option<u64>,
        /// The log's size
        #[arg(long, requires = "index")]
        size: Option<u64>,
        /// The older log's size
        #[arg(long, requires = "new")]
        old: Option<u64>,
        /// The newer log's size
        #[arg(long, requires = "old")]
        new: Option<u64>,
    },
    /// Move damaged files aside and go on from there, on record; the server must be stopped
    #[command(after_help = "Example:\n  pentad audit repair --dir /var/lib/pentad --yes")]
    Repair {
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only of this credential
    #[arg(long)]
    path: Option<Path>,
    /// Only by this principal, such as user:ann
    #[arg(long, value_name = "TEXT")]
    principal: Option<String>,
    /// Only this action, such as credential.read; with a dot at its end, all that begin so
    #[arg(long, value_name = "TEXT")]
    action: Option<String>,
    /// Only of this request
    #[arg(long, value_name = "ID")]
    correlation: Option<Id>,
    /// Only since then, such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.action {
            Action::List(list) => list.run(session).await,
            Action::Verify { checkpoint, key, log } => verify(session, &checkpoint, key, log),
            Action::Checkpoint { out } => keep(session, out).await,
            Action::Proof { index, size, old, new } => {
                let call = match (index, old) {
                    (Some(_), _) => Call::get("/v1/audit/inclusion")
                        .query("index", index)
                        .query("size", size),
                    _ => Call::get("/v1/audit/consistency").query("old", old).query("new", new),
                };
                proof(session, &session.send(call).await?.json()?)
            }
            Action::Repair { yes } => repair(session, yes).await,
        }
    }
}

impl List {
    async fn run(self, session: &Session) -> Result<(), Failure> {
        let page = pages(session, &self.paging, "before", || {
            Call::get("/v1/audit/records")
                .query("path", self.path.as_ref())
                .query("principal", self.principal.as_ref())
                .query("action", self.action.as_ref())
                .query("correlation", self.correlation)
                .query("since", self.since.as_ref())
        })
        .await?;
        let out = session.output;
        if out.json {
            return out.value(&page);
        }
        let head = &["INDEX", "AT", "WHO", "ACTION", "OUTCOME", "PATH", "DETAIL"];
        let mut table = Table::new(head, "there are none");
        for item in items(&page) {
            let outcome = field(item, "outcome");
            let tone = if outcome == "done" { Tone::Plain } else { Tone::Bad };
            let version = field(item, "version");
            let path = match version.is_empty() {
                true => field(item, "path"),
                false => format!("{} v{version}", field(item, "path")),
            };
            table.row([
                field(item, "index").into(),
                Cell(Tone::Faint, moment(item, "at")),
                field(item, "principal").into(),
                field(item, "action").into(),
                Cell(tone, outcome),
                path.into(),
                field(item, "detail").into(),
            ]);
        }
        out.table(&table)
    }
}

fn verify(
    session: &Session,
    checkpoints: &[PathBuf],
    key: Option<String>,
    log: Option<PathBuf>,
) -> Result<(), Failure> {
    let mut trusted = Vec::new();
    if let Some(key) = &key {
        let (name, public) = verifier_key(key)?;
        for path in checkpoints {
            let note =
                std::fs::read_to_string(path).map_err(|e| Failure::file(path.display(), &e))?;
            let checkpoint = Checkpoint::parse_and_verify(&note, &name, &public).map_err(|e| {
                Failure::new(Exit::Damaged, format!("{}: {e}", path.display()))
                    .hint("compare it with the copies that others keep")
            })?;
            trusted.push(checkpoint);
        }
    }
    let dir = match log {
        Some(dir) => dir,
        None => session.place()?.audit(),
    };
    let report = audit::verify(&dir, &trusted).map_err(|error| {
        Failure::new(Exit::Unavailable, error.to_string())
            .hint("--dir names the store's directory, --log the log's own")
    })?;
    let out = session.output;
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    if out.json {
        out.value(&json!({
            "intact": report.is_intact(),
            "records": report.records,
            "segments": report.segments,
            "root": report.root.map(|root| root.to_string()),
            "proven": report.proven,
            "findings": findings,
            "more": report.more,
        }))?;
    } else {
        for finding in &findings {
            out.line(out.paint(Tone::Bad, finding))?;
        }
        out.facts(&[
            ("records", report.records.to_string()),
            ("segments", report.segments.to_string()),
            ("root", report.root.map(|root| root.to_string()).unwrap_or_default()),
            ("proven", format!("{} records, by trusted checkpoints", report.proven)),
        ])?;
        if trusted.is_empty() {
            out.note(
                "note: without a checkpoint that was kept elsewhere, a log that was rewritten as a \
                 whole, or cut at its end, looks intact",
            );
        }
    }
    let many = findings.len() as u64 + report.more;
    match report.is_intact() {
        true => Ok(()),
        false => Err(Failure::new(Exit::Damaged, format!("the audit log is not intact: {many} findings"))
            .hint("keep the directory as it is; `pentad audit repair` moves damaged files aside")),
    }
}

/// A C2SP verifier key: `<name>+<hash>+<base64 of 0x01 and the key>`.
fn verifier_key(text: &str) -> Result<(String, [u8; 32]), Failure> {
    let wrong = || {
        Failure::usage("that is no verifier key")
            .hint("give it as `pentad audit checkpoint` shows it: NAME+HASH+BASE64")
    };
    let mut parts = text.trim().rsplitn(3, '+');
    // Base64 may hold a `+`: the name and hash hold none, so split from the front.
    let (Some(_), Some(_), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let mut parts = text.trim().splitn(3, '+');
    let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let bytes = STANDARD.decode(key).map_err(|_| wrong())?;
    let Some((1, key)) = bytes.split_first().map(|(kind, key)| (*kind, key)) else {
        return Err(wrong());
    };
    let key: [u8; 32] = key.try_into().map_err(|_| wrong())?;
    let expected = audit::key_id(name, &key).map_err(|_| wrong())?;
    match hex::encode(expected) == hash {
        true => Ok((name.to_owned(), key)),
        false => Err(wrong()),
    }
}

async fn keep(session: &Session, to: Option<PathBuf>) -> Result<(), Failure> {
    let signed = session.send(Call::get("/v1/audit/checkpoint")).await?.json()?;
    let out = session.output;
    if let Some(path) = &to {
        std::fs::write(path, field(&signed, "note"))
            .map_err(|error| Failure::file(path.display(), &error))?;
    }
    if out.json {
        return out.value(&signed);
    }
    match &to {
        None => out.raw(field(&signed, "note").as_bytes())?,
        Some(path) => {
            out.line(format!("{} records, in {}", field(&signed, "size"), path.display()))?;
        }
    }
    out.note(format!("key: {}", field(&signed, "key")));
    Ok(())
}

fn proof(session: &Session, proof: &Value) -> Result<(), Failure> {
    let out = session.output;
    if out.json {
        return out.value(proof);
    }
    for hash in proof["hashes"].as_array().into_iter().flatten() {
        out.line(hash.as_str().unwrap_or_default())?;
    }
    match proof["leaf"].as_str() {
        Some(leaf) => out.line(format!("leaf {leaf}")),
        None => Ok(()),
    }
}

async fn repair(session: &Session, yes: bool) -> Result<(), Failure> {
    let place = session.place()?;
    confirm(
        yes,
        &format!(
            "Damaged files of {} are moved aside, and missing records are accepted as lost. Go on?",
            place.audit().display()
        ),
    )?;
    let repair = wiring::repair_audit(&place).await?;
    let out = session.output;
    let moved: Vec<String> = repair.moved.iter().map(|path| path.display().to_string()).collect();
    if out.json {
        return out.value(&json!({
            "kept": repair.kept,
            "moved": moved,
            "readable_aside": repair.readable_aside,
        }));
    }
    out.facts(&[
        ("records kept", repair.kept.to_string()),
        ("moved aside", moved.join("\n")),
        ("readable there", repair.readable_aside.to_string()),
    ])
}
