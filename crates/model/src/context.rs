//! Who asked, for which tenant, under which correlation id: travels with every message.

use serde::{Deserialize, Serialize};

use crate::{Id, Principal, Tenant};

/// The origin of a request, carried from the interface through every agent into record, log and
/// trace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Context {
    /// Ties everything that one request caused together. Taken from the client's
    /// `X-Correlation-Id` where it is a valid id, else made at the interface.
    pub correlation: Id,
    /// The tenant asked about.
    pub tenant: Tenant,
    /// Who asked.
    pub principal: Principal,
    /// Where from: a peer address, `local`, or the name of an agent.
    pub origin: String,
}
