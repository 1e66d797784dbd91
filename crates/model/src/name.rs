//! Names, parsed once: tenants, credential paths, and the names of targets, roles and policies.
//!
//! ```
//! use pentad_model::Path;
//!
//! let path: Path = "prod/orders/db".parse()?;
//! assert_eq!(path.segments().last(), Some("db"));
//! assert!("prod//db".parse::<Path>().is_err());
//! # Ok::<(), pentad_model::name::InvalidName>(())
//! ```

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest path accepted, in bytes. Paths are indexed, logged and bound into ciphertexts.
pub const MAX_PATH: usize = 512;
/// Longest single name accepted, in bytes.
pub const MAX_NAME: usize = 128;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing there.
    #[error("a {0} must not be empty")]
    Empty(&'static str),
    /// Too many bytes.
    #[error("a {what} may have at most {max} bytes")]
    TooLong {
        /// Which sort of name.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A character outside the alphabet.
    #[error("a {what} may hold letters, digits and . _ - @ + only, not {found:?}")]
    Character {
        /// Which sort of name.
        what: &'static str,
        /// The offending character.
        found: char,
    },
    /// `.`, `..`, or nothing between two slashes.
    #[error("a {0} must not have an empty, `.` or `..` segment")]
    Segment(&'static str),
}

fn segment(text: &str, what: &'static str) -> Result<(), InvalidName> {
    if text.is_empty() || text == "." || text == ".." {
        return Err(InvalidName::Segment(what));
    }
    match text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || "._-@+".contains(*c)))
    {
        Some(found) => Err(InvalidName::Character { what, found }),
        None => Ok(()),
    }
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident, $what:literal, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>); // cloned with every message

        impl $name {
            /// Its text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let check: fn(&str) -> Result<(), InvalidName> = $parse;
                if text.is_empty() {
                    return Err(InvalidName::Empty($what));
                }
                check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::text::from_text(deserializer, str::parse)
            }
        }
    };
}

text_newtype!(
    /// A tenant: one organisation's credentials, isolated by key and by query.
    Tenant, "tenant", |text| single(text, "tenant")
);

text_newtype!(
    /// The name of a target, role, policy or user: one segment.
    Name, "name", |text| single(text, "name")
);

text_newtype!(
    /// A credential's path within its tenant: segments joined by `/`, such as `prod/orders/db`.
    Path, "path", |text| {
        if text.len() > MAX_PATH {
            return Err(InvalidName::TooLong { what: "path", max: MAX_PATH });
        }
        text.split('/').try_for_each(|part| segment(part, "path"))
    }
);

fn single(text: &str, what: &'static str) -> Result<(), InvalidName> {
    if text.len() > MAX_NAME {
        return Err(InvalidName::TooLong {
            what,
            max: MAX_NAME,
        });
    }
    segment(text, what)
}

impl Tenant {
    /// The tenant that exists from the start.
    pub fn default_tenant() -> Self {
        Self("default".into())
    }
}

impl Path {
    /// Its segments, outermost first.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_paths_parse() {
        for good in ["db", "prod/orders/db", "a.b-c_d@e+f/G1"] {
            assert_eq!(
                good.parse::<Path>().map(|p| p.to_string()),
                Ok(good.to_owned())
            );
        }
    }

    #[test]
    fn traps_are_refused() {
        for bad in [
            "", "/", "/a", "a/", "a//b", "a/../b", ".", "a b", "a\0b", "ü", "a%2fb",
        ] {
            assert!(bad.parse::<Path>().is_err(), "{bad:?}");
        }
        assert!("a/b".parse::<Name>().is_err());
        assert!("x".repeat(MAX_PATH + 1).parse::<Path>().is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_keeps_the_text(text in ".{0,600}") {
            if let Ok(path) = text.parse::<Path>() {
                prop_assert_eq!(path.as_str(), text);
            }
        }
    }
}
