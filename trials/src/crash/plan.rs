//! What a round does, drawn from dice: whom it rotates, which effects it holds where, what happens
//! meanwhile, and when it kills.

use std::time::Duration;

use super::estate::{Account, Strategy};
use crate::{
    dice::Dice,
    proxy::{Phase, Rule, Then},
    systems::System,
};

/// One round: a batch of rotations, and one or two kills.
#[derive(Debug)]
pub struct Round {
    /// Whom it rotates, by index in the estate.
    pub members: Vec<usize>,
    /// Which effects are held.
    pub holds: Vec<Hold>,
    /// What happens.
    pub story: Story,
    /// What makes it kill.
    pub trigger: Trigger,
    /// Kills that follow, while the one before is being recovered from.
    pub again: Vec<Trigger>,
}

/// When to kill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// As soon as all effects that are to be held are held.
    Held,
    /// As soon as the log shows this step.
    Step(&'static str),
    /// So long after the start.
    Moment(Duration),
}

/// What happens beside a rotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Story {
    /// Nothing.
    Plain,
    /// The same rotations are asked for again at once.
    SecondRequest,
    /// Somebody else sets the password of this member.
    ThirdParty(usize),
    /// Connections to this system with a held effect break before the kill.
    Cut(System),
    /// This system can't be reached for so long, from the kill on.
    Outage(System, Duration),
    /// This member is cancelled with its first effect done; the kill meets its undoing.
    Cancel(usize),
    /// This member is rolled back in its grace; the kill meets its undoing.
    Rollback(usize),
    /// The server is stopped with effects in flight, for so long, and goes on.
    Freeze {
        /// How long.
        long: Duration,
        /// Whether the effects reach the target meanwhile.
        released: bool,
    },
    /// The effect on this member waits at the server for a lock.
    Obstacle(usize),
}

impl Story {
    /// For the tally.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::SecondRequest => "second request",
            Self::ThirdParty(_) => "third party",
            Self::Cut(_) => "connection cut",
            Self::Outage(..) => "target out of reach",
            Self::Cancel(_) => "cancelled",
            Self::Rollback(_) => "rolled back",
            Self::Freeze { .. } => "frozen",
            Self::Obstacle(_) => "lock at the target",
        }
    }
}

/// Which of a rotation's effects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The first: the new value.
    Apply,
    /// The old value is ended.
    Retire,
    /// The new value is taken back.
    Undo,
    /// Whichever comes next.
    Next,
}

/// An effect of a member to be held.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// Whose.
    pub member: usize,
    /// Which.
    pub effect: Effect,
    /// Where.
    pub phase: Phase,
    /// And then.
    pub then: Then,
}

impl Round {
    /// Those whose effects are to be held before anything else begins: a kill at a step, or at a
    /// moment, meets them in flight.
    pub fn ahead(&self) -> Vec<usize> {
        match self.trigger {
            Trigger::Held => Vec::new(),
            _ => self.holds.iter().map(|hold| hold.member).collect(),
        }
    }
}

impl Hold {
    /// The proxy's rules for it, in an estate as it is now.
    pub fn rules(&self, account: &Account, applied_is_held: bool) -> Vec<Rule> {
        let rule = |name: &str, skip| Rule {
            account: name.to_owned(),
            skip,
            phase: self.phase,
            then: self.then,
        };
        let two = account.strategy == Strategy::Alternating;
        match self.effect {
            Effect::Apply => vec![rule(account.to(), 0)],
            Effect::Retire => vec![rule(account.from(), u32::from(!two))],
            // A rule for the first effect takes that one out of the count.
            Effect::Undo => vec![rule(account.to(), u32::from(!applied_is_held))],
            Effect::Next if two => vec![rule(account.to(), 0), rule(account.from(), 0)],
            Effect::Next => vec![rule(account.to(), 0)],
        }
    }
}

/// Steps that a batch passes, to be killed at in turn.
const STEPS: &[&str] = &[
    "planned",
    "applying",
    "verifying",
    "delivering",
    "observing",
    "retiring",
    "retire_probing",
    "done",
];
/// Steps that only a recovery passes.
const RECOVERY: &[&str] = &[
    "probing",
    "applying",
    "verifying",
    "retire_probing",
    "observing",
];

