//! Pure rules that return a decision with its reasons.
//!
//! Nothing here does I/O, asks the time or draws a random number: the same arguments give the same
//! answer. What always holds:
//!
//! * Nothing is allowed unless a rule allows it, and no rule beats a `deny`.
//! * Every answer carries its reason, in words that an operator can act on.
//! * No answer holds a credential's value; judgements see [`Facts`](pentad_model::assessment::Facts)
//!   only.
//!
//! | module | decides |
//! |---|---|
//! | [`access`] | who may do what on which path; the ready-made roles |
//! | [`rules`] | whether a value is good enough: credential policies, one file a rule |
//! | [`strategy`] | how a credential is rotated |
//! | [`evidence`] | whether what was seen at a target proves a rotation |
//! | [`rotation_policy`] | which credentials are rotated when, and why |
//! | [`schedule`] | when the next rotation is due by time |
//! | [`retention`] | which old values are destroyed, and when |
//! | [`risk`] | which credential to look at first |
//! | [`compliance`] | what a framework's controls say of a credential; rule sets are data |
//!
//! To add a rule for values: see [`rules`].

pub mod access;
pub mod compliance;
pub mod evidence;
pub mod retention;
pub mod risk;
pub mod rotation_policy;
pub mod rules;
pub mod schedule;
pub mod strategy;

pub use access::{Access, Decision, InvalidRole, Reason};
pub use evidence::{Verdict, judge_verification};
pub use rotation_policy::{RotationPolicies, RotationPolicy};
pub use rules::{CredentialPolicy, InvalidPolicy, judge};
pub use schedule::{Due, Schedule, Timetable};
pub use strategy::{NoStrategy, choose_strategy};
