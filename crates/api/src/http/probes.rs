//! Probes: whether stored values work at their targets, and what a restore left in doubt.

use axum::{Json as Answer, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    extract::{At, By},
    problem::Problem,
    wire,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(probe))
        .routes(routes!(restored))
}

/// Logs in at the target with the stored value, beside a random one that must be refused. Nothing
/// changes there; the credential is put in doubt, or out of it, by what is seen.
#[utoipa::path(
    post,
    path = "/v1/probe/{*path}",
    tag = "targets",
    params(("path" = String, Path, description = "The credential's path, slashes included")),
    responses(
        (status = 200, description = "What was seen", body = wire::Probed),
        (status = 409, description = "It is being rotated, and the rotation looks for itself", body = crate::problem::Body, content_type = "application/problem+json"),
    ),
)]
async fn probe(
    State(app): State<App>,
    By(caller): By,
    At(path): At,
) -> Result<Answer<wire::Probed>, Problem> {
    Ok(Answer(app.pentad.probe(&caller, &path).await?.into()))
}

/// From which backup this store was restored, and which of its values work at their targets.
#[utoipa::path(
    get,
    path = "/v1/restored",
    tag = "backups",
    responses((status = 200, description = "What is known; empty if it was never restored", body = wire::Restored)),
)]
async fn restored(
    State(app): State<App>,
    By(caller): By,
) -> Result<Answer<wire::Restored>, Problem> {
    let origin = app.pentad.restored(&caller).await?;
    Ok(Answer(wire::Restored {
        restore: origin.map(Into::into),
    }))
}
