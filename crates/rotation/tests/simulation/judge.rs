//! Holds the simulated world against the promises: after every change, and at every step of the
//! target and of the store.

use pentad_model::{
    Rotation, Stage, Version,
    rotation::{Evidence, Login, Step, Strategy},
};
use pentad_rotation::machine::Act;

use super::{EffectOf, FOREIGN, GHOST, HAUNTED, Inner, MAX_ATTEMPTS, OLD};
use crate::promises::{self, CarriedOut, Third, Versions, View, bit};

impl Inner {
    /// The first promise that was broken so far, if any was.
    pub(crate) fn judge(&mut self) -> Option<String> {
        if std::mem::take(&mut self.changed) {
            let wrong = self.view().broken();
            self.note(wrong);
        }
        self.wrong.clone()
    }

    /// The target carries an effect out.
    pub(crate) fn carry_out(&mut self, connection: &str, effect: EffectOf) {
        let account = effect.account().clone();
        if self.dropped.contains(&account) {
            return;
        }
        let before = self.view();
        let foreign = self.accepts[&account].iter().eq([&FOREIGN]);
        let accepted = match effect {
            EffectOf::Apply(_, new, old) => [Some(new), old],
            EffectOf::Retire(_, keep) => [keep, None],
        };
        let turn = self.day.strategy == Strategy::Alternating && account == self.row.to_account;
        self.accepts
            .insert(account, accepted.into_iter().flatten().collect());
        self.changed = true;
        if connection == HAUNTED {
            self.brought_back |= bit(GHOST);
            self.acted = Some(self.now);
            return;
        }
        let what = CarriedOut {
            on_record: self.row.connection.as_deref() == Some(connection),
            foreign: foreign && !turn,
            belied: false,
            logs_in: self.logs_in(),
        };
        self.note(before.carries_out(&what));
    }

    fn note(&mut self, wrong: Option<&'static str>) {
        if let (None, Some(wrong)) = (&self.wrong, wrong) {
            let (progress, reason) = (self.row.progress, &self.row.reason);
            self.wrong = Some(format!(
                "{:?}: {wrong}, at {progress:?} ({reason:?})",
                self.day
            ));
        }
    }

    /// A step was made durable.
    pub(crate) fn committed(&mut self, before: &View, stored: &Rotation) {
        self.changed = true;
        if self.third() == Third::Seen {
            self.brought_back = 0;
        }
        let step = self.row.progress.step;
        if step == Step::Diverged {
            self.note(before.diverges(self.third()));
        }
        if self.row.connection != stored.connection {
            let looked = self.row.evidence.last() != stored.evidence.last();
            let act = match step {
                Step::Retiring => Act::Retire,
                Step::Undoing => Act::Undo,
                _ => Act::Apply,
            };
            self.note(promises::takes_away(act, looked));
        }
    }

    /// A look counts by when it began, and where it could tell of the current version. Time moves
    /// before anybody acts and before anybody looks, so equal times mean: acted, then looked.
    fn third(&self) -> Third {
        let Some(acted) = self.acted else {
            return Third::Quiet;
        };
        let new = self.row.progress.promoted;
        let tells = |look: &Evidence| {
            let current = if new { look.new } else { look.old };
            look.at >= acted && look.control == Login::Fails && current != Login::CantTell
        };
        match self.row.evidence.iter().any(tells) {
            true => Third::Seen,
            false => Third::Unseen,
        }
    }

    pub(crate) fn view(&self) -> View {
        let staged = |stages: &[Stage]| {
            let those = self.versions.values().filter(|v| stages.contains(&v.stage));
            those.fold(0, |all, version| all | bit(version.number))
        };
        let current = staged(&[Stage::Current]);
        assert_eq!(current.count_ones(), 1, "one version is current");
        let on_their_way = self.late.values().fold(0, |all, effect| match effect {
            EffectOf::Apply(_, new, _) => all | bit(*new),
            EffectOf::Retire(..) => all,
        });
        View {
            progress: self.row.progress,
            owned: self.day.owned || self.row.overwrite,
            max_attempts: MAX_ATTEMPTS,
            third: self.third(),
            meddled: self.meddled,
            haunted_and_stopped: self.day.haunted && self.stopped,
            from: OLD,
            to: self.row.to,
            current: current.trailing_zeros(),
            consumers: self.consumers,
            logs_in: self.logs_in(),
            on_their_way,
            kept: staged(&[
                Stage::Pending,
                Stage::Current,
                Stage::Previous,
                Stage::Abandoned,
            ]),
            earlier: bit(GHOST),
            brought_back: self.brought_back,
        }
    }

    /// Versions of ours that log in, each at its own account.
    fn logs_in(&self) -> Versions {
        let here = |version: &&Version| {
            let account = version.account.as_ref().unwrap();
            self.accepts[account].contains(&version.number)
        };
        let numbers = self.versions.values().filter(here).map(|v| v.number);
        numbers.fold(0, |all, number| all | bit(number))
    }
}
