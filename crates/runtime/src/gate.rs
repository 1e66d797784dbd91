//! The gate before everything else: how many requests are carried out at a time, by priority.
//!
//! Behind it are queues that know no priority: the store's readers, the runtime's threads, an fsync.
//! They need none as long as they are short, and they are short because of this gate: who does not
//! get in waits out here, in a bounded lane of its own priority, and costs nothing while it waits.
//!
//! * Each priority has places of its own, so none takes another's, and none starves.
//! * Background work has [`Limits::background`] places while anything more urgent is about, and
//!   [`Limits::alone`] once that has been quiet for [`Limits::quiet`]: it may use an idle machine
//!   whole, and is out of the way as soon as its present few requests end.
//! * A full lane refuses at once. Within a lane the oldest goes first.
//!
//! Entering costs one uncontended lock where there is a place.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    Priority,
    moment::{Moment, Monotonic},
};

const LANES: usize = Priority::ALL.len();
const BACKGROUND: usize = Priority::Background.index();

/// How many may be inside, and how many may wait.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Places of critical, high and normal requests. Default 256, 256, 1,024: more than share an
    /// fsync, and few enough that what they queue for inside is a matter of milliseconds.
    pub places: [usize; LANES - 1],
    /// Places of background requests beside more urgent ones. Default: one for each two processors,
    /// at least one.
    pub background: usize,
    /// Places of background requests on a machine that does nothing else. Default 64.
    pub alone: usize,
    /// For how long nothing more urgent must have been about for that. Default 1 s.
    pub quiet: Duration,
    /// Requests that may wait in each lane, critical first. Default 256, 1,024, 4,096, 16,384, as in
    /// the mailboxes.
    pub waiting: [usize; LANES],
}

impl Default for Limits {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            places: [256, 256, 1_024],
            background: (processors / 2).max(1),
            alone: 64,
            quiet: Duration::from_secs(1),
            waiting: [256, 1_024, 4_096, 16_384],
        }
    }
}

/// The lane is full: nothing was accepted; try again after this long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{} {priority:?} requests wait already; try again in {retry_after:?}", .waiting)]
pub struct Full {
    /// Which lane.
    pub priority: Priority,
    /// How many wait in it.
    pub waiting: usize,
    /// When there is likely to be room.
    pub retry_after: Duration,
}

/// One priority's figures.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Figures {
    /// Requests that are carried out now.
    pub inside: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that were let in since the start.
    pub admitted: u64,
    /// Requests that were refused since the start.
    pub refused: u64,
}

/// See the module.
pub struct Gate {
    limits: Limits,
    clock: Arc<dyn Monotonic>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lanes: [Lane; LANES],
    /// When something more urgent than background work came or went last.
    stirred: Option<Moment>,
}

#[derive(Default)]
struct Lane {
    queue: VecDeque<oneshot::Sender<Pass>>,
    figures: Figures,
    /// How long a place is held: a moving average over the last ten or so.
    held: Duration,
}

/// The right to be inside, until it is dropped.
#[must_use = "its place is given away when it is dropped"]
pub struct Pass {
    gate: Option<Arc<Gate>>,
    priority: Priority,
    since: Moment,
}

impl Gate {
    /// A gate with nobody inside.
    pub fn new(limits: Limits, clock: Arc<dyn Monotonic>) -> Arc<Self> {
        let state = Mutex::default();
        Arc::new(Self {
            limits,
            clock,
            state,
        })
    }

