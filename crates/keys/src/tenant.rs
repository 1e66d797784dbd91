//! Tenant keys: random, wrapped by the root key, kept in the store as JSON documents.
//!
//! A tenant's values can be opened with that tenant's key alone, so one tenant's key is never of
//! use for another, and destroying the wrapped key destroys everything under it.
//!
//! The key id is derived from the key. So it commits to it: AES-GCM by itself would let one
//! ciphertext open under two keys; here the id, compared before anything is opened, rules that out.

use std::sync::atomic::AtomicU64;

use aws_lc_rs::{
    aead::{Aad, NONCE_LEN, Nonce},
    error::Unspecified,
    hmac,
};
use pentad_model::{Sealed, Tenant, id::Entropy};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    Error,
    associated::Associated,
    derive::{KEY_LEN, Key, hkdf, one_message_key},
};

const FORMAT: u8 = 1;
const SALT_LEN: usize = 32;
const TAG_LEN: usize = 16;
const KEY_ID_LEN: usize = 16;
const WRAPPED_LEN: usize = SALT_LEN + NONCE_LEN + KEY_LEN + TAG_LEN;

/// Names a tenant key without revealing it. Hexadecimal in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(#[serde(with = "crate::hexadecimal")] pub(crate) [u8; KEY_ID_LEN]);

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// How a tenant key is wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Algorithm {
    /// AES-256-GCM under an HKDF-SHA-256 key of this one wrap.
    #[serde(rename = "hkdf-sha256+aes-256-gcm")]
    HkdfAes256Gcm,
}

/// A tenant key as the store keeps it. JSON with the fields below.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedTenantKey {
    /// The format of this document; 1.
    format: u8,
    /// How it is wrapped.
    algorithm: Algorithm,
    /// Whose key.
    tenant: Tenant,
    /// Which key.
    key_id: KeyId,
    /// Salt (32 bytes), nonce (12), encrypted key (32), tag (16).
    wrapped: Sealed,
}

impl WrappedTenantKey {
    /// Whose key it is.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Which key it is.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn associated(tenant: &Tenant, key_id: KeyId) -> Associated {
        Associated::with("pentad/tenant-key")
            .and(&[FORMAT])
            .and(b"hkdf-sha256+aes-256-gcm")
            .and(tenant.as_str().as_bytes())
            .and(&key_id.0)
    }
}

/// Makes a random key for `tenant` and wraps it by the root's wrapping subkey.
pub(crate) fn create(
    wrapping: &Key,
    tenant: &Tenant,
    entropy: &dyn Entropy,
) -> Result<WrappedTenantKey, Error> {
    let key = Key::random(entropy);
    wrap(wrapping, tenant, &key, key_id(&key)?, entropy)
}

fn wrap(
    wrapping: &Key,
    tenant: &Tenant,
    key: &Key,
    key_id: KeyId,
    entropy: &dyn Entropy,
) -> Result<WrappedTenantKey, Error> {
    let mut salt = [0; SALT_LEN];
    let mut nonce = [0; NONCE_LEN];
    entropy.fill(&mut salt);
    entropy.fill(&mut nonce);

    let mut sealed = Zeroizing::new([0; KEY_LEN]);
    sealed.copy_from_slice(key.expose());
    let tag = one_message_key(wrapping, &salt, WRAPPING_LABEL)?.seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(WrappedTenantKey::associated(tenant, key_id)),
        sealed.as_mut(),
    )?;
    let wrapped = [&salt[..], &nonce, sealed.as_ref(), tag.as_ref()].concat();
    Ok(WrappedTenantKey {
        format: FORMAT,
        algorithm: Algorithm::HkdfAes256Gcm,
        tenant: tenant.clone(),
        key_id,
        wrapped: Sealed::from_bytes(wrapped),
    })
}

/// Unwraps a tenant key and derives its subkeys.
pub(crate) fn unwrap(wrapping: &Key, stored: &WrappedTenantKey) -> Result<TenantKeys, Error> {
    if stored.format != FORMAT {
        return Err(Error::Damaged);
    }
    let bytes: &[u8; WRAPPED_LEN] = stored
        .wrapped
        .as_bytes()
        .try_into()
        .map_err(|_| Error::Damaged)?;
    let (salt, rest) = bytes
        .split_first_chunk::<SALT_LEN>()
        .ok_or(Error::Damaged)?;
    let (nonce, sealed) = rest
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(Error::Damaged)?;

    let mut buffer = Zeroizing::new([0; KEY_LEN + TAG_LEN]);
    buffer.copy_from_slice(sealed);
    let plain = one_message_key(wrapping, salt, WRAPPING_LABEL)?
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(WrappedTenantKey::associated(&stored.tenant, stored.key_id)),
            buffer.as_mut(),
        )
        .map_err(|_| Error::Damaged)?;
    let key = Key::filled(|out| {
        if plain.len() != out.len() {
            return Err(Error::Damaged);
        }
        out.copy_from_slice(plain);
        Ok(())
    })?;
    if key_id(&key)? != stored.key_id {
        return Err(Error::Damaged);
    }
    Ok(TenantKeys::derive(&key, stored.key_id)?)
}

