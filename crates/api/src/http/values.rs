//! Values and versions.

use axum::{Json as Answer, extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    extract::{At, By, Params, Segment},
    problem::Problem,
    wire,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(read))
        .routes(routes!(history))
        .routes(routes!(destroy))
}

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// The current one if not given.
    version: Option<u32>,
}

/// Reads a value. The read is on record before it is answered.
#[utoipa::path(
    get,
    path = "/v1/values/{*path}",
    tag = "values",
    params(Which, ("path" = String, Path, description = "The credential's path, slashes included")),
    responses(
        (status = 200, description = "The value", body = wire::Reading),
        (status = 404, description = "No such credential or version, perhaps with the nearest name", body = crate::problem::Body, content_type = "application/problem+json"),
    ),
)]
async fn read(
    State(app): State<App>,
    By(caller): By,
    At(path): At,
    Params(Which { version }): Params<Which>,
) -> Result<Response, Problem> {
    let reading = app.pentad.read(&caller, &path, version).await?;
    Ok(wire::secret_json(
        StatusCode::OK,
        &wire::Reading::from(reading),
    )?)
}

/// Which versions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Span {
    /// Only versions below this number: the `next` of the page before.
    before: Option<u32>,
    /// Items of the page, 1 to 1000; 100 if not given.
    limit: Option<usize>,
}

/// Versions of a credential without their values, the newest first.
#[utoipa::path(
    get,
    path = "/v1/history/{*path}",
    tag = "values",
    params(Span, ("path" = String, Path, description = "The credential's path, slashes included")),
    responses((status = 200, description = "A page", body = wire::Page<wire::Version>)),
)]
async fn history(
    State(app): State<App>,
    By(caller): By,
    At(path): At,
    Params(span): Params<Span>,
) -> Result<Answer<wire::Page<wire::Version>>, Problem> {
    let limit = wire::limit(span.limit)?;
    let page = app
        .pentad
        .history(&caller, &path, span.before, limit)
        .await?;
    Ok(Answer(wire::of_page(page, |version| {
        version.number.to_string()
    })))
}

/// Forgets a version's value for good; not the current one's.
#[utoipa::path(
    delete,
    path = "/v1/versions/{number}/{*path}",
    tag = "values",
    params(
        ("number" = u32, Path, description = "The version"),
        ("path" = String, Path, description = "The credential's path, slashes included"),
    ),
    responses(
        (status = 204, description = "Its value is gone"),
        (status = 409, description = "It is the current one, or a rotation runs", body = crate::problem::Body, content_type = "application/problem+json"),
    ),
)]
async fn destroy(
    State(app): State<App>,
    By(caller): By,
    Segment(number): Segment<u32>,
    At(path): At,
) -> Result<StatusCode, Problem> {
    app.pentad.destroy(&caller, &path, number).await?;
    Ok(StatusCode::NO_CONTENT)
}
