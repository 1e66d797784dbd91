use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use pentad_agents::backup::chain::{self, Listed};
use serde_json::{Value, json};

use crate::{
    failure::{Exit, Failure},
    output::{Table, Tone},
    passphrase,
    progress::Progress,
    session::Session,
    wiring::restoring::{self, KeyFrom, chain_failure},
};

mod create;
mod target;

/// Backups: one file that holds everything, made while the server runs, and drills that prove it
///
/// A backup is sealed under the store's root key and does not hold it: keep a copy of master.key
/// elsewhere, or give a recovery passphrase. `pentad restore --backup FILE` makes a store of it.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a backup: of everything, or of what changed since an earlier one
    #[command(after_help = "Examples:
  pentad backup create /backups
  pentad backup create /backups --incremental
  pentad backup create /backups/before-upgrade.pentad-backup
  pentad backup create /backups --recovery-passphrase   # holds the root key too, under a passphrase")]
    Create(create::Args),
    /// Show the backups in a directory; needs no key, so what it says is not proven
    #[command(after_help = "Example:\n  pentad backup list /backups")]
    List {
        /// Where
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Read a backup to its end, with all that it rests on: every byte is authenticated
    #[command(after_help = "Examples:
  pentad backup verify /backups/pentad-20260131T120000Z-0193a1b2.pentad-backup
  pentad backup verify FILE --key-file /mnt/safe/master.key")]
    Verify {
        /// The backup
        file: PathBuf,
        #[command(flatten)]
        key: Key,
    },
    /// Restore a backup into a place that is thrown away, open every value, verify the audit log
    ///
    /// No target is reached and nothing of the present store is touched. What was opened is
    /// compared with its fingerprint and forgotten; it never leaves the encryption agent.
    #[command(after_help = "Examples:
  pentad backup drill /backups/pentad-20260131T120000Z-0193a1b2.pentad-backup
  pentad backup drill FILE --recovery-passphrase   # as if the machine were lost")]
    Drill {
        /// The backup
        file: PathBuf,
        #[command(flatten)]
        key: Key,
        /// Where the throw-away store goes; the system's temporary directory without it
        #[arg(long, value_name = "DIR")]
        below: Option<PathBuf>,
        /// Say too how far the present store has gone on since, by its credentials' versions
        #[arg(long)]
        live: bool,
    },
    /// Show what came of the last restore: which stored values work at their targets
    #[command(after_help = "Example:\n  pentad backup status")]
    Status,
}

/// Where the root key comes from, if not from where the store has it.
#[derive(Debug, clap::Args)]
pub(super) struct Key {
    /// The root key's file; without it, where the store has it
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Use the root key that the backup holds: asks for the recovery passphrase
    #[arg(long, conflicts_with = "key_file")]
    recovery_passphrase: bool,
    /// As --recovery-passphrase, from this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key_file", "recovery_passphrase"])]
    recovery_passphrase_file: Option<PathBuf>,
}

impl Key {
    pub(super) fn from(&self) -> Result<KeyFrom, Failure> {
        Ok(match (&self.key_file, &self.recovery_passphrase_file) {
            (Some(file), _) => KeyFrom::File(file.clone()),
            (None, Some(file)) => KeyFrom::Recovery(passphrase::from_file(file)?),
            (None, None) if self.recovery_passphrase => {
                KeyFrom::Recovery(passphrase::ask("Recovery passphrase")?)
            }
            _ => KeyFrom::Place,
        })
    }
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self.action {
            Action::Create(args) => args.run(session).await,
            Action::List { dir } => list(session, &dir),
            Action::Verify { file, key } => verify(session, &file, &key).await,
            Action::Drill {
                file,
                key,
                below,
                live,
            } => drill(session, &file, &key, below.as_deref(), live).await,
            Action::Status => target::status(session).await,
        }
    }
}

fn list(session: &Session, dir: &Path) -> Result<(), Failure> {
    let found = chain::list(dir).map_err(chain_failure)?;
    let out = session.output;
    if out.json {
        let items: Vec<Value> = found.iter().map(shown).collect();
        return out.value(&json!({"items": items}));
    }
    let head = &["FILE", "TAKEN", "ID", "SINCE", "BYTES", "ROOT KEY"];
    let mut table = Table::new(head, "there are no backups there");
    for one in &found {
        let row = shown(one);
        let text = |name: &str| crate::output::field(&row, name);
        table.row([
            one.path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            crate::output::moment(&row, "taken_at"),
            text("id"),
            text("parent"),
            text("bytes"),
            text("root_key"),
        ]);
    }
    out.table(&table)
}

