//! Credential policies of a tenant's own.

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
}

/// The tenant's policies, in the order of their names.
#[utoipa::path(
    get,
    path = "/v1/policies",
    tag = "access",
    params(wire::Paging),
    responses((status = 200, description = "A page", body = wire::Page<wire::Policy>)),
)]
async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(paging): Params<wire::Paging>,
) -> Result<Answer<wire::Page<wire::Policy>>, Problem> {
    let limit = wire::limit(paging.limit)?;
    let page = app
        .pentad
        .policies(&caller, paging.after.as_deref(), limit)
        .await?;
    Ok(Answer(wire::of_page(page, |policy| {
        policy.name.to_string()
    })))
}

/// Makes or replaces a policy. It judges from the next value on.
#[utoipa::path(
    put,
    path = "/v1/policies/{name}",
    tag = "access",
    params(("name" = String, Path, description = "The policy's name")),
    request_body = wire::PolicyContent,
    responses((status = 204, description = "Done")),
)]
async fn put(
    State(app): State<App>,
    By(caller): By,
    Segment(name): Segment<Name>,
    Json(content): Json<wire::PolicyContent>,
) -> Result<StatusCode, Problem> {
    app.pentad
        .put_policy(&caller, content.into_policy(name))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a policy. Credentials that name it take no new value until they name another one.
#[utoipa::path(
    delete,
    path = "/v1/policies/{name}",
    tag = "access",
    params(("name" = String, Path, description = "The policy's name")),
    responses((status = 204, description = "The policy is gone")),
)]
async fn remove(
    State(app): State<App>,
    By(caller): By,
    Segment(name): Segment<Name>,
) -> Result<StatusCode, Problem> {
    app.pentad.remove_policy(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
