//! Explores the rotation protocol exhaustively at small bounds.
//!
//! The real [`transition`] decides; around it stands a model of what `rotate.rs` does (claim, open a
//! session, commit, act) and of a world that is as hostile as the protocol allows for:
//!
//! * two workers; each may crash, sleep for any time and wake with stale knowledge at any point;
//!   a lease may expire at any time;
//! * an effect is a message on a connection, which the target runs at any later moment, unless the
//!   connection was killed first (the fence); its reply may be lost, or refuse, or throttle;
//! * a third party sets the account to a value of its own, once;
//! * somebody asks for a pause, a cancellation or a roll-back, at any moment.
//!
//! Searched breadth first, so that a counter-example is a shortest one. What is checked in every
//! state is in [`Model::broken`]; the broken protocols at the end must be caught by it.
//!
//! Bounds: two attempts, so at most two new values; two requests. `PENTAD_MODEL_REQUESTS=3` widens the
//! search.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::{HashMap, HashSet, VecDeque};

use pentad_model::rotation::{Control, Login, Progress, Step, Strategy};
use pentad_rotation::machine::{
    Act, Effect, Event, Rules, Settle, Sight, Stop, Transition, Verdict, transition,
};

/// Values: the old one, two that the rotation makes, one that an earlier rotation abandoned, and the
/// third party's.
const OLD: u8 = 0;
const GHOST: u8 = 3;
const FOREIGN: u8 = 4;
const ATTEMPTS: u8 = 2;
const NOBODY: u8 = 2;
const NO_SLOT: u8 = 9;

/// What the store says of a version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Stage {
    Unknown,
    Pending,
    Current,
    Previous,
    Abandoned,
    Retired,
}

/// A connection at the target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Slot {
    Free,
    Open,
    /// Carries an effect that did not happen yet.
    Sent(Act, u8),
    Ran,
    Killed,
}

/// Where a worker stands in the loop of `rotate.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum At {
    Gone,
    Decide(Event),
    /// The session is open, the intent not yet durable.
    Commit(Event),
    Do(Act),
    /// Ready to send: the consumers have the old value again where that was needed.
    Send(Act),
    Await(Act),
    Fenced,
    /// Broken protocol only: sent, and the intent is still to be written.
    Early(Event),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Worker {
    at: At,
    /// The control request that it knows of.
    known: Control,
    slot: u8,
    value: u8,
}

const GONE: Worker = Worker {
    at: At::Gone,
    known: Control::Run,
    slot: NO_SLOT,
    value: 0,
};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct World {
    // The store. The epoch is told by its holder: whoever is not the holder has an older one.
    progress: Progress,
    control: Control,
    /// Stands still until somebody resumes it.
    parked: bool,
    holder: u8,
    connection: u8,
    to: u8,
    current: u8,
    stages: [Stage; 4],
    // The outside.
    /// Sets of values that the two accounts accept, as bits.
    accepts: [u8; 2],
    slots: [Slot; 4],
    consumers: u8,
    workers: [Worker; 2],
    // What is left to the adversary.
    third_party: bool,
    requests: u8,
}

/// What a step changes in the world and in the worker that makes it.
type Change<'a> = &'a dyn Fn(&mut World, &mut Worker);
/// Takes down a step: its name, whether it is without fault, its change.
type Go<'a> = &'a mut dyn FnMut(&'static str, bool, Change<'_>);
/// One step of somebody, and whether it belongs to a run without faults.
type Move = (u8, &'static str, bool, World);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protocol {
    Ours,
    IntentAfterEffect,
    /// The new value is not kept with the intent: a successor makes another one.
    ValueForgotten,
    /// Probes don't try what was abandoned before.
    AbandonedForgotten,
    NoFence,
    RepeatInsteadOfProbe,
    PromoteBeforeVerify,
}

#[derive(Clone, Copy, Debug)]
struct Model {
    strategy: Strategy,
    owned: bool,
    third_party: bool,
    requests: u8,
    /// An effect of an earlier rotation is still to come, on a connection that can't be killed.
    haunted: bool,
    /// The target confirms what it will do only later.
    sluggish: bool,
    protocol: Protocol,
}

