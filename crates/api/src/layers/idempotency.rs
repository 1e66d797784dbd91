//! `Idempotency-Key`: a request that is sent again with its key is not carried out again.
//!
//! ```text
//! first            begin (durable) ─▶ carry out ─▶ keep the answer for a day
//! same again       the kept answer, with `Idempotency-Replayed: true`
//! same, under way  409 request-in-progress
//! another request  422 idempotency-key-reused
//! ```
//!
//! * The request's digest is an HMAC under the caller's token, of which the store holds a hash only:
//!   a plain digest would let whoever steals the store try values against it.
//! * An answer that holds a value or a token is not kept; its replay is 409 `answer-not-kept`.
//! * An answer that says "nothing was changed, try again" (401, 403, 429, 502, 503, 507) is
//!   forgotten, so that the retry is carried out.
//! * After a crash between beginning and answering, the outcome is unknown: the key stays taken and
//!   the problem says to look.

use aws_lc_rs::{digest, hmac};
use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{CONTENT_TYPE, ETAG, LOCATION},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use pentad_agents::{
    Caller,
    operations::{Attempt, Begun},
};
use serde::{Deserialize, Serialize};

use super::{admit::is_ndjson, authenticate::Bearer};
use crate::{App, extract::body, problem::Problem, wire::HoldsSecret};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key. A UUID has 36 characters.
const LONGEST_KEY: usize = 128;
/// Answers larger than this are not kept: the store is no cache.
const LARGEST_KEPT: usize = 256 * 1024;
/// What travels with a kept answer beside its body.
const KEPT_HEADERS: [HeaderName; 3] = [CONTENT_TYPE, ETAG, LOCATION];

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    headers: Vec<(String, String)>,
    /// `None` where it held a secret or was too large.
    body: Option<String>,
}

/// See the module.
pub(crate) async fn once(app: &App, request: Request, next: Next) -> Result<Response, Problem> {
    let changes = matches!(
        *request.method(),
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE
    );
    match request.headers().get(KEY).cloned() {
        Some(key) if changes => with_key(app, &key, request, next).await,
        _ => Ok(next.run(request).await),
    }
}

async fn with_key(
    app: &App,
    key: &HeaderValue,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if is_ndjson(request.headers()) {
        return Err(Problem::invalid(
            "a stream of operations has no end that could be kept under a key",
        )
        .hint("leave the Idempotency-Key out, and say `expect` in each line"));
    }
    let key = key.as_bytes();
    if key.is_empty() || key.len() > LONGEST_KEY {
        return Err(Problem::invalid(format!(
            "an Idempotency-Key has 1 to {LONGEST_KEY} characters"
        ))
        .hint("use a random UUID for each request, and the same one for its retries"));
    }
    let caller = request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(Problem::no_token)?;
    let Some(Bearer(token)) = request.extensions().get::<Bearer>().cloned() else {
        return Err(
            Problem::invalid("an Idempotency-Key needs a token to be kept under")
                .hint("without a server there is no lost answer: leave the key out"),
        );
    };
    let (parts, content) = request.into_parts();
    let content = body::collect(content, body::limit(app, parts.uri.path())).await?;
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, token.expose()));
    for field in [
        parts.method.as_str().as_bytes(),
        parts
            .uri
            .path_and_query()
            .map_or("", |uri| uri.as_str())
            .as_bytes(),
        precondition(&parts.headers).as_bytes(),
        &content,
    ] {
        mac.update(&(field.len() as u64).to_be_bytes());
        mac.update(field);
    }
    let digest = hex::encode(mac.sign());
    let bearer = hash(&[b"pentad idempotency bearer", token.expose()]);
    let who = format!("{:?}", caller.context.principal);
    let name = hash(&[b"pentad idempotency key", who.as_bytes(), key]);

    match app
        .pentad
        .begin_attempt(&caller, &name, digest.clone(), bearer.clone())
        .await?
    {
        Begun::Before(attempt) => replay(app, &attempt, &digest, &bearer),
        Begun::First(attempt) => {
            let request = Request::from_parts(parts, Body::from(Bytes::from_owner(content)));
            let response = next.run(request).await;
            keep(app, &caller, &name, attempt, response).await
        }
    }
}

