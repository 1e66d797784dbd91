//! Rows and pieces of the log as blocks.
//!
//! | block of rows | |
//! |---|---|
//! | 1 | `1` |
//! | … | rows: table's number (1), flags (1), body (4 + …), and by flags the sealed value (4 + …) and when it was destroyed (8) |
//!
//! | piece of the log | |
//! |---|---|
//! | 1 | `2` |
//! | 2 + … | the segment's file name |
//! | 8 | where in the file it belongs |
//! | … | bytes |
//!
//! Numbers are big-endian.
//!
//! Where a block of rows ends is decided by the row at its end (the SHA-256 of its key), not by counting
//! from the beginning: a row that comes or goes changes its own block and no other. Pieces of the log
//! begin at multiples of [`PIECE`], and a log is only appended to.

use pentad_keys::framed::address;
use pentad_model::Timestamp;
use pentad_store::snapshot::{Row, Table};

use crate::Fault;

/// One row in so many ends a block.
const ROWS: u8 = 16;
/// Rows of a block that would grow beyond this begin another one.
const LONGEST: usize = 128 << 10;
/// Bytes of the log in a piece.
pub const PIECE: u64 = 64 << 10;

const ROWS_TAG: u8 = 1;
const LOG_TAG: u8 = 2;
const SEALED: u8 = 1;
const DESTROYED: u8 = 2;

/// A block's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Rows, without their keys, which their bodies tell.
    Rows(Vec<Row>),
    /// A piece of the log.
    Log {
        /// The segment's file name.
        name: String,
        /// Where in the file it belongs.
        offset: u64,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// Gathers rows until a block is full.
#[derive(Default)]
pub struct Gather {
    block: Vec<u8>,
    table: Option<Table>,
}

impl Gather {
    /// Adds a row; answers blocks that are full.
    pub fn row(&mut self, row: &Row) -> Vec<Vec<u8>> {
        let mut full = Vec::new();
        let sealed = row.sealed.as_ref().map_or(0, Vec::len);
        let more = row.body.len() + sealed + 32;
        if self.table != Some(row.table) || self.block.len() + more > LONGEST {
            full.extend(self.rest());
        }
        if self.block.is_empty() {
            self.block.push(ROWS_TAG);
            self.table = Some(row.table);
        }
        let mut flags = 0;
        flags |= row.sealed.as_ref().map_or(0, |_| SEALED);
        flags |= row.destroyed_at.map_or(0, |_| DESTROYED);
        self.block.extend_from_slice(&[row.table.tag(), flags]);
        append(&mut self.block, &row.body);
        if let Some(sealed) = &row.sealed {
            append(&mut self.block, sealed);
        }
        if let Some(at) = row.destroyed_at {
            self.block.extend_from_slice(&at.0.to_be_bytes());
        }
        if address(row.key.as_bytes())[0].is_multiple_of(ROWS) {
            full.extend(self.rest());
        }
        full
    }

    /// What is left.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.block)).filter(|block| !block.is_empty())
    }
}

/// A piece of the log as a block.
pub fn piece(name: &str, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(bytes.len() + name.len() + 16);
    block.push(LOG_TAG);
    let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
    block.extend_from_slice(&length.to_be_bytes());
    block.extend_from_slice(name.as_bytes());
    block.extend_from_slice(&offset.to_be_bytes());
    block.extend_from_slice(bytes);
    block
}

fn append(block: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    block.extend_from_slice(&length.to_be_bytes());
    block.extend_from_slice(part);
}

/// Reads a block.
///
/// # Errors
/// [`Fault::Damaged`] if it is none that this program, or an older one, writes.
pub fn read(block: &[u8]) -> Result<Content, Fault> {
    parse(block).ok_or_else(|| Fault::Damaged {
        message: "a block of the backup is of a form that this pentad does not know".to_owned(),
    })
}

