//! Four bounded lanes, and the rule by which the next envelope is taken.
//!
//! Within a lane the oldest goes first, always. Between lanes:
//!
//! * On most turns the highest lane that isn't empty is served.
//! * Every [`fair_turn`](crate::Options::fair_turn)-th turn is a *fair* one: each lane's oldest
//!   counts as if it had come one [`aging`](crate::Options::aging) later for each lane it is below
//!   critical, and the earliest of these is served. So waiting raises an envelope, one lane for
//!   each `aging`.
//! * A worker reserved for critical work takes from the critical lane only, and uses up no turn.
//!
//! **None starves.** Once an envelope has waited `aging` × its lane, whatever comes later counts as
//! later on fair turns; what is ahead of it is at most what the lanes hold. So it is taken within
//! `fair_turn` × (places of all lanes) turns from then on: a property test below checks that bound.
//! **None is drowned either.** Ageing everything without a limit lets an old backlog of background
//! work overtake people; here it gets its share of the turns and no more.
//!
//! This is a plain data structure: no lock, no clock, no waiting.

use std::{collections::VecDeque, time::Duration};

use crate::{Priority, moment::Moment, options::Options};

/// Who asks for the next envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Appetite {
    /// Critical work only.
    Critical,
    /// Any.
    Any,
    /// Any, but background work only once it has aged: the machine is short of something.
    Spared,
}

/// The lane has no place left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full;

/// The lanes. `T` is what waits in them.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    lanes: [VecDeque<(Moment, T)>; Priority::ALL.len()],
    capacity: [usize; Priority::ALL.len()],
    aging: Duration,
    fair_turn: u32,
    turn: u32,
}

