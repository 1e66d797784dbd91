//! The ids of the newest records, so that none is appended twice.

use std::collections::{HashMap, VecDeque};

use pentad_model::Id;

/// A window of ids with their positions. Bounded: the oldest leaves when a new one comes.
#[derive(Debug)]
pub(super) struct Recent {
    order: VecDeque<Id>,
    positions: HashMap<Id, u64>,
    capacity: usize,
}

impl Recent {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            order: VecDeque::new(),
            positions: HashMap::new(),
            capacity,
        }
    }

    pub(super) fn position(&self, id: Id) -> Option<u64> {
        self.positions.get(&id).copied()
    }

    pub(super) fn insert(&mut self, id: Id, sequence: u64) {
        if self.positions.insert(id, sequence).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > self.capacity {
            if let Some(oldest) = self.order.pop_front() {
                self.positions.remove(&oldest);
            }
        }
    }
}
