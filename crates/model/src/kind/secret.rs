//! Any other secret: text, JSON or bytes.

use super::{Generator, Profile, Alphabet};

pub(super) const PROFILE: Profile = Profile {
    name: "secret",
    description: "Any other secret: text, JSON or bytes.",
    generator: Some(|| Generator::Token { prefix: String::new(), length: 43, alphabet: Alphabet::Base64Url }),
    memorable: false,
    max_bytes: 1024 * 1024,
};
