//! Files sealed in frames: backups, and exports of credentials.
//!
//! A file is written once, from its beginning to its end, and may be larger than memory. So it is
//! cut into frames of at most [`MAX_PLAIN`] bytes, each sealed by itself, and read a frame at a time.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic: `PENTADBK` (a backup) or `PENTADCR` (exported credentials) |
//! | 1 | format, `1` |
//! | 4 | length of the header, big-endian, at most [`MAX_HEADER`] |
//! | … | header: JSON in the clear, bound into every frame |
//! | 4 | length of the note, big-endian, at most [`MAX_HEADER`]; 0 if there is none |
//! | … | note: what may be put in or taken out later without the key; believed by nobody |
//! | … | frames |
//!
//! | bytes of a frame | what |
//! |---|---|
//! | 1 | kind: what the frame holds, by the file's own table |
//! | 1 | 1 if it is the last one, else 0 |
//! | 4 | length of what follows, big-endian |
//! | 32 | salt: the frame's key is HKDF-SHA-256 (RFC 5869) of the file's key under it |
//! | 12 | nonce |
//! | … | content, encrypted by AES-256-GCM (SP 800-38D) |
//! | 16 | its tag |
//!
//! The file's key is HKDF-SHA-256 of a key of the caller's under the file's own random salt, which
//! its header names. Salts and nonces are random for each frame, so each GCM key sees one message;
//! no counter is kept that a restart, or two writers, could use twice. What a counter does in the
//! STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: *Online Authenticated-Encryption and
//! its Nonce-Reuse Misuse-Resistance*, CRYPTO 2015, section 7; so in age and Tink) is in the
//! associated data instead: purpose, format, the SHA-256 of the header, the frame's number, its kind,
//! and whether it is the last. So a frame that was altered, moved, left out, repeated or taken from
//! another file does not open, and a file that was cut off has no last frame.
//!
//! Whoever reads a file to its last frame, with every frame opened by its number, has read what was
//! written. Before that nothing of it is to be believed for good.

use std::io::{self, Read};

use aws_lc_rs::{
    aead::{Aad, NONCE_LEN, Nonce},
    digest::{SHA256, digest},
};
use pentad_model::{Secret, id::Entropy};
use zeroize::Zeroizing;

use crate::{
    Error,
    associated::Associated,
    derive::{KEY_LEN, Key, hkdf, one_message_key},
};

/// The most bytes that one frame holds.
pub const MAX_PLAIN: usize = 4 << 20;
/// The most bytes of a header, and of a note.
pub const MAX_HEADER: usize = 64 << 10;
/// Bytes of a file's salt.
pub const SALT_LEN: usize = 32;

const FORMAT: u8 = 1;
const TAG_LEN: usize = 16;
/// Kind, last, length.
const PREFIX: usize = 6;
/// What sealing adds to a frame's content.
const OVERHEAD: usize = SALT_LEN + NONCE_LEN + TAG_LEN;

/// What sort of file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    /// A backup of a whole store.
    Backup,
    /// Exported credentials, their values among them.
    Credentials,
}

impl Sort {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Backup => b"PENTADBK",
            Self::Credentials => b"PENTADCR",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Backup => "pentad/1/file/backup",
            Self::Credentials => "pentad/1/file/credentials",
        }
    }
}

/// Why a file is not read on.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It does not begin like one of ours.
    #[error("it is no file of this sort")]
    NotOurs,
    /// A later version of Pentad wrote it.
    #[error("it has format {found}, this pentad knows format {FORMAT}: use the newer pentad")]
    Newer {
        /// Its format.
        found: u8,
    },
    /// It ends before its last frame: it was cut off, or never finished.
    #[error("it is cut off: its last frame is missing")]
    CutOff,
    /// A length in it is beyond what we write, or something follows its last frame.
    #[error("it is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// It can't be read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What stands before the frames.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prelude {
    /// Bound into every frame: believed once one was opened.
    pub header: Vec<u8>,
    /// Believed by nobody.
    pub note: Vec<u8>,
}

