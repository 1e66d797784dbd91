//! Whether bytes are a record exactly as this program writes one, without making it.
//!
//! Verification and opening look at millions of leaves, and need of each only that it is a record,
//! or its id. Making a [`Record`](pentad_model::Record) of the text costs four times what hashing
//! it does; walking over the text once costs a fraction.
//!
//! What always holds: what is recognised here is also read by `serde` as a record with that id. What
//! isn't may still be one, written with other spaces, escapes or fields: ask `serde` then.

use pentad_model::{Id, Timestamp, name::MAX_NAME, name::MAX_PATH};

use super::fields::Fields;

/// The record's id, if the bytes are a record in the form that this program writes.
pub(super) fn recognise(leaf: &[u8]) -> Option<Id> {
    read(leaf).map(|(id, _)| id)
}

/// The same, with what is searched for in it.
pub(super) fn read(leaf: &[u8]) -> Option<(Id, Fields<'_>)> {
    // The scanner below looks at bytes; a string of JSON must be UTF-8.
    std::str::from_utf8(leaf).ok()?;
    let mut text = Text(leaf);
    text.literal(b"{\"id\":\"")?;
    let id = text.id()?;
    text.literal(b"\",\"at\":")?;
    let at = Timestamp(text.number()?);
    text.literal(b",\"correlation\":\"")?;
    let correlation = text.id()?;
    text.literal(b"\",\"tenant\":\"")?;
    let tenant = text.name_characters();
    is_segment(tenant).then_some(())?;
    (tenant.len() <= MAX_NAME).then_some(())?;
    text.literal(b"\",\"principal\":\"")?;
    let principal = text.string()?;
    text.literal(b",\"origin\":\"")?;
    text.string()?;
    text.literal(b",\"action\":\"")?;
    let action = text.string()?;
    text.literal(b",\"outcome\":\"")?;
    let outcome = [&b"done\""[..], b"denied\"", b"failed\""];
    outcome.iter().find_map(|word| text.literal(word))?;
    let path = match text.literal(b",\"path\":\"") {
        Some(()) => {
            let path = text.path()?;
            text.literal(b"\"")?;
            Some(path)
        }
        None => None,
    };
    if text.literal(b",\"version\":").is_some() {
        text.integer(false, 9)?;
    }
    if text.literal(b",\"detail\":\"").is_some() {
        text.string()?;
    }
    if text.literal(b",\"value_mac\":\"").is_some() {
        text.hexadecimal(64)?;
        text.literal(b"\"")?;
    }
    let fields = Fields {
        at,
        correlation,
        tenant,
        principal,
        action,
        path,
    };
    (text.0 == b"}").then_some((id, fields))
}

/// What is left to read. Each method takes what it names, or nothing if it is not there.
pub(super) struct Text<'a>(pub(super) &'a [u8]);

impl<'a> Text<'a> {
    pub(super) fn literal(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn hexadecimal(&mut self, length: usize) -> Option<&'a [u8]> {
        let digits = self.take(length)?;
        // No early end: so the compiler looks at many at once.
        let all = digits.iter().fold(true, |all, byte| all & is_hex(*byte));
        all.then_some(digits)
    }

    /// 32 digits with dashes: 8-4-4-4-12. Every record has two, so all digits are looked at at once.
    pub(super) fn id(&mut self) -> Option<Id> {
        let text: &[u8; 36] = self.0.first_chunk()?;
        let dashes = [8, 13, 18, 23].iter().all(|at| text[*at] == b'-');
        let mut digits = [0; 32];
        digits[..8].copy_from_slice(&text[..8]);
        digits[8..12].copy_from_slice(&text[9..13]);
        digits[12..16].copy_from_slice(&text[14..18]);
        digits[16..20].copy_from_slice(&text[19..23]);
        digits[20..].copy_from_slice(&text[24..]);
        let all = digits.iter().fold(dashes, |all, byte| all & is_hex(*byte));
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
        }
        self.0 = &self.0[text.len()..];
        all.then_some(Id::from_u128(u128::from_be_bytes(bytes)))
    }

    /// A number of so many digits at most, so that it can't be too large.
    fn integer(&mut self, signed: bool, digits: usize) -> Option<()> {
        if signed {
            self.literal(b"-");
        }
        let length = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let number = self.take(length)?;
        let leads_with_zero = length > 1 && number[0] == b'0';
        (1..=digits).contains(&length).then_some(())?;
        (!leads_with_zero).then_some(())
    }

    /// A number of at most 18 digits, as [`integer`](Self::integer) takes it.
    pub(super) fn number(&mut self) -> Option<i64> {
        let begin = self.0;
        self.integer(true, 18)?;
        let digits = begin.get(..begin.len() - self.0.len())?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// A string's text, and past its closing quote, if it has no escape. Whether it holds what no string
    /// may is not looked at.
    pub(super) fn plain(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr2(b'"', b'\\', self.0)?;
        let text = self.take(end)?;
        self.literal(b"\"")?;
        Some(text)
    }

    /// All that may follow in a record that has no path.
    pub(super) fn pathless_end(&mut self) -> Option<()> {
        if self.literal(b",\"version\":").is_some() {
            self.integer(false, 9)?;
        }
        if self.literal(b",\"detail\":\"").is_some() {
            self.plain()?;
        }
        if self.literal(b",\"value_mac\":\"").is_some() {
            self.plain()?;
        }
        (self.0 == b"}").then_some(())
    }

    /// A string's text, and past its closing quote, if it has no escape.
    fn string(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| SPECIAL[*byte as usize])?;
        let text = self.take(end)?;
        self.literal(b"\"")?;
        Some(text)
    }

    fn name_characters(&mut self) -> &'a [u8] {
        let of_name = |byte: &u8| NAME[*byte as usize];
        let length = self.0.iter().take_while(|byte| of_name(byte)).count();
        self.take(length).unwrap_or_default()
    }

    fn path(&mut self) -> Option<&'a [u8]> {
        let before = self.0;
        loop {
            is_segment(self.name_characters()).then_some(())?;
            if self.literal(b"/").is_none() {
                let path = &before[..before.len() - self.0.len()];
                return (path.len() <= MAX_PATH).then_some(path);
            }
        }
    }
}

