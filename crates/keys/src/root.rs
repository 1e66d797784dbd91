//! The root key: everything else hangs from it, and it is stored nowhere by Pentad but in the key
//! file, where one is used.
//!
//! Sources: a key file (`file`) or a passphrase (`passphrase`). Whatever the source, the key is
//! compared with the store's [`RootCheck`] before anything is touched, so that a wrong key is
//! [`WrongKey`] and not a thousand damaged values.

pub mod file;
pub mod passphrase;
pub mod recovery;

use aws_lc_rs::error::Unspecified;
use pentad_model::{id::Entropy, secret::Fingerprint};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::derive::{Key, hkdf};

/// The root key: 256 bits, zeroised on drop; no `Clone`, no `Debug`, no way to its bytes outside
/// this crate.
pub struct RootKey(pub(crate) Key);

impl RootKey {
    /// A new random root key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(Key::random(entropy))
    }

    /// The value by which this key is recognised later. It reveals nothing about the key.
    ///
    /// # Errors
    /// Only if the cryptographic library fails.
    pub fn check(&self) -> Result<RootCheck, crate::Error> {
        Ok(check_value(&self.0)?)
    }
}

/// A key check value: HKDF-SHA-256 of the root key under a label of its own. Stored beside the
/// data as JSON, such as `{"format":1,"value":"<64 hexadecimal digits>"}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootCheck {
    format: u8,
    value: Fingerprint,
}

/// This is not the root key that the store was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "wrong root key: this store was made with another one; give the key file or passphrase that \
     belongs to it (nothing was changed)"
)]
pub struct WrongKey;

impl RootCheck {
    const FORMAT: u8 = 1;

    /// Whether `root` is the key that this value was made from; in constant time.
    ///
    /// # Errors
    /// [`WrongKey`] if it is not, or if the value has a format this version does not know.
    pub fn verify(&self, root: &RootKey) -> Result<(), WrongKey> {
        let expected = check_value(&root.0).map_err(|_| WrongKey)?;
        let equal = expected.value.0.ct_eq(&self.value.0);
        if self.format == Self::FORMAT && bool::from(equal) {
            Ok(())
        } else {
            Err(WrongKey)
        }
    }
}

pub(crate) fn check_value(root: &Key) -> Result<RootCheck, Unspecified> {
    let mut value = [0; 32];
    hkdf(&[], root.expose(), "pentad/1/root/check", &mut value)?;
    Ok(RootCheck {
        format: RootCheck::FORMAT,
        value: Fingerprint(value),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::SeededEntropy;

    #[test]
    fn a_wrong_key_is_told_from_the_right_one() {
        let entropy = SeededEntropy::new(1);
        let (right, wrong) = (RootKey::generate(&entropy), RootKey::generate(&entropy));
        let check = right.check().unwrap();
        assert_eq!(check.verify(&right), Ok(()));
        assert_eq!(check.verify(&wrong), Err(WrongKey));
    }

    #[test]
    fn the_check_survives_storage_and_an_unknown_format_does_not_pass() {
        let root = RootKey::generate(&SeededEntropy::new(2));
        let text = serde_json::to_string(&root.check().unwrap()).unwrap();
        assert!(!text.contains(&hex::encode(root.0.expose())));
        let back: RootCheck = serde_json::from_str(&text).unwrap();
        assert_eq!(back.verify(&root), Ok(()));
        let other: RootCheck =
            serde_json::from_str(&text.replace("\"format\":1", "\"format\":2")).unwrap();
        assert_eq!(other.verify(&root), Err(WrongKey));
    }
}
