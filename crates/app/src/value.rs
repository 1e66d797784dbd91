//! Values on their way in: from standard input, a file, or a prompt. Never from an argument, which
//! other users of the machine can read in the list of processes.

use std::{
    io::{IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pentad_model::Secret;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::{failure::Failure, passphrase};

/// Longer than any value that is stored.
const LONGEST: u64 = 2 << 20;
/// What fits, in base64, into a request's body.
const LONGEST_WORK: usize = 1 << 20;

/// Where a value comes from.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Source {
    /// Read the value from this file; `-` is standard input, which is read anyway if it is no
    /// terminal
    #[arg(long, value_name = "FILE", conflicts_with = "generate")]
    value_file: Option<PathBuf>,
    /// Let Pentad make the value
    #[arg(long)]
    pub(crate) generate: bool,
    /// Keep the newline at the value's end, which is dropped otherwise
    #[arg(long)]
    keep_newline: bool,
    /// A slip that would show the value: caught, not used.
    #[arg(hide = true, allow_hyphen_values = true)]
    slip: Vec<String>,
}

impl Source {
    /// Refuses a value that stands on the command line, without repeating it.
    pub(crate) fn refuse_argument(&self) -> Result<(), Failure> {
        if self.slip.is_empty() {
            return Ok(());
        }
        Err(Failure::usage(
            "a value is never taken from the command line: others can read it there",
        )
        .hint(
            "pipe it in, or use --value-file or the prompt; if it was a real one, change it: \
                 your shell's history has it",
        ))
    }

    /// The value; `None` if Pentad is to make it.
    pub(crate) fn read(&self, prompt: &str) -> Result<Option<Secret>, Failure> {
        self.refuse_argument()?;
        if self.generate {
            return Ok(None);
        }
        let mut bytes = match &self.value_file {
            Some(path) if path.as_os_str() != "-" => {
                let file =
                    std::fs::File::open(path).map_err(|e| Failure::file(path.display(), &e))?;
                all(file, &path.display().to_string())?
            }
            None if std::io::stdin().is_terminal() => {
                return passphrase::ask_twice(prompt).map(Some);
            }
            _ => all(std::io::stdin().lock(), "standard input")?,
        };
        if !self.keep_newline && bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.is_empty() {
            return Err(Failure::usage("the value is empty").hint(
                "pipe one in, use --value-file or --generate, or --metadata to change all but it",
            ));
        }
        Ok(Some(Secret::new(std::mem::take(&mut *bytes))))
    }
}

/// Bytes to work on with a key, exactly as they are: from a file, else standard input.
pub(crate) fn exact(file: Option<&Path>) -> Result<Secret, Failure> {
    let mut bytes = match file {
        Some(path) => {
            let file = std::fs::File::open(path).map_err(|e| Failure::file(path.display(), &e))?;
            all(file, &path.display().to_string())?
        }
        None if std::io::stdin().is_terminal() => {
            return Err(Failure::usage("there is nothing to work on")
                .hint("pipe it in, or name a file with --in"));
        }
        None => all(std::io::stdin().lock(), "standard input")?,
    };
    if bytes.len() > LONGEST_WORK {
        return Err(
            Failure::usage(format!("a key works on up to {LONGEST_WORK} bytes at once"))
                .hint("sign a digest instead: sha256sum FILE | pentad sign PATH"),
        );
    }
    Ok(Secret::new(std::mem::take(&mut *bytes)))
}

fn all(from: impl std::io::Read, name: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 << 10));
    from.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::file(name, &e))?;
    if bytes.len() as u64 > LONGEST {
        return Err(Failure::usage(format!(
            "{name} has more than {LONGEST} bytes: no value has"
        )));
    }
    Ok(bytes)
}

/// A body whose value is written from the secret itself: no copy is made on the way.
#[derive(Serialize)]
pub(crate) struct WithValue<'a, M> {
    /// Everything else.
    #[serde(flatten)]
    pub(crate) rest: &'a M,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<InBase64<'a>>,
}

impl<'a, M> WithValue<'a, M> {
    pub(crate) fn new(rest: &'a M, value: Option<&'a Secret>) -> Self {
        let text = value.and_then(Secret::expose_str);
        let value_base64 = value.filter(|_| text.is_none()).map(InBase64);
        Self {
            rest,
            value: text,
            value_base64,
        }
    }
}

struct InBase64<'a>(&'a Secret);

impl Serialize for InBase64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.0.expose();
        let mut text = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(3) * 4));
        STANDARD.encode_string(bytes, &mut text);
        serializer.serialize_str(&text)
    }
}

/// A value in an answer.
#[derive(serde::Deserialize)]
pub(crate) struct Reading {
    pub(crate) version: u32,
    #[serde(default)]
    pub(crate) in_doubt: bool,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    value_base64: Option<String>,
}

impl Reading {
    /// The value.
    pub(crate) fn into_secret(self) -> Result<Secret, Failure> {
        match (self.value, self.value_base64) {
            (Some(text), _) => Ok(Secret::new(text)),
            (None, Some(text)) => {
                let text = Zeroizing::new(text);
                STANDARD
                    .decode(text.as_bytes())
                    .map(Secret::new)
                    .map_err(|_| Failure::internal("the server's answer is not base64"))
            }
            (None, None) => Err(Failure::internal("the server's answer holds no value")),
        }
    }
}

/// A token that was just made.
#[derive(serde::Deserialize)]
pub(crate) struct Issued {
    token: String,
}

impl Issued {
    /// The token.
    pub(crate) fn into_secret(self) -> Secret {
        Secret::new(self.token)
    }
}