fn is_segment(part: &[u8]) -> bool {
    !matches!(part, b"" | b"." | b"..")
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() | (b'a'..=b'f').contains(&byte)
}

/// The value of a digit that [`is_hex`]; of another byte, anything.
fn nibble(digit: u8) -> u8 {
    (digit & 0xf) + 9 * (digit >> 6)
}

/// What ends a string or has a meaning of its own in one: `"`, `\`, controls (RFC 8259 section 7).
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte < 0x20 || byte == b'"' as usize || byte == b'\\' as usize;
        byte += 1;
    }
    table
};

/// What a name may hold; see [`pentad_model::name`].
const NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@' | b'+');
        byte += 1;
    }
    table
};

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use pentad_model::{
        Context, Principal, Record, Tenant, Timestamp, record::Outcome, secret::Fingerprint,
    };
    use proptest::prelude::*;

    use super::*;

    pub(in crate::audit) fn any_record() -> impl Strategy<Value = Record> {
        let text = prop_oneof![
            "[a-z:/. ]{0,20}",
            ".{0,12}",
            Just("\"\\\n\u{7f}ü".to_owned())
        ];
        (
            (any::<u128>(), any::<i64>(), any::<u128>(), "[a-z.+]{1,9}"),
            (text.clone(), text.clone(), text.clone(), text),
            prop::option::of("[a-z@_-]{1,6}(/[A-Z0-9+.]{3,5}){0,3}"),
            prop::option::of(any::<u32>()),
            prop::option::of(any::<[u8; 32]>()),
            prop_oneof![
                Just(Outcome::Done),
                Just(Outcome::Denied),
                Just(Outcome::Failed)
            ],
        )
            .prop_map(|(ids, texts, path, version, mac, outcome)| {
                let context = Context {
                    correlation: Id::from_u128(ids.2),
                    tenant: ids.3.parse().unwrap_or(Tenant::default_tenant()),
                    principal: Principal::Anonymous,
                    origin: texts.0,
                };
                let (id, at) = (Id::from_u128(ids.0), Timestamp(ids.1));
                let mut record = Record::new(id, at, &context, &texts.1, outcome);
                record.principal = texts.2;
                record.detail = texts.3;
                record.path = path.and_then(|path| path.parse().ok());
                record.version = version;
                record.value_mac = mac.map(Fingerprint);
                record
            })
    }

    /// What `serde` reads.
    fn read(leaf: &[u8]) -> Option<Id> {
        let record = serde_json::from_slice::<Record>(leaf);
        record.ok().map(|record| record.id)
    }

    proptest! {
        #[test]
        fn what_is_recognised_is_read_the_same(
            record in any_record(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut leaf = serde_json::to_vec(&record).unwrap();
            for (at, byte) in changes {
                let at = at.index(leaf.len());
                leaf[at] = byte;
            }
            if let Some(cut) = cut {
                leaf.truncate(cut.index(leaf.len()));
            }
            if let Some(id) = recognise(&leaf) {
                prop_assert_eq!(read(&leaf), Some(id), "{}", String::from_utf8_lossy(&leaf));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(leaf in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(recognise(&leaf), None);
        }
    }

    #[test]
    fn ordinary_records_are_recognised() {
        let context = Context {
            correlation: Id::from_u128(0x1234 << 100),
            tenant: Tenant::default_tenant(),
            principal: Principal::User {
                name: "ann".parse().unwrap(),
            },
            origin: "127.0.0.1:5000 größer".to_owned(),
        };
        for id in [0, 0xfedc_ba98_7654_3210_0f1e_2d3c_4b5a_6978, u128::MAX] {
            let id = Id::from_u128(id);
            let at = Timestamp(1_764_000_000_123);
            let bare = Record::new(id, at, &context, "auth.login", Outcome::Failed);
            let mut full = bare.clone().on(&"prod/a.b/db".parse().unwrap(), Some(7));
            full.detail = "score 90".to_owned();
            full.value_mac = Some(Fingerprint([0xa5; 32]));
            for record in [bare, full] {
                let leaf = serde_json::to_vec(&record).unwrap();
                assert_eq!(recognise(&leaf), Some(id), "{record:?}");
            }
        }
    }
}
