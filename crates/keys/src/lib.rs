//! Keys: the one crate that turns plaintext into [`Sealed`](pentad_model::Sealed) bytes and back.
//!
//! ```text
//! root key (file or passphrase)
//!   ├─ tenant key, random, wrapped by the root key, one a tenant
//!   │    ├─ version wrapping key = HKDF(tenant subkey, random 256-bit salt)
//!   │    │    └─ data key, random: seals the padded value of one version
//!   │    ├─ fingerprint key: HMAC for "same value elsewhere?"
//!   │    ├─ stage key: HMAC over a version's stage label
//!   │    └─ document key: HMAC over users, roles, tokens, targets, policies
//!   ├─ audit key: HMAC of values in audit records
//!   ├─ checkpoint key: Ed25519 signature over audit checkpoints
//!   ├─ token key: HMAC of access tokens
//!   └─ backup key: HKDF under each backup's own salt
//! ```
//!
//! Every arrow is HKDF-SHA-256 (RFC 5869) with a label of its own or AES-256-GCM (SP 800-38D) with
//! a key that is used for one message. No counter is kept anywhere, so a restored backup can't turn
//! one back. All primitives are AWS-LC's; Argon2 and scrypt are RustCrypto's.
//!
//! What always holds:
//! * keys and plaintext live in types that zeroise on drop and have no `Debug` that shows them;
//! * randomness and time are handed in; RSA and ECDSA key generation draw from AWS-LC's own CSPRNG,
//!   which the operating system seeds;
//! * sealed bytes that can't be opened give one answer, [`Error::Damaged`], whatever was wrong;
//! * nothing read from outside (key file, parameters, sealed bytes, hashes) can cause a panic, a
//!   downgrade below the documented minimum, or unbounded memory.
//!
//! | module | holds |
//! |---|---|
//! | [`keyring`] | the only type that seals and opens; start here |
//! | [`root`] | the root key and its sources, and the check that tells a wrong key early |
//! | [`tenant`] | tenant keys, wrapped |
//! | [`digest`] | SHA-256 of what is secret |
//! | [`document`] | seals of what is stored in the clear and decides |
//! | [`envelope`] | the sealed form, byte by byte, and its size classes |
//! | [`fernet`] | credentials files of others, read |
//! | [`framed`] | files sealed in frames: backups, exports |
//! | [`generate`] | new passwords, tokens, key pairs, certificates |
//! | [`operations`] | sign, verify, encrypt, decrypt with stored key pairs |
//! | [`password`] | hashing of user passwords |
//! | [`selftest`] | known answers, checked at start |
//!
//! To add a generator: a variant in `pentad_model::kind::Generator`, its arm in
//! [`generate::generate`], its file in `generate/`.

mod associated;
mod derive;
pub mod digest;
pub mod document;
pub mod envelope;
pub mod fernet;
pub mod framed;
pub mod generate;
mod hexadecimal;
pub mod keyring;
pub mod operations;
pub mod password;
mod pem;
mod residue;
pub mod root;
pub mod selftest;
pub mod tenant;

#[cfg(test)]
mod testing;

pub use envelope::Binding;
pub use keyring::Keyring;
pub use root::{RootCheck, RootKey};
pub use tenant::WrappedTenantKey;

/// Why the keyring did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The sealed bytes are not what this keyring sealed for this very version: altered, moved from
    /// another credential, or sealed under another key. Deliberately says no more.
    #[error(
        "the sealed value can't be opened: it was altered, moved, or sealed under another key; \
         restore it from a backup"
    )]
    Damaged,
    /// The tenant's key is not in the keyring, never loaded or evicted: load it and try again.
    #[error("the key of tenant `{0}` is not loaded; load it from the store and try again")]
    TenantNotLoaded(pentad_model::Tenant),
    /// Another key of this tenant is loaded already; the store holds two, or was swapped.
    #[error(
        "tenant `{0}` has another key loaded; the store was changed under a running server: \
         restart it, and check the store if this persists"
    )]
    TenantKeyConflict(pentad_model::Tenant),
    /// The stage label does not carry our MAC: the version's row was altered outside Pentad.
    #[error("the version's stage was altered outside Pentad; restore the credential from a backup")]
    StageForged,
    /// The document does not carry our seal: it was written or altered outside Pentad.
    #[error("the document was written or altered outside Pentad; make it anew or restore a backup")]
    DocumentForged,
    /// The caller's fault: the value is longer than [`envelope::MAX_VALUE`].
    #[error("a value may have at most {max} bytes")]
    TooLarge {
        /// The limit, in bytes.
        max: usize,
    },
    /// The cryptographic library failed, which it does only out of memory.
    #[error("the cryptographic library failed; restart the server and check its memory")]
    Primitive,
}

impl From<aws_lc_rs::error::Unspecified> for Error {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Primitive
    }
}