impl Model {
    fn new(strategy: Strategy, owned: bool) -> Self {
        let requests = std::env::var("PENTAD_MODEL_REQUESTS");
        Self {
            strategy,
            owned,
            third_party: true,
            requests: requests.ok().and_then(|n| n.parse().ok()).unwrap_or(2),
            haunted: false,
            sluggish: false,
            protocol: Protocol::Ours,
        }
    }

    fn start(&self) -> World {
        let mut world = World {
            progress: Progress {
                step: Step::Planned,
                attempt: 0,
                promoted: false,
            },
            control: Control::Run,
            parked: false,
            holder: NOBODY,
            connection: NO_SLOT,
            to: 0,
            current: OLD,
            stages: [Stage::Unknown; 4],
            accepts: [1 << OLD, 0],
            slots: [Slot::Free; 4],
            consumers: OLD,
            workers: [GONE; 2],
            third_party: self.third_party,
            requests: self.requests,
        };
        world.stages[usize::from(OLD)] = Stage::Current;
        if self.haunted {
            world.stages[usize::from(GHOST)] = Stage::Abandoned;
            world.slots[3] = Slot::Sent(Act::Apply, GHOST);
        }
        world
    }

    // ---- the workers, as rotate.rs has them ---------------------------------------------------

    fn rules(&self, control: Control) -> Rules {
        Rules {
            strategy: self.strategy,
            owned: self.owned,
            max_attempts: ATTEMPTS,
            consumers: true,
            stop: match control {
                Control::Run | Control::Pause => Stop::No,
                Control::Cancel => Stop::Cancel,
                Control::Rollback => Stop::Rollback,
            },
        }
    }

    /// The real decision, or a broken protocol's.
    fn decide(&self, world: &World, known: Control, event: Event) -> Transition {
        let ours = transition(&self.rules(known), world.progress, event);
        let to = |step, promoted, settle, act| Transition {
            to: Progress {
                step,
                promoted,
                ..world.progress
            },
            settle,
            act,
        };
        match (self.protocol, world.progress.step, event) {
            (Protocol::RepeatInsteadOfProbe, Step::Applying, Event::Resumed) => {
                to(Step::Applying, false, Settle::Keep, Act::Apply)
            }
            (Protocol::ValueForgotten, Step::Applying, Event::Resumed) => {
                to(Step::Planned, false, Settle::Keep, Act::Prepare)
            }
            (Protocol::PromoteBeforeVerify, Step::Applying, Event::Effect(Effect::Done)) => {
                to(Step::Verifying, true, Settle::New, Act::Verify)
            }
            _ => ours,
        }
    }

