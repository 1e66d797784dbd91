//! What sort of credential it is. One file a kind, one line in [`kinds!`].
//!
//! To add a kind: write `kind/<name>.rs` with a `PROFILE`, and add its line below. The registry,
//! its parser, `pentad kinds` and the API description follow; a test walks every entry.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub mod generator;

pub use generator::{Alphabet, Generator};

/// What Pentad knows about a kind.
#[derive(Debug)]
pub struct Profile {
    /// Its name in paths, files and answers.
    pub name: &'static str,
    /// One sentence for people.
    pub description: &'static str,
    /// How a new value is made when the credential's policy says nothing else;
    /// `None` where only the provider can make one.
    pub generator: Option<fn() -> Generator>,
    /// Whether a person chose or may type it, so that guessability matters, not format.
    pub memorable: bool,
    /// Longest value accepted, in bytes.
    pub max_bytes: usize,
}

macro_rules! kinds {
    ($($variant:ident => $module:ident),+ $(,)?) => {
        $(mod $module;)+

        /// The kinds of credential.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Kind {
            $(
                #[doc = concat!("See `kind/", stringify!($module), ".rs`.")]
                $variant,
            )+
        }

        impl Kind {
            /// Every kind, in the order of the registry.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant),+];

            /// What Pentad knows about this kind.
            pub fn profile(self) -> &'static Profile {
                match self {
                    $(Kind::$variant => &$module::PROFILE,)+
                }
            }
        }
    };
}

kinds! {
    Password => password,
    ApiKey => api_key,
    Secret => secret,
    Token => token,
    Oauth2 => oauth2,
    Certificate => certificate,
    SshKey => ssh_key,
    Database => database,
    SigningKey => signing_key,
    ConnectionString => connection_string,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.profile().name)
    }
}

/// The text names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of credential; known kinds: {list}", list = names())]
pub struct UnknownKind(String);

fn names() -> String {
    Kind::ALL
        .iter()
        .map(|kind| kind.profile().name)
        .collect::<Vec<_>>()
        .join(", ")
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Kind::ALL
            .iter()
            .copied()
            .find(|kind| kind.profile().name == text)
            .ok_or_else(|| UnknownKind(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_documented_once_and_agrees_with_its_serialised_name() {
        let mut seen = BTreeSet::new();
        for kind in Kind::ALL {
            let profile = kind.profile();
            assert!(seen.insert(profile.name), "{} twice", profile.name);
            assert!(profile.description.ends_with('.'), "{}", profile.name);
            assert_eq!(
                serde_json::to_value(kind).ok(),
                Some(serde_json::Value::from(profile.name))
            );
            assert_eq!(profile.name.parse::<Kind>(), Ok(*kind));
        }
    }
}
