//! A bearer token.

use super::{Generator, Profile, Alphabet};

pub(super) const PROFILE: Profile = Profile {
    name: "token",
    description: "A bearer token.",
    generator: Some(|| Generator::Token { prefix: String::new(), length: 43, alphabet: Alphabet::Base64Url }),
    memorable: false,
    max_bytes: 64 * 1024,
};
