//! The API's client: one question form, two transports.
//!
//! Over the network, or in this process: the same router, called without a socket, by the local
//! user who has the store's directory and its key. No command knows which.
//!
//! Bodies with values live in zeroised buffers here. The HTTP library's own buffers and TLS's are
//! not ours to zeroise.

use std::path::Path;

use http::StatusCode;
use pentad_agents::Pentad;
use pentad_model::Secret;
use zeroize::Zeroizing;

use crate::failure::Failure;

mod address;
mod call;
mod local;
mod network;
mod problem;

pub(crate) use address::collector_address;
pub(crate) use call::{Answer, Call, at};
pub(crate) use network::builder;
pub(crate) use problem::problem;

use local::Local;
use network::Network;

/// Where questions go.
pub(crate) enum Client {
    /// A server.
    Network(Network),
    /// This process.
    Local(Local),
}

impl Client {
    /// A client of the server at `address`.
    pub(crate) fn network(
        address: &str,
        tenant: &str,
        token: Option<Secret>,
        ca_cert: Option<&Path>,
    ) -> Result<Self, Failure> {
        Network::new(address, tenant, token, ca_cert).map(Self::Network)
    }

    /// A client of the system in this process.
    pub(crate) fn local(pentad: Pentad, user: String, tenant: &str) -> Self {
        Self::Local(Local::new(pentad, user, tenant))
    }

    /// Whether a server carries on when this program ends.
    pub(crate) fn outlives_us(&self) -> bool {
        matches!(self, Self::Network(_))
    }

    /// Asks. Any status but success is a failure, with the problem's words.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, Failure> {
        let (status, body) = self.ask(call).await?;
        match status.is_success() {
            true => Ok(Answer(body)),
            false => Err(problem(status, &body)),
        }
    }

    /// Asks, and hands the answer out as it comes.
    pub(crate) async fn stream(
        &self,
        call: Call,
        each: &mut (dyn FnMut(&[u8]) -> Result<(), Failure> + Send),
    ) -> Result<(), Failure> {
        let refused = match self {
            Self::Network(network) => network.stream(call, each).await?,
            Self::Local(local) => local.stream(call, each).await?,
        };
        match refused {
            None => Ok(()),
            Some((status, body)) => Err(problem(status, &body)),
        }
    }

    /// Asks, and takes any status.
    pub(crate) async fn ask(
        &self,
        call: Call,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), Failure> {
        match self {
            Self::Network(network) => network.ask(call).await,
            Self::Local(local) => local.ask(call).await,
        }
    }
}