    /// Waits for a place. Whoever stops waiting loses nothing but its turn.
    pub async fn enter(self: &Arc<Self>, priority: Priority) -> Result<Pass, Full> {
        let now = self.clock.now();
        let lane = priority.index();
        let called = {
            let mut state = self.state.lock();
            if lane < BACKGROUND {
                state.stirred = Some(now);
            }
            let free = self.free(&state, lane, now);
            let Lane {
                queue,
                figures,
                held,
            } = &mut state.lanes[lane];
            if free && figures.waiting == 0 {
                figures.inside += 1;
                figures.admitted += 1;
                return Ok(self.pass(priority, now));
            }
            if figures.waiting >= self.limits.waiting[lane] {
                figures.refused += 1;
                return Err(Full {
                    priority,
                    waiting: figures.waiting,
                    retry_after: retry_after(*held, figures),
                });
            }
            figures.waiting += 1;
            // Those who left are skipped when their turn comes; if many left, they go now, so that
            // the queue stays within twice the lane. Amortised over as many arrivals: O(1).
            if queue.len() >= 2 * self.limits.waiting[lane] {
                queue.retain(|waiter| !waiter.is_closed());
            }
            let (call, called) = oneshot::channel();
            queue.push_back(call);
            called
        };
        let _waiting = Waiting { gate: self, lane };
        // The lock is free again: a place may have become free while nobody was in the queue.
        self.admit(lane);
        called.await.map_err(|_| Full {
            priority,
            waiting: 0,
            retry_after: Duration::from_millis(5),
        })
    }

    /// Each priority's figures, critical first.
    pub fn figures(&self) -> [Figures; LANES] {
        self.state.lock().lanes.each_ref().map(|lane| lane.figures)
    }

    fn free(&self, state: &State, lane: usize, now: Moment) -> bool {
        let places = match self.limits.places.get(lane) {
            Some(places) => *places,
            None if self.is_quiet(state, now) => self.limits.alone,
            None => self.limits.background,
        };
        state.lanes[lane].figures.inside < places.max(1)
    }

    fn is_quiet(&self, state: &State, now: Moment) -> bool {
        let inside = |lane: &Lane| lane.figures.inside > 0;
        !state.lanes[..BACKGROUND].iter().any(inside)
            && state
                .stirred
                .is_none_or(|stirred| now.since(stirred) >= self.limits.quiet)
    }

    fn pass(self: &Arc<Self>, priority: Priority, since: Moment) -> Pass {
        Pass {
            gate: Some(Arc::clone(self)),
            priority,
            since,
        }
    }

    /// Lets in whoever is next in this lane, for as long as there are places.
    fn admit(self: &Arc<Self>, lane: usize) {
        loop {
            let now = self.clock.now();
            let next = {
                let mut state = self.state.lock();
                if !self.free(&state, lane, now) {
                    return;
                }
                let Some(next) = state.lanes[lane].queue.pop_front() else {
                    return;
                };
                state.lanes[lane].figures.inside += 1;
                next
            };
            let sent = next.send(self.pass(Priority::ALL[lane], now));
            let mut state = self.state.lock();
            match sent {
                Ok(()) => state.lanes[lane].figures.admitted += 1,
                // It left. Its pass must not be dropped like one that was used: that would come
                // back here, once for each who left.
                Err(mut unused) => {
                    unused.gate = None;
                    state.lanes[lane].figures.inside -= 1;
                }
            }
        }
    }

    fn leave(self: &Arc<Self>, lane: usize, since: Moment) {
        let now = self.clock.now();
        {
            let mut state = self.state.lock();
            if lane < BACKGROUND {
                state.stirred = Some(now);
            }
            let Lane { figures, held, .. } = &mut state.lanes[lane];
            figures.inside -= 1;
            *held = (*held * 9 + now.since(since)) / 10;
        }
        self.admit(lane);
    }
}

/// About as long as a quarter of the lane takes: who comes back then finds room.
fn retry_after(held: Duration, figures: &Figures) -> Duration {
    let quarter = u32::try_from(figures.waiting / 4 + 1).unwrap_or(u32::MAX);
    let places = u32::try_from(figures.inside.max(1)).unwrap_or(u32::MAX);
    (held.saturating_mul(quarter) / places).clamp(Duration::from_millis(5), Duration::from_secs(30))
}

impl Pass {
    /// The priority that it was given for.
    pub fn priority(&self) -> Priority {
        self.priority
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.leave(self.priority.index(), self.since);
        }
    }
}

