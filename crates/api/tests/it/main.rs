//! The HTTP interface over the real system: a real store, real agents, a real file as target.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod access;
mod bodies;
mod canary;
mod compliance;
mod credentials;
mod crypto;
mod idempotency;
mod openapi;
mod retention;
mod rotations;
mod streams;
mod system;
mod world;