/// Draws the `number`th round of a lane. The first two rounds freeze the server beyond any lease.
pub fn draw(number: usize, estate: &[Account], long_freezes: usize, dice: &mut Dice) -> Round {
    let mut plain: Vec<usize> = (0..estate.len())
        .filter(|i| estate[*i].grace == 0)
        .collect();
    dice.shuffle(&mut plain);
    plain.truncate(dice.between(3, 6) as usize);
    let mut round = Round {
        holds: holds(&plain, estate, dice),
        members: plain,
        story: Story::Plain,
        trigger: Trigger::Held,
        again: Vec::new(),
    };
    if number < long_freezes {
        let long = Duration::from_secs(dice.between(31, 33));
        round.story = Story::Freeze {
            long,
            released: number.is_multiple_of(2),
        };
        return round;
    }
    match dice.between(0, 99) {
        0..=25 => {}
        26..=29 => {
            if let Some(member) = dice.pick(&round.members) {
                let long = Duration::from_millis(dice.between(100, 2500));
                round.story = Story::Outage(estate[*member].system, long);
            }
        }
        30..=37 => round.story = Story::SecondRequest,
        38..=45 => third_party(&mut round, estate, dice),
        46..=51 => {
            if let Some(member) = dice.pick(&round.members) {
                round.story = Story::Cut(estate[*member].system);
            }
        }
        52..=57 => obstacle(&mut round, estate, dice),
        58..=66 => cancel(&mut round, estate, dice),
        67..=74 => roll_back(&mut round, estate, dice),
        75..=77 => {
            let long = Duration::from_millis(dice.between(500, 7000));
            round.story = Story::Freeze {
                long,
                released: dice.percent(50),
            };
        }
        78..=93 => {
            // Round-robin over the steps, with effects of others in flight.
            round.trigger = Trigger::Step(STEPS[number % STEPS.len()]);
            round.holds.truncate(round.members.len() / 2);
        }
        _ => {
            let most = if dice.percent(60) {
                round.members.len() / 2
            } else {
                0
            };
            round.holds.truncate(most);
            round.trigger = Trigger::Moment(Duration::from_millis(dice.between(0, 250)));
        }
    }
    while dice.percent(25) && round.again.len() < 2 {
        round.again.push(match dice.between(0, 19) {
            0..=14 => Trigger::Held,
            15..=18 => Trigger::Step(RECOVERY[(number + round.again.len()) % RECOVERY.len()]),
            _ => Trigger::Moment(Duration::from_millis(dice.between(0, 150))),
        });
    }
    round
}

/// Holds for most of the members, for at least two.
fn holds(members: &[usize], estate: &[Account], dice: &mut Dice) -> Vec<Hold> {
    let mut holds = Vec::new();
    for (index, member) in members.iter().enumerate() {
        if index < 2 || dice.percent(75) {
            let one_effect = estate[*member].strategy == Strategy::InPlace;
            let effect = if one_effect || dice.percent(55) {
                Effect::Apply
            } else {
                Effect::Retire
            };
            holds.push(hold(*member, effect, dice));
        }
    }
    holds
}

fn hold(member: usize, effect: Effect, dice: &mut Dice) -> Hold {
    let phase = if dice.percent(50) {
        Phase::Request
    } else {
        Phase::Reply
    };
    let then = match dice.percent(65) {
        true => Then::Late(Duration::from_millis(dice.between(0, 900))),
        false => Then::Lost,
    };
    Hold {
        member,
        effect,
        phase,
        then,
    }
}

/// The hold of the effect that comes next in a recovery.
pub fn next_effects(members: &[usize], dice: &mut Dice) -> Vec<Hold> {
    members
        .iter()
        .map(|member| hold(*member, Effect::Next, dice))
        .collect()
}

fn third_party(round: &mut Round, estate: &[Account], dice: &mut Dice) {
    // Whether Pentad owns it or not: then it has to ask.
    let quick: Vec<usize> = (0..estate.len())
        .filter(|i| estate[*i].grace == 0)
        .collect();
    let Some(chosen) = dice.pick(&quick).copied() else {
        return;
    };
    star(round, chosen);
    round.holds.push(hold(chosen, Effect::Apply, dice));
    round.story = Story::ThirdParty(chosen);
}

