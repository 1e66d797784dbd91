//! The root key from a passphrase, by a slow function whose parameters are stored beside the data.
//!
//! | function | new stores | accepted on load |
//! |---|---|---|
//! | scrypt (RFC 7914), the default | N=2^17, r=8, p=1: 128 MiB | N 2^17 to 2^20, r 8 to 16, p 1 to 4, at most 1 GiB |
//! | PBKDF2-HMAC-SHA-256 (RFC 8018), where FIPS 140 asks for it | 600,000 rounds | 600,000 to 20,000,000 |
//! | Argon2id (RFC 9106) | m=64 MiB, t=3, p=4, its second recommendation | m 19 MiB to 1 GiB, t 2 to 16, p 1 to 16 |
//!
//! The lower bounds are OWASP's Password Storage Cheat Sheet: whoever can write the store must not
//! be able to make guessing cheap. The upper bounds keep them from making the start eat the
//! machine's memory or a day. Both are checked when parameters are parsed, so that a
//! [`RootParameters`] is always within them.
//!
//! The passphrase's bytes are used as they are: no trimming, no Unicode normalisation.

use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Version};
use aws_lc_rs::pbkdf2;
use pentad_model::{Secret, id::Entropy};
use serde::{Deserialize, Serialize};

use super::RootKey;
use crate::derive::Key;

/// Shortest passphrase accepted, in bytes. It guards every value offline, for ever.
pub const MIN_PASSPHRASE: usize = 12;
/// Longest passphrase accepted, in bytes.
pub const MAX_PASSPHRASE: usize = 1024;

const FORMAT: u8 = 1;
const MIB: u64 = 1024 * 1024;
const MAX_MEMORY: u64 = 1024 * MIB;

/// The slow function and its cost.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(tag = "function", rename_all = "snake_case", deny_unknown_fields)]
pub enum Kdf {
    /// RFC 7914.
    Scrypt {
        /// The logarithm to base 2 of N, the cost of CPU and memory.
        log_n: u8,
        /// The block size: memory is 128 × N × r bytes.
        r: u32,
        /// The parallelism.
        p: u32,
    },
    /// RFC 8018 with HMAC-SHA-256.
    Pbkdf2 {
        /// Rounds.
        iterations: u32,
    },
    /// RFC 9106.
    Argon2id {
        /// Memory in KiB.
        memory: u32,
        /// Passes over it.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
}

impl Kdf {
    /// What a new store uses unless told otherwise.
    pub const SCRYPT: Self = Self::Scrypt {
        log_n: 17,
        r: 8,
        p: 1,
    };
    /// PBKDF2 at OWASP's count.
    pub const PBKDF2: Self = Self::Pbkdf2 {
        iterations: 600_000,
    };
    /// Argon2id at RFC 9106's second recommendation.
    pub const ARGON2ID: Self = Self::Argon2id {
        memory: 64 * 1024,
        passes: 3,
        lanes: 4,
    };

    fn within_bounds(self) -> Result<Self, RefusedParameters> {
        let (function, fault) = match self {
            Self::Scrypt { log_n, r, p } => (
                "scrypt",
                if log_n < 17 || r < 8 || p < 1 {
                    Some(Bound::TooWeak)
                } else if log_n > 20
                    || r > 16
                    || p > 4
                    || (128 * u64::from(r)) << log_n > MAX_MEMORY
                {
                    Some(Bound::TooCostly)
                } else {
                    None
                },
            ),
            Self::Pbkdf2 { iterations } => ("PBKDF2", outside(iterations, 600_000, 20_000_000)),
            Self::Argon2id {
                memory,
                passes,
                lanes,
            } => (
                "Argon2id",
                outside(memory, 19 * 1024, 1024 * 1024)
                    .or(outside(passes, 2, 16))
                    .or(outside(lanes, 1, 16)),
            ),
        };
        match fault {
            Some(bound) => Err(RefusedParameters::Bounds { function, bound }),
            None => Ok(self),
        }
    }
}

impl Default for Kdf {
    fn default() -> Self {
        Self::SCRYPT
    }
}

fn outside(value: u32, min: u32, max: u32) -> Option<Bound> {
    if value < min {
        Some(Bound::TooWeak)
    } else if value > max {
        Some(Bound::TooCostly)
    } else {
        None
    }
}

/// On which side of the accepted range a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Guessing would be too cheap.
    TooWeak,
    /// The start would need too much memory or time.
    TooCostly,
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooWeak => "below the minimum",
            Self::TooCostly => "above the maximum",
        })
    }
}

