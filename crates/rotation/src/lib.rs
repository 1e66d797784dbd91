//! The rotation protocol: a credential and its target never disagree for good.
//!
//! | module | holds |
//! |---|---|
//! | [`machine`] | the pure transition function: from a step and what was seen, to the next step |
//! | [`mod@rotate`] | the flow: runs the machine, writes each intent before its effect, recovers |
//! | [`ports`] | what the flow needs of others: journal, vault, judge, outside |
//! | `commit` | what each commit holds |
//! | `look` | what the target shows: fence, probe, verify |
//! | `seen` | what came of an act, on its way to the next commit |
//! | `settings` | what an operator may tune |
//! | [`order`] | which rotations of a batch come before which |
//!
//! What always holds, and the model check in `tests/` explores exhaustively at small bounds, also
//! with somebody else at the target (`tests/promises` has the exact words):
//!
//! * Nothing outside is touched before the intent, the sealed new value and the connection that
//!   will carry the effect are durable.
//! * Whoever finds an intent without an outcome fences that connection, then probes; it never
//!   guesses and never just repeats.
//! * A value that was sent is never dropped before a later one has been proven.
//! * Nothing is taken away (retired, undone) but on a look that is committed with the intent.
//! * What readers have and was last seen to fail is marked in doubt, or the rotation says that it
//!   failed or diverged. "Done" and "rolled back" are never said of it.
//! * An account that isn't Pentad's is not overwritten once a look has shown that it holds nothing
//!   of ours.
//! * Nothing is committed under a lease that somebody else has taken over.

mod commit;
mod look;
pub mod machine;
pub mod order;
pub mod ports;
pub mod rotate;
mod seen;
mod settings;

pub use commit::in_doubt;
pub use machine::{Act, Event, Rules, Settle, Stop, Transition, transition};
pub use rotate::{Driven, Engine};