fn obstacle(round: &mut Round, estate: &[Account], dice: &mut Dice) {
    // A second account that does not exist yet can't be locked.
    let lockable: Vec<usize> = (0..estate.len())
        .filter(|i| estate[*i].system != System::Redis && estate[*i].grace == 0)
        .filter(|i| estate[*i].strategy != Strategy::Alternating)
        .collect();
    let Some(chosen) = dice.pick(&lockable).copied() else {
        return;
    };
    star(round, chosen);
    let waiting = Hold {
        phase: Phase::AtServer,
        ..hold(chosen, Effect::Apply, dice)
    };
    round.holds.push(waiting);
    round.story = Story::Obstacle(chosen);
}

fn cancel(round: &mut Round, estate: &[Account], dice: &mut Dice) {
    let two_valued: Vec<usize> = (0..estate.len())
        .filter(|i| estate[*i].strategy != Strategy::InPlace && estate[*i].grace == 0)
        .collect();
    let Some(chosen) = dice.pick(&two_valued).copied() else {
        return;
    };
    star(round, chosen);
    round.holds.clear();
    let first = Hold {
        phase: Phase::Reply,
        ..hold(chosen, Effect::Apply, dice)
    };
    round
        .holds
        .extend([first, hold(chosen, Effect::Undo, dice)]);
    round.story = Story::Cancel(chosen);
}

fn roll_back(round: &mut Round, estate: &[Account], dice: &mut Dice) {
    let graceful: Vec<usize> = (0..estate.len()).filter(|i| estate[*i].grace > 0).collect();
    let Some(chosen) = dice.pick(&graceful).copied() else {
        return;
    };
    star(round, chosen);
    round.holds = vec![hold(chosen, Effect::Undo, dice)];
    round.story = Story::Rollback(chosen);
}

/// Makes `chosen` a member, whose holds the story decides.
fn star(round: &mut Round, chosen: usize) {
    round.holds.retain(|hold| hold.member != chosen);
    if !round.members.contains(&chosen) {
        round.members.push(chosen);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::BTreeSet;

    use super::*;
    use crate::crash::estate::{Seen, sample};

    fn rounds(count: usize) -> (Vec<Account>, Vec<Round>) {
        let estate = sample();
        let mut dice = Dice::new(7, 7);
        let rounds = (0..count).map(|n| draw(n, &estate, 0, &mut dice)).collect();
        (estate, rounds)
    }

    #[test]
    fn every_story_and_every_step_has_its_turn() {
        let (_, rounds) = rounds(600);
        let stories: BTreeSet<&str> = rounds.iter().map(|round| round.story.name()).collect();
        assert_eq!(stories.len(), 9, "{stories:?}");
        for step in STEPS {
            let at = Trigger::Step(step);
            assert!(rounds.iter().any(|round| round.trigger == at), "{step}");
        }
    }

    #[test]
    fn nine_of_ten_rounds_hold_an_effect() {
        let (_, rounds) = rounds(600);
        let holding = rounds.iter().filter(|round| !round.holds.is_empty());
        assert!(holding.count() >= 540);
    }

    #[test]
    fn what_is_held_is_a_member_s() {
        let (estate, rounds) = rounds(300);
        for round in rounds {
            for hold in &round.holds {
                assert!(round.members.contains(&hold.member), "{round:?}");
                assert!(!hold.rules(&estate[hold.member], false).is_empty());
            }
        }
    }

    #[test]
    fn the_accounts_of_a_pair_take_turns() {
        let mut estate = sample();
        let pair = estate
            .iter_mut()
            .find(|one| one.accounts.len() == 2)
            .unwrap();
        let hold = |effect| Hold {
            member: 0,
            effect,
            phase: Phase::Reply,
            then: Then::Lost,
        };
        let name = |pair: &Account, effect| hold(effect).rules(pair, false)[0].account.clone();
        let (a, b) = (pair.accounts[0].clone(), pair.accounts[1].clone());
        assert_eq!(name(pair, Effect::Apply), b);
        assert_eq!(name(pair, Effect::Retire), a);
        pair.seen.push(Seen {
            version: 2,
            account: b.clone(),
            value: String::new(),
        });
        assert_eq!(name(pair, Effect::Apply), a);
        assert_eq!(name(pair, Effect::Retire), b);
    }
}
