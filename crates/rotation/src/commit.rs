//! What each commit of a rotation holds: step, stages, evidence, lease, and when it goes on.

use std::time::Duration;

use pentad_model::{
    Rotation, Timestamp, Version,
    rotation::{Control, Evidence, Login, Step},
};

use crate::{
    machine::{self, Act, Event, Settle, Transition},
    ports::{Commit, Ports, Session},
    rotate::{Engine, Held, Interrupted, NEVER, interrupted},
    seen::Seen,
};

/// Observations kept with a rotation.
const MAX_EVIDENCE: usize = 8;

impl<P: Ports> Engine<P> {
    /// Makes a transition durable: step, stages, evidence, lease and audit record in one act.
    pub(crate) async fn commit(
        &self,
        held: &mut Held,
        next: Transition,
        seen: &mut Seen,
        session: Option<&Session>,
    ) -> Result<(), Interrupted> {
        let idle = next.to == held.rotation.progress
            && next.settle == Settle::Keep
            && !matches!(next.act, Act::Restore | Act::Wait | Act::Pause | Act::End)
            && session.is_none();
        if idle || held.rotation.progress.step.is_final() {
            return Ok(());
        }
        let now = self.ports.now();
        // Only with its intent: a value that no intent speaks of must not be on record.
        let draft = seen.draft.take().filter(|_| next.act == Act::Apply);
        let rotation = self.moved(held, next, seen, session, draft.as_ref(), now);
        let step = Commit {
            expect: held.rotation.revision,
            expect_epoch: held.rotation.lease.epoch,
            note: note(&rotation, next.act),
            rotation,
            to: draft
                .as_ref()
                .map(|draft| draft.number)
                .or(held.rotation.to),
            draft: draft.clone(),
            settle: next.settle,
        };
        match self.ports.commit(step).await {
            Ok(stored) => {
                held.rotation = stored;
                held.claimed = true;
                held.draft = draft.or(held.draft.take());
                Ok(())
            }
            Err(why) => {
                if let Some(session) = session {
                    self.ports.release(&held.rotation, session.clone()).await;
                }
                Err(interrupted(why, &held.rotation))
            }
        }
    }

    fn moved(
        &self,
        held: &Held,
        next: Transition,
        seen: &Seen,
        session: Option<&Session>,
        draft: Option<&Version>,
        now: Timestamp,
    ) -> Rotation {
        let mut rotation = held.rotation.clone();
        rotation.progress = next.to;
        rotation.revision += 1;
        rotation.updated_at = now;
        if !held.claimed {
            rotation.lease.holder.clone_from(&self.settings.holder);
            rotation.lease.epoch += 1;
        }
        rotation.lease.until = now.plus(self.settings.lease);
        rotation.waits = match (next.act, seen.event) {
            (Act::Wait, _) => rotation.waits.saturating_add(1),
            // To go on probing or trying is no progress: the waits in between keep growing.
            (
                _,
                Event::Resumed
                | Event::GateOpen
                | Event::Probed(_)
                | Event::Effect(machine::Effect::Unknown),
            ) => rotation.waits,
            _ => 0,
        };
        rotation.reason.clone_from(&seen.reason);
        if rotation.progress.step == Step::Failed && rotation.reason.is_none() {
            rotation.reason = Some(drift(&rotation));
        }
        if let Some(evidence) = &seen.evidence {
            keep(&mut rotation.evidence, evidence.clone());
        }
        if let Some(draft) = draft {
            rotation.to = Some(draft.number);
        } else if next.to.step == Step::Planned {
            rotation.to = None;
        }
        if let Some(session) = session {
            rotation.connection.clone_from(&session.connection);
            rotation.doubt_until = now.plus(self.settings.effect_bound.saturating_mul(2));
        }
        if next.settle == Settle::New {
            let grace = held
                .credential
                .binding
                .as_ref()
                .map_or(0, |b| b.grace_seconds);
            rotation.observe_until = now.plus(Duration::from_secs(u64::from(grace)));
        }
        match next.act {
            Act::Wait => {
                let backoff = now.plus(self.backoff(&rotation));
                rotation.resume_at = match seen.resume_at {
                    _ if rotation.control == Control::Pause && at_rest(next.to.step) => NEVER,
                    Some(at) => at.max(now.plus(self.settings.backoff.0)),
                    None => backoff,
                };
                rotation.lease.until = now;
            }
            Act::Pause => {
                rotation.control = Control::Pause;
                rotation.resume_at = NEVER;
                rotation.lease.until = now;
            }
            Act::End => rotation.lease.until = now,
            _ => rotation.resume_at = now,
        }
        rotation
    }

