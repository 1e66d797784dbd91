//! Retention: rules, what they would destroy, and destroying it; and the erasure of a person.

use axum::{Json as Answer, extract::State, http::StatusCode};
use pentad_agents::operations::{Person, Place};
use pentad_model::Name;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    extract::{By, Json, Params, Segment},
    problem::Problem,
    wire,
};

/// Things that one request looks at if nothing is said.
const DEFAULT: usize = 100;
/// The most that one request looks at.
const MOST: usize = 500;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(rules))
        .routes(routes!(put_rule, remove_rule))
        .routes(routes!(plan))
        .routes(routes!(apply))
        .routes(routes!(erase))
}

/// The tenant's retention rules, in the order of their names.
#[utoipa::path(
    get,
    path = "/v1/retention/rules",
    tag = "retention",
    params(wire::Paging),
    responses((status = 200, description = "A page", body = wire::Page<wire::RetentionRule>)),
)]
async fn rules(
    State(app): State<App>,
    By(caller): By,
    Params(paging): Params<wire::Paging>,
) -> Result<Answer<wire::Page<wire::RetentionRule>>, Problem> {
    let limit = wire::limit(paging.limit)?;
    let page = app
        .pentad
        .retention_rules(&caller, paging.after.as_deref(), limit)
        .await?;
    Ok(Answer(wire::of_page(page, |rule| rule.name.to_string())))
}

/// Makes or replaces a retention rule. Needs the right to destroy, everywhere.
///
/// Where several rules match a path, the longest keeps; a rule that holds keeps everything.
#[utoipa::path(
    put,
    path = "/v1/retention/rules/{name}",
    tag = "retention",
    params(("name" = String, Path, description = "The rule's name")),
    request_body = wire::RetentionContent,
    responses((status = 204, description = "Done")),
)]
async fn put_rule(
    State(app): State<App>,
    By(caller): By,
    Segment(name): Segment<Name>,
    Json(content): Json<wire::RetentionContent>,
) -> Result<StatusCode, Problem> {
    app.pentad
        .put_retention_rule(&caller, content.into_rule(name))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a retention rule. What it held is no longer held.
#[utoipa::path(
    delete,
    path = "/v1/retention/rules/{name}",
    tag = "retention",
    params(("name" = String, Path, description = "The rule's name")),
    responses((status = 204, description = "The rule is gone")),
)]
async fn remove_rule(
    State(app): State<App>,
    By(caller): By,
    Segment(name): Segment<Name>,
) -> Result<StatusCode, Problem> {
    app.pentad.remove_retention_rule(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A page of what would be destroyed now, of what the caller may see. Nothing is.
#[utoipa::path(
    get,
    path = "/v1/retention/plan",
    tag = "retention",
    params(wire::Walk),
    responses((status = 200, description = "A page", body = wire::Walked)),
)]
async fn plan(
    State(app): State<App>,
    By(caller): By,
    Params(walk): Params<wire::Walk>,
) -> Result<Answer<wire::Walked>, Problem> {
    let (place, limit) = place(walk)?;
    let walked = app.pentad.plan_retention(&caller, place, limit).await?;
    Ok(Answer(walked.into()))
}

/// Destroys a page of what is due, each on record. A server does so by itself every hour.
#[utoipa::path(
    post,
    path = "/v1/retention/apply",
    tag = "retention",
    request_body = wire::Walk,
    responses((status = 200, description = "What was destroyed", body = wire::Walked)),
)]
async fn apply(
    State(app): State<App>,
    By(caller): By,
    Json(walk): Json<wire::Walk>,
) -> Result<Answer<wire::Walked>, Problem> {
    let (place, limit) = place(walk)?;
    let walked = app.pentad.apply_retention(&caller, place, limit).await?;
    Ok(Answer(walked.into()))
}

/// Erases a person, as far as that can be: as owner of credentials, as user, and the user's logins.
///
/// The answer says what stays, and why. Send it again while `more` is true.
#[utoipa::path(
    post,
    path = "/v1/erasures",
    tag = "retention",
    request_body = wire::Erase,
    responses((status = 200, description = "What was erased", body = wire::Erased)),
)]
async fn erase(
    State(app): State<App>,
    By(caller): By,
    Json(erase): Json<wire::Erase>,
) -> Result<Answer<wire::Erased>, Problem> {
    let person = Person {
        owner: erase.owner,
        user: erase.user,
    };
    Ok(Answer(app.pentad.erase(&caller, person).await?.into()))
}

fn place(walk: wire::Walk) -> Result<(Option<Place>, usize), Problem> {
    let limit = match walk.limit.unwrap_or(DEFAULT) {
        limit @ 1..=MOST => limit,
        other => {
            return Err(Problem::invalid(format!(
                "a page looks at 1 to {MOST} things, not {other}"
            )));
        }
    };
    let place = walk.after.as_deref().map(Place::from_text).transpose()?;
    Ok((place, limit))
}