    fn step(&self, world: &World, i: u8, moves: &mut Vec<Move>) {
        let me = world.workers[usize::from(i)];
        let mine = world.holder == i;
        let mut go = |what, good, change: &dyn Fn(&mut World, &mut Worker)| {
            let mut next = *world;
            let mut worker = me;
            change(&mut next, &mut worker);
            next.workers[usize::from(i)] = worker;
            moves.push((i, what, good, next));
        };
        if me.at != At::Gone {
            go("crashes", false, &|_, me| *me = GONE);
        }
        match me.at {
            At::Gone => {
                let driven = !world.progress.step.is_final();
                if driven && !(world.parked && world.control == Control::Pause) {
                    go("claims", true, &|world, me| {
                        world.holder = i;
                        *me = Worker {
                            at: At::Decide(Event::Resumed),
                            known: world.control,
                            ..GONE
                        };
                    });
                }
            }
            At::Decide(event) => {
                let next = self.decide(world, me.known, event);
                if !next.act.is_effect() {
                    go("commits", true, &|w, me| self.commit(w, me, event));
                    return;
                }
                go("gets no session", false, &|_, me| {
                    me.at = At::Decide(Event::NotNow);
                });
                let Some(slot) = world.slots.iter().position(|slot| *slot == Slot::Free) else {
                    return;
                };
                let early = self.protocol == Protocol::IntentAfterEffect;
                go("opens a session", true, &|world, me| {
                    world.slots[slot] = Slot::Open;
                    me.slot = u8::try_from(slot).unwrap();
                    me.at = At::Commit(event);
                    if early {
                        me.value = match event {
                            Event::Prepared => fresh(world),
                            _ => world.to,
                        };
                        world.slots[slot] = Slot::Sent(next.act, me.value);
                        me.at = At::Early(event);
                    }
                });
            }
            At::Commit(event) => go("commits the intent", true, &|w, me| {
                self.commit(w, me, event);
            }),
            At::Do(act) => self.act(world, me, mine, act, &mut go),
            At::Send(act) => go("sends", true, &|world, me| {
                if world.slots[usize::from(me.slot)] == Slot::Open {
                    world.slots[usize::from(me.slot)] = Slot::Sent(act, me.value);
                }
                me.at = At::Await(act);
            }),
            At::Await(act) => {
                let slot = usize::from(me.slot);
                let reply = |what, good, effect, go: Go<'_>| {
                    go(what, good, &|world: &mut World, me: &mut Worker| {
                        if !matches!(effect, Effect::Done | Effect::Unknown) {
                            world.slots[slot] = Slot::Open;
                        }
                        me.slot = NO_SLOT;
                        me.at = At::Decide(Event::Effect(effect));
                    });
                };
                reply("hears nothing", false, Effect::Unknown, &mut go);
                match world.slots[slot] {
                    Slot::Ran => reply("hears: done", true, Effect::Done, &mut go),
                    Slot::Sent(..) => {
                        reply("hears: stop", false, Effect::RejectedStop, &mut go);
                        reply("hears: not now", false, Effect::Throttled, &mut go);
                        if act == Act::Apply {
                            reply("hears: bad value", false, Effect::RejectedValue, &mut go);
                        }
                        if self.sluggish {
                            reply("hears: done, too soon", false, Effect::Done, &mut go);
                        }
                    }
                    _ => {}
                }
            }
            At::Fenced => {
                go("can't look", false, &|_, me| {
                    me.at = At::Decide(Event::NotNow)
                });
                let abandoned = (1..=GHOST)
                    .filter(|v| world.stages[usize::from(*v)] == Stage::Abandoned)
                    .any(|v| v != world.to && self.works(world, v));
                let sight = Sight {
                    new: login(self.works(world, world.to)),
                    old: login(self.works(world, OLD)),
                    abandoned: login(abandoned && self.protocol != Protocol::AbandonedForgotten),
                };
                go("looks", true, &|_, me| {
                    me.at = At::Decide(Event::Probed(sight))
                });
            }
            At::Early(event) => go("writes the intent late", true, &|world, me| {
                let ran = world.slots[usize::from(me.slot)] == Slot::Ran;
                me.slot = NO_SLOT;
                self.commit(world, me, event);
                if matches!(me.at, At::Do(_)) {
                    let effect = if ran { Effect::Done } else { Effect::Unknown };
                    me.at = At::Decide(Event::Effect(effect));
                }
            }),
        }
    }

    /// One act other than sending: `Engine::prepare`, `probe`, `verify`, `deliver`, `observe`.
    fn act(&self, world: &World, me: Worker, mine: bool, act: Act, go: Go<'_>) {
        let seen = |event| move |_: &mut World, me: &mut Worker| me.at = At::Decide(event);
        if !act.is_effect() {
            go("can't tell", false, &seen(Event::NotNow));
        }
        match act {
            Act::Prepare => {
                let fits = self.owned
                    || self.works(world, OLD)
                    || (self.protocol != Protocol::AbandonedForgotten
                        && (1..=GHOST).any(|v| {
                            world.stages[usize::from(v)] == Stage::Abandoned && self.works(world, v)
                        }));
                let event = if fits {
                    Event::Prepared
                } else {
                    Event::Refused
                };
                go("prepares", true, &seen(event));
            }
            Act::Apply | Act::Retire => {
                go("is about to send", true, &|_, me| me.at = At::Send(act))
            }
            Act::Undo if !mine => go("may not deliver", true, &|_, me| *me = GONE),
            Act::Undo => go("delivers the old value", true, &|world, me| {
                world.consumers = OLD;
                me.at = At::Send(act);
            }),
            Act::Probe => go("fences", true, &|world, me| {
                if let Some(slot) = world.slots.get_mut(usize::from(me.slot))
                    && self.protocol != Protocol::NoFence
                {
                    *slot = Slot::Killed;
                }
                me.slot = NO_SLOT;
                me.at = At::Fenced;
            }),
            Act::Verify => {
                let holds = self.works(world, world.to)
                    && !(self.strategy == Strategy::InPlace && self.works(world, OLD));
                let verdict = if holds {
                    Verdict::Holds
                } else {
                    Verdict::Broken
                };
                go("verifies", true, &seen(Event::Verified(verdict)));
            }
            Act::Deliver => go("delivers", true, &|world, me| {
                world.consumers = world.to;
                me.at = At::Decide(Event::Delivered);
            }),
            Act::Observe => go("sees the gate open", true, &seen(Event::GateOpen)),
            Act::Wait | Act::Pause | Act::End => panic!("{act:?} is no act: {me:?}"),
        }
    }

    /// `Engine::commit`, with what the journal does about requests.
    fn commit(&self, world: &mut World, me: &mut Worker, event: Event) {
        let next = self.decide(world, me.known, event);
        let asked = world.control != me.known;
        let stop = self.rules(me.known).stop;
        let idle = next.to == world.progress
            && next.settle == Settle::Keep
            && !next.act.is_effect()
            && !matches!(next.act, Act::Wait | Act::Pause | Act::End);
        if !idle {
            if event == Event::Prepared && next.act == Act::Apply {
                world.to = fresh(world);
                world.stages[usize::from(world.to)] = Stage::Pending;
            }
            let (old, new) = (usize::from(OLD), usize::from(world.to));
            match next.settle {
                Settle::Keep => {}
                Settle::New => {
                    (world.stages[old], world.stages[new]) = (Stage::Previous, Stage::Current);
                    world.current = world.to;
                }
                Settle::Old => {
                    (world.stages[old], world.stages[new]) = (Stage::Current, Stage::Abandoned);
                    world.current = OLD;
                }
                Settle::Retire => {
                    (world.stages[old], world.stages[new]) = (Stage::Retired, Stage::Current);
                    world.current = world.to;
                }
            }
            if next.to.step == Step::Planned {
                if self.protocol == Protocol::ValueForgotten && world.to != OLD {
                    world.stages[usize::from(world.to)] = Stage::Unknown;
                }
                world.to = 0;
            }
            world.progress = next.to;
            if next.act.is_effect() {
                world.connection = me.slot;
            }
            let rest = matches!(
                next.to.step,
                Step::Planned | Step::Delivering | Step::Observing
            );
            match next.act {
                Act::Pause if !asked => (world.control, world.parked) = (Control::Pause, true),
                Act::Wait if world.control == Control::Pause && rest => world.parked = true,
                _ => {}
            }
            me.known = world.control;
        }
        me.value = world.to;
        me.at = match next.act {
            Act::Wait | Act::Pause | Act::End => At::Gone,
            act if act.is_effect() && self.rules(me.known).stop != stop => {
                me.slot = NO_SLOT;
                At::Decide(Event::Effect(Effect::Throttled))
            }
            Act::Prepare | Act::Deliver | Act::Observe if me.known == Control::Pause => {
                At::Decide(Event::NotNow)
            }
            act => {
                if act == Act::Probe {
                    me.slot = world.connection;
                }
                At::Do(act)
            }
        };
    }

    // ---- the world ----------------------------------------------------------------------------

    fn account(&self, value: u8) -> usize {
        usize::from(self.strategy == Strategy::Alternating && value != OLD)
    }

    fn works(&self, world: &World, value: u8) -> bool {
        world.accepts[self.account(value)] & (1 << value) != 0
    }

    /// What an effect does at the target.
    fn run(&self, world: &mut World, act: Act, value: u8) {
        let (old, new) = (1 << OLD, 1 << value);
        match (self.strategy, act) {
            (Strategy::InPlace, _) => world.accepts[0] = new,
            (Strategy::Overlap, Act::Apply) => world.accepts[0] = old | new,
            (Strategy::Overlap, Act::Retire) => world.accepts[0] = new,
            (Strategy::Overlap, _) => world.accepts[0] = old,
            (Strategy::Alternating, Act::Apply) => world.accepts[1] = new,
            (Strategy::Alternating, Act::Retire) => world.accepts[0] = 0,
            (Strategy::Alternating, _) => world.accepts[1] = 0,
        }
    }

    fn moves(&self, world: &World) -> Vec<Move> {
        let mut moves = Vec::new();
        self.step(world, 0, &mut moves);
        self.step(world, 1, &mut moves);
        let mut env = |what, good, change: &dyn Fn(&mut World)| {
            let mut next = *world;
            change(&mut next);
            moves.push((NOBODY, what, good, next));
        };
        for (i, slot) in world.slots.iter().enumerate() {
            if let Slot::Sent(act, value) = *slot {
                let awaited = world.workers.iter().any(|w| usize::from(w.slot) == i);
                env("the target carries out an effect", awaited, &|world| {
                    self.run(world, act, value);
                    world.slots[i] = Slot::Ran;
                });
            }
        }
        if world.third_party {
            for account in 0..=usize::from(self.strategy == Strategy::Alternating) {
                env("a third party sets the account", false, &|world| {
                    world.accepts[account] = 1 << FOREIGN;
                    world.third_party = false;
                });
            }
        }
        if !world.progress.step.is_final() {
            if world.control == Control::Pause {
                env("somebody resumes", world.parked, &|world| {
                    (world.control, world.parked) = (Control::Run, false);
                });
            }
            for (what, control) in [
                ("somebody pauses", Control::Pause),
                ("somebody cancels", Control::Cancel),
                ("somebody rolls back", Control::Rollback),
            ] {
                if world.requests > 0 && world.control != control {
                    env(what, false, &|world| {
                        world.control = control;
                        world.requests -= 1;
                        world.parked &= control == Control::Pause;
                    });
                }
            }
        }
        for (_, _, _, next) in &mut moves {
            tidy(next);
        }
        moves
    }

    // ---- what must hold -----------------------------------------------------------------------

    fn broken(&self, world: &World) -> Option<&'static str> {
        let step = world.progress.step;
        let alone = world.third_party == self.third_party;
        let everything = world.accepts[0] | world.accepts[1];
        let current = self.works(world, world.current);
        if step == Step::Diverged && alone {
            return Some("S2: diverged, and nobody else was there");
        }
        if step == Step::Diverged && self.owned && world.progress.attempt < ATTEMPTS {
            // A roll-back whose old version is gone is for a person, owned or not.
            let rolled_back = world.requests < self.requests && self.strategy != Strategy::InPlace;
            if !rolled_back {
                return Some("S2: diverged with attempts left on an account of our own");
            }
        }
        if self.haunted || !alone {
            return None;
        }
        if matches!(step, Step::Done | Step::RolledBack | Step::Failed) {
            // Also while effects are in flight: their arrival leads to states that are checked too.
            if !current {
                return Some("S1: ended, and the current version does not log in");
            }
            if everything != 1 << world.current {
                return Some("S1: ended, and another version logs in");
            }
            if world.consumers != world.current {
                return Some("S1: ended, and the consumers have another version");
            }
            if (step == Step::Done) == (world.current == OLD) {
                return Some("S6: the end does not say which version is current");
            }
        } else if !current && !step.in_doubt() {
            return Some("S3: the current version does not log in, and nobody is told");
        }
        let known = |value: u8| {
            !matches!(
                world.stages[usize::from(value)],
                Stage::Unknown | Stage::Retired
            )
        };
        let sent = world.slots.iter().filter_map(|slot| match slot {
            Slot::Sent(Act::Apply, value) => Some(*value),
            _ => None,
        });
        let held = (0..GHOST).filter(|value| everything & (1 << value) != 0);
        if sent.chain(held).any(|value| !known(value)) {
            return Some("S5: a value that works or still may is forgotten");
        }
        None
    }

    /// S4: a single worker without further faults brings it to an end, whether what is in flight
    /// arrives at once or never.
    fn ends(&self, world: &World, seen: &mut HashSet<World>) -> bool {
        let mut calm = *world;
        calm.workers = [GONE; 2];
        tidy(&mut calm);
        if !seen.insert(calm) {
            return true;
        }
        let mut arrived = calm;
        for slot in 0..arrived.slots.len() {
            if let Slot::Sent(act, value) = arrived.slots[slot] {
                self.run(&mut arrived, act, value);
                arrived.slots[slot] = Slot::Ran;
            }
        }
        tidy(&mut arrived);
        [calm, arrived].into_iter().all(|mut world| {
            (0..300).any(|_| {
                let ended = world.progress.step.is_final();
                let fair = self
                    .moves(&world)
                    .into_iter()
                    .find(|(who, _, good, _)| *good && *who != 1);
                if let Some((.., next)) = fair {
                    world = next;
                }
                ended
            })
        })
    }

    /// All reachable states, or a shortest way to one that must not be.
    fn explore(&self) -> Result<usize, String> {
        let start = self.start();
        let mut index = HashMap::from([(start, 0usize)]);
        let mut states: Vec<(World, usize, u8, &'static str)> = vec![(start, 0, NOBODY, "start")];
        let mut queue = VecDeque::from([0usize]);
        let mut calm = HashSet::new();
        while let Some(at) = queue.pop_front() {
            let world = states[at].0;
            let wrong = self.broken(&world).or_else(|| {
                (!self.ends(&world, &mut calm)).then_some("S4: it can't come to an end from here")
            });
            if let Some(wrong) = wrong {
                return Err(format!("{wrong}\n{}", trace(&states, at)));
            }
            for (who, what, _, next) in self.moves(&world) {
                if let std::collections::hash_map::Entry::Vacant(new) = index.entry(next) {
                    new.insert(states.len());
                    queue.push_back(states.len());
                    states.push((next, at, who, what));
                }
            }
        }
        Ok(states.len())
    }
}

