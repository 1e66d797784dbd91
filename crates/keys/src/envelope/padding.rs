//! Padding to size classes: GCM shows lengths, and the length of a password is worth knowing.
//!
//! The padded value is the value, zeros, and the value's length as four bytes, big-endian, at the
//! end. Its size is a class: the powers of two from 64 bytes to 64 KiB, then the multiples of
//! 64 KiB. So values of 0 to 60 bytes look alike, then 61 to 124, and so on; a value never takes
//! more than about twice its size, beyond the smallest class.

use crate::{Error, envelope::MAX_VALUE};

const LENGTH_LEN: usize = 4;
const SMALLEST_CLASS: usize = 64;
const LARGEST_POWER: usize = 64 * 1024;

/// The size class of a value of `length` bytes: the size of its padded form, in bytes.
pub fn size_class(length: usize) -> usize {
    let needed = length.saturating_add(LENGTH_LEN);
    if needed <= LARGEST_POWER {
        needed.next_power_of_two().max(SMALLEST_CLASS)
    } else {
        needed.div_ceil(LARGEST_POWER).saturating_mul(LARGEST_POWER)
    }
}

/// Appends the padded form of `value` to `out`, which does not grow if its capacity was sized by
/// [`size_class`].
pub(super) fn append(value: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let length = u32::try_from(value.len()).map_err(|_| Error::TooLarge { max: MAX_VALUE })?;
    let end = out.len() + size_class(value.len());
    out.extend_from_slice(value);
    out.resize(end - LENGTH_LEN, 0);
    out.extend_from_slice(&length.to_be_bytes());
    Ok(())
}

/// The value's length, if the padding is exactly what [`append`] writes. It is authenticated, so a
/// fault here means a fault in whoever sealed it.
pub(super) fn unpadded_length(padded: &[u8]) -> Option<usize> {
    let (body, length) = padded.split_last_chunk::<LENGTH_LEN>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let zeros = body.get(length..)?;
    // Without an early exit: it vectorises, and takes the same time wherever a fault is.
    let all_zero = zeros.iter().fold(0, |seen, byte| seen | byte) == 0;
    let exact = size_class(length) == padded.len() && all_zero;
    exact.then_some(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn size_classes_are_as_documented() {
        for (length, class) in [
            (0, 64),
            (60, 64),
            (61, 128),
            (124, 128),
            (65_532, 65_536),
            (65_533, 131_072),
            (131_068, 131_072),
            (131_069, 196_608),
        ] {
            assert_eq!(size_class(length), class, "{length}");
        }
    }

    #[test]
    fn padding_that_append_would_not_write_is_refused() {
        let mut padded = [0; 64];
        padded[..3].copy_from_slice(b"abc");
        padded[63] = 3;
        assert_eq!(unpadded_length(&padded), Some(3));
        for (at, byte) in [(3, 1), (59, 1), (60, 1), (63, 61), (63, 255)] {
            let mut wrong = padded;
            wrong[at] = byte;
            assert_eq!(unpadded_length(&wrong), None, "{at}");
        }
        assert_eq!(unpadded_length(&[0; 128]), None, "a class too large");
        assert_eq!(unpadded_length(&[0; 3]), None);
    }

    proptest! {
        #[test]
        fn what_append_writes_unpads_to_the_value(value in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut padded = Vec::new();
            prop_assert_eq!(append(&value, &mut padded), Ok(()));
            prop_assert_eq!(padded.len(), size_class(value.len()));
            let length = unpadded_length(&padded);
            prop_assert_eq!(length.and_then(|n| padded.get(..n)), Some(value.as_slice()));
        }

        #[test]
        fn arbitrary_padding_never_panics(padded in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(length) = unpadded_length(&padded) {
                prop_assert!(length + LENGTH_LEN <= padded.len());
            }
        }
    }
}
