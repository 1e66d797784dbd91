//! What some neighbouring records hold, in a few hundred bytes: enough to know that none of them is
//! sought.
//!
//! A Bloom filter of their tenants, principals, paths, actions and correlations, and the time that they
//! span. It may say that something is there which isn't (about three times in a thousand), never that
//! something isn't which is. Somebody who chooses names so that they collide makes searches slower and
//! nothing else.
//!
//! What goes in is written to [side files](super::shelf), so the digests below are a file format.

use pentad_model::{Record, Timestamp};

use super::{fields::Fields, filter::Filter};

/// Bits of the filter for each distinct text: with [`PROBES`] of them looked at, 3 of 1,000 answers
/// are wrong.
const BITS: usize = 12;
/// Bits that a text sets.
const PROBES: u32 = 8;

/// Which field a text is of.
#[derive(Clone, Copy)]
enum Field {
    Tenant = 1,
    Principal,
    Path,
    /// The whole of it, and what it begins with up to each dot.
    Action,
    Correlation,
}

/// A digest of a field's text, eight bytes at a time since every record is digested as it is written and
/// as it is verified: multiplied and folded, as FxHash is, and mixed by the end of MurmurHash3 so that
/// all bits count.
fn digest(field: Field, text: &[u8]) -> u64 {
    let fold = |hash: u64, word: u64| {
        let product = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        product ^ (product >> 32)
    };
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    // The length tells a text from the same one with zero bytes behind it.
    let mut hash = fold(field as u64, text.len() as u64);
    for word in words {
        hash = fold(hash, u64::from_le_bytes(*word));
    }
    hash = fold(hash, u64::from_le_bytes(last));
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

/// What was gathered of records, before it becomes a [`Summary`].
#[derive(Clone, Debug)]
pub(super) struct Marks {
    digests: Vec<u64>,
    earliest: Timestamp,
    latest: Timestamp,
    /// Whether there was one that could not be read: then nothing can be said of what isn't there.
    unread: bool,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            digests: Vec::new(),
            earliest: Timestamp(i64::MAX),
            latest: Timestamp(i64::MIN),
            unread: false,
        }
    }
}

impl Marks {
    /// Adds a record.
    pub(super) fn add(&mut self, fields: &Fields<'_>) {
        self.earliest = self.earliest.min(fields.at);
        self.latest = self.latest.max(fields.at);
        let mut add = |field, text: &[u8]| self.digests.push(digest(field, text));
        add(Field::Tenant, fields.tenant);
        add(Field::Principal, fields.principal);
        add(Field::Action, fields.action);
        for dot in memchr::memchr_iter(b'.', fields.action) {
            add(Field::Action, &fields.action[..=dot]);
        }
        if let Some(path) = fields.path {
            add(Field::Path, path);
        }
        add(Field::Correlation, &fields.correlation.to_bytes());
    }

    /// Adds a record that is in the log.
    pub(super) fn add_leaf(&mut self, leaf: &[u8]) {
        if let Some(fields) = Fields::read(leaf) {
            return self.add(&fields);
        }
        match serde_json::from_slice::<Record>(leaf) {
            Ok(record) => self.add(&Fields::of(&record)),
            Err(_) => self.unread = true,
        }
    }

    /// Adds what was gathered of others.
    pub(super) fn merge(&mut self, others: &Self) {
        self.digests.extend_from_slice(&others.digests);
        self.earliest = self.earliest.min(others.earliest);
        self.latest = self.latest.max(others.latest);
        self.unread |= others.unread;
    }

    /// Begins again.
    pub(super) fn clear(&mut self) {
        let mut digests = std::mem::take(&mut self.digests);
        digests.clear();
        *self = Self {
            digests,
            ..Self::default()
        };
    }

    /// The summary, if there can be one.
    pub(super) fn summary(mut self) -> Option<Summary> {
        if self.unread {
            return None;
        }
        self.digests.sort_unstable();
        self.digests.dedup();
        let words = (self.digests.len() * BITS).div_ceil(64);
        let mut bits = vec![0; words].into_boxed_slice();
        for digest in self.digests {
            for (word, bit) in places(digest, words) {
                bits[word] |= bit;
            }
        }
        Some(Summary {
            earliest: self.earliest,
            latest: self.latest,
            bits,
        })
    }
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Summary {
    pub(super) earliest: Timestamp,
    pub(super) latest: Timestamp,
    pub(super) bits: Box<[u64]>,
}

impl Summary {
    /// Whether one of the records may be among those sought.
    pub(super) fn may_hold(&self, sought: &Sought) -> bool {
        sought.since.is_none_or(|since| since <= self.latest)
            && sought.until.is_none_or(|until| self.earliest < until)
            && sought.digests.iter().all(|digest| self.has(*digest))
    }

