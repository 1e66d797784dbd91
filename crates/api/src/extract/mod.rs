//! What handlers take from a request, with errors that name the place and the next step.
//!
//! Texts of parsers are never passed on as they are: they quote what they refuse. See [`body`].

pub(crate) mod body;
mod expect;
mod params;
mod path;

pub(crate) use body::Json;
pub(crate) use expect::Expected;
pub(crate) use params::Params;
pub(crate) use path::{At, Segment};

use axum::{extract::FromRequestParts, http::request::Parts};
use pentad_agents::Caller;

use crate::{App, problem::Problem};

/// The caller whom the authenticating layer has seen. A route outside of that layer has none and
/// is refused: nothing runs unauthenticated by oversight.
pub(crate) struct By(pub(crate) Caller);

impl FromRequestParts<App> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Caller>()
            .cloned()
            .map(Self)
            .ok_or_else(Problem::no_token)
    }
}
