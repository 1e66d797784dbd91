//! User passwords: Argon2id (RFC 9106) as PHC strings,
//! `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>`.
//!
//! New hashes use OWASP's first choice: 19 MiB, 2 passes, 1 lane; salt 16 bytes, hash 32. A stored
//! hash is believed only within bounds: weaker than that, whoever writes the store could make
//! guessing cheap; far above, a login could exhaust the machine's memory.
//!
//! A hash takes some 20 ms of CPU and its memory: run all three functions off the I/O threads and
//! limit how many run at once. Where there is no such user, call [`dummy_verify`], so that the answer
//! takes as long as for one that exists.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{self, PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use pentad_model::{Secret, id::Entropy};

/// Longest password accepted, in bytes; more is no gain, and costs to hash.
pub const MAX_PASSWORD: usize = 1024;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 8;
const SALT_LEN: usize = 16;
const HASH_LEN: usize = 32;

/// Why a password was not hashed or compared. A *wrong* password is no error: `verify` says `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// The caller's password is empty or too long.
    #[error("a password must have 1 to {MAX_PASSWORD} bytes")]
    Length,
    /// The stored hash is not one of ours.
    #[error("the user's stored password hash is unusable; set a new password for the user")]
    UnusableHash,
    /// Argon2 could not have its memory.
    #[error("no memory to hash the password; try again later")]
    OutOfMemory,
}

/// Hashes a new password under a fresh salt.
///
/// # Errors
/// [`PasswordError::Length`], [`PasswordError::OutOfMemory`].
pub fn hash(password: &Secret, entropy: &dyn Entropy) -> Result<String, PasswordError> {
    if password.is_empty() || password.len() > MAX_PASSWORD {
        return Err(PasswordError::Length);
    }
    let mut salt = [0; SALT_LEN];
    entropy.fill(&mut salt);
    ours()?
        .hash_password_with_salt(password.expose(), &salt)
        .map(|hash: PasswordHash| hash.to_string())
        .map_err(|_| PasswordError::OutOfMemory)
}

/// Whether `password` is the one that `stored` was made from; compared in constant time.
///
/// # Errors
/// [`PasswordError::UnusableHash`] if `stored` is malformed or outside the bounds.
pub fn verify(password: &Secret, stored: &str) -> Result<bool, PasswordError> {
    let stored = parse(stored)?;
    if password.is_empty() || password.len() > MAX_PASSWORD {
        return Ok(false);
    }
    match ours()?.verify_password(password.expose(), &stored) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(PasswordError::OutOfMemory),
    }
}

/// The hash of no password at all; one matches it by a chance of 2^-256.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA\
                      $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Does the work of [`verify`] for nobody, so that the time taken does not tell whether a user
/// exists.
pub fn dummy_verify(password: &Secret) {
    let _ = std::hint::black_box(verify(password, NOBODY));
}

fn ours() -> Result<Argon2<'static>, PasswordError> {
    Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_LEN))
        .map(|cost| Argon2::new(Algorithm::Argon2id, Version::V0x13, cost))
        .map_err(|_| PasswordError::OutOfMemory)
}

fn parse(stored: &str) -> Result<PasswordHash, PasswordError> {
    let hash = PasswordHash::new(stored).map_err(|_| PasswordError::UnusableHash)?;
    let cost = Params::try_from(&hash).map_err(|_| PasswordError::UnusableHash)?;
    let acceptable = hash.algorithm == argon2::ARGON2ID_IDENT
        && hash.version == Some(Version::V0x13.into())
        && (MEMORY_KIB..=MAX_MEMORY_KIB).contains(&cost.m_cost())
        && (PASSES..=MAX_PASSES).contains(&cost.t_cost())
        && (LANES..=MAX_LANES).contains(&cost.p_cost())
        && hash
            .salt
            .as_ref()
            .is_some_and(|salt| salt.len() >= SALT_LEN)
        && hash
            .hash
            .as_ref()
            .is_some_and(|digest| digest.len() == HASH_LEN);
    if acceptable {
        Ok(hash)
    } else {
        Err(PasswordError::UnusableHash)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::testing::SeededEntropy;

    #[test]
    fn the_right_password_verifies_and_others_do_not() {
        let stored = hash(&Secret::new("correct horse"), &SeededEntropy::new(1)).unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(verify(&Secret::new("correct horse"), &stored), Ok(true));
        for wrong in ["Correct horse", "correct horse ", ""] {
            assert_eq!(verify(&Secret::new(wrong), &stored), Ok(false));
        }
        assert_eq!(
            verify(&Secret::new(vec![b'x'; MAX_PASSWORD + 1]), &stored),
            Ok(false)
        );
    }

    #[test]
    fn one_password_hashes_differently_each_time() {
        let entropy = SeededEntropy::new(1);
        let make = || hash(&Secret::new("same"), &entropy).unwrap();
        assert_ne!(make(), make());
    }

    #[test]
    fn empty_and_endless_passwords_are_refused() {
        for length in [0, MAX_PASSWORD + 1] {
            let refused = hash(&Secret::new(vec![b'x'; length]), &SeededEntropy::new(1));
            assert_eq!(refused, Err(PasswordError::Length));
        }
    }

    #[test]
    fn the_dummy_is_a_hash_that_verify_really_computes() {
        // Were it refused as unusable, it would return at once and betray unknown users; were it
        // cheaper than ours, likewise.
        let new = hash(&Secret::new("x"), &SeededEntropy::new(1)).unwrap();
        assert_eq!(parse(NOBODY).unwrap().params, parse(&new).unwrap().params);
        assert_eq!(verify(&Secret::new("anything"), NOBODY), Ok(false));
        dummy_verify(&Secret::new("anything"));
    }

    #[test]
    fn weak_and_greedy_hashes_in_the_store_are_unusable() {
        let good = hash(&Secret::new("x"), &SeededEntropy::new(1)).unwrap();
        for (from, to) in [
            ("m=19456", "m=8"),
            ("m=19456", "m=4194304"),
            ("t=2", "t=1"),
            ("t=2", "t=4294967295"),
            ("p=1", "p=9"),
            ("argon2id", "argon2i"),
            ("v=19", "v=16"),
            ("$v=19", ""),
        ] {
            let altered = good.replacen(from, to, 1);
            assert_ne!(altered, good);
            let result = verify(&Secret::new("x"), &altered);
            assert_eq!(result, Err(PasswordError::UnusableHash), "{to}");
        }
        let cut = &good[..good.len() - 4];
        assert_eq!(
            verify(&Secret::new("x"), cut),
            Err(PasswordError::UnusableHash)
        );
    }

    proptest! {
        #[test]
        fn arbitrary_hashes_never_panic(
            text in "(\\$argon2id\\$v=19\\$m=[0-9]{1,12},t=[0-9],p=[0-9]\\$)?.{0,60}",
        ) {
            prop_assert!(parse(&text).is_err() || text.starts_with("$argon2id$"));
        }
    }
}