/// Stored or requested parameters that are not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedParameters {
    /// A cost outside the documented bounds.
    #[error(
        "the passphrase's {function} parameters are {bound} accepted; if nobody chose them, the \
         store was tampered with: restore its settings from a backup"
    )]
    Bounds {
        /// Which function.
        function: &'static str,
        /// Which side.
        bound: Bound,
    },
    /// A later version of Pentad wrote them.
    #[error("the root parameters have a format this version does not know; upgrade Pentad")]
    UnknownFormat,
}

/// How the root key comes from a passphrase: function, cost and a 256-bit salt. Not secret. JSON:
/// `{"format":1,"kdf":{"function":"scrypt","log_n":17,"r":8,"p":1},"salt":"<64 hex digits>"}`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct RootParameters {
    kdf: Kdf,
    salt: [u8; 32],
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u8,
    kdf: Kdf,
    #[serde(with = "crate::hexadecimal")]
    salt: [u8; 32],
}

impl TryFrom<Stored> for RootParameters {
    type Error = RefusedParameters;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        if stored.format != FORMAT {
            return Err(RefusedParameters::UnknownFormat);
        }
        Ok(Self {
            kdf: stored.kdf.within_bounds()?,
            salt: stored.salt,
        })
    }
}

impl From<RootParameters> for Stored {
    fn from(parameters: RootParameters) -> Self {
        Self {
            format: FORMAT,
            kdf: parameters.kdf,
            salt: parameters.salt,
        }
    }
}

/// Why a passphrase gave no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// Too short to be worth anything, or absurdly long.
    #[error("a passphrase must have {MIN_PASSPHRASE} to {MAX_PASSPHRASE} bytes; choose another")]
    Length,
    /// The function could not run, which means that its memory was not to be had.
    #[error("the passphrase could not be stretched for want of memory; free some and try again")]
    OutOfMemory,
}

impl RootParameters {
    /// Parameters for a new store, with a fresh salt.
    ///
    /// # Errors
    /// If `kdf` is outside the bounds.
    pub fn generate(kdf: Kdf, entropy: &dyn Entropy) -> Result<Self, RefusedParameters> {
        let kdf = kdf.within_bounds()?;
        let mut salt = [0; 32];
        entropy.fill(&mut salt);
        Ok(Self { kdf, salt })
    }

    /// The function and its cost.
    pub fn kdf(&self) -> Kdf {
        self.kdf
    }

    /// Derives the root key. Takes 0.1 to some seconds of CPU and up to 1 GiB of memory: call it off
    /// the I/O threads.
    ///
    /// Any passphrase of fitting length gives *a* key; compare it with the store's
    /// [`RootCheck`](super::RootCheck) before use.
    ///
    /// # Errors
    /// See [`PassphraseError`].
    pub fn derive(&self, passphrase: &Secret) -> Result<RootKey, PassphraseError> {
        if !(MIN_PASSPHRASE..=MAX_PASSPHRASE).contains(&passphrase.len()) {
            return Err(PassphraseError::Length);
        }
        Key::filled(|out| stretch(self.kdf, passphrase.expose(), &self.salt, out).ok_or(()))
            .map(RootKey)
            .map_err(|()| PassphraseError::OutOfMemory)
    }
}

