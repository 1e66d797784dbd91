//! A connection string with its password inside, such as `postgres://user:password@host/db`.

use super::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "connection_string",
    description: "A connection string with its password inside, such as `postgres://user:password@host/db`.",
    generator: None,
    memorable: false,
    max_bytes: 16 * 1024,
};