    /// Whether it denies nothing of what was gathered.
    pub(super) fn covers(&self, marks: &Marks) -> bool {
        self.earliest <= marks.earliest
            && marks.latest <= self.latest
            && marks.digests.iter().all(|digest| self.has(*digest))
    }

    fn has(&self, digest: u64) -> bool {
        // Of no record at all: nothing is there.
        !self.bits.is_empty()
            && places(digest, self.bits.len()).all(|(word, bit)| self.bits[word] & bit != 0)
    }
}

/// The bits of a digest, in so many words.
fn places(digest: u64, words: usize) -> impl Iterator<Item = (usize, u64)> {
    // Two halves give as many places as are wanted (Kirsch and Mitzenmacher, 2006).
    let (one, other) = (digest as u32, (digest >> 32) as u32 | 1);
    let bits = words as u64 * 64;
    (0..PROBES).map(move |n| {
        let spread = u64::from(one.wrapping_add(other.wrapping_mul(n)));
        let place = (spread * bits) >> 32;
        ((place / 64) as usize, 1 << (place % 64))
    })
}

/// What a filter asks of a summary.
#[derive(Debug)]
pub(super) struct Sought {
    digests: Vec<u64>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Sought {
    /// `None` if it asks nothing that a summary could deny.
    pub(super) fn by(filter: &Filter) -> Option<Self> {
        let text = |field, text: &str| digest(field, text.as_bytes());
        let path = filter.path.as_deref().filter(|path| !path.ends_with('/'));
        let digests: Vec<u64> = [
            // What is rare first.
            filter
                .correlation
                .map(|id| digest(Field::Correlation, &id.to_bytes())),
            path.map(|it| text(Field::Path, it)),
            filter
                .principal
                .as_deref()
                .map(|it| text(Field::Principal, it)),
            filter.action.as_deref().map(|it| text(Field::Action, it)),
            filter
                .tenant
                .as_ref()
                .map(|it| text(Field::Tenant, it.as_str())),
        ]
        .into_iter()
        .flatten()
        .collect();
        let sought = Self {
            digests,
            since: filter.since,
            until: filter.until,
        };
        let asks = !sought.digests.is_empty() || sought.since.is_some() || sought.until.is_some();
        asks.then_some(sought)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn by(principal: &str) -> Sought {
        let filter = Filter {
            principal: Some(principal.to_owned()),
            ..Filter::default()
        };
        Sought::by(&filter).unwrap()
    }

    /// The digests are in files: another one would hide what is there.
    #[test]
    fn digests_stay_what_they_are() {
        let of = digest(Field::Principal, b"user:ann");
        assert_eq!(of, 13_183_915_708_729_100_164);
    }

    #[test]
    fn few_of_those_that_are_not_there_are_taken_for_there() {
        let mut marks = Marks::default();
        let names: Vec<String> = (0..300).map(|n| format!("user:{n}")).collect();
        for name in &names {
            marks
                .digests
                .push(digest(Field::Principal, name.as_bytes()));
        }
        (marks.earliest, marks.latest) = (Timestamp(0), Timestamp(1));
        let summary = marks.summary().unwrap();
        assert!(names.iter().all(|name| summary.may_hold(&by(name))));
        let others = (0..100_000).map(|n| format!("other:{n}"));
        let wrong = others.filter(|name| summary.may_hold(&by(name))).count();
        assert!(wrong < 600, "{wrong}");
    }

    #[test]
    fn of_nothing_nothing_is_there() {
        let nothing = Marks::default().summary().unwrap();
        assert!(!nothing.may_hold(&by("user:ann")));
        let since = Filter {
            since: Some(Timestamp(i64::MIN + 1)),
            ..Filter::default()
        };
        assert!(!nothing.may_hold(&Sought::by(&since).unwrap()));
        assert!(Sought::by(&Filter::default()).is_none());
    }

    #[test]
    fn what_could_not_be_read_may_be_anything() {
        let mut marks = Marks::default();
        marks.add_leaf(b"{}");
        assert!(marks.summary().is_none());
    }
}