/// Counts as waiting until it is dropped.
struct Waiting<'a> {
    gate: &'a Gate,
    lane: usize,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gate.state.lock().lanes[self.lane].figures.waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::{future::Future, pin::Pin};

    use futures::{FutureExt as _, future::poll_immediate};
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Hands(Mutex<Moment>);

    impl Monotonic for Hands {
        fn now(&self) -> Moment {
            *self.0.lock()
        }
    }

    impl Hands {
        fn pass(&self, time: Duration) {
            let mut now = self.0.lock();
            *now = now.plus(time);
        }
    }

    fn gate(limits: Limits) -> (Arc<Gate>, Arc<Hands>) {
        let clock = Arc::new(Hands::default());
        (Gate::new(limits, clock.clone()), clock)
    }

    fn small() -> Limits {
        Limits {
            places: [2, 2, 2],
            background: 1,
            alone: 3,
            quiet: Duration::from_secs(1),
            waiting: [2, 2, 2, 2],
        }
    }

    type Entering<'a> = Pin<Box<dyn Future<Output = Result<Pass, Full>> + 'a>>;

    /// Comes to the gate; ready at once where there is a place.
    fn come(gate: &Arc<Gate>, priority: Priority) -> Result<Pass, Entering<'_>> {
        let mut entering: Entering<'_> = Box::pin(gate.enter(priority));
        match entering.as_mut().now_or_never() {
            Some(done) => Ok(done.unwrap()),
            None => Err(entering),
        }
    }

    fn is_let_in(entering: &mut Entering<'_>) -> Option<Pass> {
        let done = poll_immediate(entering).now_or_never().unwrap();
        done.map(Result::unwrap)
    }

    #[test]
    fn one_priority_takes_no_place_of_another() {
        let (gate, _) = gate(small());
        let inside: Vec<Pass> = (0..2)
            .map(|_| come(&gate, Priority::Normal).ok().unwrap())
            .collect();
        assert!(come(&gate, Priority::Normal).is_err());
        assert!(come(&gate, Priority::Critical).is_ok());
        assert!(come(&gate, Priority::Background).is_ok());
        drop(inside);
    }

    #[test]
    fn whoever_leaves_lets_the_oldest_in() {
        let (gate, _) = gate(small());
        let first = come(&gate, Priority::High).ok().unwrap();
        let _second = come(&gate, Priority::High).ok().unwrap();
        let mut third = come(&gate, Priority::High).err().unwrap();
        let mut fourth = come(&gate, Priority::High).err().unwrap();
        drop(first);
        assert!(is_let_in(&mut fourth).is_none());
        let third = is_let_in(&mut third).unwrap();
        drop(third);
        assert!(is_let_in(&mut fourth).is_some());
    }

    #[test]
    fn a_full_lane_refuses_and_says_when_to_come_again() {
        let (gate, clock) = gate(small());
        let inside = come(&gate, Priority::Critical).ok().unwrap();
        clock.pass(Duration::from_secs(2));
        drop(inside);
        let _inside: Vec<Pass> = (0..2)
            .map(|_| come(&gate, Priority::Critical).ok().unwrap())
            .collect();
        let _waiting: Vec<_> = (0..2)
            .map(|_| come(&gate, Priority::Critical).err().unwrap())
            .collect();
        let refused = gate.enter(Priority::Critical).now_or_never().unwrap();
        let full = refused.err().unwrap();
        assert_eq!((full.priority, full.waiting), (Priority::Critical, 2));
        assert!(full.retry_after >= Duration::from_millis(5));
        assert_eq!(gate.figures()[0].refused, 1);
    }

    #[test]
    fn who_stops_waiting_is_skipped_and_makes_room() {
        let (gate, _) = gate(small());
        let inside: Vec<Pass> = (0..2)
            .map(|_| come(&gate, Priority::Normal).ok().unwrap())
            .collect();
        let gone = come(&gate, Priority::Normal).err().unwrap();
        let mut stays = come(&gate, Priority::Normal).err().unwrap();
        drop(gone);
        let mut late = come(&gate, Priority::Normal).err().unwrap();
        drop(inside);
        assert!(is_let_in(&mut stays).is_some());
        assert!(is_let_in(&mut late).is_some());
    }

    #[test]
    fn who_leaves_with_the_pass_on_its_way_gives_it_back() {
        let (gate, _) = gate(small());
        let inside: Vec<Pass> = (0..2)
            .map(|_| come(&gate, Priority::Normal).ok().unwrap())
            .collect();
        let called = come(&gate, Priority::Normal).err().unwrap();
        drop(inside);
        drop(called);
        assert_eq!(gate.figures()[Priority::Normal.index()].inside, 0);
    }

    #[test]
    fn background_work_has_the_idle_machine_and_gives_way() {
        let (gate, clock) = gate(small());
        let mut inside: Vec<Pass> = (0..3)
            .map(|_| come(&gate, Priority::Background).ok().unwrap())
            .collect();
        let mut next = come(&gate, Priority::Background).err().unwrap();
        drop(come(&gate, Priority::Critical).ok().unwrap());
        // Three are inside and only one should be: two leave, and nobody follows.
        inside.truncate(1);
        assert!(is_let_in(&mut next).is_none());
        inside.clear();
        inside.push(is_let_in(&mut next).unwrap());
        assert!(come(&gate, Priority::Background).is_err());
        clock.pass(Duration::from_secs(1));
        assert!(come(&gate, Priority::Background).is_ok());
    }

    proptest! {
        /// Whatever comes, leaves or gives up: no lane is over its places, nobody waits beside a
        /// free place, and at the end nobody is counted who is not there.
        #[test]
        fn places_are_neither_lost_nor_doubled(
            steps in proptest::collection::vec((0usize..4, 0usize..4, 0u64..800), 1..200),
        ) {
            let (gate, clock) = gate(small());
            let mut inside: Vec<Pass> = Vec::new();
            let mut waiting: Vec<(usize, Entering<'_>)> = Vec::new();
            for (lane, what, ms) in steps {
                clock.pass(Duration::from_millis(ms));
                match what {
                    0 | 1 => {
                        let mut entering: Entering<'_> = Box::pin(gate.enter(Priority::ALL[lane]));
                        match poll_immediate(&mut entering).now_or_never().unwrap() {
                            Some(Ok(pass)) => inside.push(pass),
                            Some(Err(_)) => {}
                            None => waiting.push((lane, entering)),
                        }
                    }
                    2 if !inside.is_empty() => drop(inside.remove(ms as usize % inside.len())),
                    3 if !waiting.is_empty() => drop(waiting.remove(ms as usize % waiting.len())),
                    _ => {}
                }
                let mut still = Vec::new();
                for (lane, mut entering) in waiting {
                    match is_let_in(&mut entering) {
                        Some(pass) => inside.push(pass),
                        None => still.push((lane, entering)),
                    }
                }
                waiting = still;
                let figures = gate.figures();
                for (lane, one) in figures.iter().enumerate() {
                    let here = inside.iter().filter(|pass| pass.priority.index() == lane).count();
                    let there = waiting.iter().filter(|(at, _)| *at == lane).count();
                    prop_assert_eq!((one.inside, one.waiting), (here, there));
                    let places = if lane == BACKGROUND { 3 } else { 2 };
                    prop_assert!(one.inside <= places);
                    prop_assert!(there == 0 || here > 0, "somebody waits and nobody is inside");
                    if lane != BACKGROUND {
                        prop_assert!(there == 0 || here == 2, "somebody waits beside a free place");
                    }
                }
            }
            drop(waiting);
            drop(inside);
            for one in gate.figures() {
                prop_assert_eq!((one.inside, one.waiting), (0, 0));
            }
        }
    }
}
