//! Campaigns: the real `pentad`, over real servers, looked at from outside.
//!
//! Nothing here links a crate of ours. A campaign starts the binary, talks to it by HTTP, kills it,
//! and asks the targets by their own clients. What it claims about the product is therefore what an
//! operator would see.
//!
//! | module | holds |
//! |---|---|
//! | [`dice`] | seeded chance, so that a campaign can be played again |
//! | [`systems`] | PostgreSQL, MariaDB and Redis as the campaign sees them: prepare, log in, look |
//! | [`proxy`] | a TCP proxy before a target that sees effects and holds them, or their replies |
//! | [`server`] | a `pentad server` process: start, kill, stop, the steps that its log shows |
//! | [`api`] | its HTTP API |
//! | [`crash`] | the crash campaign |
//! | [`canary`] | the canary campaign |
//! | [`connections`] | the connections campaign |
//! | [`soak`] | the soak |
//! | [`raw`] | HTTP by hand, for clients that behave as no library would |
//! | [`gauge`] | a process seen from outside, and percentiles |
//! | `power` | the power campaign; a feature, for it brings a file system |
//!
//! To add a campaign: a module beside [`crash`] and a small `src/bin/<name>.rs`.

pub mod api;
pub mod canary;
pub mod connections;
pub mod crash;
pub mod dice;
pub mod gauge;
#[cfg(feature = "power")]
pub mod power;
pub mod proxy;
pub mod raw;
pub mod server;
pub mod soak;
pub mod systems;