fn login(works: bool) -> Login {
    if works { Login::Works } else { Login::Fails }
}

/// The next version that the rotation makes.
fn fresh(world: &World) -> u8 {
    let used = |v: &u8| world.stages[usize::from(*v)] != Stage::Unknown;
    (1..GHOST).find(|v| !used(v)).unwrap_or(GHOST - 1)
}

/// Merges states that differ in nothing that can still matter: whoever lost the lease and holds
/// nothing live is as good as gone, and a connection that nothing refers to is free.
fn tidy(world: &mut World) {
    for (i, worker) in world.workers.iter_mut().enumerate() {
        let acting = matches!(
            worker.at,
            At::Do(Act::Apply | Act::Retire | Act::Undo | Act::Probe) | At::Send(_)
        );
        let live = world
            .slots
            .get(usize::from(worker.slot))
            .is_some_and(|slot| matches!(slot, Slot::Open | Slot::Sent(..)));
        if worker.at == At::Gone || (usize::from(world.holder) != i && !(acting && live)) {
            *worker = GONE;
        } else if usize::from(world.holder) != i {
            worker.known = Control::Run;
        }
    }
    if world
        .workers
        .get(usize::from(world.holder))
        .is_none_or(|holder| holder.at == At::Gone)
    {
        world.holder = NOBODY;
    }
    for i in 0..world.slots.len() {
        let here = u8::try_from(i).unwrap();
        let held = world.workers.iter().any(|worker| worker.slot == here);
        if !held && !matches!(world.slots[i], Slot::Sent(..)) {
            world.slots[i] = Slot::Free;
            if world.connection == here {
                world.connection = NO_SLOT;
            }
        }
    }
}