/// What can be told of a backup without a key.
fn shown(one: &Listed) -> Value {
    json!({
        "file": one.path,
        "id": one.header.id,
        "parent": one.header.parent,
        "taken_at": one.header.taken_at.to_string(),
        "log": one.header.log,
        "bytes": one.size,
        "root_key": if one.note.is_empty() { "elsewhere" } else { "inside, under a passphrase" },
    })
}

async fn verify(session: &Session, file: &Path, key: &Key) -> Result<(), Failure> {
    let listed = restoring::look(file)?;
    let place = session.place()?;
    let (key, _) = restoring::key_of(&place, &listed.header, &listed.note, &key.from()?).await?;
    let progress = Progress::bytes(session.output, listed.size);
    let opened = restoring::open_backup(&listed, key, &progress).await;
    progress.end();
    let chain = opened?.chain;
    let out = session.output;
    let manifest = chain.manifest();
    if out.json {
        return out.value(&json!({
            "backup": shown(&listed), "files": chain.files(), "rows": manifest.rows,
            "log_records": manifest.log.size,
        }));
    }
    let whole = format!("{} is whole", file.display());
    out.line(out.paint(Tone::Good, &whole))?;
    out.facts(&[
        ("taken", listed.header.taken_at.to_string()),
        ("files", chain.files().to_string()),
        ("holds", counted(&manifest.rows)),
        (
            "audit log",
            format!("{} records, root {}", manifest.log.size, manifest.log.root),
        ),
    ])?;
    out.note("`pentad backup drill` restores it for a trial and opens every value");
    Ok(())
}

pub(super) fn counted(rows: &BTreeMap<String, u64>) -> String {
    let rows = rows.iter().filter(|(_, count)| **count > 0);
    let rows: Vec<String> = rows
        .map(|(table, count)| format!("{count} {table}"))
        .collect();
    rows.join(", ")
}

async fn drill(
    session: &Session,
    file: &Path,
    key: &Key,
    below: Option<&Path>,
    live: bool,
) -> Result<(), Failure> {
    let listed = restoring::look(file)?;
    let place = session.place()?;
    let (key, root) = restoring::key_of(&place, &listed.header, &listed.note, &key.from()?).await?;
    let progress = Progress::bytes(session.output, listed.size);
    let drilled = restoring::drill(&listed, key, root, below, &progress).await;
    progress.end();
    let restoring::Drilled {
        restored,
        proven,
        present,
    } = drilled?;
    let compared = match live {
        true => Some(compare(session, &present).await?),
        false => None,
    };
    let out = session.output;
    if out.json {
        out.value(&json!({
            "backup": shown(&listed),
            "restored": restored,
            "values": proven.versions,
            "opened": proven.opened,
            "problems": proven.problems,
            "live": compared,
        }))?;
    } else {
        out.facts(&[
            (
                "backup",
                format!("{} of {}", listed.header.id, listed.header.taken_at),
            ),
            ("restored", counted(&restored.rows)),
            (
                "audit log",
                format!("{} records verify", restored.log_records),
            ),
            (
                "values",
                format!(
                    "{} of {} opened and are what they were",
                    proven.opened, proven.versions
                ),
            ),
        ])?;
        if let Some(live) = &compared {
            let count = |name: &str| crate::output::field(live, name);
            out.facts(&[(
                "live store",
                format!(
                    "{} at the same version, {} at another, {} not in the backup, {} only in it",
                    count("same"),
                    count("changed"),
                    count("new"),
                    count("gone"),
                ),
            )])?;
        }
        for problem in &proven.problems {
            out.line(out.paint(Tone::Bad, problem))?;
        }
    }
    match proven.opened == proven.versions && proven.problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Damaged,
            format!(
                "{} values can't be restored from this backup",
                proven.versions - proven.opened
            ),
        )
        .hint("make another backup; `pentad store verify` looks for damage in the store itself")),
    }
}

/// How the present store's credentials stand to those of a backup: of the default tenant, as both are
/// listed. A version never changes its value, so the same one is the same value.
async fn compare(session: &Session, then: &BTreeMap<String, u64>) -> Result<Value, Failure> {
    let now = restoring::current_versions(session.client().await?).await?;
    let (mut same, mut changed) = (0, 0);
    for (path, version) in then {
        match now.get(path) {
            Some(present) if present == version => same += 1,
            Some(_) => changed += 1,
            None => {}
        }
    }
    let new = now.keys().filter(|path| !then.contains_key(*path)).count();
    let gone = then.keys().filter(|path| !now.contains_key(*path)).count();
    Ok(json!({"same": same, "changed": changed, "new": new, "gone": gone}))
}