const WRAPPING_LABEL: &str = "pentad/1/wrap/tenant-key";

fn key_id(key: &Key) -> Result<KeyId, Unspecified> {
    let mut id = [0; KEY_ID_LEN];
    hkdf(&[], key.expose(), "pentad/1/tenant/key-id", &mut id)?;
    Ok(KeyId(id))
}

/// A tenant's subkeys, ready for use; the tenant key itself is not kept.
pub(crate) struct TenantKeys {
    pub(crate) id: KeyId,
    /// From which each version's wrapping key is derived.
    pub(crate) version_wrapping: Key,
    pub(crate) fingerprint: hmac::Key,
    pub(crate) stage: hmac::Key,
    pub(crate) document: hmac::Key,
    /// When the keyring last used it, in its own count of uses.
    pub(crate) last_use: AtomicU64,
}

impl TenantKeys {
    fn derive(key: &Key, id: KeyId) -> Result<Self, Unspecified> {
        Ok(Self {
            id,
            version_wrapping: key.subkey("pentad/1/tenant/version-wrapping")?,
            fingerprint: key.subkey("pentad/1/tenant/fingerprint")?.hmac(),
            stage: key.subkey("pentad/1/tenant/stage")?.hmac(),
            document: key.subkey("pentad/1/tenant/document")?.hmac(),
            last_use: AtomicU64::new(0),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{SeededEntropy, tenant};

    fn made(seed: u64) -> (Key, WrappedTenantKey) {
        let entropy = SeededEntropy::new(seed);
        let wrapping = Key::random(&entropy);
        let stored = create(&wrapping, &tenant("acme"), &entropy).unwrap();
        (wrapping, stored)
    }

    #[test]
    fn a_stored_key_unwraps_to_the_same_subkeys() {
        let (wrapping, stored) = made(1);
        let text = serde_json::to_string(&stored).unwrap();
        let back: WrappedTenantKey = serde_json::from_str(&text).unwrap();
        assert_eq!(back, stored);
        let (one, two) = (
            unwrap(&wrapping, &stored).unwrap(),
            unwrap(&wrapping, &back).unwrap(),
        );
        assert!(one.version_wrapping == two.version_wrapping);
        assert_eq!(one.id, stored.key_id());
    }

    #[test]
    fn another_root_another_tenant_another_id_are_refused() {
        let (wrapping, stored) = made(2);
        let (other_root, other) = made(3);
        let damaged = |root, key: &WrappedTenantKey| {
            assert_eq!(unwrap(root, key).err(), Some(Error::Damaged));
        };
        damaged(&other_root, &stored);
        damaged(
            &wrapping,
            &WrappedTenantKey {
                tenant: tenant("evil"),
                ..stored.clone()
            },
        );
        damaged(
            &wrapping,
            &WrappedTenantKey {
                key_id: other.key_id,
                ..stored.clone()
            },
        );
        damaged(
            &wrapping,
            &WrappedTenantKey {
                wrapped: other.wrapped,
                ..stored.clone()
            },
        );
        damaged(
            &wrapping,
            &WrappedTenantKey {
                format: 2,
                ..stored
            },
        );
    }

    #[test]
    fn an_id_that_the_key_did_not_give_is_refused_even_if_it_was_wrapped_with_it() {
        let entropy = SeededEntropy::new(5);
        let [wrapping, key, other] = [0; 3].map(|_| Key::random(&entropy));
        let wrap = |id| wrap(&wrapping, &tenant("acme"), &key, id, &entropy).unwrap();
        assert!(unwrap(&wrapping, &wrap(key_id(&key).unwrap())).is_ok());
        let false_id = wrap(key_id(&other).unwrap());
        assert_eq!(unwrap(&wrapping, &false_id).err(), Some(Error::Damaged));
    }

    proptest! {
        #[test]
        fn altered_or_arbitrary_wraps_are_damaged(
            bit in 0..WRAPPED_LEN * 8,
            bytes in prop::collection::vec(any::<u8>(), 0..2 * WRAPPED_LEN),
        ) {
            let (wrapping, stored) = made(4);
            let mut flipped = stored.wrapped.as_bytes().to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            for wrapped in [flipped, bytes] {
                let altered = WrappedTenantKey {
                    wrapped: Sealed::from_bytes(wrapped),
                    ..stored.clone()
                };
                prop_assert_eq!(unwrap(&wrapping, &altered).err(), Some(Error::Damaged));
            }
        }
    }
}
