//! A key that a provider issued for its API.

use super::{Generator, Profile, Alphabet};

pub(super) const PROFILE: Profile = Profile {
    name: "api_key",
    description: "A key that a provider issued for its API.",
    generator: Some(|| Generator::Token { prefix: String::new(), length: 40, alphabet: Alphabet::Alphanumeric }),
    memorable: false,
    max_bytes: 16 * 1024,
};
