//! What wraps every request, the outermost first: [`observe`], [`guard`], [`authenticate`],
//! [`admit`], [`idempotency`].

pub(crate) mod admit;
pub(crate) mod authenticate;
pub(crate) mod guard;
pub(crate) mod idempotency;
pub(crate) mod observe;

pub(crate) use authenticate::{origin, peer, tenant};
pub(crate) use observe::correlation;
