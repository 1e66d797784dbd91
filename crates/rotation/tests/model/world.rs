//! A state of the model: the store, the target and the workers; what an effect does, and what there
//! is to judge.

use pentad_model::rotation::{Control, Login, Progress, Step, Strategy};
use pentad_rotation::machine::{Act, Event, Rules, Stop};

use super::sabotage::Protocol;
use crate::promises::{Third, View};

/// Values: the old one, those that the rotation makes (one an attempt), one that an earlier rotation
/// abandoned, and the third party's.
pub(crate) const OLD: u8 = 0;
pub(crate) const GHOST: u8 = 4;
pub(crate) const FOREIGN: u8 = 5;
/// As many as there are values for.
pub(crate) const MOST_ATTEMPTS: u8 = GHOST - 1;
pub(crate) const NO_SLOT: u8 = 9;

/// What the store says of a version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Stage {
    Unknown,
    Pending,
    Current,
    Previous,
    Abandoned,
    Retired,
}

/// A connection at the target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Slot {
    Free,
    Open,
    /// Carries an effect that did not happen yet.
    Sent(Act, u8),
    Ran,
    Killed,
}

/// Where a worker stands in the loop of `rotate.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum At {
    Gone,
    Decide(Event),
    /// The session is open, the intent not yet durable.
    Commit(Event),
    Do(Act),
    /// Ready to send: the consumers have the old value again where that was needed.
    Send(Act),
    Await(Act),
    /// In the middle of a look: what the old version's login showed.
    Half(Act, Login),
    /// Broken protocol only: sent, and the intent is still to be written.
    Early(Event),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Worker {
    pub(crate) at: At,
    /// The control request that it knows of.
    pub(crate) known: Control,
    pub(crate) slot: u8,
    pub(crate) value: u8,
    /// What it saw of the old version and did not commit yet: whether it is gone.
    pub(crate) old_gone: Option<bool>,
    /// Whether that look began after all that the third party did.
    pub(crate) fresh: bool,
}

pub(crate) const GONE: Worker = Worker {
    at: At::Gone,
    known: Control::Run,
    slot: NO_SLOT,
    value: 0,
    old_gone: None,
    fresh: false,
};

/// Workers by their part: who holds the lease, and who was overtaken and may still act. They are
/// alike but for that, so which of the two it is makes no other state.
pub(crate) const HOLDER: usize = 0;
pub(crate) const SLEEPER: usize = 1;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct World {
    // The store. The epoch is told by its holder: whoever is not the holder has an older one.
    pub(crate) progress: Progress,
    pub(crate) control: Control,
    /// Stands still until somebody resumes it.
    pub(crate) parked: bool,
    /// A person decided that somebody else's change may be overwritten.
    pub(crate) overwrite: bool,
    /// The last look on record showed that the old version does not log in.
    pub(crate) old_gone: bool,
    pub(crate) connection: u8,
    pub(crate) to: u8,
    pub(crate) current: u8,
    pub(crate) stages: [Stage; 5],
    // The outside.
    /// Sets of values that the two accounts accept, as bits.
    pub(crate) accepts: [u8; 2],
    /// Accounts that a third party has removed, as bits.
    pub(crate) dropped: u8,
    /// A third party has made the target let anybody in.
    pub(crate) open: bool,
    pub(crate) slots: [Slot; 3],
    /// An effect of an earlier rotation is still to come.
    pub(crate) ghost: bool,
    pub(crate) consumers: u8,
    pub(crate) workers: [Worker; 2],
    // What is known of the third party, and what it brought back.
    pub(crate) third: Third,
    pub(crate) brought_back: u8,
    // What is left to the adversary.
    pub(crate) acts: u8,
    pub(crate) requests: u8,
}

/// A configuration to explore.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    pub(crate) strategy: Strategy,
    pub(crate) owned: bool,
    /// There is somebody to deliver to.
    pub(crate) consumers: bool,
    /// Effects of one sort tried before giving up.
    pub(crate) attempts: u8,
    /// Changes that a third party makes.
    pub(crate) acts: u8,
    pub(crate) requests: u8,
    /// An effect of an earlier rotation is still to come, on a connection that can't be killed.
    pub(crate) haunted: bool,
    /// The target confirms what it will do only later.
    pub(crate) sluggish: bool,
    pub(crate) protocol: Protocol,
}

impl Model {
    pub(crate) fn start(&self) -> World {
        let mut world = World {
            progress: Progress {
                step: Step::Planned,
                attempt: 0,
                promoted: false,
            },
            control: Control::Run,
            parked: false,
            overwrite: false,
            old_gone: false,
            connection: NO_SLOT,
            to: 0,
            current: OLD,
            stages: [Stage::Unknown; 5],
            accepts: [1 << OLD, 0],
            dropped: 0,
            open: false,
            slots: [Slot::Free; 3],
            ghost: self.haunted,
            consumers: OLD,
            workers: [GONE; 2],
            third: Third::Quiet,
            brought_back: 0,
            acts: self.acts,
            requests: self.requests,
        };
        world.stages[usize::from(OLD)] = Stage::Current;
        if self.haunted {
            world.stages[usize::from(GHOST)] = Stage::Abandoned;
        }
        world
    }

