//! The `.env` format: reading one variable, and replacing it without touching another byte.
//!
//! What loaders agree on (Node's and Ruby's dotenv, dotenvy, python-dotenv):
//!
//! * `NAME=value`, with an optional `export ` before it; `#` begins a comment line.
//! * `'…'` is taken as it is; in `"…"` a backslash escapes, `\n`, `\r` and `\t` are control
//!   characters; both may span lines. Bare values end at ` #` and lose the space around them.
//!
//! They disagree on a variable that is set twice (first or last wins). So every setting of it is
//! replaced, and reading refuses to choose between two that differ.

use std::ops::Range;

use pentad_model::Secret;
use zeroize::Zeroizing;

use crate::{Cause, Outcome, Rejection};

/// Why a file can't be read or written. Never holds a value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum FormatError {
    #[error("`{}` can't be a variable's name", .0.escape_debug())]
    Name(String),
    #[error("line {0}: a quote is not closed")]
    OpenQuote(usize),
    #[error(
        "line {0}: something follows the closing quote; loaders disagree on whether it belongs to \
             the value: remove it, or put a space before the comment"
    )]
    AfterQuote(usize),
    #[error("the variable is set more than once, to different values")]
    Ambiguous,
    #[error(
        "a .env file can't hold this value: it must be UTF-8 without control characters other \
             than tab and newline"
    )]
    Value,
}

impl FormatError {
    pub(super) fn into_outcome(self) -> Outcome {
        Outcome::Rejected(Rejection {
            cause: match self {
                Self::Value => Cause::Value,
                Self::Name(_) | Self::OpenQuote(_) | Self::AfterQuote(_) | Self::Ambiguous => {
                    Cause::Stop
                }
            },
            message: self.to_string(),
        })
    }
}

/// Letters, digits and underscores, no digit first; at most 255 bytes, so that a name is one.
pub(super) fn check_name(name: &str) -> Result<(), FormatError> {
    let mut bytes = name.bytes();
    let first = bytes.next().unwrap_or(b'0');
    if name.len() > 255
        || !(first.is_ascii_alphabetic() || first == b'_')
        || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
    {
        return Err(FormatError::Name(name.to_owned()));
    }
    Ok(())
}

/// The value of `name`, `None` if it is not set.
pub(super) fn value(file: &[u8], name: &str) -> Result<Option<Secret>, FormatError> {
    check_name(name)?;
    let mut found: Option<Secret> = None;
    for setting in settings(file)? {
        if &file[setting.name.clone()] != name.as_bytes() {
            continue;
        }
        alone(file, &setting)?;
        let value = decode(&file[setting.value]);
        if found.is_some_and(|other| other != value) {
            return Err(FormatError::Ambiguous);
        }
        found = Some(value);
    }
    Ok(found)
}

/// The file with `name` set to `value`, or to nothing. Appended if it was not set before.
pub(super) fn with(
    file: &[u8],
    name: &str,
    value: Option<&Secret>,
) -> Result<Zeroizing<Vec<u8>>, FormatError> {
    check_name(name)?;
    let encoded = match value {
        Some(value) => encode(value)?,
        None => Zeroizing::default(),
    };
    let mut out = Zeroizing::new(Vec::with_capacity(
        file.len() + name.len() + encoded.len() + 3,
    ));
    let (mut copied, mut seen) = (0, false);
    for setting in settings(file)? {
        if &file[setting.name.clone()] == name.as_bytes() {
            alone(file, &setting)?;
            out.extend_from_slice(&file[copied..setting.value.start]);
            out.extend_from_slice(&encoded);
            copied = setting.value.end;
            seen = true;
        }
    }
    out.extend_from_slice(&file[copied..]);
    if !seen {
        if out.last().is_some_and(|last| *last != b'\n') {
            out.push(b'\n');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(&encoded);
        out.push(b'\n');
    }
    Ok(out)
}

/// Where a name and its value, quotes included, stand in a file.
struct Setting {
    name: Range<usize>,
    value: Range<usize>,
}

fn settings(file: &[u8]) -> Result<Vec<Setting>, FormatError> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < file.len() {
        let line_end = find(file, at, b'\n').unwrap_or(file.len());
        let mut start = skip_blanks(file, at, line_end);
        if file[start..line_end].starts_with(b"export ") {
            start = skip_blanks(file, start + b"export ".len(), line_end);
        }
        let equals = find(&file[..line_end], start, b'=');
        // A line that sets nothing (blank, comment, something of another kind) is not ours.
        let Some(equals) = equals.filter(|_| file.get(start) != Some(&b'#')) else {
            at = line_end + 1;
            continue;
        };
        let name = start..trim_end(file, start, equals);
        let value_start = skip_blanks(file, equals + 1, line_end);
        let value_end = match file.get(value_start) {
            Some(&quote @ (b'"' | b'\'')) => closing(file, value_start, quote)
                .ok_or_else(|| FormatError::OpenQuote(line_of(file, at)))?,
            _ => bare_end(file, value_start, line_end),
        };
        found.push(Setting {
            name,
            value: value_start..value_end,
        });
        at = find(file, value_end, b'\n').map_or(file.len(), |end| end + 1);
    }
    Ok(found)
}

