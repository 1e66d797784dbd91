//! What a value looks like: one table of formats, the specific before the general.
//!
//! A value is looked at as a whole, without surrounding white space. Structure is checked shallowly:
//! a token's alphabet, length and checksum, a PEM block's label and beginning, a JWT's header.
//! Nothing is verified with its issuer, and no certificate is judged here.
//!
//! To add a format: add its entry to [`FORMATS`], before every format that its values also fit,
//! with examples and counter-examples: these are its tests.

mod encoded;
mod table;
mod token;

pub use table::FORMATS;

/// Longer values are not looked at: no credential of a known format comes near.
const LONGEST: usize = 256 * 1024;

/// One format.
#[derive(Debug)]
pub struct Format {
    /// Its stable name in facts and policies.
    pub name: &'static str,
    /// One sentence for people.
    pub description: &'static str,
    /// Values that have it.
    pub examples: &'static [&'static str],
    /// Values that nearly do.
    pub counter_examples: &'static [&'static str],
    fits: fn(&str) -> Fit,
}

/// How well a value fits a format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fit {
    No,
    Yes,
    /// In all but the checksum that the value carries.
    BadChecksum,
}

impl From<bool> for Fit {
    fn from(fits: bool) -> Self {
        if fits { Self::Yes } else { Self::No }
    }
}

/// A recognised format.
#[derive(Clone, Copy, Debug)]
pub struct Recognised {
    /// Which.
    pub format: &'static Format,
    /// Whether the checksum that the value carries is right; true where it carries none.
    pub checksum_holds: bool,
}

impl Recognised {
    /// The format's name, with `:bad_checksum` appended where that is so; what
    /// [`Facts::format`](pentad_model::assessment::Facts::format) holds.
    pub fn label(&self) -> String {
        let suffix = if self.checksum_holds {
            ""
        } else {
            ":bad_checksum"
        };
        format!("{}{suffix}", self.format.name)
    }
}

/// The first format of the table that the text fits.
pub fn recognise(text: &str) -> Option<Recognised> {
    if text.len() > LONGEST {
        return None;
    }
    let text = text.trim();
    FORMATS.iter().find_map(|format| match (format.fits)(text) {
        Fit::No => None,
        fit => Some(Recognised {
            format,
            checksum_holds: fit == Fit::Yes,
        }),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_format_is_documented_once_and_knows_its_examples() {
        let mut seen = BTreeSet::new();
        for format in FORMATS {
            let name = format.name;
            assert!(seen.insert(name), "{name} twice");
            assert!(format.description.ends_with('.'), "{name}");
            assert!(
                !format.examples.is_empty() && !format.counter_examples.is_empty(),
                "{name}"
            );
            for example in format.examples {
                assert_eq!(
                    recognise(example).map(|found| found.label()).as_deref(),
                    Some(name),
                    "{example}"
                );
            }
            for counter in format.counter_examples {
                let found = recognise(counter).map(|found| found.label());
                assert_ne!(found.as_deref(), Some(name), "{counter}");
            }
        }
    }

    #[test]
    fn a_mistyped_github_token_is_told_from_a_right_one() {
        // The last character changed; an upper-case letter lowered.
        for broken in [
            concat!("ghp", "_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq18"),
            concat!("ghp", "_zqWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17"),
        ] {
            assert_eq!(
                recognise(broken).map(|found| found.label()).as_deref(),
                Some("github_token:bad_checksum")
            );
        }
    }

    #[test]
    fn ordinary_words_have_no_format() {
        for text in [
            "",
            " ",
            "password",
            "correct horse battery staple",
            "-----BEGIN",
            "a.b.c",
            "://",
        ] {
            assert!(recognise(text).is_none(), "{text}");
        }
    }
}