impl Prelude {
    /// The file's first bytes.
    ///
    /// # Errors
    /// [`FileError::Damaged`] if header or note are too long.
    pub fn to_bytes(&self, sort: Sort) -> Result<Vec<u8>, FileError> {
        let mut bytes = [sort.magic().as_slice(), &[FORMAT]].concat();
        for part in [&self.header, &self.note] {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            if part.len() > MAX_HEADER {
                return Err(FileError::Damaged { what: TOO_LONG });
            }
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(part);
        }
        Ok(bytes)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `from` then stands at the first frame.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn read(sort: Sort, from: &mut impl Read) -> Result<Self, FileError> {
        let mut start = [0; 9];
        match fill(from, &mut start)? {
            9 if start.starts_with(sort.magic()) => {}
            _ => return Err(FileError::NotOurs),
        }
        if start[8] != FORMAT {
            return Err(FileError::Newer { found: start[8] });
        }
        let mut part = || -> Result<Vec<u8>, FileError> {
            let mut length = [0; 4];
            exact(from, &mut length)?;
            let length = u32::from_be_bytes(length) as usize;
            if length > MAX_HEADER {
                return Err(FileError::Damaged { what: TOO_LONG });
            }
            let mut bytes = vec![0; length];
            exact(from, &mut bytes)?;
            Ok(bytes)
        };
        Ok(Self {
            header: part()?,
            note: part()?,
        })
    }
}

const TOO_LONG: &str = "its header is longer than any that we write";

/// A frame as it stands in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Raw {
    /// What it says that it holds.
    pub kind: u8,
    /// Whether it says that it is the last.
    pub last: bool,
    /// All of its bytes.
    pub bytes: Vec<u8>,
}

impl Raw {
    /// The next frame; `None` at the end of the file. Never more than a frame is in memory, whatever
    /// a length in the file says.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn read(from: &mut impl Read) -> Result<Option<Self>, FileError> {
        let mut prefix = [0; PREFIX];
        match fill(from, &mut prefix)? {
            0 => return Ok(None),
            PREFIX => {}
            _ => return Err(FileError::CutOff),
        }
        let (kind, last, length) = parse(&prefix)?;
        let mut bytes = vec![0; PREFIX + length];
        bytes[..PREFIX].copy_from_slice(&prefix);
        exact(from, &mut bytes[PREFIX..])?;
        Ok(Some(Self { kind, last, bytes }))
    }
}

fn parse(prefix: &[u8; PREFIX]) -> Result<(u8, bool, usize), FileError> {
    let [kind, last, a, b, c, d] = *prefix;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if !(OVERHEAD..=OVERHEAD + MAX_PLAIN).contains(&length) {
        return Err(FileError::Damaged {
            what: "a frame has a length that none of ours has",
        });
    }
    match last {
        0 => Ok((kind, false, length)),
        1 => Ok((kind, true, length)),
        _ => Err(FileError::Damaged {
            what: "a frame begins as none of ours does",
        }),
    }
}

/// Where a frame stands in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// From 0.
    pub number: u64,
    /// What it holds.
    pub kind: u8,
    /// Whether the file ends with it.
    pub last: bool,
}

/// Seals and opens the frames of one file. Neither `Clone` nor `Debug`.
pub struct FileKey {
    key: Key,
    header: [u8; 32],
}

impl FileKey {
    /// The key of the file with this header, whose salt is `salt`.
    pub(crate) fn derive(
        from: &Key,
        sort: Sort,
        salt: &[u8; SALT_LEN],
        header: &[u8],
    ) -> Result<Self, Error> {
        let key = Key::filled(|out| hkdf(salt, from.expose(), sort.label(), out))?;
        let header = address(header);
        Ok(Self { key, header })
    }

    /// Seals a frame: all of its bytes, as they stand in the file.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond [`MAX_PLAIN`]; [`Error::Primitive`].
    pub fn seal(
        &self,
        place: Place,
        plain: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, Error> {
        if plain.len() > MAX_PLAIN {
            return Err(Error::TooLarge { max: MAX_PLAIN });
        }
        let mut salt = [0; SALT_LEN];
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut salt);
        entropy.fill(&mut nonce);
        let length = u32::try_from(plain.len() + OVERHEAD).unwrap_or(u32::MAX);
        // Holds the content until it is encrypted in place.
        let mut frame = Zeroizing::new(Vec::with_capacity(PREFIX + OVERHEAD + plain.len()));
        frame.extend_from_slice(&[place.kind, u8::from(place.last)]);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&salt);
        frame.extend_from_slice(&nonce);
        let begin = frame.len();
        frame.extend_from_slice(plain);
        let tag = one_message_key(&self.key, &salt, FRAME_LABEL)?.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            self.associated(place),
            &mut frame[begin..],
        )?;
        frame.extend_from_slice(tag.as_ref());
        Ok(std::mem::take(&mut *frame))
    }

    /// Opens the frame that stands at `number`, and says what it is.
    ///
    /// # Errors
    /// [`Error::Damaged`] whatever is wrong with it.
    pub fn open(&self, number: u64, frame: &[u8]) -> Result<(Place, Secret), Error> {
        self.opened(number, frame).ok_or(Error::Damaged)
    }

    fn opened(&self, number: u64, frame: &[u8]) -> Option<(Place, Secret)> {
        let (prefix, rest) = frame.split_first_chunk::<PREFIX>()?;
        let (kind, last, length) = parse(prefix).ok()?;
        if rest.len() != length {
            return None;
        }
        let place = Place { number, kind, last };
        let (salt, rest) = rest.split_first_chunk::<SALT_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut buffer = Zeroizing::new(sealed.to_vec());
        let length = one_message_key(&self.key, salt, FRAME_LABEL)
            .ok()?
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                self.associated(place),
                buffer.as_mut_slice(),
            )
            .ok()?
            .len();
        buffer.truncate(length);
        Some((place, Secret::new(std::mem::take(&mut *buffer))))
    }

    fn associated(&self, place: Place) -> Aad<Associated> {
        Aad::from(
            Associated::with("pentad/file-frame")
                .and(&[FORMAT])
                .and(&self.header)
                .and(&place.number.to_be_bytes())
                .and(&[place.kind, u8::from(place.last)]),
        )
    }
}

