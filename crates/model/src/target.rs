//! A system whose credentials are rotated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Name, Path, Tenant, Timestamp};

/// How to reach a target and with which rights.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its name.
    pub name: Name,
    /// The connector: `postgresql`, `mariadb`, `redis`, `envfile`.
    pub system: String,
    /// Host and port, or a file's path; the connector documents which.
    pub address: String,
    /// The administrating account's name at the target, where the system has one.
    #[serde(default)]
    pub admin_account: Option<String>,
    /// Where in the store the administrating account's password is.
    #[serde(default)]
    pub admin_credential: Option<Path>,
    /// Whether and how the connection is protected.
    #[serde(default)]
    pub tls: Tls,
    /// A CA certificate, PEM, to trust instead of the system's.
    #[serde(default)]
    pub ca_pem: Option<String>,
    /// How many rotations may run on it at once.
    #[serde(default = "default_concurrency")]
    pub concurrency: u16,
    /// Failed logins that lock an account there, if it does so: probes stay below it.
    #[serde(default)]
    pub lockout_limit: Option<u16>,
    /// What only this connector knows, such as `database`; each connector lists its own.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Counts changes.
    #[serde(default)]
    pub revision: u64,
    /// When it was made.
    #[serde(default)]
    pub created_at: Timestamp,
}

fn default_concurrency() -> u16 {
    16
}

/// Protection of the connection to a target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Encrypted, certificate and name verified. The default.
    #[default]
    Verify,
    /// No encryption; accepted for loopback addresses and Unix sockets only.
    Plain,
}
