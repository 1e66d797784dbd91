//! Finding a record in a full segment without reading all of it.
//!
//! Where block headers are is known only of the segment that is written to. In a full one they are
//! looked for: a guess by the record's number, the first whole block from there on, and a better guess.
//! Blocks are of the same size on the whole, so two or three looks are enough, where making an index
//! reads 64 MiB.
//!
//! A block's header can't be imitated by a record: it holds zero bytes, and a record is JSON, which
//! escapes them. Its number must lie between its neighbours'; its checksum is looked at by whoever
//! reads what was found.

use std::{fs::File, ops::Range, os::unix::fs::FileExt as _, path::Path};

use super::{
    block::{self, HEADER},
    error::AuditError,
};

/// Bytes that are read at once where a record is: what a guess is brought down to.
const NEAR: u64 = 128 << 10;
/// How much is looked through at once, and how far before the guess the first look is taken.
const LOOK: u64 = 32 << 10;
/// Looks after which the file is not of a shape that guesses find anything in.
const LOOKS: usize = 80;

/// A place where a block begins: its offset, and its first record.
type Edge = (u64, u64);

/// Whole blocks among which record `sequence` is, of a full segment that holds the records
/// `numbers`. `None` where guesses don't lead there: walk the segment instead.
pub(super) fn find(
    path: &Path,
    numbers: Range<u64>,
    sequence: u64,
) -> Result<Option<Range<u64>>, AuditError> {
    if !numbers.contains(&sequence) {
        return Ok(None);
    }
    let attempt = || -> std::io::Result<Option<Range<u64>>> {
        let file = File::open(path)?;
        let end = file.metadata()?.len().saturating_sub(HEADER as u64);
        narrow(&file, (0, numbers.start), (end, numbers.end), sequence)
    };
    attempt().map_err(|error| AuditError::io(path, &error))
}

/// Brings two blocks together around a record, until little lies between them.
fn narrow(
    file: &File,
    mut low: Edge,
    mut high: Edge,
    sequence: u64,
) -> std::io::Result<Option<Range<u64>>> {
    // No block begins between here and `high`.
    let mut ceiling = high.0;
    // Before it is looked so far, twice as far each time that nothing was found.
    let mut back = LOOK;
    let mut guessing = true;
    for _ in 0..LOOKS {
        if high.0 - low.0 <= NEAR || ceiling <= low.0 + 1 {
            return Ok(Some(low.0..high.0));
        }
        let at = match guessing {
            true => guess(low, high, sequence),
            false => ceiling.saturating_sub(back),
        };
        let at = at.clamp(low.0 + 1, ceiling - 1);
        match first_block(file, at, ceiling)? {
            None => {
                ceiling = at;
                back *= 2;
                guessing = false;
            }
            Some(edge) if edge.1 <= low.1 || edge.1 >= high.1 => return Ok(None),
            Some(edge) if edge.1 <= sequence => {
                low = edge;
                guessing = true;
            }
            Some(edge) => {
                high = edge;
                ceiling = at;
                // Where sizes differ much, guesses creep.
                guessing = !guessing;
            }
        }
    }
    Ok(None)
}

/// Somewhat before the place where the record would be if all were of one size.
fn guess(low: Edge, high: Edge, sequence: u64) -> u64 {
    let share = |part: u64, of: u64, all: u64| {
        let product = u128::from(part) * u128::from(all) / u128::from(of.max(1));
        u64::try_from(product).unwrap_or(u64::MAX)
    };
    let expected = low.0 + share(sequence - low.1, high.1 - low.1, high.0 - low.0);
    // From one side or the other, so that what is left shrinks on both.
    match expected.saturating_sub(LOOK) > low.0 {
        true => expected - LOOK,
        false => expected + LOOK,
    }
}

/// The first block that begins at or after `from` and before `until`.
fn first_block(file: &File, from: u64, until: u64) -> std::io::Result<Option<Edge>> {
    let mut at = from;
    while at < until {
        // A header that begins in this window is in it whole; one follows every block.
        let stop = (at + LOOK).min(until);
        let mut bytes = vec![0; usize::try_from(stop - at).unwrap_or(0) + HEADER - 1];
        file.read_exact_at(&mut bytes, at)?;
        if let Some((step, first)) = block::find_header(&bytes) {
            return Ok(Some((at + step as u64, first)));
        }
        at = stop;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// Blocks of one record, of many, of large ones; and all of a size, where guesses are exact.
        #[test]
        fn every_record_is_among_the_blocks_that_are_found(
            sizes in prop_oneof![
                prop::collection::vec((1usize..100, 1usize..400), 1..40),
                prop::collection::vec((1usize..3, prop_oneof![Just(40usize), Just(90_000)]), 1..12),
                prop::collection::vec(Just((1usize, 300usize)), 1..1500),
            ],
            first in 0u64..1 << 40,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("segment");
            let (mut bytes, mut begins, mut next) = (Vec::new(), Vec::new(), first);
            for (count, length) in sizes {
                begins.push((bytes.len() as u64, next));
                // What a record can hold of a header: no zero byte.
                let leaf = [&b"PAUD\x01"[..], &vec![b'x'; length][..]].concat();
                bytes.extend(block::encode(next, std::iter::repeat_n(leaf.as_slice(), count)));
                next += count as u64;
            }
            let end = bytes.len() as u64;
            bytes.extend(block::seal(next));
            std::fs::write(&path, bytes).unwrap();
            begins.push((end, next));
            for sequence in (first..next).step_by(1 + ((next - first) / 6) as usize) {
                // Where guesses don't lead, the segment is walked; here they do.
                let found = find(&path, first..next, sequence).unwrap().unwrap();
                let from = begins.iter().position(|(at, _)| *at == found.start).unwrap();
                let to = begins.iter().position(|(at, _)| *at == found.end).unwrap();
                prop_assert!((begins[from].1..begins[to].1).contains(&sequence));
                prop_assert!(found.end - found.start <= NEAR || to == from + 1, "{found:?}");
            }
            prop_assert_eq!(find(&path, first..next, next).unwrap(), None);
        }
    }
}
