//! What `rotate.rs` and `look.rs` do around the transition function, one worker's step at a time:
//! between any two of them the worker may crash, or sleep and be overtaken.

use pentad_model::rotation::{Control, Login, Step, Strategy};
use pentad_rotation::machine::{Act, Effect, Event, Settle, Sight, Transition, Verdict};

use super::{
    outside::Move,
    sabotage::Protocol,
    world::{At, GHOST, GONE, HOLDER, Model, NO_SLOT, OLD, SLEEPER, Slot, Stage, Worker, World},
};
use crate::promises::{self, Third};

/// What a step changes in the world and in the worker that makes it; what is wrong with it.
type Change<'a> = &'a dyn Fn(&mut World, &mut Worker) -> Option<&'static str>;
/// Takes down a step: its name, whether it is without fault, its change.
type Go<'a> = &'a mut dyn FnMut(&'static str, bool, Change<'_>);

impl Model {
    /// A worker that is gone takes the rotation up; who held it sleeps from then on.
    pub(crate) fn claims(&self, world: &World, moves: &mut Vec<Move>) {
        let free = world.workers.iter().any(|worker| worker.at == At::Gone);
        let stands_still = world.parked && world.control == Control::Pause;
        if !free || world.progress.step.is_final() || stands_still {
            return;
        }
        let mut next = *world;
        if world.workers[HOLDER].at != At::Gone {
            next.workers[SLEEPER] = world.workers[HOLDER];
        }
        next.workers[HOLDER] = Worker {
            at: At::Decide(Event::Resumed),
            known: world.control,
            ..GONE
        };
        moves.push(Move {
            who: "a worker ",
            what: "claims",
            good: world.workers[HOLDER].at == At::Gone,
            wrong: None,
            next,
        });
    }

