//! An SSH private key in OpenSSH form.

use super::{Generator, Profile};

pub(super) const PROFILE: Profile = Profile {
    name: "ssh_key",
    description: "An SSH private key in OpenSSH form.",
    generator: Some(|| Generator::Ssh { comment: String::new() }),
    memorable: false,
    max_bytes: 64 * 1024,
};
