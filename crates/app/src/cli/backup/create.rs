//! Making a backup: what the server sends goes into a file that has its name only once it is whole.

use std::{
    fs::File,
    io::{BufReader, Write as _},
    path::{Path, PathBuf},
};

use pentad_agents::backup::{EXTENSION, Header, MANIFEST, RECIPE, chain};
use pentad_keys::{
    framed::{FileError, Prelude, Raw, Sort},
    root::{passphrase::Kdf, recovery::Recovery},
};
use pentad_model::{Secret, id::OsEntropy};
use serde_json::json;

use crate::{
    client::Call,
    failure::{Exit, Failure},
    passphrase,
    progress::Progress,
    session::Session,
    wiring::restoring::{self, KeyFrom, chain_failure},
};

/// What is to be backed up, and where to.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A directory, or the file to make; a file that is there is not written over
    to: PathBuf,
    /// Only what changed since the newest backup in the same directory; a full one if there is none
    #[arg(long)]
    incremental: bool,
    /// Only what changed since this backup, which restoring it then needs too
    #[arg(long, value_name = "FILE", conflicts_with = "incremental")]
    since: Option<PathBuf>,
    /// Put the root key into the backup, under a passphrase that is asked for: then nothing else is
    /// needed after the loss of the whole machine. Needs the root key here
    #[arg(long)]
    recovery_passphrase: bool,
    /// As --recovery-passphrase, from this file
    #[arg(long, value_name = "FILE", conflicts_with = "recovery_passphrase")]
    recovery_passphrase_file: Option<PathBuf>,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let is_dir = self.to.is_dir();
        let dir = match (is_dir, self.to.parent()) {
            (true, _) => self.to.clone(),
            (false, Some(parent)) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if !is_dir && self.to.exists() {
            return Err(Failure::new(
                Exit::Conflict,
                format!("{} is there already", self.to.display()),
            )
            .hint("name another file, or a directory"));
        }
        let out = session.output;
        let since = match (&self.since, self.incremental) {
            (Some(file), _) => Some(file.clone()),
            (None, true) => {
                let newest = chain::list(&dir).map_err(chain_failure)?.pop();
                if newest.is_none() {
                    out.note(format!(
                        "{} holds no backup yet: this one is a full one",
                        dir.display()
                    ));
                }
                newest.map(|newest| newest.path)
            }
            (None, false) => None,
        };
        let recovery = self.recovery()?;
        let mut call = Call::post("/v1/backups");
        if let Some(since) = &since {
            let (first, bytes) = rests_on(since)?;
            call = call.query("first", Some(first)).octets(bytes);
        }
        let begun = std::time::Instant::now();
        let progress = Progress::bytes(out, 0);
        let mut file = Taking::below(&dir)?;
        let client = session.client().await?;
        let taken = client
            .stream(call, &mut |bytes| {
                file.take(bytes)?;
                progress.at_bytes(file.written, "");
                Ok(())
            })
            .await;
        progress.end();
        taken?;
        let header = file.whole()?;
        if let Some(passphrase) = recovery {
            let place = session.place()?;
            let (key, _) = restoring::key_of(&place, &header, &[], &KeyFrom::Place).await?;
            let sealed = tokio::task::spawn_blocking(move || {
                Recovery::seal(&key, &passphrase, Kdf::ARGON2ID, &OsEntropy)
            });
            let sealed = sealed
                .await
                .map_err(|error| Failure::internal(error.to_string()))?;
            let sealed = sealed.map_err(|error| Failure::usage(error.to_string()))?;
            let note = serde_json::to_vec(&sealed)
                .map_err(|error| Failure::internal(error.to_string()))?;
            file = file.with_note(&dir, note)?;
        }
        let to = match is_dir {
            true => dir.join(name(&header)),
            false => self.to.clone(),
        };
        let inside = file.prelude.as_ref().is_some_and(|it| !it.note.is_empty());
        let size = file.publish(&to, &dir)?;
        if out.json {
            return out.value(&json!({
                "file": to, "id": header.id, "parent": header.parent, "bytes": size,
                "taken_at": header.taken_at.to_string(),
                "root_key": if inside { "inside, under a passphrase" } else { "elsewhere" },
            }));
        }
        let sort = match header.parent {
            Some(_) => "what changed",
            None => "everything",
        };
        out.line(format!("{}: {sort}, {size} bytes", to.display()))?;
        tracing::debug!(seconds = begun.elapsed().as_secs_f64(), "a backup was made");
        out.note(match inside {
            true => "it holds the root key, under the recovery passphrase: keep that elsewhere",
            false => {
                "it opens with the root key alone, which is not in it: keep a copy of master.key \
                 elsewhere"
            }
        });
        Ok(())
    }

    fn recovery(&self) -> Result<Option<Secret>, Failure> {
        match &self.recovery_passphrase_file {
            Some(file) => passphrase::from_file(file).map(Some),
            None if self.recovery_passphrase => {
                passphrase::ask_twice("New recovery passphrase").map(Some)
            }
            None => Ok(None),
        }
    }
}

