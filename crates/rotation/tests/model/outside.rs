//! What the target, people and a third party do, at any moment.

use pentad_model::rotation::{Control, Step, Strategy};
use pentad_rotation::machine::Act;

use super::world::{At, FOREIGN, GHOST, Model, OLD, Slot, Worker, World};
use crate::promises::{CarriedOut, Third};

/// One step of somebody.
pub(crate) struct Move {
    pub(crate) who: &'static str,
    pub(crate) what: &'static str,
    /// Whether it belongs to a run without faults.
    pub(crate) good: bool,
    /// What is wrong with the step itself, whatever it leads to.
    pub(crate) wrong: Option<&'static str>,
    pub(crate) next: World,
}

/// Takes down a step of nobody in particular: its name, whether it is without fault, its change.
type Env<'a> = &'a mut dyn FnMut(&'static str, bool, &dyn Fn(&mut World));

impl Model {
    pub(crate) fn outside(&self, world: &World, moves: &mut Vec<Move>) {
        for (slot, state) in world.slots.iter().enumerate() {
            if let Slot::Sent(act, value) = *state
                && !self.is_dropped(world, act)
            {
                moves.push(self.carry_out(world, slot, act, value));
            }
        }
        let mut env = |what, good, change: &dyn Fn(&mut World)| {
            let mut next = *world;
            change(&mut next);
            moves.push(Move {
                who: "",
                what,
                good,
                wrong: None,
                next,
            });
        };
        if world.ghost {
            env("an earlier rotation's effect arrives", false, &|world| {
                self.run(world, Act::Apply, GHOST);
                world.ghost = false;
                world.brought_back |= 1 << GHOST;
                unseen(world);
            });
        }
        if world.open {
            env("the third party closes the target again", true, &|world| {
                world.open = false;
                unseen(world);
            });
        }
        if world.acts > 0 {
            self.third_party(&mut env);
        }
        if world.progress.step == Step::Diverged && world.requests > 0 {
            Self::resolution(&mut env);
        }
        if !world.progress.step.is_final() {
            Self::people(world, &mut env);
        }
    }

    /// That an account is locked for a while is in the model without a move: any look may end
    /// without an answer.
    fn third_party(&self, env: Env<'_>) {
        for account in 0..=usize::from(self.strategy == Strategy::Alternating) {
            env("a third party sets the account", false, &|world| {
                if world.dropped & (1 << account) == 0 {
                    world.accepts[account] = 1 << FOREIGN;
                }
                acted(world);
            });
            env("a third party drops the account", false, &|world| {
                world.accepts[account] = 0;
                world.dropped |= 1 << account;
                acted(world);
            });
        }
        env("a third party restores a backup", false, &|world| {
            (world.accepts, world.dropped) = ([1 << OLD, 0], 0);
            acted(world);
            world.brought_back |= 1 << OLD;
        });
        env("a third party lets anybody in", false, &|world| {
            world.open = true;
            acted(world);
            // A look in the middle may be told anything.
            world.brought_back = !0;
        });
    }

    /// A person has looked at what diverged, and mended it or not.
    fn resolution(env: Env<'_>) {
        for (what, overwrite) in [
            ("somebody resolves", false),
            ("somebody resolves: overwrite", true),
        ] {
            env(what, false, &|world| {
                world.overwrite |= overwrite;
                world.progress.step = Step::Probing;
                world.progress.attempt = 1;
                (world.control, world.parked) = (Control::Run, false);
                world.requests -= 1;
            });
        }
    }

    fn people(world: &World, env: Env<'_>) {
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

    fn carry_out(&self, world: &World, slot: usize, act: Act, value: u8) -> Move {
        let mut next = *world;
        self.run(&mut next, act, value);
        next.slots[slot] = Slot::Ran;
        let account = self.changes(act);
        let turn = self.strategy == Strategy::Alternating && account == 1;
        let held = |w: &&Worker| usize::from(w.slot) == slot;
        let awaits = |w: &Worker| matches!(w.at, At::Await(_));
        let mut holders = world.workers.iter().filter(held);
        let what = CarriedOut {
            on_record: usize::from(world.connection) == slot,
            foreign: world.accepts[account] == 1 << FOREIGN && !turn,
            belied: self.sluggish && !holders.clone().any(awaits),
            logs_in: self.view(&next).logs_in,
        };
        Move {
            who: "",
            what: "the target carries out an effect",
            good: holders.next().is_some(),
            wrong: self.view(world).carries_out(&what),
            next,
        }
    }
}

fn acted(world: &mut World) {
    world.acts -= 1;
    unseen(world);
}

/// Somebody changed what logs in: looks that have begun don't tell of it.
fn unseen(world: &mut World) {
    world.third = Third::Unseen;
    for worker in &mut world.workers {
        worker.fresh = false;
    }
}