/// Refuses what stands right behind a closing quote: a bare value in its place would swallow it.
fn alone(file: &[u8], setting: &Setting) -> Result<(), FormatError> {
    let Range { start, end } = setting.value;
    if !matches!(file.get(start), Some(b'"' | b'\'')) {
        return Ok(());
    }
    let line_end = find(file, end, b'\n').unwrap_or(file.len());
    let next = skip_blanks(file, end, line_end);
    if next == line_end || (next > end && file[next] == b'#') {
        return Ok(());
    }
    Err(FormatError::AfterQuote(line_of(file, end)))
}

/// Which line, from 1, this place is in.
fn line_of(file: &[u8], at: usize) -> usize {
    file[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn find(file: &[u8], from: usize, byte: u8) -> Option<usize> {
    Some(from + file.get(from..)?.iter().position(|b| *b == byte)?)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

fn skip_blanks(file: &[u8], from: usize, end: usize) -> usize {
    (from..end).find(|i| !is_blank(file[*i])).unwrap_or(end)
}

fn trim_end(file: &[u8], start: usize, end: usize) -> usize {
    (start..end)
        .rev()
        .find(|i| !is_blank(file[*i]))
        .map_or(start, |last| last + 1)
}

/// The end of a bare value: before ` #` and trailing blanks.
fn bare_end(file: &[u8], start: usize, line_end: usize) -> usize {
    let comment = (start..line_end)
        .find(|i| file[*i] == b'#' && (*i == start || is_blank(file[*i - 1])))
        .unwrap_or(line_end);
    trim_end(file, start, comment)
}

/// Just after the quote that closes the one at `open`.
fn closing(file: &[u8], open: usize, quote: u8) -> Option<usize> {
    let mut at = open + 1;
    while at < file.len() {
        match file[at] {
            b'\\' if quote == b'"' => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

fn decode(raw: &[u8]) -> Secret {
    match raw {
        [b'\'', inner @ .., b'\''] => Secret::new(inner),
        [b'"', inner @ .., b'"'] => {
            let mut value = Vec::with_capacity(inner.len());
            let mut bytes = inner.iter();
            while let Some(&byte) = bytes.next() {
                value.push(match (byte, byte == b'\\') {
                    (_, false) => byte,
                    _ => match bytes.next() {
                        Some(b'n') => b'\n',
                        Some(b'r') => b'\r',
                        Some(b't') => b'\t',
                        Some(&other) => other,
                        None => b'\\',
                    },
                });
            }
            Secret::new(value)
        }
        bare => Secret::new(bare),
    }
}

/// The plainest form that every loader reads back: bare, else single quotes, else double.
fn encode(value: &Secret) -> Result<Zeroizing<Vec<u8>>, FormatError> {
    let text = value.expose_str().ok_or(FormatError::Value)?;
    let controls = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if text.chars().any(controls) {
        return Err(FormatError::Value);
    }
    let bare = |b: u8| b.is_ascii_alphanumeric() || b"-_./:@%+=,~^".contains(&b);
    let mut out = Zeroizing::new(Vec::with_capacity(2 * text.len() + 2));
    if text.bytes().all(bare) {
        out.extend_from_slice(text.as_bytes());
    } else if !text.contains(['\'', '\n', '\r']) {
        out.push(b'\'');
        out.extend_from_slice(text.as_bytes());
        out.push(b'\'');
    } else {
        out.push(b'"');
        for byte in text.bytes() {
            match byte {
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                // Some loaders expand $ in double quotes.
                b'"' | b'\\' | b'$' | b'`' => out.extend_from_slice(&[b'\\', byte]),
                _ => out.push(byte),
            }
        }
        out.push(b'"');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn read(file: &str, name: &str) -> Option<String> {
        value(file.as_bytes(), name)
            .unwrap()
            .map(|v| v.expose_str().unwrap().to_owned())
    }

    #[test]
    fn the_forms_of_a_value_are_read() {
        let file = "# A=comment\n A = bare # note\nexport B='a\"b\\n'\r\nC=\"x\\n\\\"y\\\"\" # z\n\
                    D=\nE=a#b\nF='two\nlines'\nG=end";
        assert_eq!(read(file, "A").unwrap(), "bare");
        assert_eq!(read(file, "B").unwrap(), "a\"b\\n");
        assert_eq!(read(file, "C").unwrap(), "x\n\"y\"");
        assert_eq!(read(file, "D").unwrap(), "");
        assert_eq!(read(file, "E").unwrap(), "a#b");
        assert_eq!(read(file, "F").unwrap(), "two\nlines");
        assert_eq!(read(file, "G").unwrap(), "end");
        assert_eq!(read(file, "lines"), None);
    }

    #[test]
    fn a_variable_set_twice_is_replaced_twice_and_read_only_if_equal() {
        let file = b"A=1\nB=2\nA=3\n";
        assert_eq!(value(file, "A").unwrap_err(), FormatError::Ambiguous);
        let new = with(file, "A", Some(&Secret::new("x"))).unwrap();
        assert_eq!(&**new, b"A=x\nB=2\nA=x\n");
    }

    #[test]
    fn a_broken_file_is_refused_and_named_by_line() {
        assert_eq!(
            value(b"A=1\nB='x\n", "A").unwrap_err(),
            FormatError::OpenQuote(2)
        );
        assert!(with(b"B=\"x\\\"", "A", None).is_err());
    }

    #[test]
    fn what_follows_a_closing_quote_is_not_swallowed() {
        for tail in ["\0", "x", "#c", " x", "'y'"] {
            let file = format!("B=1\nA='old'{tail}\n");
            let refused = FormatError::AfterQuote(2);
            assert_eq!(
                value(file.as_bytes(), "A").unwrap_err(),
                refused,
                "{tail:?}"
            );
            let with = with(file.as_bytes(), "A", Some(&Secret::new("%")));
            assert_eq!(with.unwrap_err(), refused, "{tail:?}");
            // Another variable's line is not ours to judge.
            assert_eq!(read(&file, "B").unwrap(), "1");
        }
        let kept = with(b"A='old' # c\r\n", "A", Some(&Secret::new("%"))).unwrap();
        assert_eq!(&**kept, b"A=% # c\r\n");
    }

    #[test]
    fn names_and_values_that_do_not_fit_are_refused() {
        for name in ["", "1A", "A-B", "A B", "A=B", "Ä", "A\nB"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert_eq!(
            encode(&Secret::new([0xff])).unwrap_err(),
            FormatError::Value
        );
        assert_eq!(
            encode(&Secret::new("a\0b")).unwrap_err(),
            FormatError::Value
        );
    }

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(String::new()),
            "#[ -~]{0,20}",
            "[ \t]{0,2}(export )?[B-Z_][A-Z0-9_]{0,5}[ ]{0,2}=[ ]{0,2}[a-z0-9# ]{0,12}",
            "[B-Z]{1,3}='[ -&(-~\n]{0,12}'[ ]{0,2}(#[ -~]{0,5})?",
            "[B-Z]{1,3}=\"([ !#-\\[\\]-~]|\\\\.){0,12}\"",
            "[a-z ]{0,10}\r",
        ]
    }

    proptest! {
        #[test]
        fn every_value_is_read_back_and_every_other_line_keeps_its_bytes(
            before in prop::collection::vec(line(), 0..6),
            after in prop::collection::vec(line(), 0..6),
            old in "[a-z]{0,8}",
            new in "[ -~äß€\n\r\t]{0,40}",
        ) {
            let head: String = before.iter().map(|l| format!("{l}\n")).collect();
            let tail: String = after.iter().map(|l| format!("\n{l}")).collect();
            let file = format!("{head}A={old}{tail}");
            prop_assume!(settings(file.as_bytes()).is_ok());
            let written = with(file.as_bytes(), "A", Some(&Secret::new(new.clone()))).unwrap();
            let start = format!("{head}A=");
            prop_assert!(written.starts_with(start.as_bytes()));
            prop_assert!(written.ends_with(tail.as_bytes()));
            prop_assert_eq!(read(std::str::from_utf8(&written).unwrap(), "A").unwrap(), new.clone());
            let again = with(&written, "A", Some(&Secret::new(new))).unwrap();
            prop_assert_eq!(&*again, &*written);
        }

        #[test]
        fn no_bytes_make_the_reader_fail_otherwise_than_by_an_error(
            file in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = value(&file, "A");
            if let Ok(new) = with(&file, "A", Some(&Secret::new("x y"))) {
                prop_assert_eq!(value(&new, "A").unwrap().unwrap(), Secret::new("x y"));
            }
        }
    }
}