/// The name of a backup in a directory: it sorts by time.
fn name(header: &Header) -> String {
    let taken = header.taken_at.to_string();
    let seconds = taken.split('.').next().unwrap_or_default();
    let time: String = seconds
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    let id = header.id.to_string();
    // An id begins with the time; its end is random.
    let end = &id[id.len().saturating_sub(8)..];
    format!("pentad-{time}Z-{end}.{EXTENSION}")
}

/// What the server needs of a backup to make an increment of it: its beginning, recipe and manifest.
fn rests_on(path: &Path) -> Result<(u64, Vec<u8>), Failure> {
    let bad = |error: FileError| match error {
        FileError::Io(error) => Failure::file(path.display(), &error),
        other => Failure::new(Exit::Damaged, format!("{}: {other}", path.display()))
            .hint("make a full backup instead"),
    };
    let file = File::open(path).map_err(|error| Failure::file(path.display(), &error))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let prelude = Prelude::read(Sort::Backup, &mut reader).map_err(bad)?;
    let prelude = Prelude {
        note: Vec::new(),
        ..prelude
    };
    let mut bytes = prelude.to_bytes(Sort::Backup).map_err(bad)?;
    let (mut first, mut number) = (None, 0);
    while let Some(raw) = Raw::read(&mut reader).map_err(bad)? {
        if matches!(raw.kind, RECIPE | MANIFEST) {
            first.get_or_insert(number);
            bytes.extend_from_slice(&raw.bytes);
        }
        number += 1;
        if raw.last {
            return Ok((first.unwrap_or(number), bytes));
        }
    }
    Err(bad(FileError::CutOff))
}

/// A file while it comes: nameless, for its owner alone, and gone unless it is published.
struct Taking {
    file: tempfile::NamedTempFile,
    /// What has come and is not written yet: the beginning until it is whole, then part of a frame's
    /// own beginning.
    pending: Vec<u8>,
    prelude: Option<Prelude>,
    /// Bytes that the present frame still has.
    rest: usize,
    ended: bool,
    written: u64,
}

impl Taking {
    fn below(dir: &Path) -> Result<Self, Failure> {
        let file = tempfile::Builder::new()
            .prefix(".pentad-backup-")
            .tempfile_in(dir)
            .map_err(|error| Failure::file(dir.display(), &error))?;
        Ok(Self {
            file,
            pending: Vec::new(),
            prelude: None,
            rest: 0,
            ended: false,
            written: 0,
        })
    }