fn trace(states: &[(World, usize, u8, &'static str)], mut at: usize) -> String {
    let mut lines = Vec::new();
    while at != 0 {
        let (world, before, who, what) = &states[at];
        let who = match who {
            0 => "worker 1 ",
            1 => "worker 2 ",
            _ => "",
        };
        lines.push(format!(
            "  {:<36} {} attempt {}{}, current v{}, accepted {:03b}|{:03b}",
            format!("{who}{what}"),
            world.progress.step,
            world.progress.attempt,
            if world.progress.promoted {
                " promoted"
            } else {
                ""
            },
            world.current,
            world.accepts[0],
            world.accepts[1],
        ));
        at = *before;
    }
    lines.reverse();
    lines.join("\n")
}

// ---- our protocol holds -----------------------------------------------------------------------

fn holds(model: Model) {
    let began = std::time::Instant::now();
    match model.explore() {
        Ok(states) => println!(
            "{:<12} owned {:<5} haunted {:<5} sluggish {:<5} {states:>8} states, {:.1?}",
            format!("{:?}", model.strategy),
            model.owned,
            model.haunted,
            model.sluggish,
            began.elapsed()
        ),
        Err(way) => panic!("{model:?}\n{way}"),
    }
}

#[test]
fn in_place_never_disagrees_for_good() {
    holds(Model::new(Strategy::InPlace, false));
    holds(Model::new(Strategy::InPlace, true));
}

#[test]
fn overlap_never_disagrees_for_good() {
    holds(Model::new(Strategy::Overlap, false));
    holds(Model::new(Strategy::Overlap, true));
}

#[test]
fn alternating_never_disagrees_for_good() {
    holds(Model::new(Strategy::Alternating, false));
    holds(Model::new(Strategy::Alternating, true));
}

/// A target that says "done" before it is: the proof before the promotion is what it takes.
#[test]
fn a_target_that_confirms_too_soon_is_survived() {
    for strategy in [Strategy::Overlap, Strategy::Alternating] {
        holds(Model {
            sluggish: true,
            third_party: false,
            ..Model::new(strategy, false)
        });
    }
}

/// An earlier rotation's effect arrives after its bound: it is recognised, not called somebody
/// else's.
#[test]
fn a_late_effect_of_an_earlier_rotation_is_recognised() {
    holds(Model {
        haunted: true,
        third_party: false,
        ..Model::new(Strategy::InPlace, false)
    });
}

// ---- broken protocols are caught --------------------------------------------------------------

fn caught(model: Model, wrong: &str) {
    match model.explore() {
        Ok(states) => panic!("{model:?} was not caught in {states} states"),
        Err(way) => {
            println!("{:?}: {way}\n", model.protocol);
            assert!(way.starts_with(wrong), "expected {wrong}, found {way}");
        }
    }
}

fn sabotaged(protocol: Protocol, strategy: Strategy) -> Model {
    Model {
        protocol,
        third_party: false,
        requests: 0,
        ..Model::new(strategy, false)
    }
}

#[test]
fn an_intent_after_its_effect_is_caught() {
    caught(
        sabotaged(Protocol::IntentAfterEffect, Strategy::InPlace),
        "S5",
    );
}

#[test]
fn a_forgotten_value_is_caught() {
    caught(sabotaged(Protocol::ValueForgotten, Strategy::InPlace), "S5");
}

#[test]
fn not_probing_with_abandoned_values_is_caught() {
    let model = sabotaged(Protocol::AbandonedForgotten, Strategy::InPlace);
    caught(
        Model {
            haunted: true,
            ..model
        },
        "S2",
    );
}

#[test]
fn probing_without_a_fence_is_caught() {
    caught(sabotaged(Protocol::NoFence, Strategy::InPlace), "S");
}

#[test]
fn repeating_instead_of_probing_is_caught() {
    caught(
        sabotaged(Protocol::RepeatInsteadOfProbe, Strategy::InPlace),
        "S",
    );
}

#[test]
fn promoting_before_the_proof_is_caught() {
    let model = sabotaged(Protocol::PromoteBeforeVerify, Strategy::Overlap);
    caught(
        Model {
            sluggish: true,
            ..model
        },
        "S3",
    );
}
