//! Many operations in one request, several at once, each with its own result.

use axum::{
    Json as Answer,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use pentad_agents::Caller;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::credentials::made_or_changed;
use crate::{
    App,
    extract::{By, Json},
    problem::Problem,
    wire::{self, BatchBody, BatchOperation, BatchResult, BatchVerb},
};

/// Operations of one batch.
const MOST: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(batch))
}

/// Carries out up to 1000 operations, each as the single request would be, in no order.
///
/// One that fails takes none of the others with it: the answer is 200 with a status for each.
#[utoipa::path(
    post,
    path = "/v1/batch",
    tag = "batch",
    request_body = wire::Batch,
    responses((status = 200, description = "One result for each operation", body = wire::BatchAnswer)),
)]
async fn batch(
    State(app): State<App>,
    By(caller): By,
    Json(batch): Json<wire::Batch>,
) -> Result<Response, Problem> {
    let count = batch.operations.len();
    if !(1..=MOST).contains(&count) {
        return Err(
            Problem::invalid(format!("a batch has 1 to {MOST} operations, not {count}"))
                .hint("send several batches"),
        );
    }
    let reads = batch
        .operations
        .iter()
        .any(|operation| operation.op == BatchVerb::Get);
    let results: Vec<BatchResult> = stream::iter(batch.operations)
        .map(|operation| one(&app, &caller, operation))
        .buffered(app.options.batch_concurrency.max(1))
        .collect()
        .await;
    let failed = results
        .iter()
        .filter(|result| result.problem.is_some())
        .count();
    let answer = wire::BatchAnswer { results, failed };
    match reads {
        true => Ok(wire::secret_json(StatusCode::OK, &answer)?),
        false => Ok(Answer(answer).into_response()),
    }
}

async fn one(app: &App, caller: &Caller, operation: BatchOperation) -> BatchResult {
    let (op, path) = (operation.op, operation.path.clone());
    match carry_out(app, caller, operation).await {
        Ok((status, body)) => BatchResult {
            op,
            path,
            status: status.as_u16(),
            body: Some(body),
            problem: None,
        },
        Err(problem) => BatchResult {
            op,
            path,
            status: problem.status().as_u16(),
            body: None,
            problem: Some(problem.body()),
        },
    }
}

async fn carry_out(
    app: &App,
    caller: &Caller,
    operation: BatchOperation,
) -> Result<(StatusCode, BatchBody), Problem> {
    let path = operation.path.clone();
    let (version, expect) = (operation.version, operation.expect);
    let conditional = |fault| Problem::from(fault).conditional(expect.is_some());
    Ok(match operation.op {
        BatchVerb::Get => {
            let reading = app.pentad.read(caller, &path, version).await?;
            (StatusCode::OK, BatchBody::Read(Box::new(reading.into())))
        }
        BatchVerb::Put => {
            let put = operation.into_put().into_operation(expect)?;
            let stored = app
                .pentad
                .put(caller, &path, put)
                .await
                .map_err(conditional)?;
            let stored = wire::Stored::from(stored);
            (
                made_or_changed(&stored),
                BatchBody::Stored(Box::new(stored)),
            )
        }
        BatchVerb::Delete => {
            let deleted = app
                .pentad
                .delete(caller, &path, expect)
                .await
                .map_err(conditional)?;
            (StatusCode::OK, BatchBody::Deleted(Box::new(deleted.into())))
        }
        BatchVerb::Check => {
            let checked = app.pentad.check(caller, &path).await?;
            (StatusCode::OK, BatchBody::Checked(Box::new(checked.into())))
        }
    })
}
