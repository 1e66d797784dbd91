//! A batch without an end: an operation a line, and a result a line as soon as it is there.
//!
//! What always holds:
//!
//! * A line that is wrong is an error for that line. The answer is 200 whatever becomes of the lines;
//!   its own last line counts them, and an answer without it is not whole.
//! * Each operation is what the single request would be: it waits for a place at the
//!   [gate](crate::layers::admit) in the lane of background work, the token is asked for again, and its
//!   result is sent after its record is durable. Who was revoked meanwhile is refused, that counts as a
//!   failed authentication, and no further line is read.
//! * No more is in memory than the operations under way and their results, within the budget of all
//!   [bodies](crate::bodies). Nothing more is read while nobody takes the results.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use pentad_agents::{Fault, Priority};
use zeroize::Zeroizing;

use super::{
    beside::Beside,
    carry_out,
    lines::{Line, Lines},
    written::waiting,
};
use crate::{
    App,
    bodies::Room,
    extract::body::parse,
    layers::{Asker, NDJSON, correlation, within},
    problem::Problem,
    wire::{BatchBody, BatchEnd, BatchLine, BatchOperation, HoldsSecret},
};

/// See the module.
pub(super) fn stream(app: App, asker: Asker, request: Request) -> Response {
    let asker = Arc::new(asker);
    let id = correlation();
    let (seen, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let at_once = app.options.batch_concurrency.max(1);
    let lines = Lines::of(app.clone(), request.into_body());
    let whose = asker.clone();
    let lines = stream::unfold(lines, move |mut lines| {
        let whose = whose.clone();
        // A problem of the reader itself is told under the request's id.
        within(id, async move {
            let line = tokio::select! {
                biased;
                () = whose.gone() => None,
                line = lines.next() => line,
            };
            line.map(|line| (line, lines))
        })
    });
    let counts = (seen.clone(), failed.clone());
    let results = lines
        .map(move |line| {
            let (app, asker, number) = (app.clone(), asker.clone(), line.number);
            let work = async move { one(&app, &asker, line).await };
            let done = Beside::of(within(id, work));
            async move { done.await.unwrap_or_else(|| broken(number)) }
        })
        .buffer_unordered(at_once)
        .map(move |(result, bytes)| {
            counts.0.fetch_add(1, Ordering::Relaxed);
            counts
                .1
                .fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
            bytes
        });
    let end = stream::once(async move {
        let end = BatchEnd {
            lines: seen.load(Ordering::Relaxed),
            failed: failed.load(Ordering::Relaxed),
        };
        written(&end).map(Bytes::from_owner).unwrap_or_default()
    });
    let body = Body::from_stream(results.chain(end).map(Ok::<_, Infallible>));
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response.extensions_mut().insert(HoldsSecret);
    response
}

/// Whether it went well, and the line that says so.
async fn one(app: &App, asker: &Asker, line: Line) -> (Result<(), ()>, Bytes) {
    let number = line.number;
    let (result, room) = match line.content {
        Err(problem) => (BatchLine::failed(number, None, problem), None),
        Ok((bytes, room)) => match parse::<BatchOperation>(&bytes) {
            Err(problem) => (BatchLine::failed(number, None, problem), Some(room)),
            Ok(operation) => {
                let of = Some((operation.op, operation.path.clone()));
                drop(bytes);
                match carried_out(app, asker, operation).await {
                    Ok((status, body)) => (BatchLine::done(number, of, status, body), Some(room)),
                    Err(problem) => (BatchLine::failed(number, of, problem), Some(room)),
                }
            }
        },
    };
    let ended = match result.problem {
        None => Ok(()),
        Some(_) => Err(()),
    };
    let of = result.op.zip(result.path.clone());
    match fit(app, &result, room).await {
        Ok(bytes) => (ended, bytes),
        Err(problem) => {
            let told = BatchLine::failed(number, of, problem);
            let bytes = written(&told).map(Bytes::from_owner).unwrap_or_default();
            (Err(()), bytes)
        }
    }
}

fn broken(number: u64) -> (Result<(), ()>, Bytes) {
    let problem = Fault::internal("it ended without an answer").into();
    let told = BatchLine::failed(number, None, problem);
    let bytes = written(&told).map(Bytes::from_owner).unwrap_or_default();
    (Err(()), bytes)
}

async fn carried_out(
    app: &App,
    asker: &Asker,
    operation: BatchOperation,
) -> Result<(StatusCode, BatchBody), Problem> {
    let _pass = app.pentad.admit(Priority::Background).await?;
    let mut caller = asker.now(app).await?;
    caller.priority = Priority::Background;
    carry_out(app, &caller, operation).await
}

/// The line of a result, if there is room for it until somebody takes it.
async fn fit(app: &App, result: &BatchLine, room: Option<Room>) -> Result<Bytes, Problem> {
    let mut room = room.unwrap_or_else(|| app.bodies.room());
    let bytes = written(result)?;
    room.grow_in_time(bytes.len()).await?;
    Ok(waiting(bytes, room))
}

fn written<T: serde::Serialize>(line: &T) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let mut bytes = crate::wire::secret_bytes(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}
