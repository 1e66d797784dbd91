//! The password of a database account.

use super::{Generator, Profile};

pub(super) const PROFILE: Profile = Profile {
    name: "database",
    description: "The password of a database account.",
    generator: Some(Generator::database_password),
    memorable: true,
    max_bytes: 4 * 1024,
};
