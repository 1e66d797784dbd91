//! What can be checked: a small vocabulary, each word decided from what is known of a credential.

use pentad_model::{
    Credential, Timestamp, Version,
    assessment::{Assessment, Facts, KeyFacts, Pattern},
    credential::Origin,
};
use serde::{Deserialize, Serialize};

use super::{LONGEST_TEXT, MOST_DAYS, Verdict};
use crate::{CredentialPolicy, schedule::DAY};

/// One check. In a file: `{ type = "length", min = 12 }`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Check {
    /// The value has so many characters.
    Length {
        /// At least.
        min: usize,
    },
    /// The value has letters and digits.
    Alphanumeric {},
    /// The score of its judgement.
    Score {
        /// At least, 0 to 100.
        min: u8,
    },
    /// Its entropy; an upper bound, as measured.
    Entropy {
        /// Bits at least.
        min_bits: f64,
    },
    /// Its own credential policy accepts the value.
    AcceptedByPolicy {},
    /// It is not built on a common password, a stand-in, or the words of its surroundings.
    Blocklist {},
    /// Its policy asks for no character classes.
    NoCompositionRules {},
    /// Its policy lets values be so long.
    PolicyAllowsLength {
        /// Characters.
        characters: usize,
    },
    /// Its value is none of those before it, and its policy keeps it so.
    History {
        /// How many before.
        versions: u32,
    },
    /// No other credential has the same value.
    Unique {},
    /// Its value is not older.
    MaxAge {
        /// Days.
        days: u32,
    },
    /// It is rotated by itself, at the latest after so many days.
    RotationInterval {
        /// Days.
        max_days: u32,
    },
    /// No interval forces a change.
    NoRotationByAge {},
    /// It is bound to a target, so that Pentad can rotate it.
    Bound {},
    /// It names an owner.
    Owner {},
    /// It says when it ends.
    Expiry {},
    /// It has not ended.
    Unexpired {},
    /// It is sealed by this algorithm: `AES-256-GCM`.
    Sealed {
        /// Which.
        algorithm: String,
    },
    /// Its key is strong enough for its algorithm.
    KeyStrength {
        /// Least size of an RSA modulus, in bits.
        rsa_bits: u32,
        /// Least size of an elliptic curve's field, in bits.
        ec_bits: u32,
    },
    /// It is in no known breach.
    NotExposed {},
    /// It agrees with its target, as far as is known.
    Settled {},
    /// A retention rule says when its old values are destroyed.
    Retention {},
    /// The audit log was verified. About the whole system.
    AuditVerified {},
    /// Nothing that Pentad could see. About the whole system.
    Outside {
        /// Why, and where to look instead.
        why: String,
    },
}

/// What is known of a credential. What is not known is `None` or `Unknown`, with nothing assumed.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The credential.
    pub credential: &'a Credential,
    /// Its current version.
    pub version: Option<&'a Version>,
    /// What was measured of its value; why it could not be, otherwise.
    pub measured: Result<Measured<'a>, &'a str>,
    /// Whether a retention rule speaks of it.
    pub retention: Retention,
    /// How often it is rotated by itself.
    pub interval: Interval,
    /// Whether it is in a breach.
    pub exposure: Exposure,
    /// The present.
    pub now: Timestamp,
}

/// What was found of an opened value.
#[derive(Clone, Copy, Debug)]
pub struct Measured<'a> {
    /// Its facts.
    pub facts: &'a Facts,
    /// Its judgement.
    pub assessment: &'a Assessment,
    /// The policy that judged it.
    pub policy: &'a CredentialPolicy,
    /// What it was sealed by; known because it was opened.
    pub sealed_by: Option<&'a str>,
}

/// Whether a value is in a known breach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exposure {
    /// Nobody looked.
    Unknown,
    /// Not in the breaches that were looked in.
    NotFound,
    /// Found.
    Found,
}

/// How often a credential is rotated by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interval {
    /// Not known.
    Unknown,
    /// Never for its age.
    Never,
    /// At the latest after so many days.
    Days(u32),
}

/// Whether a retention rule speaks of a credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retention {
    /// Not known.
    Unknown,
    /// None does: its old values are kept for ever.
    Uncovered,
    /// One does.
    Covered,
}

/// How one check ended.
pub(super) struct Found {
    pub(super) verdict: Verdict,
    pub(super) because: String,
    pub(super) advice: &'static str,
}

fn pass(because: impl Into<String>) -> Found {
    Found {
        verdict: Verdict::Pass,
        because: because.into(),
        advice: "",
    }
}

fn fail(because: impl Into<String>, advice: &'static str) -> Found {
    Found {
        verdict: Verdict::Fail,
        because: because.into(),
        advice,
    }
}

fn unknown(because: impl Into<String>) -> Found {
    Found {
        verdict: Verdict::NotAssessed,
        because: because.into(),
        advice: "",
    }
}

fn held(
    holds: bool,
    good: impl Into<String>,
    bad: impl Into<String>,
    advice: &'static str,
) -> Found {
    if holds { pass(good) } else { fail(bad, advice) }
}