/// Runs the function; `None` if it can't.
fn stretch(kdf: Kdf, passphrase: &[u8], salt: &[u8], out: &mut [u8; 32]) -> Option<()> {
    match kdf {
        Kdf::Scrypt { log_n, r, p } => {
            let cost = scrypt::Params::new(log_n, r, p).ok()?;
            scrypt::scrypt(passphrase, salt, &cost, out).ok()
        }
        Kdf::Pbkdf2 { iterations } => {
            let rounds = NonZeroU32::new(iterations)?;
            pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, passphrase, out);
            Some(())
        }
        Kdf::Argon2id {
            memory,
            passes,
            lanes,
        } => {
            let cost = argon2::Params::new(memory, passes, lanes, Some(out.len())).ok()?;
            Argon2::new(Algorithm::Argon2id, Version::V0x13, cost)
                .hash_password_into(passphrase, salt, out)
                .ok()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::testing::SeededEntropy;

    fn parameters(kdf: Kdf, seed: u64) -> RootParameters {
        RootParameters::generate(kdf, &SeededEntropy::new(seed)).unwrap()
    }

    fn stored(kdf: serde_json::Value) -> Result<RootParameters, String> {
        let salt = "00".repeat(32);
        serde_json::from_value(json!({"format": 1, "kdf": kdf, "salt": salt}))
            .map_err(|error: serde_json::Error| error.to_string())
    }

    #[test]
    fn each_function_gives_the_same_key_again_after_storage() {
        let passphrase = Secret::new("correct horse battery");
        for kdf in [Kdf::SCRYPT, Kdf::PBKDF2, Kdf::ARGON2ID] {
            let first = parameters(kdf, 1);
            let text = serde_json::to_string(&first).unwrap();
            let again: RootParameters = serde_json::from_str(&text).unwrap();
            assert!(first.derive(&passphrase).unwrap().0 == again.derive(&passphrase).unwrap().0);
        }
    }

    #[test]
    fn passphrase_and_salt_both_matter() {
        let one = parameters(Kdf::PBKDF2, 1);
        let key = one.derive(&Secret::new("correct horse battery")).unwrap();
        assert!(one.derive(&Secret::new("correct horse batterz")).unwrap().0 != key.0);
        let two = parameters(Kdf::PBKDF2, 2);
        assert!(two.derive(&Secret::new("correct horse battery")).unwrap().0 != key.0);
    }

    #[test]
    fn short_and_endless_passphrases_are_refused() {
        let parameters = parameters(Kdf::PBKDF2, 1);
        for length in [0, MIN_PASSPHRASE - 1, MAX_PASSPHRASE + 1] {
            let refused = parameters.derive(&Secret::new(vec![b'x'; length])).err();
            assert_eq!(refused, Some(PassphraseError::Length));
        }
    }

    #[test]
    fn downgrades_in_the_store_are_refused() {
        for weak in [
            json!({"function": "scrypt", "log_n": 16, "r": 8, "p": 1}),
            json!({"function": "scrypt", "log_n": 17, "r": 1, "p": 1}),
            json!({"function": "scrypt", "log_n": 17, "r": 8, "p": 0}),
            json!({"function": "pbkdf2", "iterations": 599_999}),
            json!({"function": "pbkdf2", "iterations": 0}),
            json!({"function": "argon2id", "memory": 1024, "passes": 3, "lanes": 1}),
            json!({"function": "argon2id", "memory": 65_536, "passes": 1, "lanes": 1}),
        ] {
            assert!(
                stored(weak.clone())
                    .unwrap_err()
                    .contains("below the minimum"),
                "{weak}"
            );
        }
    }

    #[test]
    fn memory_and_time_bombs_in_the_store_are_refused() {
        for bomb in [
            json!({"function": "scrypt", "log_n": 21, "r": 8, "p": 1}),
            json!({"function": "scrypt", "log_n": 255, "r": 8, "p": 1}),
            json!({"function": "scrypt", "log_n": 20, "r": 16, "p": 1}),
            json!({"function": "scrypt", "log_n": 17, "r": u32::MAX, "p": u32::MAX}),
            json!({"function": "pbkdf2", "iterations": u32::MAX}),
            json!({"function": "argon2id", "memory": u32::MAX, "passes": 3, "lanes": 1}),
            json!({"function": "argon2id", "memory": 65_536, "passes": u32::MAX, "lanes": 1}),
        ] {
            assert!(
                stored(bomb.clone())
                    .unwrap_err()
                    .contains("above the maximum"),
                "{bomb}"
            );
        }
    }

    #[test]
    fn unknown_formats_functions_and_fields_are_refused() {
        assert!(stored(json!({"function": "md5"})).is_err());
        assert!(stored(json!({"function": "pbkdf2", "iterations": 600_000, "x": 1})).is_err());
        let mut value = serde_json::to_value(parameters(Kdf::PBKDF2, 1)).unwrap();
        value["format"] = json!(2);
        assert!(serde_json::from_value::<RootParameters>(value).is_err());
    }

    proptest! {
        #[test]
        fn whatever_bounds_accept_the_functions_accept(
            log_n in 16u8..22,
            r in 6u32..18,
            p in 0u32..18,
            m in 19_000u32..1_100_000,
            t in 1u32..18,
        ) {
            if (Kdf::Scrypt { log_n, r, p }).within_bounds().is_ok() {
                prop_assert!(scrypt::Params::new(log_n, r, p).is_ok());
            }
            if (Kdf::Argon2id { memory: m, passes: t, lanes: p }).within_bounds().is_ok() {
                prop_assert!(argon2::Params::new(m, t, p, Some(32)).is_ok());
            }
        }
    }
}
