//! Encrypted credentials files, `credentials.json.enc`: written in our form, read in ours and in Fernet.
//!
//! Ours is a file of [frames](pentad_keys::framed) with the magic `PENTADCR`. Its header, in the clear, is
//! JSON: `{"format":1,"created_at":…,"salt":…,"key":…}`, where the key is either
//! `{"type":"passphrase","parameters":…}` (Argon2id, with its cost and salt) or `{"type":"file"}`. The
//! frames' content, put together, is a JSON object `{"path": {"value": …, "kind": …}, …}`; frames
//! hold parts of its text.
//!
//! A key file is 32 bytes as base64url text, the form of Fernet's keys: so one key serves both. A
//! Fernet file is a token that holds such an object, or plainer ones: `{"name": "value"}`.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use pentad_keys::{
    fernet,
    framed::{self, FileError, ForeignKey, Place, Prelude, Raw, Sort},
    root::passphrase::{Kdf, RootParameters},
};
use pentad_model::{Clock as _, Secret, SystemClock, id::Entropy as _, id::OsEntropy};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    failure::{Exit, Failure},
    passphrase,
};

const FORMAT: u32 = 1;
/// The frames' only kind.
const TEXT: u8 = 1;
/// The longest content that is read: it is in memory as a whole.
const LONGEST: usize = 512 << 20;
/// Bytes after which a frame is full.
const FULL: usize = 1 << 20;

/// What opens an encrypted file.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct FileKey {
    /// The encrypted file's key: 32 bytes as base64url text, as Fernet has them
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A file that holds the encrypted file's passphrase; without this and --key-file it is asked for
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    created_at: String,
    salt: String,
    key: KeySort,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum KeySort {
    Passphrase { parameters: RootParameters },
    File,
}

impl FileKey {
    fn bytes(path: &Path) -> Result<Secret, Failure> {
        let text = passphrase::from_file(path)?;
        fernet::key(&text).map_err(|error| {
            Failure::usage(format!("{}: {error}", path.display()))
                .hint("`pentad export` makes one where --key-file names no file yet")
        })
    }

    fn of_file(path: &Path) -> Result<ForeignKey, Failure> {
        ForeignKey::new(&Self::bytes(path)?)
            .ok_or_else(|| Failure::internal("a key of another length"))
    }

    fn stretched(parameters: &RootParameters, word: &Secret) -> Result<ForeignKey, Failure> {
        // A fraction of a second, in a command that has nothing else to do.
        ForeignKey::from_passphrase(parameters, word)
            .map_err(|error| Failure::usage(error.to_string()))
    }

    fn word(&self, new: bool) -> Result<Secret, Failure> {
        match (&self.passphrase_file, new) {
            (Some(file), _) => passphrase::from_file(file),
            (None, true) => passphrase::ask_twice("New passphrase of the file"),
            (None, false) => passphrase::ask("Passphrase of the file"),
        }
        .map_err(|failure| match failure.hint {
            None => failure.hint("--passphrase-file or --key-file names a file that holds it"),
            Some(_) => failure,
        })
    }
}

/// What an encrypted file holds: JSON. Nothing is handed out before all of it was authenticated.
pub(crate) fn open(file: &Path, bytes: &[u8], key: &FileKey) -> Result<Secret, Failure> {
    let name = file.display();
    if fernet::is_token(bytes) {
        let Some(key_file) = &key.key_file else {
            return Err(Failure::usage(format!("{name} is a Fernet file"))
                .hint("name its key with --key-file"));
        };
        return fernet::open(&FileKey::bytes(key_file)?, bytes)
            .map_err(|error| wrong_key(&name, &error.to_string()));
    }
    let failed = |error: FileError| match error {
        FileError::NotOurs => Failure::usage(format!("{name} is no encrypted credentials file"))
            .hint("--format env, json or csv reads one that is not encrypted"),
        FileError::Newer { .. } => Failure::new(Exit::Unavailable, format!("{name}: {error}")),
        error => Failure::new(Exit::Damaged, format!("{name}: {error}"))
            .hint("use another copy of the file"),
    };
    let mut rest = bytes;
    let prelude = Prelude::read(Sort::Credentials, &mut rest).map_err(failed)?;
    let unreadable = || {
        failed(FileError::Damaged {
            what: "its header can't be read",
        })
    };
    let header: Header = serde_json::from_slice(&prelude.header).map_err(|_| unreadable())?;
    if header.format > FORMAT {
        let found = u8::try_from(header.format).unwrap_or(u8::MAX);
        return Err(failed(FileError::Newer { found }));
    }
    let mut salt = [0; framed::SALT_LEN];
    hex::decode_to_slice(&header.salt, &mut salt).map_err(|_| unreadable())?;
    let key = match (&header.key, &key.key_file) {
        (KeySort::File, Some(path)) => FileKey::of_file(path)?,
        (KeySort::File, None) => {
            return Err(Failure::usage(format!("{name} opens with a key file"))
                .hint("name it with --key-file"));
        }
        (KeySort::Passphrase { .. }, Some(_)) => {
            return Err(
                Failure::usage(format!("{name} opens with a passphrase")).hint(
                    "leave --key-file away, or name the passphrase's file with --passphrase-file",
                ),
            );
        }
        (KeySort::Passphrase { parameters }, None) => {
            FileKey::stretched(parameters, &key.word(false)?)?
        }
    };
    let key = key
        .file(&salt, &prelude.header)
        .map_err(|error| Failure::internal(error.to_string()))?;
    let mut content = Zeroizing::new(Vec::with_capacity(rest.len()));
    let mut number = 0;
    loop {
        let raw = Raw::read(&mut rest).map_err(failed)?;
        let raw = raw.ok_or_else(|| failed(FileError::CutOff))?;
        let opened = key.open(number, &raw.bytes);
        let (place, plain) = match (opened, number) {
            (Ok(opened), _) => opened,
            // A wrong key and an altered beginning can't be told apart.
            (Err(_), 0) => return Err(wrong_key(&name, "the key or passphrase does not open it")),
            (Err(_), _) => {
                return Err(failed(FileError::Damaged {
                    what: "it was altered",
                }));
            }
        };
        if place.kind != TEXT || content.len() + plain.len() > LONGEST {
            return Err(failed(FileError::Damaged {
                what: "it holds something else",
            }));
        }
        content.extend_from_slice(plain.expose());
        number += 1;
        if place.last {
            break;
        }
    }
    match rest.is_empty() {
        true => Ok(Secret::new(std::mem::take(&mut *content))),
        false => Err(failed(FileError::Damaged {
            what: "something follows its end",
        })),
    }
}

