//! Targets.

use std::collections::BTreeMap;

use pentad_agents::contract::integration as int;
use pentad_model::{Name, Path, Tenant, Timestamp, target, target::Tls};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// How to reach a target and with which rights.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetContent {
    /// The connector; GET /v1/connectors lists them.
    #[schema(example = "postgresql")]
    pub system: String,
    /// Host and port, or a file's path; the connector documents which.
    #[schema(example = "db.internal:5432")]
    pub address: String,
    /// The administrating account's name at the target, where the system has one.
    #[serde(default)]
    pub admin_account: Option<String>,
    /// Where in Pentad the administrating account's password is.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub admin_credential: Option<Path>,
    /// `verify` (the default) or `plain`, for loopback addresses and Unix sockets only.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub tls: Tls,
    /// A CA certificate, PEM, to trust instead of the system's.
    #[serde(default)]
    pub ca_pem: Option<String>,
    /// How many rotations may run on it at once; 16 if not given.
    #[serde(default)]
    pub concurrency: Option<u16>,
    /// Failed logins that lock an account there, if it does so.
    #[serde(default)]
    pub lockout_limit: Option<u16>,
    /// What only this connector knows; each lists its own.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// Rotations at once on one target, if nothing else is said.
const CONCURRENCY: u16 = 16;

impl TargetContent {
    /// As the operations take it; they set tenant and times.
    pub(crate) fn into_target(self, name: Name, tenant: Tenant) -> target::Target {
        target::Target {
            tenant,
            name,
            system: self.system,
            address: self.address,
            admin_account: self.admin_account,
            admin_credential: self.admin_credential,
            tls: self.tls,
            ca_pem: self.ca_pem,
            concurrency: self.concurrency.unwrap_or(CONCURRENCY),
            lockout_limit: self.lockout_limit,
            options: self.options,
            revision: 0,
            created_at: Timestamp(0),
        }
    }
}

/// A system whose credentials are rotated.
#[derive(Debug, Serialize, ToSchema)]
pub struct Target {
    /// Its name.
    #[schema(value_type = String)]
    pub name: Name,
    /// The connector.
    pub system: String,
    /// Host and port, or a file's path.
    pub address: String,
    /// The administrating account's name at the target.
    pub admin_account: Option<String>,
    /// Where in Pentad the administrating account's password is.
    #[schema(value_type = Option<String>)]
    pub admin_credential: Option<Path>,
    /// `verify` or `plain`.
    #[schema(value_type = String)]
    pub tls: Tls,
    /// A CA certificate, PEM.
    pub ca_pem: Option<String>,
    /// How many rotations may run on it at once.
    pub concurrency: u16,
    /// Failed logins that lock an account there.
    pub lockout_limit: Option<u16>,
    /// What only this connector knows.
    pub options: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Time,
}

impl From<target::Target> for Target {
    fn from(from: target::Target) -> Self {
        Self {
            name: from.name,
            system: from.system,
            address: from.address,
            admin_account: from.admin_account,
            admin_credential: from.admin_credential,
            tls: from.tls,
            ca_pem: from.ca_pem,
            concurrency: from.concurrency,
            lockout_limit: from.lockout_limit,
            options: from.options,
            created_at: Time(from.created_at),
        }
    }
}

/// What a check of a target found.
#[derive(Debug, Serialize, ToSchema)]
pub struct TargetCheck {
    /// Whether nothing stands in the way of rotations there.
    pub ready: bool,
    /// What is wrong and what mends it.
    pub complaints: Vec<Complaint>,
    /// What was seen.
    pub notes: Vec<String>,
}

/// Something in the way of a rotation.
#[derive(Debug, Serialize, ToSchema)]
pub struct Complaint {
    /// What is wrong.
    pub problem: String,
    /// What mends it.
    pub remedy: String,
}

impl From<int::Checked> for TargetCheck {
    fn from(from: int::Checked) -> Self {
        Self {
            ready: from.complaints.is_empty(),
            complaints: from
                .complaints
                .into_iter()
                .map(|complaint| Complaint {
                    problem: complaint.problem,
                    remedy: complaint.remedy,
                })
                .collect(),
            notes: from.notes,
        }
    }
}