    pub(crate) fn works_on(&self, world: &World, i: usize, moves: &mut Vec<Move>) {
        let me = world.workers[i];
        let who = ["the holder ", "the sleeper "][i];
        let mut go = |what, good, change: Change<'_>| {
            let mut next = *world;
            let mut worker = me;
            let wrong = change(&mut next, &mut worker);
            next.workers[i] = worker;
            moves.push(Move {
                who,
                what,
                good,
                wrong,
                next,
            });
        };
        if me.at == At::Gone {
            return;
        }
        go("crashes", false, &|_, me| then(me, At::Gone));
        match me.at {
            At::Gone => {}
            At::Decide(event) => self.decides(world, &me, event, &mut go),
            At::Commit(event) => go("commits the intent", true, &|w, me| {
                self.commit(w, me, event)
            }),
            At::Do(act) => self.act(world, act, i == HOLDER, &mut go),
            At::Send(act) => go("sends", true, &|world, me| {
                if world.slots[usize::from(me.slot)] == Slot::Open {
                    world.slots[usize::from(me.slot)] = Slot::Sent(act, me.value);
                }
                then(me, At::Await(act))
            }),
            At::Await(act) => self.hears(world, &me, act, &mut go),
            At::Half(act, old) => self.sees_the_rest(world, act, old, &mut go),
            At::Early(event) => go("writes the intent late", true, &|world, me| {
                let ran = world.slots[usize::from(me.slot)] == Slot::Ran;
                me.slot = NO_SLOT;
                let wrong = self.commit(world, me, event);
                if matches!(me.at, At::Do(_)) {
                    let effect = if ran { Effect::Done } else { Effect::Unknown };
                    me.at = At::Decide(Event::Effect(effect));
                }
                wrong
            }),
        }
    }

    fn decide(&self, world: &World, me: &Worker, event: Event) -> Transition {
        let old_gone = me.old_gone.unwrap_or(world.old_gone);
        self.protocol
            .decide(self.rules(world, me.known, old_gone), world.progress, event)
    }

    /// `Engine::session_for`, and the commit where no session is needed.
    fn decides(&self, world: &World, me: &Worker, event: Event, go: Go<'_>) {
        let next = self.decide(world, me, event);
        if !next.act.is_effect() {
            go("commits", true, &|w, me| self.commit(w, me, event));
            return;
        }
        go("gets no session", false, &|_, me| {
            (me.old_gone, me.fresh) = (None, false);
            then(me, At::Decide(Event::NotNow))
        });
        let Some(slot) = world.slots.iter().position(|slot| *slot == Slot::Free) else {
            return;
        };
        go("opens a session", true, &|world, me| {
            world.slots[slot] = Slot::Open;
            me.slot = u8::try_from(slot).unwrap();
            if self.protocol == Protocol::IntentAfterEffect {
                me.value = match event {
                    Event::Prepared => fresh(world),
                    _ => world.to,
                };
                world.slots[slot] = Slot::Sent(next.act, me.value);
                return then(me, At::Early(event));
            }
            then(me, At::Commit(event))
        });
    }

    fn hears(&self, world: &World, me: &Worker, act: Act, go: Go<'_>) {
        let slot = usize::from(me.slot);
        let mut reply = |what, good, effect| {
            go(what, good, &|world: &mut World, me: &mut Worker| {
                if !matches!(effect, Effect::Done | Effect::Unknown) {
                    world.slots[slot] = Slot::Open;
                }
                me.slot = NO_SLOT;
                then(me, At::Decide(Event::Effect(effect)))
            });
        };
        match world.slots[slot] {
            Slot::Ran => reply("hears: done", true, Effect::Done),
            Slot::Sent(..) => {
                let dropped = self.is_dropped(world, act);
                reply("hears: stop", dropped, Effect::RejectedStop);
                reply("hears: not now", false, Effect::Throttled);
                if act == Act::Apply {
                    reply("hears: bad value", false, Effect::RejectedValue);
                }
                if self.sluggish {
                    reply("hears: done, too soon", false, Effect::Done);
                }
            }
            _ => {}
        }
        reply("hears nothing", false, Effect::Unknown);
    }

    /// One act other than sending: `Engine::prepare`, `probe`, `verify`, `deliver`, `observe`.
    fn act(&self, world: &World, act: Act, mine: bool, go: Go<'_>) {
        let seen = |event| move |_: &mut World, me: &mut Worker| then(me, At::Decide(event));
        if !act.is_effect() {
            go("can't tell", false, &seen(Event::NotNow));
        }
        match act {
            Act::Prepare | Act::Verify => self.sees_the_old(world, act, go),
            Act::Apply | Act::Retire => {
                go("is about to send", true, &|_, me| then(me, At::Send(act)));
            }
            Act::Undo if !mine => go("may not deliver", true, &|_, me| then(me, At::Gone)),
            Act::Undo => go("delivers the old value", true, &|world, me| {
                // Where there are consumers; else nothing reads this.
                world.consumers = OLD;
                then(me, At::Send(act))
            }),
            Act::Probe => {
                // First the fence; the look begins in the same step, since nothing that is sent
                // earlier can come in between.
                let fence = self.protocol != Protocol::NoFence;
                let mut fenced = |what, good, change: Change<'_>| {
                    go(what, good, &|world: &mut World, me: &mut Worker| {
                        if let Some(slot) = world.slots.get_mut(usize::from(me.slot))
                            && fence
                        {
                            *slot = Slot::Killed;
                        }
                        me.slot = NO_SLOT;
                        change(world, me)
                    });
                };
                fenced("fences, and can't look", false, &seen(Event::NotNow));
                self.sees_the_old(world, act, &mut fenced);
            }
            Act::Restore => go("delivers the old value", true, &|world, me| {
                world.consumers = OLD;
                then(me, At::Decide(Event::Restored))
            }),
            Act::Deliver => go("delivers", true, &|world, me| {
                world.consumers = world.to;
                then(me, At::Decide(Event::Delivered))
            }),
            Act::Observe => go("sees the gate open", true, &seen(Event::GateOpen)),
            Act::Wait | Act::Pause | Act::End => panic!("{act:?} is no act"),
        }
    }

    /// The first half of a look: the control, and the old version.
    fn sees_the_old(&self, world: &World, act: Act, go: Go<'_>) {
        let anybody = world.open;
        if anybody && self.protocol != Protocol::NoControl {
            let event = match act {
                Act::Prepare => Event::Refused,
                _ => Event::NotNow,
            };
            go("sees that anybody is let in", true, &|_, me| {
                then(me, At::Decide(event))
            });
            return;
        }
        let old = login(anybody || self.works(world, OLD));
        go("tries the old version", true, &|_, me| {
            (me.old_gone, me.fresh) = (Some(old == Login::Fails), true);
            then(me, At::Half(act, old))
        });
        if act != Act::Prepare {
            go("can't tell of the old version", false, &|_, me| {
                me.fresh = true;
                then(me, At::Half(act, Login::CantTell))
            });
        }
    }

    /// The second half: the new version, and where that decides, what was abandoned.
    fn sees_the_rest(&self, world: &World, act: Act, old: Login, go: Go<'_>) {
        let new = login(world.open || self.works(world, world.to));
        let owned = self.owned || world.overwrite;
        let mut sees = |what, good, new: Login| {
            let decides = old == Login::Fails && (act == Act::Prepare || new == Login::Fails);
            let abandoned = decides && self.abandoned_works(world);
            // It tells of the current version, or it is no news of it.
            let of_current = if world.current == OLD { old } else { new };
            let event = match act {
                Act::Prepare if old == Login::Works || abandoned || owned => Event::Prepared,
                Act::Prepare => Event::Refused,
                Act::Verify => Event::Verified(self.judge(new, old)),
                _ => Event::Probed(Sight {
                    new,
                    old,
                    abandoned: login(abandoned),
                }),
            };
            go(what, good, &|_, me| {
                me.fresh &= of_current != Login::CantTell;
                then(me, At::Decide(event))
            });
        };
        sees("tries the rest", true, new);
        if act != Act::Prepare {
            sees("can't tell of the new version", false, Login::CantTell);
        }
    }

    /// `pentad_policy::judge_verification`, before retirement.
    fn judge(&self, new: Login, old: Login) -> Verdict {
        let one_alone = self.strategy == Strategy::InPlace;
        match (new, old) {
            (Login::CantTell, _) => Verdict::CantTell,
            (Login::Fails, _) => Verdict::Broken,
            (Login::Works, Login::Works) if one_alone => Verdict::Broken,
            (Login::Works, Login::CantTell) if one_alone => Verdict::CantTell,
            (Login::Works, _) => Verdict::Holds,
        }
    }

    /// `Engine::commit`, with what the journal does about requests.
    fn commit(&self, world: &mut World, me: &mut Worker, event: Event) -> Option<&'static str> {
        let next = self.decide(world, me, event);
        let stop = self.rules(world, me.known, false).stop;
        let idle = next.to == world.progress
            && next.settle == Settle::Keep
            && !next.act.is_effect()
            && !matches!(next.act, Act::Restore | Act::Wait | Act::Pause | Act::End);
        let diverges = next.to.step == Step::Diverged;
        let before = diverges.then(|| self.view(world));
        if !idle {
            self.store(world, me, event, next);
        }
        (me.old_gone, me.fresh) = (None, false);
        me.value = world.to;
        me.at = match next.act {
            Act::Wait | Act::Pause | Act::End => At::Gone,
            act if act.is_effect() && self.rules(world, me.known, false).stop != stop => {
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
        if let Some(before) = before {
            return before.diverges(world.third);
        }
        promises::takes_away(next.act, matches!(event, Event::Probed(_)))
    }

    /// The transaction: step, stages, evidence, control.
    fn store(&self, world: &mut World, me: &mut Worker, event: Event, next: Transition) {
        let asked = world.control != me.known;
        if event == Event::Prepared && next.act == Act::Apply {
            world.to = fresh(world);
            world.stages[usize::from(world.to)] = Stage::Pending;
        }
        let (old, new) = (usize::from(OLD), usize::from(world.to));
        let stages = match next.settle {
            Settle::Keep => None,
            Settle::New => Some((Stage::Previous, Stage::Current, world.to)),
            Settle::Old => Some((Stage::Current, Stage::Abandoned, OLD)),
            Settle::Retire => Some((Stage::Retired, Stage::Current, world.to)),
        };
        if let Some((of_old, of_new, current)) = stages {
            (world.stages[old], world.stages[new]) = (of_old, of_new);
            world.current = current;
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
        if let Some(gone) = me.old_gone {
            world.old_gone = gone;
        }
        if me.fresh && world.third == Third::Unseen {
            world.third = Third::Seen;
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
}

/// The worker's next place; a step in which nothing is wrong.
fn then(me: &mut Worker, at: At) -> Option<&'static str> {
    me.at = at;
    if at == At::Gone {
        *me = GONE;
    }
    None
}

fn login(works: bool) -> Login {
    if works { Login::Works } else { Login::Fails }
}

/// The next version that the rotation makes.
fn fresh(world: &World) -> u8 {
    let used = |v: &u8| world.stages[usize::from(*v)] != Stage::Unknown;
    (1..GHOST).find(|v| !used(v)).unwrap_or(GHOST - 1)
}
