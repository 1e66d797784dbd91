//! The contract that every connector keeps, tried on real servers.
//!
//! `./dev services up` starts them and `./dev services env` prints where they are; without them
//! these tests fail, they are not skipped. A connector that is registered and has no bench in
//! [`bench`] fails too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod contract;
mod envfile;
mod latency;
mod mariadb;
mod postgresql;
mod proxy;
mod redis;
mod transport;