fn parse(block: &[u8]) -> Option<Content> {
    let (tag, mut rest) = block.split_first()?;
    match *tag {
        ROWS_TAG => {
            let mut rows = Vec::new();
            while !rest.is_empty() {
                rows.push(row(&mut rest)?);
            }
            Some(Content::Rows(rows))
        }
        LOG_TAG => {
            let length = u16::from_be_bytes(take(&mut rest)?);
            let (name, after) = rest.split_at_checked(length.into())?;
            rest = after;
            let offset = u64::from_be_bytes(take(&mut rest)?);
            Some(Content::Log {
                name: String::from_utf8(name.to_vec()).ok()?,
                offset,
                bytes: rest.to_vec(),
            })
        }
        _ => None,
    }
}

fn row(rest: &mut &[u8]) -> Option<Row> {
    let [tag, flags] = take(rest)?;
    if flags & !(SEALED | DESTROYED) != 0 {
        return None;
    }
    let body = part(rest)?;
    let sealed = match flags & SEALED {
        0 => None,
        _ => Some(part(rest)?),
    };
    let destroyed_at = match flags & DESTROYED {
        0 => None,
        _ => Some(Timestamp(i64::from_be_bytes(take(rest)?))),
    };
    Some(Row {
        table: Table::of_tag(tag)?,
        key: String::new(),
        body,
        sealed,
        destroyed_at,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

fn part(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let length = u32::from_be_bytes(take(rest)?);
    let (part, after) = rest.split_at_checked(length as usize)?;
    *rest = after;
    Some(part.to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
        let row = (
            0..Table::ALL.len(),
            "[a-z]{1,6}",
            bytes(),
            proptest::option::of(bytes()),
            proptest::option::of(any::<i64>()),
        );
        let row = row.prop_map(|(table, key, body, sealed, at)| Row {
            table: Table::ALL[table],
            key,
            body,
            sealed,
            destroyed_at: at.map(Timestamp),
        });
        proptest::collection::vec(row, 0..60)
    }

    fn gathered(rows: &[Row]) -> Vec<Vec<u8>> {
        let mut gather = Gather::default();
        let mut blocks: Vec<Vec<u8>> = rows.iter().flat_map(|row| gather.row(row)).collect();
        blocks.extend(gather.rest());
        blocks
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn rows_come_out_of_blocks_as_they_went_in(rows in rows()) {
            let mut found = Vec::new();
            for block in gathered(&rows) {
                match read(&block).unwrap() {
                    Content::Rows(rows) => found.extend(rows),
                    Content::Log { .. } => prop_assert!(false),
                }
            }
            let expected: Vec<Row> = rows
                .into_iter()
                .map(|row| Row { key: String::new(), ..row })
                .collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn a_block_that_is_cut_is_no_whole_block(rows in rows(), at in any::<proptest::sample::Index>()) {
            for block in gathered(&rows) {
                let cut = &block[..at.index(block.len())];
                if let Ok(Content::Rows(fewer)) = read(cut) {
                    // Between two rows only.
                    let Ok(Content::Rows(all)) = read(&block) else { unreachable!() };
                    prop_assert!(fewer.len() < all.len() && all.starts_with(&fewer));
                }
            }
        }
    }

    #[test]
    fn a_row_that_changes_leaves_the_blocks_of_others_as_they_were() {
        let row = |number: usize, body: &str| Row {
            table: Table::Credentials,
            key: format!("default/a/{number}"),
            body: body.into(),
            sealed: None,
            destroyed_at: None,
        };
        let before: Vec<Row> = (0..2000).map(|number| row(number, "as it was")).collect();
        let mut after = before.clone();
        after[700] = row(700, "otherwise, and longer");
        after.remove(1200);
        after.push(row(2000, "new"));
        let old: std::collections::HashSet<_> = gathered(&before).into_iter().collect();
        let new = gathered(&after);
        let changed = new.iter().filter(|block| !old.contains(*block)).count();
        assert!(new.len() > 60, "{}", new.len());
        assert!((1..=4).contains(&changed), "{changed}");
    }

    #[test]
    fn a_piece_of_the_log_keeps_its_place() {
        let block = piece("segment-0000000000000000.log", 65536, b"abc");
        let expected = Content::Log {
            name: "segment-0000000000000000.log".to_owned(),
            offset: 65536,
            bytes: b"abc".to_vec(),
        };
        assert_eq!(read(&block).unwrap(), expected);
    }
}
