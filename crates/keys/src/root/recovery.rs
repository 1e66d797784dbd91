//! The root key, sealed under a passphrase: what a backup can carry with it so that losing the whole
//! machine, `master.key` included, loses nothing.
//!
//! The passphrase is stretched as for a store (see [`passphrase`](super::passphrase), Argon2id unless
//! told otherwise), and what comes out seals the 32 bytes of the root key by AES-256-GCM, under an
//! HKDF key of this one message. The root key's check value is bound in: so a sealed key that somebody
//! put in place of ours either does not open or is recognised as another store's.
//!
//! Whoever has it can guess at the passphrase off line for as long as they like. Choose one that is
//! worth as much as the key itself: six random words or more.

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};
use pentad_model::{Sealed, Secret, id::Entropy};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    RootCheck, RootKey,
    passphrase::{Kdf, PassphraseError, RefusedParameters, RootParameters},
};
use crate::{
    Error,
    associated::Associated,
    derive::{KEY_LEN, Key, one_message_key},
};

const FORMAT: u8 = 1;
const SALT_LEN: usize = 32;
const TAG_LEN: usize = 16;
const SEALED_LEN: usize = SALT_LEN + NONCE_LEN + KEY_LEN + TAG_LEN;
const LABEL: &str = "pentad/1/wrap/root-key";

/// A root key under a passphrase. JSON with the fields below.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    format: u8,
    /// How the passphrase is stretched.
    parameters: RootParameters,
    /// By which the root key is recognised.
    check: RootCheck,
    /// Salt (32 bytes), nonce (12), encrypted root key (32), tag (16).
    sealed: Sealed,
}

/// Why no root key came out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// The passphrase can't be used at all.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The cost asked for is not acceptable.
    #[error(transparent)]
    Parameters(#[from] RefusedParameters),
    /// The passphrase is another one, or what is sealed was altered.
    #[error(
        "the recovery passphrase does not open the root key: it is another one, or the file was \
         altered; try again, or give the root key's own file"
    )]
    Wrong,
    /// The cryptographic library failed.
    #[error(transparent)]
    Keys(#[from] Error),
}

impl Recovery {
    /// Seals a root key. Takes the time and memory of the slow function: call it off the I/O threads.
    ///
    /// # Errors
    /// See [`RecoveryError`].
    pub fn seal(
        root: &RootKey,
        passphrase: &Secret,
        kdf: Kdf,
        entropy: &dyn Entropy,
    ) -> Result<Self, RecoveryError> {
        let parameters = RootParameters::generate(kdf, entropy)?;
        let check = root.check()?;
        let wrapping = parameters.derive(passphrase)?;
        let mut salt = [0; SALT_LEN];
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut salt);
        entropy.fill(&mut nonce);
        let mut key = Zeroizing::new([0; KEY_LEN]);
        key.copy_from_slice(root.0.expose());
        let tag = one_message_key(&wrapping.0, &salt, LABEL)
            .map_err(Error::from)?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                associated(&check),
                key.as_mut(),
            )
            .map_err(Error::from)?;
        let sealed = [&salt[..], &nonce, key.as_ref(), tag.as_ref()].concat();
        Ok(Self {
            format: FORMAT,
            parameters,
            check,
            sealed: Sealed::from_bytes(sealed),
        })
    }

    /// Opens it. As slow as [`seal`](Self::seal).
    ///
    /// # Errors
    /// See [`RecoveryError`].
    pub fn open(&self, passphrase: &Secret) -> Result<RootKey, RecoveryError> {
        let bytes: &[u8; SEALED_LEN] = self
            .sealed
            .as_bytes()
            .try_into()
            .map_err(|_| RecoveryError::Wrong)?;
        if self.format != FORMAT {
            return Err(RefusedParameters::UnknownFormat.into());
        }
        let (salt, rest) = bytes
            .split_first_chunk::<SALT_LEN>()
            .ok_or(RecoveryError::Wrong)?;
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(RecoveryError::Wrong)?;
        let wrapping = self.parameters.derive(passphrase)?;
        let mut buffer = Zeroizing::new([0; KEY_LEN + TAG_LEN]);
        buffer.copy_from_slice(sealed);
        let plain = one_message_key(&wrapping.0, salt, LABEL)
            .map_err(Error::from)?
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                associated(&self.check),
                buffer.as_mut(),
            )
            .map_err(|_| RecoveryError::Wrong)?;
        let root = RootKey(Key::filled(|out| {
            if plain.len() != out.len() {
                return Err(RecoveryError::Wrong);
            }
            out.copy_from_slice(plain);
            Ok(())
        })?);
        match self.check.verify(&root) {
            Ok(()) => Ok(root),
            Err(_) => Err(RecoveryError::Wrong),
        }
    }
}

fn associated(check: &RootCheck) -> Aad<Associated> {
    Aad::from(
        Associated::with("pentad/root-key")
            .and(&[FORMAT])
            .and(&check.value.0),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use pentad_model::id::OsEntropy;

    use super::*;

    /// The cheapest that is accepted.
    const CHEAP: Kdf = Kdf::Argon2id {
        memory: 19 * 1024,
        passes: 2,
        lanes: 1,
    };

    #[test]
    fn the_passphrase_gives_the_root_key_back_and_no_other_does() {
        let root = RootKey::generate(&OsEntropy);
        let right = Secret::new("correct horse battery staple");
        let sealed = Recovery::seal(&root, &right, CHEAP, &OsEntropy).unwrap();
        let json = serde_json::to_string(&sealed).unwrap();
        let sealed: Recovery = serde_json::from_str(&json).unwrap();
        root.check()
            .unwrap()
            .verify(&sealed.open(&right).unwrap())
            .unwrap();
        let wrong = sealed.open(&Secret::new("correct horse battery stable"));
        assert_eq!(wrong.err(), Some(RecoveryError::Wrong));
        let short = sealed.open(&Secret::new("short"));
        assert!(matches!(short.err(), Some(RecoveryError::Passphrase(_))));
    }

    #[test]
    fn anothers_check_value_or_bytes_are_refused() {
        let passphrase = Secret::new("correct horse battery staple");
        let seal = || {
            let root = RootKey::generate(&OsEntropy);
            Recovery::seal(&root, &passphrase, CHEAP, &OsEntropy).unwrap()
        };
        let (mut ours, theirs) = (seal(), seal());
        ours.check = theirs.check;
        assert_eq!(ours.open(&passphrase).err(), Some(RecoveryError::Wrong));
        let mut cut = seal();
        cut.sealed = Sealed::from_bytes(cut.sealed.as_bytes()[1..].to_vec());
        assert_eq!(cut.open(&passphrase).err(), Some(RecoveryError::Wrong));
    }
}
