//! What validation found out about a value: facts first, judgement apart.

use serde::{Deserialize, Serialize};

/// Measured facts about a value. They never hold the value or a part of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// Characters (bytes, where it is not text).
    pub length: usize,
    /// Lower-case letters are in it.
    pub lower: bool,
    /// Upper-case letters are in it.
    pub upper: bool,
    /// Digits are in it.
    pub digit: bool,
    /// Anything else is in it.
    pub special: bool,
    /// Shannon entropy of its characters times their number, in bits. An upper bound.
    pub entropy_bits: f64,
    /// Estimated guesses needed, as a power of ten; for memorable kinds.
    pub guesses_log10: Option<f64>,
    /// Patterns found: keyboard walks, dates, repeats, dictionary words, placeholders.
    pub patterns: Vec<Pattern>,
    /// What it looks like, for example `jwt`, `pem_certificate`, `github_token`.
    pub format: Option<String>,
    /// Earlier versions of the same credential that had the same value.
    pub reused_from: Vec<u32>,
    /// How many other credentials of the tenant have the same value; never which.
    pub shared_with: u32,
    /// The key that it holds, where it holds one that was recognised.
    #[serde(default)]
    pub key: Option<KeyFacts>,
}

/// What is known of a private key or a certificate's key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyFacts {
    /// `rsa`, `ecdsa`, `ed25519`, `dsa`, or what its file calls it.
    pub algorithm: String,
    /// The modulus's, or the field's, size in bits.
    pub bits: u32,
}

/// A weakness in a value's shape.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    /// On a list of common passwords.
    Common,
    /// A dictionary word or a name.
    Word,
    /// Neighbouring keys.
    KeyboardWalk,
    /// A run such as `abcd` or `4321`.
    Sequence,
    /// Repeated characters or blocks.
    Repeat,
    /// A date or a recent year.
    Date,
    /// A stand-in such as `changeme` or `YOUR_API_KEY`.
    Placeholder,
    /// The path, account or organisation's own words.
    Context,
}

/// A judgement: 0 to 100, with its reasons.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Assessment {
    /// 0 (worthless) to 100.
    pub score: u8,
    /// Whether policy accepts the value.
    pub accepted: bool,
    /// Why, the gravest first.
    pub findings: Vec<Finding>,
    /// Which rules judged, with their version.
    pub rules: String,
}

/// One reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name, such as `length` or `reuse`.
    pub rule: String,
    /// How grave it is.
    pub severity: Severity,
    /// What was found; never the value or a part of it.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

/// How grave a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Should be mended.
    Warning,
    /// The value is refused.
    Refuse,
}