fn wrong_key(name: &impl std::fmt::Display, why: &str) -> Failure {
    Failure::new(Exit::Denied, format!("{name}: {why}"))
        .hint("give the key or passphrase that it was written with; if that is right, the file was altered")
}

/// A file while it is written: nameless, for its owner alone, and gone unless it is finished.
pub(crate) struct Writer {
    file: tempfile::NamedTempFile,
    dir: PathBuf,
    key: framed::FileKey,
    number: u64,
    text: Zeroizing<Vec<u8>>,
}

impl Writer {
    /// Beside where it is to be. A key file that is not there is made.
    pub(crate) fn new(to: &Path, key: &FileKey) -> Result<Self, Failure> {
        let dir = match to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let (sort, key) = match &key.key_file {
            Some(path) => {
                if !path.exists() {
                    make_key(path)?;
                }
                (KeySort::File, FileKey::of_file(path)?)
            }
            None => {
                let word = key.word(true)?;
                let parameters = RootParameters::generate(Kdf::ARGON2ID, &OsEntropy)
                    .map_err(|error| Failure::internal(error.to_string()))?;
                let key = FileKey::stretched(&parameters, &word)?;
                (KeySort::Passphrase { parameters }, key)
            }
        };
        let mut salt = [0; framed::SALT_LEN];
        OsEntropy.fill(&mut salt);
        let header = Header {
            format: FORMAT,
            created_at: SystemClock.now().to_string(),
            salt: hex::encode(salt),
            key: sort,
        };
        let internal = |error: &dyn std::fmt::Display| Failure::internal(error.to_string());
        let header = serde_json::to_vec(&header).map_err(|error| internal(&error))?;
        let key = key.file(&salt, &header).map_err(|error| internal(&error))?;
        let prelude = Prelude {
            header,
            note: Vec::new(),
        };
        let prelude = prelude.to_bytes(Sort::Credentials);
        let failed = |error| Failure::file(dir.display(), &error);
        let mut file = tempfile::Builder::new()
            .prefix(".pentad-export-")
            .tempfile_in(&dir)
            .map_err(failed)?;
        file.write_all(&prelude.map_err(|error| internal(&error))?)
            .map_err(failed)?;
        Ok(Self {
            file,
            dir,
            key,
            number: 0,
            text: Zeroizing::new(Vec::with_capacity(2 * FULL)),
        })
    }

    /// Adds text.
    pub(crate) fn push(&mut self, text: &[u8]) -> Result<(), Failure> {
        for part in text.chunks(FULL) {
            if self.text.len() + part.len() > 2 * FULL {
                self.frame(false)?;
            }
            self.text.extend_from_slice(part);
        }
        Ok(())
    }

    fn frame(&mut self, last: bool) -> Result<(), Failure> {
        let place = Place {
            number: self.number,
            kind: TEXT,
            last,
        };
        let sealed = self
            .key
            .seal(place, &self.text, &OsEntropy)
            .map_err(|error| Failure::internal(error.to_string()))?;
        let written = self.file.write_all(&sealed);
        written.map_err(|error| Failure::file(self.dir.display(), &error))?;
        self.number += 1;
        self.text = Zeroizing::new(Vec::with_capacity(2 * FULL));
        Ok(())
    }

    /// Gives it its name, durably. One that is there is left as it is.
    pub(crate) fn finish(mut self, to: &Path) -> Result<(), Failure> {
        self.frame(true)?;
        let failed = |error| Failure::file(to.display(), &error);
        self.file.as_file().sync_all().map_err(failed)?;
        self.file
            .persist_noclobber(to)
            .map_err(|error| failed(error.error))?;
        fs::File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed)
    }
}

/// A new key file, for its owner alone, durable before anything is sealed under it.
fn make_key(path: &Path) -> Result<(), Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    OsEntropy.fill(bytes.as_mut());
    let mut text = Zeroizing::new(String::with_capacity(64));
    URL_SAFE.encode_string(*bytes, &mut text);
    text.push('\n');
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            fs::File::open(dir.unwrap_or_else(|| Path::new(".")))?.sync_all()
        });
    written.map_err(|error| Failure::file(path.display(), &error))
}
