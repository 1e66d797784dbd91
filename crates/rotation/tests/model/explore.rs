//! The search: breadth first, so that a counter-example is a shortest one.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
};

use super::{
    outside::Move,
    world::{GONE, HOLDER, Model, SLEEPER, Slot, World, tidy},
};

/// Steps in which a calm run has to end. The longest seen takes a third of it.
const CALM: usize = 300;

/// States by what they hold.
type Hashed = BuildHasherDefault<Mix>;

/// How a state was first reached.
struct Reached {
    world: World,
    from: u32,
    who: &'static str,
    what: &'static str,
}

impl Model {
    /// Counts all reachable states, or tells a shortest way to one that must not be.
    pub(crate) fn explore(&self) -> Result<usize, String> {
        let start = self.start();
        let mut index: HashMap<World, u32, Hashed> = HashMap::default();
        index.insert(start, 0);
        let mut states = vec![Reached {
            world: start,
            from: 0,
            who: "",
            what: "start",
        }];
        let mut queue = VecDeque::from([0u32]);
        let mut calm = HashSet::default();
        while let Some(at) = queue.pop_front() {
            let world = states[at as usize].world;
            if let Some(wrong) = self.view(&world).broken() {
                return Err(format!("{wrong}\n{}", story(&states, at)));
            }
            if !self.ends(&world, &mut calm) {
                let wrong = "S4: it can't come to an end from here";
                return Err(format!("{wrong}\n{}", story(&states, at)));
            }
            for Move {
                who,
                what,
                wrong,
                next,
                ..
            } in self.moves(&world)
            {
                let number = u32::try_from(states.len()).unwrap();
                let new = match index.entry(next) {
                    Entry::Occupied(_) if wrong.is_none() => continue,
                    Entry::Occupied(_) => false,
                    Entry::Vacant(place) => {
                        place.insert(number);
                        true
                    }
                };
                states.push(Reached {
                    world: next,
                    from: at,
                    who,
                    what,
                });
                if let Some(wrong) = wrong {
                    return Err(format!("{wrong}\n{}", story(&states, number)));
                }
                if new {
                    queue.push_back(number);
                }
            }
        }
        Ok(states.len())
    }

    fn moves(&self, world: &World) -> Vec<Move> {
        let mut moves = Vec::with_capacity(16);
        self.claims(world, &mut moves);
        self.works_on(world, HOLDER, &mut moves);
        self.works_on(world, SLEEPER, &mut moves);
        self.outside(world, &mut moves);
        for step in &mut moves {
            tidy(&mut step.next);
        }
        moves
    }

    /// S4: a single worker without further faults brings it to an end, whether what is on its way
    /// arrives at once or never. `ended` are states of which that is known.
    fn ends(&self, world: &World, ended: &mut HashSet<World, Hashed>) -> bool {
        let mut calm = *world;
        calm.workers = [GONE; 2];
        calm.open = false;
        tidy(&mut calm);
        let mut arrived = calm;
        for slot in 0..arrived.slots.len() {
            if let Slot::Sent(act, value) = arrived.slots[slot] {
                self.run(&mut arrived, act, value);
                arrived.slots[slot] = Slot::Ran;
            }
        }
        tidy(&mut arrived);
        [calm, arrived].into_iter().all(|mut world| {
            for _ in 0..CALM {
                if world.progress.step.is_final() || !ended.insert(world) {
                    return true;
                }
                let fair = self.moves(&world).into_iter().find(|step| step.good);
                let Some(step) = fair else { return false };
                world = step.next;
            }
            false
        })
    }
}

fn story(states: &[Reached], mut at: u32) -> String {
    let mut lines = Vec::new();
    while at != 0 {
        let Reached {
            world,
            from,
            who,
            what,
        } = &states[at as usize];
        let promoted = match world.progress.promoted {
            true => " promoted",
            false => "",
        };
        lines.push(format!(
            "  {:<44} {} attempt {}{promoted}, current v{}, accepted {:05b}|{:05b}, {:?}",
            format!("{who}{what}"),
            world.progress.step,
            world.progress.attempt,
            world.current,
            world.accepts[0],
            world.accepts[1],
            world.third,
        ));
        at = *from;
    }
    lines.reverse();
    lines.join("\n")
}

/// A hash of few instructions: the search spends most of its time looking states up, and nobody
/// chooses them to collide.
#[derive(Default)]
pub(crate) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        // The table reads the upper bits too.
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(n.into());
    }

    fn write_isize(&mut self, n: isize) {
        self.write_u64(n.cast_unsigned() as u64);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}
