//! What is searched for in a record, read off its bytes.
//!
//! A search looks at far more records than it finds. Making a [`Record`] of each costs fifty times
//! what looking at its bytes does, and nearly all of it for what is thrown away again.
//!
//! What always holds: what is read here is what `serde` reads, of bytes that it takes for a record.
//! What isn't may still be a record, written with other spaces, escapes or fields: ask `serde` then.

use pentad_model::{Id, Record, Timestamp};

use super::shape::Text;

/// The searched fields of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fields<'a> {
    pub(super) at: Timestamp,
    pub(super) correlation: Id,
    pub(super) tenant: &'a [u8],
    pub(super) principal: &'a [u8],
    pub(super) action: &'a [u8],
    pub(super) path: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// A record's.
    pub(super) fn of(record: &'a Record) -> Self {
        Self {
            at: record.at,
            correlation: record.correlation,
            tenant: record.tenant.as_str().as_bytes(),
            principal: record.principal.as_bytes(),
            action: record.action.as_bytes(),
            path: record.path.as_ref().map(|path| path.as_str().as_bytes()),
        }
    }

    /// Those of a record in the form that this program writes.
    pub(super) fn read(leaf: &'a [u8]) -> Option<Self> {
        let mut text = Text(leaf);
        text.literal(b"{\"id\":\"")?;
        text.take(ID)?;
        text.literal(b"\",\"at\":")?;
        let at = Timestamp(text.number()?);
        text.literal(b",\"correlation\":\"")?;
        let correlation = text.id()?;
        text.literal(b"\",\"tenant\":\"")?;
        let tenant = text.plain()?;
        text.literal(b",\"principal\":\"")?;
        let principal = text.plain()?;
        text.literal(b",\"origin\":\"")?;
        text.plain()?;
        text.literal(b",\"action\":\"")?;
        let action = text.plain()?;
        text.literal(b",\"outcome\":\"")?;
        text.plain()?;
        let path = match text.literal(b",\"path\":\"") {
            Some(()) => Some(text.plain()?),
            // Nor may one come later.
            None => {
                text.pathless_end()?;
                None
            }
        };
        Some(Self {
            at,
            correlation,
            tenant,
            principal,
            action,
            path,
        })
    }
}

/// Characters of an id.
const ID: usize = 36;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::audit::shape::tests::any_record;

    proptest! {
        #[test]
        fn what_is_read_is_what_serde_reads(
            record in any_record(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            later in prop::option::of(Just(&b",\"path\":\"x\"}"[..])),
        ) {
            let mut leaf = serde_json::to_vec(&record).unwrap();
            for (at, byte) in changes {
                let at = at.index(leaf.len());
                leaf[at] = byte;
            }
            if let Some(later) = later {
                leaf.pop();
                leaf.extend(later);
            }
            if let Some(fields) = Fields::read(&leaf)
                && let Ok(record) = serde_json::from_slice::<Record>(&leaf)
            {
                prop_assert_eq!(fields, Fields::of(&record));
            }
        }

        #[test]
        fn what_is_written_without_escapes_is_read(mut record in any_record()) {
            // Longer numbers are left to `serde`.
            record.version = record.version.map(|version| version % 1_000_000_000);
            let leaf = serde_json::to_vec(&record).unwrap();
            let plain = !leaf.contains(&b'\\') && record.at.0.unsigned_abs() < 1_000_000_000_000_000_000;
            match Fields::read(&leaf) {
                // What comes after the path may have escapes: it is not looked at.
                Some(fields) => prop_assert_eq!(fields, Fields::of(&record)),
                None => prop_assert!(!plain),
            }
        }
    }
}
