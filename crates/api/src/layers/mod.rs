//! What wraps every request, the outermost first: [`observe`], [`guard`], and for those that need a
//! caller [`authenticate`], [`admit`], [`idempotency`].
//!
//! They are plain functions, one after the other in [`every`] and [`known`], and only these two are
//! layers of the router: each layer of a router copies all that is below it for each request.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{App, problem::Problem};

pub(crate) mod admit;
pub(crate) mod authenticate;
pub(crate) mod guard;
pub(crate) mod idempotency;
pub(crate) mod observe;

pub(crate) use admit::{NDJSON, is_ndjson};
pub(crate) use authenticate::{Asker, origin, peer, tenant};
pub(crate) use observe::{correlation, within};

/// Around every route, and around the answer that there is none.
pub(crate) async fn every(State(app): State<App>, request: Request, next: Next) -> Response {
    let limit = app.options.timeout;
    observe::observed(&app, request, |request| {
        guard::contained(guard::in_time(limit, next.run(request)))
    })
    .await
}

/// Around every route that needs an authenticated caller.
pub(crate) async fn known(State(app): State<App>, request: Request, next: Next) -> Response {
    carried_out(&app, request, next)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn carried_out(app: &App, mut request: Request, next: Next) -> Result<Response, Problem> {
    authenticate::authenticate(app, &mut request).await?;
    let asker = Asker::of(&request)?;
    // The place and the body's room are held until the answer is made.
    let (_pass, _room, mut request) = admit::enter(app, request).await?;
    asker.still(app, &mut request).await?;
    idempotency::once(app, request, next).await
}