const FRAME_LABEL: &str = "pentad/1/file/frame";

/// A 256-bit key that somebody else keeps, such as that of an exported file.
pub struct ForeignKey(Key);

impl ForeignKey {
    /// Takes 32 bytes; `None` for any other number.
    pub fn new(bytes: &Secret) -> Option<Self> {
        let bytes: &[u8; KEY_LEN] = bytes.expose().try_into().ok()?;
        Key::filled(|out| {
            out.copy_from_slice(bytes);
            Ok::<_, ()>(())
        })
        .ok()
        .map(Self)
    }

    /// A key from a passphrase; see [`crate::root::passphrase`].
    ///
    /// # Errors
    /// As [`RootParameters::derive`](crate::root::passphrase::RootParameters::derive).
    pub fn from_passphrase(
        parameters: &crate::root::passphrase::RootParameters,
        passphrase: &Secret,
    ) -> Result<Self, crate::root::passphrase::PassphraseError> {
        Ok(Self(parameters.derive(passphrase)?.0))
    }

    /// The key of one file of exported credentials under this one.
    ///
    /// # Errors
    /// [`Error::Primitive`] only.
    pub fn file(&self, salt: &[u8; SALT_LEN], header: &[u8]) -> Result<FileKey, Error> {
        FileKey::derive(&self.0, Sort::Credentials, salt, header)
    }
}

/// The SHA-256 (FIPS 180-4) of a piece of content, by which another file can name it.
pub fn address(content: &[u8]) -> [u8; 32] {
    let mut address = [0; 32];
    address.copy_from_slice(digest(&SHA256, content).as_ref());
    address
}

fn exact(from: &mut impl Read, into: &mut [u8]) -> Result<(), FileError> {
    let wanted = into.len();
    match fill(from, into)? {
        got if got == wanted => Ok(()),
        _ => Err(FileError::CutOff),
    }
}

