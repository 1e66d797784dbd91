//! Account names, texts and verifiers inside MariaDB statements, which take no parameters.
//!
//! Sessions run with an empty `sql_mode` and utf8mb4, so that a backslash in a text means the same
//! everywhere.

use pentad_model::Secret;
use sha1::{Digest as _, Sha1};
use zeroize::Zeroize as _;

/// `user` or `user@host`. The last `@` separates, for a host has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Account<'a> {
    pub(super) user: &'a str,
    pub(super) host: &'a str,
}

impl<'a> Account<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let (user, host) = text.rsplit_once('@').unwrap_or((text, "%"));
        Self { user, host }
    }
}

/// As a statement names it: `'user'@'host'`.
impl std::fmt::Display for Account<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", literal(self.user), literal(self.host))
    }
}

/// A quoted text.
pub(super) fn literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str("\\'"),
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push_str("\\0"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// The verifier of `mysql_native_password`: `*` and `SHA1(SHA1(password))` in upper-case hex.
/// <https://mariadb.com/kb/en/authentication-plugin-mysql_native_password/>
pub(super) fn native_verifier(password: &Secret) -> String {
    let mut stage = Sha1::digest(password.expose());
    let verifier = Sha1::digest(stage);
    // The inner hash is as good as the password to a client that can leave out the first step.
    stage.as_mut_slice().zeroize();
    format!("*{}", hex::encode_upper(verifier))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_verifier_is_that_of_the_manual() {
        // MySQL 5.7 reference manual: SELECT PASSWORD('password').
        assert_eq!(
            native_verifier(&Secret::new("password")),
            "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"
        );
    }

    #[test]
    fn accounts_are_any_host_unless_they_name_one() {
        let parse = |text| Account::parse(text).to_string();
        assert_eq!(parse("app"), "'app'@'%'");
        assert_eq!(parse("app@10.0.0.%"), "'app'@'10.0.0.%'");
        assert_eq!(parse("a@b@localhost"), "'a@b'@'localhost'");
        assert_eq!(parse(r"o'b\x"), r"'o\'b\\x'@'%'");
    }
}