/// `If-Match` and `If-None-Match` change what a request means.
fn precondition(headers: &HeaderMap) -> String {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
            .to_owned()
    };
    format!("{}\n{}", text("if-match"), text("if-none-match"))
}

fn hash(fields: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for field in fields {
        context.update(&(field.len() as u64).to_be_bytes());
        context.update(field);
    }
    hex::encode(context.finish())
}

fn replay(app: &App, attempt: &Attempt, digest: &str, bearer: &str) -> Result<Response, Problem> {
    let taken = |status, slug, detail: &str| {
        Problem::new(status, slug, "The idempotency key is taken", detail)
    };
    if attempt.bearer != bearer {
        return Err(taken(
            StatusCode::CONFLICT,
            "idempotency-key-reused",
            "the key was used with another token, so the requests can't be compared",
        )
        .hint("look whether the request took effect; then use a new key"));
    }
    if attempt.request != digest {
        return Err(taken(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "the key was used for another request",
        )
        .hint("use a new key for each request, and the same one for its retries only"));
    }
    let Some(answer) = &attempt.answer else {
        let begun = attempt.begun_at.plus(app.options.timeout);
        let now = app.options.clock.now();
        return Err(if now < begun {
            taken(
                StatusCode::CONFLICT,
                "request-in-progress",
                "the request with this key is under way",
            )
            .hint("ask again with the same key after the stated time")
            .retry_after(std::time::Duration::from_secs(1))
        } else {
            taken(
                StatusCode::CONFLICT,
                "outcome-unknown",
                "the request with this key was begun and not answered",
            )
            .hint("look whether it took effect; then use a new key")
        });
    };
    let kept: Kept = serde_json::from_value(answer.clone()).map_err(|_| {
        Problem::from(pentad_agents::Fault::Damaged {
            message: "the kept answer of this idempotency key can't be read".to_owned(),
        })
    })?;
    let Some(body) = kept.body else {
        return Err(taken(
            StatusCode::CONFLICT,
            "answer-not-kept",
            &format!(
                "the request with this key was answered with status {}; its answer held a secret \
                 or was too large and was not kept",
                kept.status
            ),
        )
        .hint("read what it made, or use a new key to do it again"));
    };
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let mut response = (status, body).into_response();
    response.headers_mut().remove(CONTENT_TYPE);
    for (name, value) in kept.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// Keeps the answer, or forgets the attempt if it changed nothing. If that fails, the caller still
/// gets the answer: the request has been carried out, and a retry will be told to look.
async fn keep(
    app: &App,
    caller: &Caller,
    name: &str,
    attempt: Attempt,
    response: Response,
) -> Result<Response, Problem> {
    let status = response.status();
    if matches!(
        status.as_u16(),
        401 | 403 | 413 | 415 | 429 | 502 | 503 | 507
    ) {
        if let Err(fault) = app.pentad.forget_attempt(caller, name).await {
            tracing::warn!(%fault, "an idempotency key could not be given back");
        }
        return Ok(response);
    }
    let headers = KEPT_HEADERS
        .iter()
        .filter_map(|name| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some((name.to_string(), value.to_owned()))
        })
        .collect();
    let secret = response.extensions().get::<HoldsSecret>().is_some();
    let (response, body) = if secret {
        (response, None)
    } else {
        let (parts, content) = response.into_parts();
        let content = axum::body::to_bytes(content, usize::MAX)
            .await
            .map_err(|error| pentad_agents::Fault::internal(error.to_string()))?;
        let text = (content.len() <= LARGEST_KEPT)
            .then(|| String::from_utf8(content.to_vec()).ok())
            .flatten();
        (Response::from_parts(parts, Body::from(content)), text)
    };
    let kept = Kept {
        status: status.as_u16(),
        headers,
        body,
    };
    let kept = serde_json::to_value(kept)
        .map_err(|error| pentad_agents::Fault::internal(error.to_string()))?;
    if let Err(fault) = app.pentad.answer_attempt(caller, name, attempt, kept).await {
        tracing::warn!(%fault, "an answer could not be kept under its idempotency key");
    }
    Ok(response)
}
