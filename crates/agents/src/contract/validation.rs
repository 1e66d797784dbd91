//! What may be asked of the validation agent.

use pentad_model::{
    Kind, Name, Path,
    assessment::{Assessment, Facts},
    rotation::{Evidence, Strategy},
    secret::Fingerprint,
};
use pentad_policy::CredentialPolicy;
use serde::{Deserialize, Serialize};

use crate::handoff::Ticket;

super::contract! {
    /// What may be asked of the validation agent. The tenant is the context's.
    agent "validation" handled by Validates;

    /// Judges a value against its policy, the earlier versions and the rest of the estate.
    judge(Judge: Judge) -> Assessment;
    /// As [`Validates::judge`], with the facts that the judgement rests on: for risk and compliance.
    measure(Measure: Judge) -> Box<Measured>;
    /// Judges what a verification of a rotation showed.
    evidence(Evidence: JudgeEvidence) -> Verdict;
}

/// See [`Validates::judge`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judge {
    /// The credential.
    pub path: Path,
    /// Its kind.
    pub kind: Kind,
    /// The policy that judges; the built-in one if none is named.
    pub policy: Option<Name>,
    /// The account that it belongs to, which the value must not resemble.
    pub account: Option<String>,
    /// The value.
    pub value: Ticket,
    /// Its keyed digest, to find reuse.
    pub fingerprint: Fingerprint,
    /// The version that is being judged, which is no reuse of itself.
    pub number: u32,
    /// What whoever drew the value says: from how many, as a power of two.
    pub drawn_bits: Option<u16>,
}

/// A judgement with what it rests on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// What was measured.
    pub facts: Facts,
    /// The judgement.
    pub assessment: Assessment,
    /// The policy that judged.
    pub policy: CredentialPolicy,
}

/// See [`Validates::evidence`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JudgeEvidence {
    /// How the credential is rotated.
    pub strategy: Strategy,
    /// Whether the old value is supposed to be refused by now.
    pub after_retirement: bool,
    /// What was seen.
    pub evidence: Evidence,
}

/// A verdict with its reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// Holds, is broken, or can't be told.
    pub verdict: Holds,
    /// Why.
    pub reason: String,
}

/// Whether a verification shows what it should.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It can't be told.
    CantTell,
}
