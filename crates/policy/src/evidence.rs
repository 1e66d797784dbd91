//! Whether what was seen at a target proves a rotation.
//!
//! Evidence is four test logins: with the new value, with the old one, with any abandoned one, and
//! with a random value as control. Without a control that fails, the others mean nothing: the
//! target lets anybody in. What can't be told is never guessed: [`Verdict::CantTell`] means wait
//! and look again.
//!
//! Where there is no old (or no abandoned) value, nothing of that sort can log in: the caller
//! records [`Login::Fails`].

use pentad_model::rotation::{Evidence, Login, Strategy};

/// What the evidence says. The reason is for people, and holds no value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The rotation did what it should.
    Holds {
        /// What was seen, notable things included.
        reason: String,
    },
    /// The target is not as it should be; going on would lose something.
    Broken {
        /// What was seen and what it means.
        reason: String,
    },
    /// Not to be known now; look again later.
    CantTell {
        /// What stands in the way.
        reason: String,
    },
}

/// Judges one observation.
///
/// | | new | old | control |
/// |---|---|---|---|
/// | in place | works | fails | fails |
/// | overlap, alternating; before retirement | works | either | fails |
/// | overlap, alternating; after retirement | works | fails | fails |
///
/// Before retirement an old value that fails blocks nothing: the new one is proven, and somebody
/// else has ended the old one early. The reason says so. Where the old value must fail, so must an
/// abandoned one.
pub fn judge_verification(
    strategy: Strategy,
    after_retirement: bool,
    evidence: &Evidence,
) -> Verdict {
    match evidence.control {
        Login::Fails => {}
        Login::Works => {
            return cant_tell(
                "the target let a random value in, so test logins prove nothing; \
                 check its authentication rules for this account (trust, nopass, no password)",
            );
        }
        Login::CantTell => {
            return cant_tell("the control login with a random value gave no clear answer");
        }
    }
    match evidence.new {
        Login::Works => {}
        Login::CantTell => return cant_tell("the login with the new value gave no clear answer"),
        Login::Fails => {
            return broken(match evidence.old {
                Login::Works => "the target refuses the new value and accepts the old one",
                Login::Fails => {
                    "the target refuses the new value and the old one: \
                     something else changed the account"
                }
                Login::CantTell => "the target refuses the new value",
            });
        }
    }
    let old_must_fail = after_retirement || strategy == Strategy::InPlace;
    if old_must_fail {
        ended(evidence)
    } else {
        overlapping(evidence)
    }
}

/// The new value works: do the others fail?
fn ended(evidence: &Evidence) -> Verdict {
    match (evidence.old, evidence.abandoned) {
        (Login::Works, _) => broken("the target still accepts the old value"),
        (_, Login::Works) => {
            broken("the target accepts a value that was sent earlier and never promoted")
        }
        (Login::CantTell, _) => cant_tell("whether the old value is refused could not be seen"),
        (_, Login::CantTell) => {
            cant_tell("whether an abandoned value is refused could not be seen")
        }
        (Login::Fails, Login::Fails) => {
            holds("the new value works; the old one and a random one are refused")
        }
    }
}

/// The new value works: is anything notable about the old one?
fn overlapping(evidence: &Evidence) -> Verdict {
    holds(match evidence.old {
        Login::Works => "the new value works, the old one still does, a random one is refused",
        Login::Fails => {
            "the new value works and a random one is refused; the old one is refused already: \
             somebody else ended it before its retirement"
        }
        Login::CantTell => {
            "the new value works and a random one is refused; \
             whether the old one still works could not be seen"
        }
    })
}

fn holds(reason: &str) -> Verdict {
    Verdict::Holds {
        reason: reason.to_owned(),
    }
}

fn broken(reason: &str) -> Verdict {
    Verdict::Broken {
        reason: reason.to_owned(),
    }
}

fn cant_tell(reason: &str) -> Verdict {
    Verdict::CantTell {
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use pentad_model::{Timestamp, rotation::Step};

    use super::*;

    const LOGINS: [Login; 3] = [Login::Works, Login::Fails, Login::CantTell];
    const STRATEGIES: [Strategy; 3] = [Strategy::InPlace, Strategy::Overlap, Strategy::Alternating];

    fn evidence(new: Login, old: Login, abandoned: Login, control: Login) -> Evidence {
        Evidence {
            at: Timestamp(0),
            step: Step::Verifying,
            new,
            old,
            abandoned,
            control,
            note: String::new(),
        }
    }

    /// Every strategy, both moments, every observation.
    fn all() -> impl Iterator<Item = (Strategy, bool, Evidence)> {
        let observations = LOGINS.into_iter().flat_map(|new| {
            LOGINS.into_iter().flat_map(move |old| {
                LOGINS.into_iter().flat_map(move |abandoned| {
                    LOGINS
                        .into_iter()
                        .map(move |control| evidence(new, old, abandoned, control))
                })
            })
        });
        observations.flat_map(|seen| {
            STRATEGIES.into_iter().flat_map(move |strategy| {
                let seen = seen.clone();
                [false, true].map(|after| (strategy, after, seen.clone()))
            })
        })
    }

    #[test]
    fn it_holds_exactly_where_the_table_says() {
        assert_eq!(all().count(), 81 * 6);
        for (strategy, after, seen) in all() {
            let proven = seen.new == Login::Works && seen.control == Login::Fails;
            let ended = seen.old == Login::Fails && seen.abandoned == Login::Fails;
            let expected = proven && (ended || (strategy != Strategy::InPlace && !after));
            let verdict = judge_verification(strategy, after, &seen);
            assert_eq!(
                matches!(verdict, Verdict::Holds { .. }),
                expected,
                "{strategy:?} {after} {seen:?}: {verdict:?}"
            );
        }
    }

    #[test]
    fn nothing_is_told_without_a_failing_control() {
        for (strategy, after, seen) in all().filter(|(.., seen)| seen.control != Login::Fails) {
            let verdict = judge_verification(strategy, after, &seen);
            assert!(
                matches!(verdict, Verdict::CantTell { .. }),
                "{seen:?}: {verdict:?}"
            );
        }
    }

    #[test]
    fn a_new_value_that_is_refused_is_never_taken_as_proven() {
        for (strategy, after, mut seen) in all() {
            (seen.new, seen.control) = (Login::Fails, Login::Fails);
            let verdict = judge_verification(strategy, after, &seen);
            assert!(
                matches!(verdict, Verdict::Broken { .. }),
                "{seen:?}: {verdict:?}"
            );
        }
    }

    #[test]
    fn an_old_value_that_still_works_after_its_end_is_broken() {
        let seen = evidence(Login::Works, Login::Works, Login::Fails, Login::Fails);
        for (strategy, after) in [
            (Strategy::InPlace, false),
            (Strategy::Overlap, true),
            (Strategy::Alternating, true),
        ] {
            assert_eq!(
                judge_verification(strategy, after, &seen),
                broken("the target still accepts the old value")
            );
        }
    }
}
