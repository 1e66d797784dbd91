//! What a credential policy can ask for, and the built-in policy of each kind.

use pentad_model::{Kind, Name, assessment::Pattern};
use serde::{Deserialize, Serialize};

/// A policy as somebody writes it. Everything but the name may be left out; the defaults are those
/// of [`CredentialPolicy::builtin`] for passwords.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialPolicy {
    /// Its name.
    pub name: Name,
    /// Counts changes, so that an old judgement can be told from a new one. Default: 1.
    #[serde(default = "one")]
    pub version: u32,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// The kinds that it judges. Default: all.
    #[serde(default)]
    pub kinds: Vec<Kind>,
    /// Characters at least. Default: 15, the least that NIST SP 800-63B-4 section 3.1.1.2 asks of a
    /// password that is the only factor.
    #[serde(default = "fifteen")]
    pub min_length: usize,
    /// Characters at most. Default: no limit but the kind's own.
    #[serde(default)]
    pub max_length: Option<usize>,
    /// An upper-case letter. Default: no; NIST SP 800-63B-4 forbids composition rules, since they
    /// make people predictable. For targets that insist.
    #[serde(default)]
    pub require_uppercase: bool,
    /// A lower-case letter. Default: no.
    #[serde(default)]
    pub require_lowercase: bool,
    /// A digit. Default: no.
    #[serde(default)]
    pub require_numbers: bool,
    /// A character that is neither letter nor digit. Default: no.
    #[serde(default)]
    pub require_special_chars: bool,
    /// Estimated guesses at least, as a power of ten, for values that people choose. Default: 10,
    /// where zxcvbn's documentation begins its highest score: strong protection against offline
    /// guessing of a slow hash.
    #[serde(default = "ten")]
    pub min_guesses_log10: f64,
    /// Entropy in bits at least, for values that nobody chooses (tokens, keys). It is the observed
    /// entropy, somewhat below that of the generator. Default: 64, what NIST SP 800-63B-4 section
    /// 5.1 asks of a session secret. 0: not asked.
    #[serde(default = "sixty_four")]
    pub min_entropy_bits: f64,
    /// Patterns that refuse a value; others only warn. Default: `common`, `placeholder`, `context`,
    /// the blocklist of NIST SP 800-63B-4 section 3.1.1.2.
    #[serde(default = "blocklist")]
    pub forbid_patterns: Vec<Pattern>,
    /// Earlier versions, counted back from the new one, whose value may not return. 0: any may.
    /// Default: 24; at most 1,000.
    #[serde(default = "twenty_four")]
    pub history: u32,
    /// The organisation's own dictionary: its names, products, places. A value that is built on one
    /// of them, also with digits and signs for letters, has the pattern `context`. Words of 4 to 64
    /// characters, at most 1,000. Default: none.
    #[serde(default)]
    pub words: Vec<String>,
    /// Whether another credential of the tenant with the same value refuses it, rather than warns.
    /// Default: no.
    #[serde(default)]
    pub forbid_shared: bool,
    /// Formats that a value must have one of, by the names that validation gives them. Default:
    /// any.
    #[serde(default)]
    pub formats: Vec<String>,
}

fn one() -> u32 {
    1
}
fn ten() -> f64 {
    10.0
}
fn fifteen() -> usize {
    15
}
fn twenty_four() -> u32 {
    24
}
fn sixty_four() -> f64 {
    64.0
}
fn blocklist() -> Vec<Pattern> {
    vec![Pattern::Common, Pattern::Placeholder, Pattern::Context]
}

/// Why a policy can't be used. Whoever wrote it mends it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidPolicy {
    /// No value could ever pass.
    #[error("`max_length` ({max}) is below `min_length` ({min}); raise it or leave it out")]
    Lengths {
        /// `min_length`.
        min: usize,
        /// `max_length`.
        max: usize,
    },
    /// Not a number that a measure can reach.
    #[error("`{0}` must be a number from 0 to {1}")]
    Number(&'static str, u32),
    /// More earlier values than are compared with.
    #[error("`history` goes up to {MAX_HISTORY}, not {0}")]
    History(u32),
    /// A word that would match by chance, or more of them than anybody keeps.
    #[error("`words` are at most {MAX_WORDS} of 4 to 64 characters each")]
    Words,
    /// A built-in policy's name.
    #[error("names that begin with `builtin` are taken by the built-in policies; choose another")]
    Reserved,
}