    pub(crate) fn rules(&self, world: &World, control: Control, old_gone: bool) -> Rules {
        Rules {
            strategy: self.strategy,
            owned: self.owned || world.overwrite,
            max_attempts: self.attempts,
            consumers: self.consumers,
            old_gone,
            stop: match control {
                Control::Run | Control::Pause => Stop::No,
                Control::Cancel => Stop::Cancel,
                Control::Rollback => Stop::Rollback,
            },
        }
    }

    // ---- the target ---------------------------------------------------------------------------

    fn account(&self, value: u8) -> usize {
        usize::from(self.strategy == Strategy::Alternating && value != OLD)
    }

    pub(crate) fn works(&self, world: &World, value: u8) -> bool {
        world.accepts[self.account(value)] & (1 << value) != 0
    }

    /// Whether a version that was attempted before and not promoted logs in.
    pub(crate) fn abandoned_works(&self, world: &World) -> bool {
        self.protocol != Protocol::AbandonedForgotten
            && (1..=GHOST)
                .filter(|v| world.stages[usize::from(*v)] == Stage::Abandoned)
                .any(|v| v != world.to && self.works(world, v))
    }

    /// The account that an effect changes.
    pub(crate) fn changes(&self, act: Act) -> usize {
        usize::from(self.strategy == Strategy::Alternating && act != Act::Retire)
    }

    /// Whether the account that an effect changes is no more.
    pub(crate) fn is_dropped(&self, world: &World, act: Act) -> bool {
        world.dropped & (1 << self.changes(act)) != 0
    }

    /// What an effect does at the target.
    pub(crate) fn run(&self, world: &mut World, act: Act, value: u8) {
        let (old, new) = (1 << OLD, 1 << value);
        if self.is_dropped(world, act) {
            return;
        }
        world.accepts[self.changes(act)] = match (self.strategy, act) {
            (Strategy::InPlace, _) | (Strategy::Overlap, Act::Retire) => new,
            (Strategy::Overlap, Act::Apply) => old | new,
            (Strategy::Overlap, _) => old,
            (Strategy::Alternating, Act::Apply) => new,
            (Strategy::Alternating, _) => 0,
        };
    }

    // ---- what there is to judge ---------------------------------------------------------------

    pub(crate) fn view(&self, world: &World) -> View {
        let (mut kept, mut on_their_way) = (0, 0);
        for version in [OLD, 1, 2, 3, GHOST] {
            let stage = world.stages[usize::from(version)];
            if !matches!(stage, Stage::Unknown | Stage::Retired) {
                kept |= 1 << version;
            }
        }
        for slot in &world.slots {
            if let Slot::Sent(Act::Apply, value) = slot {
                on_their_way |= 1 << value;
            }
        }
        let ours = (1 << FOREIGN) - 1;
        View {
            progress: world.progress,
            owned: self.owned || world.overwrite,
            max_attempts: self.attempts,
            third: world.third,
            meddled: world.acts < self.acts,
            haunted_and_stopped: self.haunted && world.requests < self.requests,
            from: OLD.into(),
            to: (world.to != OLD).then_some(world.to.into()),
            current: world.current.into(),
            consumers: match self.consumers {
                true => world.consumers.into(),
                false => world.current.into(),
            },
            logs_in: u64::from((world.accepts[0] | world.accepts[1]) & ours),
            on_their_way,
            kept,
            earlier: 1 << GHOST,
            brought_back: u64::from(world.brought_back),
        }
    }
}

/// Merges states that differ in nothing that can still matter: whoever lost the lease and holds
/// nothing live is as good as gone, a connection that nothing refers to is free, and which of the
/// free ones is taken is all the same.
pub(crate) fn tidy(world: &mut World) {
    let sleeper = &mut world.workers[SLEEPER];
    let acting = matches!(
        sleeper.at,
        At::Do(Act::Apply | Act::Retire | Act::Undo | Act::Probe) | At::Send(_)
    );
    let live = world
        .slots
        .get(usize::from(sleeper.slot))
        .is_some_and(|slot| matches!(slot, Slot::Open | Slot::Sent(..)));
    if acting && live {
        (sleeper.known, sleeper.old_gone, sleeper.fresh) = (Control::Run, None, false);
    } else {
        *sleeper = GONE;
    }
    // Of no interest any more once there is something else to go on with.
    world.old_gone &= !world.progress.promoted;
    for worker in &mut world.workers {
        worker.fresh &= world.third == Third::Unseen;
    }
    if world.third != Third::Unseen {
        world.brought_back = 0;
    }
    renumber(world);
}

/// Connections in the order in which somebody refers to them. Written out, since this runs for each
/// step that anybody could make.
fn renumber(world: &mut World) {
    let old = world.slots;
    let mut slots = [Slot::Free; 3];
    let mut number = [NO_SLOT; 3];
    let mut used = 0u8;
    let mut take = |slot: u8| {
        if slot != NO_SLOT && number[usize::from(slot)] == NO_SLOT {
            number[usize::from(slot)] = used;
            slots[usize::from(used)] = old[usize::from(slot)];
            used += 1;
        }
    };
    take(world.workers[HOLDER].slot);
    take(world.workers[SLEEPER].slot);
    for slot in [0, 1, 2] {
        if matches!(old[usize::from(slot)], Slot::Sent(..)) {
            take(slot);
        }
    }
    let refer = |to: &mut u8| {
        if *to != NO_SLOT {
            *to = number[usize::from(*to)];
        }
    };
    refer(&mut world.workers[HOLDER].slot);
    refer(&mut world.workers[SLEEPER].slot);
    refer(&mut world.connection);
    world.slots = slots;
}
