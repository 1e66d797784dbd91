//! Recognises, in the bytes of a plain connection, the statement that changes an account's
//! password.

use crate::systems::System;

/// Bytes of the past that are looked at again, for a statement may come in pieces.
pub(super) const LOOK_BACK: usize = 256;

/// The account that a statement changes which ends after `from`, and where that naming ends.
pub(super) fn account(system: System, bytes: &[u8], from: usize) -> Option<(String, usize)> {
    let (before, after): (&[u8], &[u8]) = match system {
        System::Postgres => (b"ALTER ROLE \"", b"\" PASSWORD "),
        System::MariaDb => (b"ALTER USER '", b"'@'"),
        System::Redis => (b"\r\nSETUSER\r\n$", b"\r\n"),
    };
    let mut at = 0;
    while let Some(found) = find(&bytes[at..], before) {
        let start = at + found + before.len();
        at = start;
        let name = match system {
            System::Redis => bulk(&bytes[start..]).map(|(name, end)| (name, start + end)),
            _ => plain(&bytes[start..], after).map(|(name, end)| (name, start + end)),
        };
        match name {
            Some((name, end)) if end > from => return Some((name, end)),
            _ => {}
        }
    }
    None
}

/// A name that is followed at once by `after`; the campaign's names have nothing to escape.
fn plain(bytes: &[u8], after: &[u8]) -> Option<(String, usize)> {
    let end = bytes
        .iter()
        .position(|b| !(b.is_ascii_alphanumeric() || *b == b'_'))?;
    let rest = bytes.get(end..)?;
    let name = std::str::from_utf8(&bytes[..end]).ok()?;
    rest.starts_with(after)
        .then(|| (name.to_owned(), end + after.len()))
}

/// A RESP bulk string, its `$` already read.
fn bulk(bytes: &[u8]) -> Option<(String, usize)> {
    let line = find(bytes, b"\r\n")?;
    let length: usize = std::str::from_utf8(&bytes[..line]).ok()?.parse().ok()?;
    let start = line + 2;
    let name = std::str::from_utf8(bytes.get(start..start + length)?).ok()?;
    Some((name.to_owned(), start + length))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_s_statement_is_recognised() {
        let found =
            |system, bytes: &str| account(system, bytes.as_bytes(), 0).map(|(name, _)| name);
        let postgres = "Q BEGIN; ALTER ROLE \"b\" SET role = 'a'; ALTER ROLE \"b\" PASSWORD 'S$'";
        assert_eq!(found(System::Postgres, postgres).as_deref(), Some("b"));
        assert_eq!(
            found(System::Postgres, "ALTER ROLE \"b\" SET role = 'a'"),
            None
        );
        let mariadb = "ALTER USER 'crash_1'@'%' IDENTIFIED VIA";
        assert_eq!(found(System::MariaDb, mariadb).as_deref(), Some("crash_1"));
        let redis = "*4\r\n$3\r\nACL\r\n$7\r\nSETUSER\r\n$5\r\nthere\r\n$9\r\nresetpass\r\n";
        assert_eq!(found(System::Redis, redis).as_deref(), Some("there"));
        assert_eq!(found(System::Redis, "\r\nGETUSER\r\n$5\r\nthere\r\n"), None);
    }

    #[test]
    fn what_ended_before_is_not_seen_again() {
        let bytes = b"ALTER USER 'a'@'%' x";
        assert!(account(System::MariaDb, bytes, 5).is_some());
        assert!(account(System::MariaDb, bytes, bytes.len()).is_none());
    }
}
