//! As much of DER (X.690) as the shape of a key needs: one element after the other, by reference.
//! What is cut, indefinite or of another type than asked for is `None`.

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// The version field of a certificate, `[0]`.
pub(super) const VERSION: u8 = 0xa0;

/// Elements that have not been read yet.
#[derive(Clone, Copy)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    pub(super) fn sequence(&mut self) -> Option<Der<'a>> {
        self.element(SEQUENCE).map(Der)
    }

    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        self.element(INTEGER)
    }

    pub(super) fn octets(&mut self) -> Option<&'a [u8]> {
        self.element(OCTET_STRING)
    }

    pub(super) fn identifier(&mut self) -> Option<&'a [u8]> {
        self.element(OBJECT_IDENTIFIER)
    }

    /// A bit string of whole bytes.
    pub(super) fn bits(&mut self) -> Option<&'a [u8]> {
        match self.element(BIT_STRING)?.split_first()? {
            (0, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Skips an element of this tag, if it is the next.
    pub(super) fn optional(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.element(tag);
        }
    }

    fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        if *found != tag {
            return None;
        }
        let (first, mut rest) = rest.split_first()?;
        let length = match first {
            0..=0x7f => usize::from(*first),
            // Four bytes of length are more than any key has.
            0x81..=0x84 => {
                let (length, behind) = rest.split_at_checked(usize::from(first & 0x7f))?;
                rest = behind;
                length
                    .iter()
                    .fold(0, |sum: usize, byte| sum << 8 | usize::from(*byte))
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }
}
