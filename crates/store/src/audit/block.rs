//! A block: the records of one group commit, written and fsynced at once.
//!
//! All numbers are big-endian.
//!
//! | byte | length | content |
//! |---|---|---|
//! | 0 | 4 | magic `PAUD` |
//! | 4 | 2 | format version, 1 |
//! | 6 | 2 | zero |
//! | 8 | 8 | sequence number of the first record |
//! | 16 | 4 | number of records |
//! | 20 | 4 | length of the payload in bytes, at most [`MAX_PAYLOAD`] |
//! | 24 | 4 | CRC-32 (ISO-HDLC, as in zlib) of bytes 0 to 23 and the payload |
//! | 28 | … | payload: for each record 4 bytes of length, then that many bytes |
//!
//! A record's bytes are the compact JSON of [`pentad_model::Record`]; they are the Merkle leaf,
//! exactly as written. A block of no records is a *seal*: it ends a full segment, and its first
//! sequence number is the next segment's.
//!
//! The CRC finds accidents only. Whoever can write the file can write a CRC; the tree and a kept
//! checkpoint find that.

use std::ops::Range;

/// Bytes before the payload.
pub(super) const HEADER: usize = 28;
/// The largest payload that is written, and that is believed when read.
pub(super) const MAX_PAYLOAD: usize = 4 << 20;
/// How a block begins.
pub(super) const MAGIC: [u8; 4] = *b"PAUD";
const VERSION: u16 = 1;

/// Why bytes are not a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Flaw {
    #[error("the block is cut short")]
    Short,
    #[error("there is no block header")]
    Magic,
    #[error("the block claims an impossible length of {0} bytes")]
    Length(u32),
    #[error("the block's checksum is wrong")]
    Checksum,
    #[error("the block has format version {0}, written by a newer pentad")]
    Version(u16),
    #[error("the block's records don't fill it")]
    Records,
}

impl Flaw {
    /// Whether a crash in the middle of a write can have left this. Everything else carries a
    /// right checksum, so somebody meant it.
    pub(super) fn can_be_torn(self) -> bool {
        matches!(
            self,
            Flaw::Short | Flaw::Magic | Flaw::Length(_) | Flaw::Checksum
        )
    }
}

/// A whole block with a right checksum.
#[derive(Debug)]
pub(super) struct Block {
    /// Sequence number of its first record.
    pub(super) first: u64,
    /// Where each record's bytes are, from the block's beginning.
    pub(super) leaves: Vec<Range<usize>>,
    /// The whole block's length in bytes.
    pub(super) length: usize,
}

impl Block {
    /// Sequence number after its last record.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(self.leaves.len() as u64)
    }

    /// Whether it ends a segment.
    pub(super) fn is_seal(&self) -> bool {
        self.leaves.is_empty()
    }
}

/// Lays out the block of `leaves`, whose payload the caller has kept within [`MAX_PAYLOAD`].
pub(super) fn encode<'a>(first: u64, leaves: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    let mut count = 0u32;
    for leaf in leaves {
        bytes.extend_from_slice(&(leaf.len() as u32).to_be_bytes());
        bytes.extend_from_slice(leaf);
        count += 1;
    }
    let payload = (bytes.len() - HEADER) as u32;
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..6].copy_from_slice(&VERSION.to_be_bytes());
    bytes[8..16].copy_from_slice(&first.to_be_bytes());
    bytes[16..20].copy_from_slice(&count.to_be_bytes());
    bytes[20..24].copy_from_slice(&payload.to_be_bytes());
    let crc = checksum(&bytes).to_be_bytes();
    bytes[24..28].copy_from_slice(&crc);
    bytes
}

/// The block that ends a segment whose successor begins at `next`.
pub(super) fn seal(next: u64) -> Vec<u8> {
    encode(next, [])
}

/// The whole length of the block that begins with this header, if it can be one.
pub(super) fn length(header: &[u8]) -> Result<usize, Flaw> {
    let header = header.get(..HEADER).ok_or(Flaw::Short)?;
    if header[..4] != MAGIC {
        return Err(Flaw::Magic);
    }
    let payload = number(header, 20..24) as u32;
    if payload as usize > MAX_PAYLOAD {
        return Err(Flaw::Length(payload));
    }
    Ok(HEADER + payload as usize)
}

