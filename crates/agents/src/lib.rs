//! The five agents and the operations that they carry out together.
//!
//! ```text
//!              interface (HTTP, command line)
//!                        │  operations/  authenticate, decide, ask the agents, answer
//!        ┌───────────────┼───────────────┬──────────────────┐
//!        ▼               ▼               ▼                  ▼
//!   encryption      validation      monitoring          rotation ──▶ encryption, validation,
//!   opens, seals    judges          commits, records    drives        monitoring, integration
//!                                        │ signs and seals by
//!                                        └──▶ encryption          integration: the only one
//!                                                                 that speaks to targets
//! ```
//!
//! What always holds:
//!
//! * Only [`encryption`] owns a keyring; plaintext passes between agents as a one-use
//!   [`Ticket`](handoff::Ticket), never inside a message.
//! * Only [`monitoring`] owns the store's writing half: no change without its record.
//! * Only [`integration`] owns connectors.
//! * Nobody decides by a document that the encryption agent has not sealed.
//! * A request flows one way and its answer comes back once; [`contract::permits`] is the table of
//!   who may ask what.
//!
//! | module | holds |
//! |---|---|
//! | [`contract`] | the messages of each agent and the table of who may ask what |
//! | [`handoff`] | one-use tickets for plaintext |
//! | `hot` | what is asked for again and again, kept in memory |
//! | `documents` | what decides (users, roles, targets, …), believed only with our seal |
//! | [`encryption`], [`validation`], [`monitoring`], [`integration`], [`rotation`] | the agents |
//! | [`operations`] | what an interface offers, each with its access check and its record |
//! | [`files`] | which files of others may be touched |
//! | [`fault`] | what can go wrong, by what the caller should do |

pub mod backup;
pub mod contract;
mod current;
mod displaced;
mod documents;
pub mod encryption;
pub mod fault;
pub mod files;
pub mod handoff;
mod hot;
pub mod integration;
pub mod monitoring;
pub mod operations;
pub mod rotation;
pub mod system;
pub mod validation;

pub use fault::Fault;
pub use files::Directories;
pub use operations::{Caller, Pentad};
// What admission is asked with and answers, so that an interface needs no runtime crate.
pub use pentad_runtime::{
    Priority,
    gate::{Limits, Pass},
};
pub use system::{Parts, start, start_with, start_within};