    /// Exponential with jitter that is the rotation's own, and never zero.
    fn backoff(&self, rotation: &Rotation) -> Duration {
        let (first, longest) = self.settings.backoff;
        let grown = first
            .saturating_mul(1 << rotation.waits.min(16))
            .min(longest);
        let salt =
            u32::from(rotation.id.to_bytes()[15]).wrapping_add(rotation.waits.wrapping_mul(97));
        grown
            .mul_f64(0.75 + f64::from(salt % 256) / 512.0)
            .max(Duration::from_millis(1))
    }
}

/// Whether readers are to be told that the credential is in doubt while its rotation stands here: a
/// step says so, or the last look on record showed that what readers get does not log in. Where no look
/// could tell yet, also of a rotation that ended before it had looked, the mark stays as it was found.
pub fn in_doubt(rotation: &Rotation, marked: bool) -> bool {
    let progress = &rotation.progress;
    progress.step.in_doubt()
        || !progress.promoted
            && match last_seen(&rotation.evidence, None) {
                Some(old) => old == Login::Fails,
                None => marked,
            }
}

/// Whether the last look that could tell showed that the old version does not log in: of those on
/// record, and of one that is still to be.
pub(crate) fn old_gone(record: &[Evidence], now: Option<&Evidence>) -> bool {
    last_seen(record, now) == Some(Login::Fails)
}

/// What the last look that could tell showed of the old version.
fn last_seen(record: &[Evidence], now: Option<&Evidence>) -> Option<Login> {
    let mut all = record.iter().chain(now);
    all.rfind(|look| tells_of_the_old(look))
        .map(|look| look.old)
}

fn tells_of_the_old(look: &Evidence) -> bool {
    look.control == Login::Fails && look.old != Login::CantTell
}

/// A bounded list. The last look that told of the old version stays, however often the target could
/// not tell since: decisions rest on it.
fn keep(all: &mut Vec<Evidence>, look: Evidence) {
    all.push(look);
    if all.len() > MAX_EVIDENCE {
        let telling = all.iter().rposition(tells_of_the_old);
        all.remove(usize::from(telling == Some(0)));
    }
}

/// What is wrong with a stored version that does not log in before anything was done.
pub(crate) fn drift(rotation: &Rotation) -> String {
    format!(
        "drift: the stored version {} does not log in at {} any more; `pentad adopt` the value that \
         does, or bind the credential with `owned`",
        rotation.from, rotation.target
    )
}

fn note(rotation: &Rotation, act: Act) -> String {
    let mut note = format!(
        "{} attempt {}",
        rotation.progress.step, rotation.progress.attempt
    );
    if act == Act::Wait || act == Act::Pause {
        note.push_str(if act == Act::Wait {
            ", waits"
        } else {
            ", paused"
        });
    }
    if let Some(reason) = &rotation.reason {
        note.push_str(": ");
        note.push_str(reason);
    }
    note
}

