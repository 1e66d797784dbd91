//! Tenants; managed from the default tenant.

use axum::{Json as Answer, extract::State, http::StatusCode};
use pentad_model::Tenant;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    extract::{By, Params, Segment},
    problem::Problem,
    wire,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(create))
}

/// Tenants beside the default one, in the order of their names.
#[utoipa::path(
    get,
    path = "/v1/tenants",
    tag = "access",
    params(wire::Paging),
    responses((status = 200, description = "A page", body = wire::Page<String>)),
)]
async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(paging): Params<wire::Paging>,
) -> Result<Answer<wire::Page<String>>, Problem> {
    let limit = wire::limit(paging.limit)?;
    let page = app
        .pentad
        .tenants(&caller, paging.after.as_deref(), limit)
        .await?;
    let items: Vec<String> = page
        .items
        .into_iter()
        .map(|tenant| tenant.to_string())
        .collect();
    let next = items.last().filter(|_| page.more).cloned();
    Ok(Answer(wire::Page { items, next }))
}

/// Makes a tenant, with a key of its own.
#[utoipa::path(
    put,
    path = "/v1/tenants/{name}",
    tag = "access",
    params(("name" = String, Path, description = "The tenant's name")),
    responses(
        (status = 201, description = "It is made"),
        (status = 409, description = "It exists already", body = crate::problem::Body, content_type = "application/problem+json"),
    ),
)]
async fn create(
    State(app): State<App>,
    By(caller): By,
    Segment(tenant): Segment<Tenant>,
) -> Result<StatusCode, Problem> {
    app.pentad.create_tenant(&caller, &tenant).await?;
    Ok(StatusCode::CREATED)
}
