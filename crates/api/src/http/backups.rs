//! Backups: the file itself is the answer, sealed as it leaves.

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::Response,
};
use bytes::Bytes;
use futures::stream;
use pentad_agents::operations::Parent;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    extract::{By, Params, body},
    problem::Problem,
    wire::HoldsSecret,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create))
}

/// What an increment rests on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Rests {
    /// The number of the parent's first frame of kind 2. Without it, the backup is a full one.
    first: Option<u64>,
}

/// Takes a backup of all tenants at one moment, consistent while others write. Only an admin of the
/// default tenant may.
///
/// The answer is the file. It is whole only if it ends with a frame that says it is the last: an
/// answer that breaks off is no backup. For an increment, send the parent's prelude and its frames of
/// kinds 2 and 3 as they stand in its file; docs/backup.md describes the form.
#[utoipa::path(
    post,
    path = "/v1/backups",
    tag = "backups",
    params(Rests),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "Nothing, or what an increment rests on"),
    responses(
        (status = 200, description = "The backup", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 409, description = "The parent is of another store", body = crate::problem::Body, content_type = "application/problem+json"),
    ),
)]
async fn create(
    State(app): State<App>,
    By(caller): By,
    Params(Rests { first }): Params<Rests>,
    request: Request,
) -> Result<Response, Problem> {
    let limit = body::limit(&app, request.uri().path());
    let bytes = body::collect(request.into_body(), limit).await?;
    let parent = match (first, bytes.is_empty()) {
        (None, true) => None,
        (Some(first), false) => Some(Parent {
            bytes: bytes.to_vec(),
            first,
        }),
        _ => {
            return Err(Problem::invalid(
                "an increment needs both the parent's frames as the body and `first`",
            )
            .hint("send neither for a full backup"));
        }
    };
    let backup = app.pentad.back_up(&caller, parent).await?;
    let parts = stream::unfold(Some(backup), |backup| async {
        let mut backup = backup?;
        // After a failure the connection breaks off: nobody takes half a file for a whole one.
        match backup.next().await? {
            Ok(part) => Some((Ok(Bytes::from(part)), Some(backup))),
            Err(fault) => Some((Err(fault), None)),
        }
    });
    let mut response = Response::new(Body::from_stream(parts));
    let form = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, form);
    // Nobody keeps it to answer a retry.
    response.extensions_mut().insert(HoldsSecret);
    Ok(response)
}
