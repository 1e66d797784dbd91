use std::path::PathBuf;

use pentad_model::Path;
use serde_json::json;

use super::backup::{Key, counted};
use crate::{
    client::{Call, at},
    failure::Failure,
    output::Tone,
    progress::Progress,
    session::Session,
    wiring::restoring,
};

/// Take a deletion back; or, with --backup, make a store of a backup in a new directory
///
/// A backup is restored whole, into a directory that is empty or not there yet: `--dir` names it.
/// With `--store` the store goes into that database, which has none yet, and the directory is its node.
/// Everything is checked first, and nothing is left half done. What is rotated is in doubt then,
/// until the first start has tried it at its target; tokens are not restored, for one that was
/// revoked after the backup would be good again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad restore prod/old                                        # a deleted credential is back
  pentad restore --backup FILE --dir /var/lib/pentad-new --key-file /mnt/safe/master.key
  pentad restore --backup FILE --dir /var/lib/pentad-new --recovery-passphrase
  pentad restore --backup FILE --dir /var/lib/pentad-new --key-file /mnt/safe/master.key \
      --store postgres://pentad@db.internal/pentad")]
pub(super) struct Args {
    /// Which deleted credential
    #[arg(required_unless_present = "backup", conflicts_with = "backup")]
    path: Option<String>,
    /// The backup to restore; what it rests on is looked for beside it
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    /// Restore tokens too. Those that were revoked after the backup are good again
    #[arg(long, requires = "backup")]
    keep_tokens: bool,
    #[command(flatten)]
    key: Key,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match (&self.backup, &self.path) {
            (Some(file), _) => self.whole(session, file).await,
            (None, Some(path)) => one(session, path).await,
            (None, None) => Err(Failure::usage("name a path, or a backup with --backup")),
        }
    }

    async fn whole(&self, session: &Session, file: &std::path::Path) -> Result<(), Failure> {
        let place = session.place()?;
        restoring::vacant(&place)?;
        let listed = restoring::look(file)?;
        let from = self.key.from()?;
        let progress = Progress::bytes(session.output, listed.size);
        let restored =
            restoring::restore_store(&place, &listed, &from, self.keep_tokens, &progress).await;
        progress.end();
        let restored = restored?;
        let (out, it) = (session.output, place.arguments());
        if out.json {
            return out.value(&json!({
                "dir": place.dir, "backup": listed.header.id,
                "taken_at": listed.header.taken_at.to_string(), "restored": restored,
            }));
        }
        let whole = format!("{} holds the store again", place.store());
        out.line(out.paint(Tone::Good, &whole))?;
        out.facts(&[
            (
                "backup",
                format!("{} of {}", listed.header.id, listed.header.taken_at),
            ),
            ("holds", counted(&restored.rows)),
            (
                "audit log",
                format!(
                    "{} records verify; it goes on under a new name",
                    restored.log_records
                ),
            ),
            (
                "in doubt",
                format!(
                    "{} credentials, until they were tried at their targets",
                    restored.in_doubt
                ),
            ),
        ])?;
        if restored.waiting + restored.ended > 0 {
            out.note(format!(
                "{} rotations wait for a person (`pentad rotations --needs-person`), {} had not begun",
                restored.waiting, restored.ended
            ));
        }
        if restored.tokens_left_out > 0 {
            out.note(format!(
                "{} tokens were not restored: make new ones with `pentad {it} token create`",
                restored.tokens_left_out
            ));
        }
        out.note(format!(
            "\nNext: see that the old server is gone for good, then\n  pentad {it} server &\n  \
             pentad backup status                    which values work at their targets"
        ));
        Ok(())
    }
}

async fn one(session: &Session, given: &str) -> Result<(), Failure> {
    let restored = match given.parse::<Path>() {
        Ok(path) => session.send(Call::post(at("restore", path.as_str()))).await,
        Err(error) => Err(Failure::usage(error.to_string())),
    };
    let restored = restored.map_err(|failure| match std::path::Path::new(given).is_file() {
        true => failure.hint(format!(
            "to restore a whole backup: `pentad restore --backup {given} --dir NEW`"
        )),
        false => failure,
    })?;
    let restored = restored.json()?;
    match session.output.json {
        true => session.output.value(&restored),
        false => session.output.line(format!("{given} is back")),
    }
}