/// Reads until `into` is full or the file ends; answers how much there was.
fn fill(from: &mut impl Read, into: &mut [u8]) -> Result<usize, FileError> {
    let mut got = 0;
    while got < into.len() {
        match from.read(&mut into[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use pentad_model::id::OsEntropy;
    use proptest::prelude::*;

    use super::*;

    fn key() -> ForeignKey {
        ForeignKey::new(&Secret::new(vec![7; 32])).unwrap()
    }

    /// A file of frames with these contents, kinds 1, 2, 3, …
    fn written(header: &[u8], contents: &[Vec<u8>]) -> Vec<u8> {
        let prelude = Prelude {
            header: header.to_vec(),
            note: Vec::new(),
        };
        let mut file = prelude.to_bytes(Sort::Credentials).unwrap();
        let key = key().file(&[1; 32], header).unwrap();
        for (number, content) in contents.iter().enumerate() {
            let place = Place {
                number: number as u64,
                kind: number as u8 + 1,
                last: number + 1 == contents.len(),
            };
            file.extend(key.seal(place, content, &OsEntropy).unwrap());
        }
        file
    }

    /// Reads to the last frame, as every reader does.
    fn read(mut file: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
        let prelude = Prelude::read(Sort::Credentials, &mut file).ok()?;
        let key = key().file(&[1; 32], &prelude.header).unwrap();
        let mut found = Vec::new();
        loop {
            let raw = Raw::read(&mut file).ok()??;
            let (place, plain) = key.open(found.len() as u64, &raw.bytes).ok()?;
            assert_eq!((place.kind, place.last), (raw.kind, raw.last));
            found.push((place.kind, plain.expose().to_vec()));
            if place.last {
                return file.is_empty().then_some(found);
            }
        }
    }

    fn frames(file: &[u8]) -> (usize, Vec<Vec<u8>>) {
        let mut rest = file;
        Prelude::read(Sort::Credentials, &mut rest).unwrap();
        let begin = file.len() - rest.len();
        let mut all = Vec::new();
        while let Some(raw) = Raw::read(&mut rest).unwrap() {
            all.push(raw.bytes);
        }
        (begin, all)
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let file = written(b"{}", &[b"first".to_vec(), Vec::new(), b"third".to_vec()]);
        assert_eq!(read(&file).unwrap().len(), 3);
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut altered = file.clone();
                altered[at] ^= 1 << bit;
                assert_eq!(read(&altered), None, "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_anywhere_or_longer_is_refused() {
        let file = written(b"{}", &[b"first".to_vec(), b"second".to_vec()]);
        for length in 0..file.len() {
            assert_eq!(read(&file[..length]), None, "{length}");
        }
        let longer = [file.as_slice(), b"\0"].concat();
        assert_eq!(read(&longer), None);
        let doubled = [file.as_slice(), &file].concat();
        assert_eq!(read(&doubled), None);
    }

    #[test]
    fn a_length_that_is_absurd_takes_no_memory() {
        let mut file = written(b"{}", &[b"x".to_vec()]);
        let begin = frames(&file).0;
        file[begin + 2..begin + 6].copy_from_slice(&u32::MAX.to_be_bytes());
        let mut rest = &file[begin..];
        assert!(matches!(
            Raw::read(&mut rest),
            Err(FileError::Damaged { .. })
        ));
    }

    #[test]
    fn who_wrote_it_later_or_otherwise_is_said() {
        let file = written(b"{}", &[b"x".to_vec()]);
        let mut newer = file.clone();
        newer[8] = 2;
        assert!(matches!(
            Prelude::read(Sort::Credentials, &mut newer.as_slice()),
            Err(FileError::Newer { found: 2 })
        ));
        assert!(matches!(
            Prelude::read(Sort::Backup, &mut file.as_slice()),
            Err(FileError::NotOurs)
        ));
    }

    #[test]
    fn another_key_opens_nothing() {
        let file = written(b"{}", &[b"x".to_vec()]);
        let other = ForeignKey::new(&Secret::new(vec![8; 32])).unwrap();
        let frame = &frames(&file).1[0];
        for (key, salt) in [(&other, [1; 32]), (&key(), [2; 32])] {
            let key = key.file(&salt, b"{}").unwrap();
            assert_eq!(key.open(0, frame).unwrap_err(), Error::Damaged);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_was_written_is_read(
            header in proptest::collection::vec(any::<u8>(), 0..200),
            contents in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..600), 1..8),
        ) {
            let read: Vec<Vec<u8>> = read(&written(&header, &contents))
                .unwrap()
                .into_iter()
                .map(|(_, content)| content)
                .collect();
            prop_assert_eq!(read, contents);
        }

        #[test]
        fn frames_in_another_order_or_of_another_file_are_refused(
            contents in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..50), 2..6),
            order in any::<proptest::sample::Index>(),
            with in any::<proptest::sample::Index>(),
            header in proptest::collection::vec(any::<u8>(), 1..8),
        ) {
            let file = written(b"{}", &contents);
            let (begin, mut all) = frames(&file);
            let (a, b) = (order.index(all.len()), with.index(all.len()));
            let rebuilt = |frames: &[Vec<u8>]| [file[..begin].to_vec(), frames.concat()].concat();
            if a != b {
                all.swap(a, b);
                prop_assert_eq!(read(&rebuilt(&all)), None);
                all.swap(a, b);
                let mut repeated = all.clone();
                repeated.insert(a, all[b].clone());
                prop_assert_eq!(read(&rebuilt(&repeated)), None);
                let mut shorter = all.clone();
                shorter.remove(a);
                prop_assert_eq!(read(&rebuilt(&shorter)), None);
            }
            // The same contents, under a header of its own.
            let (_, others) = frames(&written(&header, &contents));
            all[a] = others[a].clone();
            prop_assert_eq!(read(&rebuilt(&all)), None);
        }
    }
}