/// Where a rotation may stand still when somebody asks for a pause: nothing is in doubt and nothing
/// may still happen at the target.
fn at_rest(step: Step) -> bool {
    matches!(step, Step::Planned | Step::Delivering | Step::Observing)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use Login::{CantTell, Fails, Works};
    use pentad_model::{
        Id,
        rotation::{Lease, Progress, Strategy},
    };

    use super::*;

    fn look(at: i64, old: Login, control: Login) -> Evidence {
        Evidence {
            at: Timestamp(at),
            step: Step::Probing,
            new: CantTell,
            old,
            abandoned: Fails,
            control,
            note: String::new(),
        }
    }

    #[test]
    fn the_last_look_that_could_tell_decides() {
        let gone = look(1, Fails, Fails);
        assert!(!old_gone(&[], None));
        assert!(old_gone(&[], Some(&gone)));
        assert!(!old_gone(
            std::slice::from_ref(&gone),
            Some(&look(2, Works, Fails))
        ));
        let all = [gone, look(2, CantTell, Fails), look(3, CantTell, CantTell)];
        assert!(old_gone(&all, None));
        // Where anybody is let in, a login tells nothing.
        assert!(old_gone(&all, Some(&look(4, Works, Works))));
    }

    #[test]
    fn the_mark_of_doubt_stays_until_a_look_could_tell() {
        let mut rotation = planned();
        let ended = |rotation: &Rotation, step: Step| {
            let progress = Progress {
                step,
                ..rotation.progress
            };
            Rotation {
                progress,
                ..rotation.clone()
            }
        };
        for evidence in [
            vec![],
            vec![look(1, CantTell, Fails)],
            vec![look(1, Works, Works)],
        ] {
            rotation.evidence = evidence;
            for step in [Step::Planned, Step::Failed, Step::RolledBack] {
                assert!(in_doubt(&ended(&rotation, step), true), "{step}");
                assert!(!in_doubt(&ended(&rotation, step), false), "{step}");
            }
        }
        rotation.evidence = vec![look(1, Works, Fails), look(2, CantTell, Fails)];
        assert!(!in_doubt(&ended(&rotation, Step::RolledBack), true));
        rotation.evidence.push(look(3, Fails, Fails));
        assert!(in_doubt(&ended(&rotation, Step::Failed), false));
        // From the promotion on, readers have another one.
        rotation.progress.promoted = true;
        assert!(!in_doubt(&ended(&rotation, Step::Verifying), true));
    }

    fn planned() -> Rotation {
        Rotation {
            id: Id::from_u128(7),
            tenant: pentad_model::Tenant::default_tenant(),
            path: "a/b".parse().unwrap(),
            target: "pg".parse().unwrap(),
            strategy: Strategy::InPlace,
            batch: None,
            after: Vec::new(),
            overwrite: false,
            progress: Progress {
                step: Step::Planned,
                attempt: 0,
                promoted: false,
            },
            lease: Lease {
                holder: String::new(),
                epoch: 1,
                until: Timestamp(0),
            },
            from: 1,
            from_account: "app".into(),
            to: None,
            to_account: "app".into(),
            connection: None,
            doubt_until: Timestamp(0),
            observe_until: Timestamp(0),
            control: Control::Run,
            resume_at: Timestamp(0),
            waits: 0,
            reason: None,
            evidence: Vec::new(),
            requested_by: "user:test".into(),
            correlation: Id::from_u128(8),
            revision: 1,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        }
    }

    #[test]
    fn a_target_that_can_t_tell_for_long_does_not_push_out_what_was_seen() {
        let mut all = vec![look(0, Fails, Fails)];
        for at in 1..100 {
            keep(&mut all, look(at, CantTell, Fails));
        }
        assert_eq!(all.len(), MAX_EVIDENCE);
        assert!(old_gone(&all, None));
        assert_eq!(all.last().map(|look| look.at), Some(Timestamp(99)));
        keep(&mut all, look(100, Works, Fails));
        for at in 101..200 {
            keep(&mut all, look(at, CantTell, CantTell));
        }
        assert_eq!(all.first().map(|look| look.at), Some(Timestamp(100)));
    }
}
