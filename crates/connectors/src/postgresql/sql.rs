//! Names and texts inside PostgreSQL statements. `ALTER ROLE` takes no parameters, so its parts
//! must be quoted; everything that is quoted goes through here.

/// The longest name, in bytes (`NAMEDATALEN - 1`). The server *cuts* longer ones, so that a
/// statement would name another role.
pub(super) const NAME_MAX: usize = 63;

/// A role's name that the server will take as it is written.
#[derive(Clone, Copy)]
pub(super) struct Role<'a>(&'a str);

impl<'a> Role<'a> {
    /// Refuses what the server would cut or can't hold.
    pub(super) fn parse(name: &'a str) -> Result<Self, String> {
        if name.is_empty() || name.len() > NAME_MAX || name.contains('\0') {
            return Err(format!(
                "`{}` can't be a role's name: 1 to {NAME_MAX} bytes, no NUL",
                name.escape_debug()
            ));
        }
        Ok(Self(name))
    }

    /// As an identifier.
    pub(super) fn ident(self) -> String {
        ident(self.0)
    }

    /// As a text.
    pub(super) fn literal(self) -> String {
        literal(self.0)
    }

    /// The name itself.
    pub(super) fn name(self) -> &'a str {
        self.0
    }
}

/// A quoted identifier: case and every character are kept.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A quoted text. The `E` form means the same whatever `standard_conforming_strings` says; it is
/// only taken where it matters, as libpq's `PQescapeLiteral` does.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn quotes_can_not_be_left() {
        assert_eq!(ident(r#"a"; DROP"#), r#""a""; DROP""#);
        assert_eq!(literal("a'; DROP"), "'a''; DROP'");
        assert_eq!(literal(r"a\'b"), r" E'a\\''b'");
    }

    #[test]
    fn names_that_the_server_would_cut_are_refused() {
        assert!(Role::parse(&"x".repeat(63)).is_ok());
        assert!(Role::parse(&"x".repeat(64)).is_err());
        assert!(Role::parse(&"ä".repeat(32)).is_err());
        assert!(Role::parse("").is_err());
        assert!(Role::parse("a\0b").is_err());
    }
}
