//! A password that a person or a program logs in with.

use super::{Generator, Profile, Alphabet};

pub(super) const PROFILE: Profile = Profile {
    name: "password",
    description: "A password that a person or a program logs in with.",
    generator: Some(|| Generator::Password { length: 24, alphabet: Alphabet::Printable }),
    memorable: true,
    max_bytes: 4 * 1024,
};
