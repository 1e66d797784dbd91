//! The nouns of Pentad: what every other crate speaks of.
//!
//! Nothing here does I/O, holds a key or can open a sealed value. What always holds:
//!
//! * [`Secret`] is the only type for plaintext. It is zeroised on drop, compares in constant time,
//!   and has neither `Serialize` nor a `Debug` that shows anything.
//! * [`Sealed`] is the only form in which a value is stored or travels.
//! * Names ([`Tenant`], [`Path`], [`Name`]) are parsed once and valid ever after.
//!
//! | module | nouns |
//! |---|---|
//! | [`name`] | tenants, credential paths, names of targets, roles, policies |
//! | [`kind`] | what sort of credential it is; one file a kind |
//! | [`credential`] | a credential's metadata, its binding to a target, its versions and their stages |
//! | [`secret`] | plaintext, and its sealed form |
//! | [`target`] | a system whose credentials are rotated |
//! | [`rotation`] | a rotation as it is persisted |
//! | [`access`] | verbs, principals, roles |
//! | [`context`] | who asked, for which tenant, under which correlation id |
//! | [`record`] | one entry of the audit log |
//! | [`assessment`] | what validation found out about a value |
//! | [`clock`], [`id`] | time and identity, both handed in |

pub mod access;
pub mod assessment;
pub mod clock;
pub mod context;
pub mod credential;
pub mod id;
pub mod kind;
pub mod name;
pub mod record;
pub mod rotation;
pub mod secret;
pub mod target;
mod text;

pub use access::{Principal, Verb};
pub use clock::{Clock, SystemClock, Timestamp};
pub use context::Context;
pub use credential::{Credential, Stage, Version};
pub use id::Id;
pub use kind::Kind;
pub use name::{Name, Path, Tenant};
pub use record::Record;
pub use rotation::Rotation;
pub use secret::{Sealed, Secret};
pub use target::Target;
