//! Logging in, and who one is.

use axum::{
    Json as Answer,
    extract::State,
    http::{Extensions, HeaderMap, StatusCode},
    response::Response,
};
use pentad_agents::operations;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    extract::{By, Json},
    layers::{self, authenticate},
    problem::Problem,
    wire,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(login))
}

pub(super) fn whoami_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(whoami))
}

/// Exchanges a password for a token that is good for twelve hours.
///
/// After five wrong passwords the user is locked out, for longer each time; after ten failures an
/// address has to wait.
#[utoipa::path(
    post,
    path = "/v1/login",
    tag = "access",
    security(()),
    request_body = wire::Login,
    responses(
        (status = 200, description = "The token; it is shown once", body = wire::TokenIssued),
        (status = 401, description = "Wrong user name or password", body = crate::problem::Body, content_type = "application/problem+json"),
        (status = 429, description = "Locked out; see Retry-After", body = crate::problem::Body, content_type = "application/problem+json"),
    ),
)]
async fn login(
    State(app): State<App>,
    headers: HeaderMap,
    extensions: Extensions,
    Json(login): Json<wire::Login>,
) -> Result<Response, Problem> {
    let tenant = layers::tenant(&headers)?;
    let peer = layers::peer(&extensions);
    authenticate::limit(&app, peer)?;
    let login = operations::Login {
        user: login.user,
        password: login.password.0,
    };
    let issued = app
        .pentad
        .login(login, &tenant, &layers::origin(peer), layers::correlation())
        .await
        .map_err(|fault| authenticate::count(&app, peer, fault))?;
    Ok(wire::secret_json(
        StatusCode::OK,
        &wire::TokenIssued::from(issued),
    )?)
}

/// Who asks, and for which tenant.
#[utoipa::path(
    get,
    path = "/v1/whoami",
    tag = "access",
    responses((status = 200, description = "The caller", body = wire::WhoAmI)),
)]
async fn whoami(By(caller): By) -> Answer<wire::WhoAmI> {
    let context = caller.context;
    Answer(wire::WhoAmI {
        principal: context.principal.to_string(),
        details: context.principal,
        tenant: context.tenant,
        origin: context.origin,
    })
}
