//! A private key that signs, PKCS#8 PEM.

use super::{Generator, Profile};

pub(super) const PROFILE: Profile = Profile {
    name: "signing_key",
    description: "A private key that signs, PKCS#8 PEM.",
    generator: Some(|| Generator::Ed25519),
    memorable: false,
    max_bytes: 64 * 1024,
};