/// Estimates end there; a policy that asks for more refuses every value.
const MAX_GUESSES_LOG10: u32 = 19;
const MAX_ENTROPY_BITS: u32 = 4096;
/// Earlier versions that a value is compared with at most.
const MAX_HISTORY: u32 = 1000;
const MAX_WORDS: usize = 1000;

impl CredentialPolicy {
    /// A policy with every default.
    pub fn named(name: Name) -> Self {
        Self {
            name,
            version: one(),
            description: String::new(),
            kinds: Vec::new(),
            min_length: fifteen(),
            max_length: None,
            require_uppercase: false,
            require_lowercase: false,
            require_numbers: false,
            require_special_chars: false,
            min_guesses_log10: ten(),
            min_entropy_bits: sixty_four(),
            forbid_patterns: blocklist(),
            history: twenty_four(),
            words: Vec::new(),
            forbid_shared: false,
            formats: Vec::new(),
        }
    }

    /// The policy that judges a kind's values where a credential names none.
    ///
    /// * `password`: the defaults.
    /// * `database`: estimated guesses of 10^14 at least, since a stolen password table is attacked
    ///   with fast hashes (MySQL's double SHA-1).
    /// * `api_key`, `token`, `oauth2`: entropy of 64 bits at least; length is the issuer's affair.
    /// * `certificate`, `ssh_key`, `signing_key`: the right format.
    /// * `secret`, `connection_string`: anything that is not a stand-in.
    pub fn builtin(kind: Kind) -> Self {
        let mut policy = Self::named(builtin_name(kind));
        policy.kinds = vec![kind];
        policy.description = format!("Built in: values of the kind {kind}.");
        let formats = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        match kind {
            Kind::Password => {}
            Kind::Database => policy.min_guesses_log10 = 14.0,
            Kind::ApiKey | Kind::Token | Kind::Oauth2 => policy.min_length = 1,
            Kind::Certificate => {
                policy.min_length = 1;
                policy.formats = formats(&["pem_certificate", "pem_certificate_with_key"]);
            }
            Kind::SshKey => {
                policy.min_length = 1;
                policy.formats = formats(&["openssh_private_key", "pem_private_key"]);
            }
            Kind::SigningKey => {
                policy.min_length = 1;
                policy.formats = formats(&["pem_private_key", "openssh_private_key"]);
            }
            Kind::Secret | Kind::ConnectionString => {
                policy.min_length = 1;
                policy.min_entropy_bits = 0.0;
                policy.forbid_patterns = vec![Pattern::Placeholder];
            }
        }
        policy
    }

    /// Whether it judges this kind.
    pub fn applies_to(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    /// The earliest version whose value may not return as version `number`: the `history` versions
    /// before it are barred. `None` where any may return. Whoever fills
    /// [`Facts::reused_from`](pentad_model::assessment::Facts::reused_from) compares with versions
    /// from there on.
    pub fn history_from(&self, number: u32) -> Option<u32> {
        (self.history > 0).then(|| number.saturating_sub(self.history).max(1))
    }

    /// Checks a policy that somebody wrote.
    pub fn check(&self) -> Result<(), InvalidPolicy> {
        if self.name.as_str().starts_with("builtin") {
            return Err(InvalidPolicy::Reserved);
        }
        if let Some(max) = self.max_length.filter(|max| *max < self.min_length) {
            return Err(InvalidPolicy::Lengths {
                min: self.min_length,
                max,
            });
        }
        let within = |value: f64, limit: u32| (0.0..=f64::from(limit)).contains(&value);
        if !within(self.min_guesses_log10, MAX_GUESSES_LOG10) {
            return Err(InvalidPolicy::Number(
                "min_guesses_log10",
                MAX_GUESSES_LOG10,
            ));
        }
        if !within(self.min_entropy_bits, MAX_ENTROPY_BITS) {
            return Err(InvalidPolicy::Number("min_entropy_bits", MAX_ENTROPY_BITS));
        }
        if self.history > MAX_HISTORY {
            return Err(InvalidPolicy::History(self.history));
        }
        let fits = |word: &String| (4..=64).contains(&word.chars().count());
        if self.words.len() > MAX_WORDS || !self.words.iter().all(fits) {
            return Err(InvalidPolicy::Words);
        }
        Ok(())
    }
}

/// `builtin.<kind>`; kinds are named within the alphabet of names, which a test checks.
#[allow(clippy::expect_used)]
fn builtin_name(kind: Kind) -> Name {
    format!("builtin.{kind}")
        .parse()
        .expect("kinds are named within the alphabet of names")
}
