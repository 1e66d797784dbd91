//! Many operations in one request, several at once, each with its own result: as one JSON, or a line
//! each ([`stream`](self::stream)).

use std::sync::Arc;

use axum::{
    extract::{FromRequest as _, Request, State},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use bytes::Bytes;
use futures::{StreamExt, stream::iter};
use pentad_agents::{Caller, Fault, operations::Put};
use pentad_model::Path;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::credentials::made_or_changed;
use crate::{
    App,
    extract::Json,
    layers::{Asker, correlation, is_ndjson, within},
    problem::Problem,
    wire::{self, BatchBody, BatchOperation, BatchResult, BatchVerb, HoldsSecret},
};

mod beside;
mod lines;
mod stream;
mod written;

use beside::Beside;

/// Operations of one batch in one JSON.
const MOST: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(batch))
}

/// Carries out up to 1000 operations, each as the single request would be, in no order.
///
/// One that fails takes none of the others with it: the answer is 200 with a status for each. Values
/// that are too large together for the memory that all requests share are refused one by one with
/// `queue-full`: ask for fewer at once, or for a stream.
///
/// With `Content-Type: application/x-ndjson` any number of them, one a line of at most the size of a
/// single request. Each is carried out as it arrives, in the lane of background work, and its result
/// is a line of the answer as soon as it is there, with the number of its line. A line that is wrong
/// is an error for that line. The last line counts the others: an answer without it is not whole.
/// Take results while you send: nothing more is read while nobody does. No Idempotency-Key goes with
/// it; `expect` makes a line safe to repeat.
#[utoipa::path(
    post,
    path = "/v1/batch",
    tag = "batch",
    request_body(content((wire::Batch = "application/json"), (wire::BatchOperation = "application/x-ndjson"))),
    responses((status = 200, description = "One result for each operation", content(
        (wire::BatchAnswer = "application/json"), (wire::BatchLine = "application/x-ndjson"),
    ))),
)]
async fn batch(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let asker = Asker::of(&request)?;
    if is_ndjson(request.headers()) {
        return Ok(stream::stream(app, asker, request));
    }
    let asker = Arc::new(asker);
    let Json(batch) = Json::<wire::Batch>::from_request(request, &app).await?;
    let count = batch.operations.len();
    if !(1..=MOST).contains(&count) {
        return Err(
            Problem::invalid(format!("a batch has 1 to {MOST} operations, not {count}"))
                .hint("send several batches"),
        );
    }
    let id = correlation();
    let reads = batch
        .operations
        .iter()
        .any(|operation| operation.op == BatchVerb::Get);
    let mut failed = 0;
    let mut written = Vec::with_capacity(count);
    let mut results = iter(batch.operations)
        .map(|operation| {
            let (app, asker) = (app.clone(), asker.clone());
            let of = (operation.op, operation.path.clone());
            let work = async move { one(&app, &asker, operation).await };
            let done = Beside::of(within(id, work));
            async move { done.await.unwrap_or_else(|| broken(of)) }
        })
        .buffered(app.options.batch_concurrency.max(1));
    while let Some(result) = results.next().await {
        let (ended, bytes) = fitted(&app, result)?;
        failed += usize::from(ended.is_err());
        written.push(bytes);
    }
    let mut response = Response::new(written::answer(written, failed));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if reads {
        response.extensions_mut().insert(HoldsSecret);
    }
    Ok(response)
}

/// Whether it went well, and its bytes. A value for which there is no room is not handed out; what
/// else an operation answers is small, and tells of what was done.
fn fitted(app: &App, result: BatchResult) -> Result<(Result<(), ()>, Bytes), Problem> {
    let of = (result.op, result.path.clone());
    let ended = match result.problem {
        None => Ok(()),
        Some(_) => Err(()),
    };
    match written::fitted(&result, app.bodies.room_to_answer()) {
        Ok(bytes) => Ok((ended, bytes)),
        Err(problem) if of.0 == BatchVerb::Get => {
            let refused = wire::secret_bytes(&failed(of, problem))?;
            Ok((Err(()), Bytes::from_owner(refused)))
        }
        Err(_) => Ok((ended, Bytes::from_owner(wire::secret_bytes(&result)?))),
    }
}

async fn one(app: &App, asker: &Asker, operation: BatchOperation) -> BatchResult {
    let (op, path) = (operation.op, operation.path.clone());
    let done = async { carry_out(app, &asker.now(app).await?, operation).await };
    match done.await {
        Ok((status, body)) => BatchResult {
            op,
            path,
            status: status.as_u16(),
            body: Some(body),
            problem: None,
        },
        Err(problem) => failed((op, path), problem),
    }
}

fn failed((op, path): (BatchVerb, Path), problem: Problem) -> BatchResult {
    BatchResult {
        op,
        path,
        status: problem.status().as_u16(),
        body: None,
        problem: Some(problem.body()),
    }
}

fn broken(of: (BatchVerb, Path)) -> BatchResult {
    failed(of, Fault::internal("it ended without an answer").into())
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
        BatchVerb::Preview => {
            let kind_if_new = operation.kind_if_new;
            let put = operation.into_put().into_operation(expect)?;
            let put = Put { kind_if_new, ..put };
            let foreseen = app.pentad.foresee(caller, &path, put).await?;
            (
                StatusCode::OK,
                BatchBody::Foreseen(Box::new(foreseen.into())),
            )
        }
        BatchVerb::Put => {
            let kind_if_new = operation.kind_if_new;
            let put = operation.into_put().into_operation(expect)?;
            let put = Put { kind_if_new, ..put };
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