impl<T> Mailbox<T> {
    /// Empty lanes.
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            lanes: Default::default(),
            capacity: options.capacity,
            aging: options.aging,
            fair_turn: options.fair_turn.max(2),
            turn: 0,
        }
    }

    /// Whether the lane takes another one.
    pub(crate) fn admits(&self, lane: Priority) -> Result<(), Full> {
        let at = lane.index();
        if self.lanes[at].len() < self.capacity[at] {
            Ok(())
        } else {
            Err(Full)
        }
    }

    /// Appends to a lane; see [`admits`](Self::admits).
    pub(crate) fn push(&mut self, lane: Priority, accepted: Moment, item: T) {
        self.lanes[lane.index()].push_back((accepted, item));
    }

    /// Puts back at the head of its lane what had been taken from there, with the age it had.
    /// Takes no heed of the capacity: what was accepted is never dropped.
    pub(crate) fn put_back(&mut self, lane: Priority, accepted: Moment, item: T) {
        self.lanes[lane.index()].push_front((accepted, item));
    }

    /// The next one by the rule above, and when it was accepted.
    pub(crate) fn take(&mut self, now: Moment, appetite: Appetite) -> Option<(Moment, T)> {
        if appetite == Appetite::Critical {
            return self.lanes[0].pop_front();
        }
        let candidates = || {
            self.lanes.iter().enumerate().filter_map(|(lane, waiting)| {
                let due = self.due(lane, waiting.front()?.0);
                let deferred = appetite == Appetite::Spared
                    && lane == Priority::Background.index()
                    && due > now;
                (!deferred).then_some((lane, due))
            })
        };
        let fair = (self.turn + 1).is_multiple_of(self.fair_turn);
        let (lane, _) = if fair {
            candidates().min_by_key(|&(lane, due)| (due, lane))?
        } else {
            candidates().next()?
        };
        self.turn = (self.turn + 1) % self.fair_turn;
        self.lanes[lane].pop_front()
    }

    /// When an envelope of this lane counts as come, on a fair turn.
    fn due(&self, lane: usize, accepted: Moment) -> Moment {
        accepted.plus(
            self.aging
                .saturating_mul(u32::try_from(lane).unwrap_or(u32::MAX)),
        )
    }

    /// How many wait in each lane, critical first.
    pub(crate) fn depths(&self) -> [usize; Priority::ALL.len()] {
        self.lanes.each_ref().map(VecDeque::len)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    /// When the one that waits longest was accepted.
    pub(crate) fn oldest(&self) -> Option<Moment> {
        self.lanes
            .iter()
            .filter_map(|lane| lane.front())
            .map(|(accepted, _)| *accepted)
            .min()
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.lanes
            .iter_mut()
            .flat_map(|lane| lane.drain(..))
            .map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    const AGING: Duration = Duration::from_millis(100);

    fn mailbox(places: usize) -> Mailbox<u64> {
        Mailbox::new(&Options {
            capacity: [places; 4],
            aging: AGING,
            ..Options::default()
        })
    }

    fn at(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    #[test]
    fn higher_lanes_go_first_and_each_lane_in_order() {
        let mut mailbox = mailbox(8);
        for (n, lane) in Priority::ALL.iter().rev().chain(&Priority::ALL).enumerate() {
            mailbox.push(*lane, at(0), n as u64);
        }
        let taken: Vec<u64> = std::iter::from_fn(|| mailbox.take(at(0), Appetite::Any))
            .map(|(_, n)| n)
            .collect();
        assert_eq!(taken, [3, 4, 2, 5, 1, 6, 0, 7]);
    }

    #[test]
    fn old_work_gets_the_fair_turns_and_no_more() {
        let mut mailbox = mailbox(100);
        for n in 0..20 {
            mailbox.push(Priority::Background, at(0), n);
            mailbox.push(Priority::High, at(1_000), 100 + n);
        }
        let taken: Vec<u64> = (0..8)
            .map(|_| mailbox.take(at(1_000), Appetite::Any).unwrap().1)
            .collect();
        assert_eq!(taken, [100, 101, 102, 0, 103, 104, 105, 1]);
    }

    #[test]
    fn a_reserved_worker_takes_critical_work_only() {
        let mut mailbox = mailbox(2);
        mailbox.push(Priority::High, at(0), 1);
        assert_eq!(mailbox.take(at(9_999), Appetite::Critical), None);
        mailbox.push(Priority::Critical, at(1), 2);
        assert_eq!(mailbox.take(at(9_999), Appetite::Critical).unwrap().1, 2);
    }

    #[test]
    fn background_work_is_deferred_under_pressure_until_it_has_aged() {
        let mut mailbox = mailbox(2);
        mailbox.push(Priority::Background, at(0), 1);
        assert_eq!(mailbox.take(at(299), Appetite::Spared), None);
        assert_eq!(mailbox.take(at(300), Appetite::Spared).unwrap().1, 1);
    }

    #[test]
    fn a_full_lane_refuses_but_takes_back_what_it_had_accepted() {
        let mut mailbox = mailbox(1);
        assert_eq!(mailbox.admits(Priority::Normal), Ok(()));
        mailbox.push(Priority::Normal, at(0), 1);
        assert_eq!(mailbox.admits(Priority::Normal), Err(Full));
        assert_eq!(mailbox.admits(Priority::High), Ok(()));
        mailbox.put_back(Priority::Normal, at(0), 0);
        assert_eq!(mailbox.len(), 2);
        assert_eq!(mailbox.take(at(0), Appetite::Any).unwrap().1, 0);
    }

    proptest! {
        /// Whatever comes and however fast, an envelope is taken within the bound of the module's
        /// documentation, and its lane in order.
        #[test]
        fn no_envelope_starves(
            steps in proptest::collection::vec((0usize..4, 0u64..60, 0usize..6, 0usize..3), 1..300),
        ) {
            const PLACES: usize = 4;
            let mut mailbox = mailbox(PLACES);
            let bound = Options::default().fair_turn as usize * PLACES * 4;
            let (mut now, mut next, mut turns) = (0, 0u64, 0usize);
            // For each waiting one: its lane, and the turn at which it had aged fully.
            let mut waiting: Vec<(u64, usize, u64, Option<usize>)> = Vec::new();
            let mut last = [None::<u64>; 4];
            let mut feed = steps.clone();
            // After the random part: a flood of critical work for long enough to see starvation.
            feed.extend(std::iter::repeat_n((0, 10, PLACES, 1), bound * 2));
            for (lane, pass, pushes, takes) in feed {
                now += pass;
                for _ in 0..pushes {
                    if mailbox.admits(Priority::ALL[lane]).is_ok() {
                        mailbox.push(Priority::ALL[lane], at(now), next);
                        waiting.push((next, lane, now, None));
                        next += 1;
                    }
                }
                for entry in &mut waiting {
                    if entry.3.is_none() && at(now).since(at(entry.2)) > AGING * entry.1 as u32 {
                        entry.3 = Some(turns);
                    }
                }
                for _ in 0..takes {
                    let Some((_, taken)) = mailbox.take(at(now), Appetite::Any) else { break };
                    turns += 1;
                    let place = waiting.iter().position(|w| w.0 == taken).unwrap();
                    let (id, lane, _, _) = waiting.remove(place);
                    prop_assert!(last[lane].is_none_or(|before| before < id), "out of order");
                    last[lane] = Some(id);
                }
                for (id, lane, _, aged) in &waiting {
                    if let Some(aged) = aged {
                        prop_assert!(turns - aged <= bound, "{id} of lane {lane} starves");
                    }
                }
            }
        }

        /// What is taken and put back, last first, comes out again in the order of before.
        #[test]
        fn handed_over_work_keeps_its_order(lanes in proptest::collection::vec(0usize..4, 1..40), taken in 0usize..40) {
            let mut mailbox = mailbox(64);
            for (n, lane) in lanes.iter().enumerate() {
                mailbox.push(Priority::ALL[*lane], at(0), n as u64);
            }
            let mut out: Vec<u64> = (0..taken)
                .map_while(|_| mailbox.take(at(0), Appetite::Any))
                .map(|(_, n)| n)
                .collect();
            out.sort_unstable();
            for n in out.into_iter().rev() {
                mailbox.put_back(Priority::ALL[lanes[n as usize]], at(0), n);
            }
            let mut last = [None::<u64>; 4];
            while let Some((_, n)) = mailbox.take(at(0), Appetite::Any) {
                let lane = lanes[n as usize];
                prop_assert!(last[lane].is_none_or(|before| before < n));
                last[lane] = Some(n);
            }
            prop_assert_eq!(mailbox.len(), 0);
        }
    }
}