/// The block that `bytes` begin with; what follows it is not looked at.
pub(super) fn decode(bytes: &[u8]) -> Result<Block, Flaw> {
    let length = length(bytes)?;
    let bytes = bytes.get(..length).ok_or(Flaw::Short)?;
    if number(bytes, 24..28) != u64::from(checksum(bytes)) {
        return Err(Flaw::Checksum);
    }
    let version = number(bytes, 4..6) as u16;
    if version != VERSION {
        return Err(Flaw::Version(version));
    }
    let first = number(bytes, 8..16);
    let count = number(bytes, 16..20);
    if number(bytes, 6..8) != 0 || first.checked_add(count).is_none() {
        return Err(Flaw::Records);
    }
    let mut leaves = Vec::new();
    let mut at = HEADER;
    while at < length {
        let begin = at + 4;
        if begin > length {
            return Err(Flaw::Records);
        }
        let end = begin + number(bytes, at..begin) as usize;
        if end > length {
            return Err(Flaw::Records);
        }
        leaves.push(begin..end);
        at = end;
    }
    if leaves.len() as u64 != count {
        return Err(Flaw::Records);
    }
    Ok(Block {
        first,
        leaves,
        length,
    })
}

/// The first whole block at or after `from`: what tells damage in the middle from a torn end.
pub(super) fn find(bytes: &[u8], from: usize) -> Option<(usize, Block)> {
    let mut at = from;
    while let Some(step) = bytes
        .get(at..)?
        .windows(MAGIC.len())
        .position(|window| window == MAGIC)
    {
        at += step;
        if let Ok(block) = decode(&bytes[at..]) {
            return Some((at, block));
        }
        at += 1;
    }
    None
}

/// The first header that is whole in `bytes`: where it begins, and its first record's number. Only
/// what is the same in every header is looked for; see [`super::seek`] for why that is enough.
pub(super) fn find_header(bytes: &[u8]) -> Option<(usize, u64)> {
    let last = bytes.len().checked_sub(HEADER)?;
    let mut same = [0; 8];
    same[..4].copy_from_slice(&MAGIC);
    same[4..6].copy_from_slice(&VERSION.to_be_bytes());
    let at = memchr::memmem::find(bytes, &same).filter(|at| *at <= last)?;
    Some((at, number(bytes, at + 8..at + 16)))
}

fn checksum(block: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&block[..24]);
    hasher.update(&block[HEADER..]);
    hasher.finalize()
}

fn number(bytes: &[u8], range: Range<usize>) -> u64 {
    bytes[range]
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_block_reads_back(
            first in 0..u64::MAX / 2,
            leaves in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
        ) {
            let mut bytes = encode(first, leaves.iter().map(Vec::as_slice));
            let length = bytes.len();
            bytes.extend_from_slice(b"what follows");
            let block = decode(&bytes).unwrap();
            prop_assert_eq!(block.first, first);
            prop_assert_eq!(block.length, length);
            let read: Vec<_> = block.leaves.iter().map(|r| bytes[r.clone()].to_vec()).collect();
            prop_assert_eq!(read, leaves);
        }

        #[test]
        fn any_flipped_bit_is_found(bit in 0usize..8 * (HEADER + 14)) {
            let mut bytes = encode(7, [b"one".as_slice(), b"two"]);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200), begin in any::<bool>(),
        ) {
            if begin && bytes.len() > 4 {
                bytes[..4].copy_from_slice(&MAGIC);
                if bytes.len() >= HEADER {
                    let payload = (bytes.len() - HEADER) as u32;
                    bytes[20..24].copy_from_slice(&payload.to_be_bytes());
                    let crc = checksum(&bytes).to_be_bytes();
                    bytes[24..28].copy_from_slice(&crc);
                }
            }
            let _ = decode(&bytes);
            let _ = find(&bytes, 0);
        }
    }

    #[test]
    fn a_newer_format_with_a_right_checksum_is_never_taken_for_a_torn_block() {
        let mut bytes = encode(0, [b"x".as_slice()]);
        bytes[5] = 2;
        let crc = checksum(&bytes).to_be_bytes();
        bytes[24..28].copy_from_slice(&crc);
        let flaw = decode(&bytes).unwrap_err();
        assert_eq!(flaw, Flaw::Version(2));
        assert!(!flaw.can_be_torn());
    }
}
