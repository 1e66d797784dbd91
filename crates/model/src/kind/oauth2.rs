//! An OAuth 2.0 client secret or refresh token (RFC 6749).

use super::Profile;

pub(super) const PROFILE: Profile = Profile {
    name: "oauth2",
    description: "An OAuth 2.0 client secret or refresh token (RFC 6749).",
    generator: None,
    memorable: false,
    max_bytes: 64 * 1024,
};
