//! The five agents over a real store, rotating a real file. One binary for all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accepting;
mod access;
mod backup;
mod boundaries;
mod fresh;
mod full_disk;
mod key_work;
mod listing;
mod reading;
mod retention;
mod rotating;
mod servers;
mod storage;
mod supervision;
mod world;
