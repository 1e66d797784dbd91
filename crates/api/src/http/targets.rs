//! Targets and connectors.

use axum::{Json as Answer, extract::State, http::StatusCode};
use pentad_model::Name;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::agents::observer;
use crate::{
    App,
    extract::{By, Json, Params, Segment},
    problem::Problem,
    wire,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(describe, put, remove))
        .routes(routes!(check))
        .routes(routes!(connectors))
}

/// Targets, in the order of their names.
#[utoipa::path(
    get,
    path = "/v1/targets",
    tag = "targets",
    params(wire::Paging),
    responses((status = 200, description = "A page", body = wire::Page<wire::Target>)),
)]
async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(paging): Params<wire::Paging>,
) -> Result<Answer<wire::Page<wire::Target>>, Problem> {
    let limit = wire::limit(paging.limit)?;
    let page = app
        .pentad
        .targets(&caller, paging.after.as_deref(), limit)
        .await?;
    Ok(Answer(wire::of_page(page, |target| {
        target.name.to_string()
    })))
}

/// One target.
#[utoipa::path(
    get,
    path = "/v1/targets/{name}",
    tag = "targets",
    params(("name" = String, Path, description = "The target's name")),
    responses((status = 200, description = "The target", body = wire::Target)),
)]
async fn describe(
    State(app): State<App>,
    By(caller): By,
    Segment(name): Segment<Name>,
) -> Result<Answer<wire::Target>, Problem> {
    Ok(Answer(app.pentad.target(&caller, &name).await?.into()))
}

/// Makes or replaces a target. Its settings are checked; POST …/check reaches out to it.
#[utoipa::path(
    put,
    path = "/v1/targets/{name}",
    tag = "targets",
    params(("name" = String, Path, description = "The target's name")),
    request_body = wire::TargetContent,
    responses((status = 200, description = "The target", body = wire::Target)),
)]
async fn put(
    State(app): State<App>,
    By(caller): By,
    Segment(name): Segment<Name>,
    Json(content): Json<wire::TargetContent>,
) -> Result<Answer<wire::Target>, Problem> {
    let target = content.into_target(name, caller.context.tenant.clone());
    Ok(Answer(app.pentad.put_target(&caller, target).await?.into()))
}

/// Removes a target that no credential is bound to.
#[utoipa::path(
    delete,
    path = "/v1/targets/{name}",
    tag = "targets",
    params(("name" = String, Path, description = "The target's name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "A credential is bound to it", body = crate::problem::Body, content_type = "application/problem+json"),
    ),
)]
async fn remove(
    State(app): State<App>,
    By(caller): By,
    Segment(name): Segment<Name>,
) -> Result<StatusCode, Problem> {
    app.pentad.remove_target(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reaches out to a target: rights, settings, and whether it refuses a random password.
#[utoipa::path(
    post,
    path = "/v1/targets/{name}/check",
    tag = "targets",
    params(("name" = String, Path, description = "The target's name")),
    responses((status = 200, description = "What was found", body = wire::TargetCheck)),
)]
async fn check(
    State(app): State<App>,
    By(caller): By,
    Segment(name): Segment<Name>,
) -> Result<Answer<wire::TargetCheck>, Problem> {
    Ok(Answer(
        app.pentad.check_target(&caller, &name).await?.into(),
    ))
}

/// The systems that credentials can be rotated at.
#[utoipa::path(
    get,
    path = "/v1/connectors",
    tag = "targets",
    responses((status = 200, description = "All of them", body = wire::Page<wire::Connector>)),
)]
async fn connectors(By(caller): By) -> Result<Answer<wire::Page<wire::Connector>>, Problem> {
    observer(&caller)?;
    let items = pentad_agents::integration::profiles()
        .map(|profile| wire::Connector {
            name: profile.name.to_owned(),
            description: profile.description.to_owned(),
            address: profile.address.to_owned(),
            strategies: profile.strategies.to_vec(),
            options: profile
                .options
                .iter()
                .map(|(name, meaning)| ((*name).to_owned(), (*meaning).to_owned()))
                .collect(),
            needs_admin: profile.needs_admin,
        })
        .collect();
    Ok(Answer(wire::Page { items, next: None }))
}
