//! Associated data: what a ciphertext or a MAC is about, encoded so that no two meanings share an
//! encoding.
//!
//! Each part is preceded by its length as four bytes, big-endian. Without that, tenant `a` with
//! path `b/c` and tenant `ab` with path `/c` would bind the same bytes.

/// Length-prefixed parts, the purpose first.
pub(crate) struct Associated(Vec<u8>);

impl Associated {
    /// Starts with what the bytes are for. Purposes are distinct constants of this crate.
    pub(crate) fn with(purpose: &str) -> Self {
        // Holds the longest tenant and an ordinary path without growing.
        Self(Vec::with_capacity(256)).and(purpose.as_bytes())
    }

    /// Adds a part.
    pub(crate) fn and(mut self, part: &[u8]) -> Self {
        // A part is a name, an id or a number: far below 4 GiB.
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(part);
        self
    }
}

impl AsRef<[u8]> for Associated {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn different_parts_never_encode_alike(
            a in prop::collection::vec("[a-c]{0,3}", 0..4),
            b in prop::collection::vec("[a-c]{0,3}", 0..4),
        ) {
            let encode = |parts: &[String]| {
                parts
                    .iter()
                    .fold(Associated::with("p"), |all, part| all.and(part.as_bytes()))
                    .0
            };
            prop_assert_eq!(a == b, encode(&a) == encode(&b));
        }
    }
}