    /// Takes the next bytes, however they are cut.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let failed =
            |error: FileError| Failure::internal(format!("the server sent no backup: {error}"));
        self.write(bytes)?;
        self.pending.extend_from_slice(bytes);
        if self.prelude.is_none() {
            let mut from = self.pending.as_slice();
            match Prelude::read(Sort::Backup, &mut from) {
                Ok(prelude) => {
                    let used = self.pending.len() - from.len();
                    self.pending.drain(..used);
                    self.prelude = Some(prelude);
                }
                Err(FileError::CutOff | FileError::NotOurs) if self.pending.len() < 16 => {
                    return Ok(());
                }
                Err(FileError::CutOff) => return Ok(()),
                Err(error) => return Err(failed(error)),
            }
        }
        loop {
            let skipped = self.rest.min(self.pending.len());
            self.pending.drain(..skipped);
            self.rest -= skipped;
            if self.rest > 0 || self.pending.is_empty() {
                return Ok(());
            }
            if self.ended {
                return Err(failed(FileError::Damaged {
                    what: "something follows its end",
                }));
            }
            let Some(&[_, last, a, b, c, d]) = self.pending.first_chunk::<6>() else {
                return Ok(());
            };
            self.rest = 6 + u32::from_be_bytes([a, b, c, d]) as usize;
            self.ended = last == 1;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.written += bytes.len() as u64;
        let written = self.file.write_all(bytes);
        written.map_err(|error| Failure::file(self.file.path().display(), &error))
    }

    /// The header, if the file came to its end.
    fn whole(&self) -> Result<Header, Failure> {
        match &self.prelude {
            Some(prelude) if self.ended && self.rest == 0 && self.pending.is_empty() => {
                Ok(Header::parse(&prelude.header)?)
            }
            _ => Err(
                Failure::unavailable("the backup broke off: no file was made")
                    .hint("try again; the server's log says why"),
            ),
        }
    }

    /// The same file with a note.
    fn with_note(mut self, dir: &Path, note: Vec<u8>) -> Result<Self, Failure> {
        use std::io::{Seek as _, SeekFrom, copy};
        let Some(prelude) = self.prelude.take() else {
            return Err(Failure::internal("a backup without a beginning"));
        };
        let failed = |error| Failure::file(dir.display(), &error);
        let prelude = Prelude { note, ..prelude };
        let mut noted = Self::below(dir)?;
        let begin = prelude
            .to_bytes(Sort::Backup)
            .map_err(|error| Failure::internal(error.to_string()))?;
        noted.write(&begin)?;
        let file = self.file.as_file_mut();
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        Prelude::read(Sort::Backup, file).map_err(|error| Failure::internal(error.to_string()))?;
        noted.written += copy(file, noted.file.as_file_mut()).map_err(failed)?;
        noted.prelude = Some(prelude);
        noted.ended = true;
        Ok(noted)
    }

    /// Gives it its name, durably; its size. One that is there is left as it is.
    fn publish(self, to: &Path, dir: &Path) -> Result<u64, Failure> {
        let failed = |error| Failure::file(to.display(), &error);
        self.file.as_file().sync_all().map_err(failed)?;
        self.file
            .persist_noclobber(to)
            .map_err(|error| failed(error.error))?;
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed)?;
        Ok(self.written)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use pentad_keys::framed::{ForeignKey, Place};

    use super::*;

    fn a_file() -> Vec<u8> {
        let prelude = Prelude {
            header: b"{}".to_vec(),
            note: Vec::new(),
        };
        let key = ForeignKey::new(&Secret::new(vec![1; 32])).unwrap();
        let key = key.file(&[0; 32], b"{}").unwrap();
        let mut file = prelude.to_bytes(Sort::Backup).unwrap();
        for (number, content) in [b"one".as_slice(), b"", b"three"].into_iter().enumerate() {
            let place = Place {
                number: number as u64,
                kind: 1,
                last: number == 2,
            };
            file.extend(key.seal(place, content, &OsEntropy).unwrap());
        }
        file
    }

    #[test]
    fn a_file_is_whole_at_its_end_only_however_it_comes() {
        let file = a_file();
        let dir = tempfile::tempdir().unwrap();
        for step in [1, 5, 7, 100, file.len()] {
            let mut taking = Taking::below(dir.path()).unwrap();
            for part in file.chunks(step) {
                assert!(!taking.ended || taking.rest > 0 || part.is_empty());
                taking.take(part).unwrap();
            }
            assert!(taking.ended && taking.rest == 0 && taking.pending.is_empty());
            assert!(taking.take(b"more").is_err());
        }
        for length in 0..file.len() {
            let mut taking = Taking::below(dir.path()).unwrap();
            taking.take(&file[..length]).unwrap();
            assert!(taking.whole().is_err(), "{length}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
