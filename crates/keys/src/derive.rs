//! 256-bit keys and their derivation by HKDF-SHA-256 (RFC 5869).

use aws_lc_rs::{
    aead::{AES_256_GCM, LessSafeKey, UnboundKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Salt},
    hmac,
};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use pentad_model::id::Entropy;

/// Bytes of every symmetric key here.
pub(crate) const KEY_LEN: usize = 32;

/// A symmetric key: on the heap, so that moving it leaves no copy behind; zeroised on drop; without
/// `Clone` and `Debug`.
pub(crate) struct Key(Box<[u8; KEY_LEN]>);

impl Key {
    /// A key to be filled in place.
    fn zero() -> Self {
        Self(Box::new([0; KEY_LEN]))
    }

    /// A random key.
    pub(crate) fn random(entropy: &dyn Entropy) -> Self {
        let mut key = Self::zero();
        entropy.fill(key.0.as_mut());
        key
    }

    /// A key whose bytes `write` provides.
    pub(crate) fn filled<E>(
        write: impl FnOnce(&mut [u8; KEY_LEN]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut key = Self::zero();
        write(&mut key.0)?;
        Ok(key)
    }

    /// Its bytes.
    pub(crate) fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// The subkey that `label` names.
    pub(crate) fn subkey(&self, label: &str) -> Result<Key, Unspecified> {
        Key::filled(|out| hkdf(&[], self.expose(), label, out))
    }

    /// As a key for HMAC-SHA-256.
    pub(crate) fn hmac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.expose())
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(other.0.as_ref()).into()
    }
}

/// HKDF-SHA-256, extract and expand. An empty `salt` stands for RFC 5869's string of zeros, which
/// is sound for keys that are uniformly random, as all of ours are.
pub(crate) fn hkdf(
    salt: &[u8],
    secret: &[u8; KEY_LEN],
    label: &str,
    out: &mut [u8],
) -> Result<(), Unspecified> {
    Salt::new(HKDF_SHA256, salt)
        .extract(secret)
        .expand(&[label.as_bytes()], Length(out.len()))?
        .fill(out)
}

/// The AES-256-GCM key for one message: HKDF of `secret` under that message's random `salt`.
pub(crate) fn one_message_key(
    secret: &Key,
    salt: &[u8; 32],
    label: &str,
) -> Result<LessSafeKey, Unspecified> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    hkdf(salt, secret.expose(), label, key.as_mut())?;
    aes_256_gcm(&key)
}

/// An AES-256-GCM key ("less safe" because the caller chooses the nonces: ours are random, under
/// keys that see one message).
pub(crate) fn aes_256_gcm(key: &[u8; KEY_LEN]) -> Result<LessSafeKey, Unspecified> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new)
}

/// An output length in bytes.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::SeededEntropy;

    #[test]
    fn subkeys_differ_by_label_and_are_stable() {
        let key = Key::random(&SeededEntropy::new(1));
        assert!(key.subkey("a").unwrap() == key.subkey("a").unwrap());
        assert!(key.subkey("a").unwrap() != key.subkey("b").unwrap());
        assert!(key.subkey("a").unwrap() != key);
    }
}
