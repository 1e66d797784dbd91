//! Compliance: rule sets, and reports by them.

use axum::{Json as Answer, extract::State, http::StatusCode};
use pentad_model::Name;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::credentials::Filter;
use crate::{
    App,
    extract::{By, Json, Params, Segment},
    problem::Problem,
    wire,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(report, put, remove))
}

/// The built-in rule sets, and the tenant's own in the order of their ids.
#[utoipa::path(
    get,
    path = "/v1/compliance",
    tag = "checks",
    params(wire::Paging),
    responses((status = 200, description = "A page", body = wire::Page<wire::RuleSet>)),
)]
async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(paging): Params<wire::Paging>,
) -> Result<Answer<wire::Page<wire::RuleSet>>, Problem> {
    let limit = wire::limit(paging.limit)?;
    let page = app
        .pentad
        .rule_sets(&caller, paging.after.as_deref(), limit)
        .await?;
    Ok(Answer(wire::of_page(page, |set| set.id.to_string())))
}

/// Holds a rule set against a page of the estate, as far as the caller may check it.
///
/// An aid, no attestation. Each value of the page is opened and measured; counts are of the page,
/// so add them up over all pages.
#[utoipa::path(
    get,
    path = "/v1/compliance/{set}",
    tag = "checks",
    params(("set" = String, Path, description = "The rule set's id"), Filter),
    responses((status = 200, description = "The page's report", body = wire::ComplianceReport)),
)]
async fn report(
    State(app): State<App>,
    By(caller): By,
    Segment(set): Segment<Name>,
    Params(filter): Params<Filter>,
) -> Result<Answer<wire::ComplianceReport>, Problem> {
    let query = filter.into_query(&app, &caller).await?;
    let report = app.pentad.comply(&caller, &set, query).await?;
    Ok(Answer(report.into()))
}

/// Makes or replaces a rule set of the tenant's own.
#[utoipa::path(
    put,
    path = "/v1/compliance/{set}",
    tag = "checks",
    params(("set" = String, Path, description = "The rule set's id; none of the built-in ones")),
    request_body = wire::RuleSetContent,
    responses((status = 204, description = "Done")),
)]
async fn put(
    State(app): State<App>,
    By(caller): By,
    Segment(set): Segment<Name>,
    Json(content): Json<wire::RuleSetContent>,
) -> Result<StatusCode, Problem> {
    app.pentad
        .put_rule_set(&caller, content.into_set(set))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a rule set of the tenant's own.
#[utoipa::path(
    delete,
    path = "/v1/compliance/{set}",
    tag = "checks",
    params(("set" = String, Path, description = "The rule set's id")),
    responses((status = 204, description = "The rule set is gone")),
)]
async fn remove(
    State(app): State<App>,
    By(caller): By,
    Segment(set): Segment<Name>,
) -> Result<StatusCode, Problem> {
    app.pentad.remove_rule_set(&caller, &set).await?;
    Ok(StatusCode::NO_CONTENT)
}
