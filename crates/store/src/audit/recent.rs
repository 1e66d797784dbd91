//! The ids of the newest records, so that none is appended twice.
//!
//! A hundred thousand of them take 2.7 MB: the ids in the order of their positions, and a table of
//! where each stands, which holds four bytes of its position and nothing else.

use std::collections::VecDeque;

use hashbrown::HashTable;
use pentad_model::Id;

/// A window of ids, whose positions follow each other. Bounded: the oldest leaves when a new one
/// comes.
#[derive(Debug)]
pub(super) struct Recent {
    /// The oldest first.
    ids: VecDeque<Id>,
    /// The position of the oldest.
    first: u64,
    /// The low half of each id's position; of an id that is there twice, of the newer one.
    places: HashTable<u32>,
    capacity: usize,
}

impl Recent {
    /// A window of so many.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            ids: VecDeque::new(),
            first: 0,
            places: HashTable::new(),
            capacity: capacity.min(u32::MAX as usize),
        }
    }

    pub(super) fn position(&self, id: Id) -> Option<u64> {
        let Self {
            ids, first, places, ..
        } = self;
        let is_it = |place: &u32| ids.get(index(*first, *place)) == Some(&id);
        let place = places.find(hash(id), is_it)?;
        Some(first + index(*first, *place) as u64)
    }

    /// Takes in the record at the next position.
    pub(super) fn insert(&mut self, id: Id, sequence: u64) {
        if self.ids.is_empty() || sequence != self.first + self.ids.len() as u64 {
            // The first one. Positions never skip; if they did, what is known would be somewhere else.
            self.ids.clear();
            self.places.clear();
            self.first = sequence;
        }
        self.ids.push_back(id);
        let Self {
            ids, first, places, ..
        } = self;
        let at = |place: &u32| ids.get(index(*first, *place));
        let hash_at = |place: &u32| at(place).map_or(0, |id| hash(*id));
        match places.find_mut(hash(id), |place| at(place) == Some(&id)) {
            Some(place) => *place = low(sequence),
            None => {
                places.insert_unique(hash(id), low(sequence), hash_at);
            }
        }
        if ids.len() > self.capacity
            && let Some(oldest) = ids.front().copied()
        {
            let place = low(*first);
            if let Ok(entry) = places.find_entry(hash(oldest), |it| *it == place) {
                entry.remove();
            }
            self.ids.pop_front();
            self.first += 1;
        }
    }
}

/// How far behind the first position; a window is shorter than 2^32.
fn index(first: u64, place: u32) -> usize {
    place.wrapping_sub(low(first)) as usize
}

fn low(position: u64) -> u32 {
    (position & u64::from(u32::MAX)) as u32
}

/// Ids are random in their last eight bytes; the product spreads those of tests.
fn hash(id: Id) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = id.to_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h]).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Also where positions pass 2^32, and where an id comes again.
        #[test]
        fn it_knows_the_newest_and_nothing_else(
            ids in proptest::collection::vec(0_u128..40, 0..200),
            capacity in 1_usize..30,
            first in prop_oneof![0..5_u64, (1 << 32) - 90..(1 << 32) + 5_u64],
        ) {
            let mut recent = Recent::new(capacity);
            for (position, id) in (first..).zip(&ids) {
                recent.insert(Id::from_u128(*id), position);
            }
            let newest = (first..).zip(&ids).skip(ids.len().saturating_sub(capacity));
            let expected: HashMap<u128, u64> = newest.map(|(at, id)| (*id, at)).collect();
            for id in 0..40 {
                let found = recent.position(Id::from_u128(id));
                prop_assert_eq!(found, expected.get(&id).copied());
            }
            prop_assert_eq!(recent.places.len(), expected.len());
        }
    }
}
