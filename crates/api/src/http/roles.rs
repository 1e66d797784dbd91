//! Roles.

use axum::{Json as Answer, extract::State, http::StatusCode};
use pentad_model::Name;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    extract::{By, Json, Params, Segment},
    problem::Problem,
    wire,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(put, remove))
        .routes(routes!(explain))
}

/// The ready-made roles and the tenant's own.
#[utoipa::path(
    get,
    path = "/v1/roles",
    tag = "access",
    params(wire::Paging),
    responses((status = 200, description = "A page; the first has the ready-made ones in addition", body = wire::Page<wire::Role>)),
)]
async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(paging): Params<wire::Paging>,
) -> Result<Answer<wire::Page<wire::Role>>, Problem> {
    let limit = wire::limit(paging.limit)?;
    let page = app
        .pentad
        .roles(&caller, paging.after.as_deref(), limit)
        .await?;
    Ok(Answer(wire::of_page(page, |role| role.name.to_string())))
}

/// Makes or replaces a role.
#[utoipa::path(
    put,
    path = "/v1/roles/{name}",
    tag = "access",
    params(("name" = String, Path, description = "The role's name")),
    request_body = wire::RoleContent,
    responses((status = 204, description = "Done")),
)]
async fn put(
    State(app): State<App>,
    By(caller): By,
    Segment(name): Segment<Name>,
    Json(content): Json<wire::RoleContent>,
) -> Result<StatusCode, Problem> {
    app.pentad
        .put_role(&caller, content.into_role(name))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a role of the tenant's own: whoever has it may do that much less.
#[utoipa::path(
    delete,
    path = "/v1/roles/{name}",
    tag = "access",
    params(("name" = String, Path, description = "The role's name")),
    responses((status = 204, description = "The role is gone")),
)]
async fn remove(
    State(app): State<App>,
    By(caller): By,
    Segment(name): Segment<Name>,
) -> Result<StatusCode, Problem> {
    app.pentad.remove_role(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why whoever has these roles may or may not do something.
#[utoipa::path(
    post,
    path = "/v1/roles/explain",
    tag = "access",
    request_body = wire::Explain,
    responses((status = 200, description = "The decision with its reason", body = wire::Decision)),
)]
async fn explain(
    State(app): State<App>,
    By(caller): By,
    Json(ask): Json<wire::Explain>,
) -> Result<Answer<wire::Decision>, Problem> {
    let decision = app
        .pentad
        .explain(&caller, &ask.roles, ask.verb, &ask.path)
        .await?;
    Ok(Answer(wire::Decision {
        allowed: decision.allowed,
        because: decision.because.to_string(),
    }))
}
