//! Judgements on stored values.

use axum::{Json as Answer, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::credentials::Filter;
use crate::{
    App,
    extract::{At, By, Params},
    problem::Problem,
    wire,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(check_page))
        .routes(routes!(check))
}

/// Judges a page of the estate, as far as the caller may check it.
#[utoipa::path(
    get,
    path = "/v1/checks",
    tag = "checks",
    params(Filter),
    responses((status = 200, description = "A page", body = wire::Page<wire::Checked>)),
)]
async fn check_page(
    State(app): State<App>,
    By(caller): By,
    Params(filter): Params<Filter>,
) -> Result<Answer<wire::Page<wire::Checked>>, Problem> {
    let query = filter.into_query(&app, &caller).await?;
    let page = app.pentad.check_page(&caller, query).await?;
    Ok(Answer(wire::of_listed(page)))
}

/// Judges one stored credential: strength, reuse, format, expiry.
#[utoipa::path(
    get,
    path = "/v1/checks/{*path}",
    tag = "checks",
    params(("path" = String, Path, description = "The credential's path, slashes included")),
    responses((status = 200, description = "The judgement", body = wire::Checked)),
)]
async fn check(
    State(app): State<App>,
    By(caller): By,
    At(path): At,
) -> Result<Answer<wire::Checked>, Problem> {
    Ok(Answer(app.pentad.check(&caller, &path).await?.into()))
}
