//! An X.509 certificate with its private key (RFC 5280), PEM.

use super::{Generator, Profile};

pub(super) const PROFILE: Profile = Profile {
    name: "certificate",
    description: "An X.509 certificate with its private key (RFC 5280), PEM.",
    generator: Some(|| Generator::Certificate { names: vec!["localhost".to_owned()], days: 90 }),
    memorable: false,
    max_bytes: 256 * 1024,
};