const GENERATE: &str =
    "let Pentad generate a new value: `pentad put PATH --generate`, or rotate it";
const ROTATE: &str = "rotate it: `pentad rotate PATH`";

impl Check {
    /// Whether it is about the system as a whole.
    pub fn is_systemic(&self) -> bool {
        matches!(self, Self::AuditVerified {} | Self::Outside { .. })
    }

    /// Whether its numbers mean anything.
    pub(super) fn sound(&self) -> Result<(), String> {
        let days = |days: u32| match days {
            1..=MOST_DAYS => Ok(()),
            _ => Err(format!("days go from 1 to {MOST_DAYS}, not {days}")),
        };
        match self {
            Self::Score { min } if *min > 100 => Err("a score goes from 0 to 100".to_owned()),
            Self::Entropy { min_bits } if !(0.0..=4096.0).contains(min_bits) => {
                Err("`min_bits` goes from 0 to 4096".to_owned())
            }
            Self::History { versions } if !(1..=1000).contains(versions) => {
                Err("`versions` goes from 1 to 1000".to_owned())
            }
            Self::MaxAge { days: count } | Self::RotationInterval { max_days: count } => {
                days(*count)
            }
            Self::Sealed { algorithm } if algorithm != "AES-256-GCM" => Err(format!(
                "`{algorithm}` seals nothing here; values are sealed by `AES-256-GCM`"
            )),
            Self::Outside { why } if why.trim().is_empty() || why.len() > LONGEST_TEXT => {
                Err("`why` says in a sentence why it can't be seen, and where to look".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Decides it for the system as a whole; `None` for a check of single credentials.
    pub(super) fn of_system(&self) -> Option<Found> {
        match self {
            Self::AuditVerified {} => Some(unknown(
                "verifying the log reads all of it: run `pentad audit verify`, with a checkpoint \
                 that was kept elsewhere",
            )),
            Self::Outside { why } => Some(unknown(why.clone())),
            _ => None,
        }
    }

    /// Decides it for a credential.
    pub(super) fn of(&self, subject: &Subject<'_>) -> Found {
        let Subject { credential, .. } = subject;
        match self {
            Self::Owner {} => held(
                credential
                    .owner
                    .as_deref()
                    .is_some_and(|owner| !owner.trim().is_empty()),
                "it has an owner",
                "it has no owner",
                "name one: `pentad put PATH --metadata --owner NAME`",
            ),
            Self::Expiry {} => held(
                credential.expires_at.is_some(),
                "it says when it ends",
                "it does not say when it ends",
                "say so: `pentad put PATH --metadata --expires-at TIME`",
            ),
            Self::Unexpired {} => match credential.expires_at {
                None => unknown("it does not say when it ends"),
                Some(end) => held(
                    subject.now < end,
                    format!("it ends at {end}"),
                    format!("it ended at {end}"),
                    ROTATE,
                ),
            },
            Self::Bound {} => held(
                credential.binding.is_some(),
                "it is bound to a target",
                "it is bound to no target, so nobody rotates it but by hand",
                "bind it: `pentad put PATH --metadata --target NAME --account NAME`",
            ),
            Self::Settled {} => held(
                !credential.in_doubt,
                "nothing says that its target holds another value",
                "its target may hold another value",
                "see `pentad rotations --path PATH`, and resolve what stopped",
            ),
            Self::Retention {} => match subject.retention {
                Retention::Unknown => unknown("retention rules could not be read"),
                Retention::Covered => pass("a retention rule destroys its old values"),
                Retention::Uncovered => fail(
                    "no retention rule speaks of it: its old values are kept for ever",
                    "write one: `pentad retention put NAME --path PATTERN`",
                ),
            },
            Self::RotationInterval { max_days } => match subject.interval {
                Interval::Unknown => unknown("whether it is rotated by itself is not known here"),
                Interval::Never => fail("nothing rotates it by its age", ROTATE),
                Interval::Days(days) => held(
                    days <= *max_days,
                    format!("it is rotated every {days} days"),
                    format!("it is rotated every {days} days, not every {max_days}"),
                    "shorten its interval",
                ),
            },
            Self::NoRotationByAge {} => match subject.interval {
                Interval::Unknown => unknown("whether it is rotated by itself is not known here"),
                Interval::Never => pass("nothing rotates it by its age alone"),
                Interval::Days(days) => fail(
                    format!("it is rotated every {days} days, whatever happens"),
                    "take its interval away, and rotate on evidence of compromise",
                ),
            },
            Self::MaxAge { days } => age(subject, *days),
            Self::NotExposed {} => match subject.exposure {
                Exposure::Unknown => unknown("it was compared with no list of breached values"),
                Exposure::NotFound => pass("it is in no breach that was looked in"),
                Exposure::Found => fail("it is in a known breach", GENERATE),
            },
            _ => match &subject.measured {
                Ok(measured) => self.of_value(measured),
                Err(why) => unknown(*why),
            },
        }
    }

    /// Decides it by what was measured of the value.
    fn of_value(&self, measured: &Measured<'_>) -> Found {
        let Measured {
            facts,
            policy,
            assessment,
            ..
        } = measured;
        match self {
            Self::Length { min } => held(
                facts.length >= *min,
                format!("it has {min} characters or more"),
                format!("it has fewer than {min} characters"),
                GENERATE,
            ),
            Self::Alphanumeric {} => held(
                facts.digit && (facts.lower || facts.upper),
                "it has letters and digits",
                "it lacks letters or digits",
                GENERATE,
            ),
            Self::Score { min } => held(
                assessment.score >= *min,
                format!("its score is {}", assessment.score),
                format!("its score is {}, less than {min}", assessment.score),
                GENERATE,
            ),
            Self::Entropy { min_bits } => held(
                facts.entropy_bits >= *min_bits,
                format!("it shows {:.0} bits of entropy", facts.entropy_bits),
                format!(
                    "it shows {:.0} bits of entropy, less than {min_bits:.0}",
                    facts.entropy_bits
                ),
                GENERATE,
            ),
            Self::AcceptedByPolicy {} => held(
                assessment.accepted,
                format!("its policy `{}` accepts it", policy.name),
                format!("its policy `{}` refuses it", policy.name),
                "`pentad check PATH` says why; then rotate it",
            ),
            Self::Blocklist {} => held(
                !facts.patterns.iter().any(|pattern| {
                    matches!(
                        pattern,
                        Pattern::Common | Pattern::Placeholder | Pattern::Context
                    )
                }),
                "it is on none of Pentad's lists",
                "it is built on a common password, a stand-in, or words of its surroundings",
                GENERATE,
            ),
            Self::NoCompositionRules {} => held(
                !(policy.require_lowercase
                    || policy.require_uppercase
                    || policy.require_numbers
                    || policy.require_special_chars),
                format!("its policy `{}` asks for no character classes", policy.name),
                format!("its policy `{}` asks for character classes", policy.name),
                "ask for length instead; keep classes only where the target insists",
            ),
            Self::PolicyAllowsLength { characters } => held(
                policy.max_length.is_none_or(|max| max >= *characters),
                format!("its policy `{}` takes {characters} characters", policy.name),
                format!(
                    "its policy `{}` takes fewer than {characters} characters",
                    policy.name
                ),
                "raise the policy's `max_length`, or leave it out",
            ),
            Self::History { versions } if !facts.reused_from.is_empty() => fail(
                format!(
                    "its value was its own before, within the last {}",
                    policy.history.max(*versions)
                ),
                GENERATE,
            ),
            Self::History { versions } => held(
                policy.history >= *versions,
                format!("its policy bars the last {} values", policy.history),
                format!(
                    "its policy bars the last {} values, not {versions}",
                    policy.history
                ),
                "raise the policy's `history`",
            ),
            Self::Unique {} => held(
                facts.shared_with == 0,
                "no other credential has its value",
                match facts.shared_with {
                    1 => "another credential has the same value".to_owned(),
                    others => format!("{others} other credentials have the same value"),
                },
                GENERATE,
            ),
            Self::Sealed { algorithm } => match measured.sealed_by {
                None => unknown("what it is sealed by is not known"),
                Some(by) => held(
                    by == algorithm,
                    format!("it is sealed by {by}"),
                    format!("it is sealed by {by}, not by {algorithm}"),
                    GENERATE,
                ),
            },
            Self::KeyStrength { rsa_bits, ec_bits } => {
                strength(facts.key.as_ref(), *rsa_bits, *ec_bits)
            }
            // Decided without the value, above.
            _ => unknown("it is not about the value"),
        }
    }
}

fn strength(key: Option<&KeyFacts>, rsa_bits: u32, ec_bits: u32) -> Found {
    let Some(KeyFacts { algorithm, bits }) = key else {
        return unknown("its key's algorithm was not recognised");
    };
    let least = match algorithm.as_str() {
        "rsa" => rsa_bits,
        "ecdsa" | "ed25519" => ec_bits,
        "dsa" => {
            return fail(
                "it is a DSA key, which FIPS 186-5 no longer allows for signing",
                GENERATE,
            );
        }
        _ => {
            return unknown(format!(
                "how strong a key of {algorithm} is, is not known here"
            ));
        }
    };
    held(
        *bits >= least,
        format!("it is an {algorithm} key of {bits} bits"),
        format!("it is an {algorithm} key of {bits} bits, fewer than {least}"),
        GENERATE,
    )
}

fn age(subject: &Subject<'_>, days: u32) -> Found {
    let Some(version) = subject.version else {
        return unknown("it has no value");
    };
    let age = subject.now.since(version.created_at);
    let whole = age.as_secs() / DAY.as_secs();
    if age > DAY.saturating_mul(days) {
        return fail(
            format!("its value is {whole} days old, more than {days}"),
            ROTATE,
        );
    }
    if version.origin == Origin::Adopted {
        return unknown(format!(
            "it was taken over {whole} days ago; how old it was then is not known"
        ));
    }
    pass(format!("its value is {whole} days old"))
}
