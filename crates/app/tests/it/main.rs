//! The program as people and scripts meet it: the real binary, on a store of its own, in this
//! process' way and over the network, with transcripts of what it says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod backups;
mod everyday;
mod exchange;
mod full_disk;
mod keys;
mod mistakes;
mod policies;
mod postgres;
mod processes;
mod rights;
mod serving;
mod slow_clients;
mod traces;
mod world;
