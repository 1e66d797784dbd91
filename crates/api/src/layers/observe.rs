//! Correlation id, span, access log, metrics and security headers of every answer.
//!
//! Log, span and metrics know a request by its method and the *pattern* of its route: paths and
//! queries are written by callers and may hold anything.
//!
//! The span goes through all agents. What asks every few seconds whether the server lives has none.

use std::{future::Future, time::Instant};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use pentad_model::Id;
use tracing::{Instrument as _, Span, field};

use crate::{
    App,
    trace::{Place, TRACERESPONSE},
};

/// The header that carries the correlation id, both ways.
pub(crate) const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");

/// Routes that machines ask again and again.
const PROBES: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/openapi.json"];

macro_rules! log {
    ($level:ident, $method:ident, $route:ident, $status:ident, $took:ident, $id:ident, $trace:ident) => {
        tracing::$level!(
            method = $method,
            route = $route,
            status = $status,
            milliseconds = u64::try_from($took.as_millis()).unwrap_or(u64::MAX),
            correlation = %$id,
            trace = $trace.map(|place| field::display(format!("{:032x}", place.trace))),
            "answered"
        )
    };
}

tokio::task_local! {
    static PRESENT: Id;
}

/// The correlation id of the request that this task answers; the nil id outside of one.
pub(crate) fn correlation() -> Id {
    PRESENT.try_with(|id| *id).unwrap_or(Id::from_u128(0))
}

/// Goes on answering a request after its task has ended, as a body that is made while it is sent.
pub(crate) async fn within<T>(id: Id, work: impl Future<Output = T>) -> T {
    PRESENT.scope(id, work).await
}

/// See the module.
pub(crate) async fn observed<F: Future<Output = Response>>(
    app: &App,
    request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    let begun = Instant::now();
    let given = request
        .headers()
        .get(CORRELATION)
        .and_then(|value| value.to_str().ok());
    let id = given
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| app.pentad.correlation());
    let method = known_method(request.method());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);

    let caller = Place::of(request.headers());
    let (span, place) = match PROBES.contains(&route) {
        true => (Span::none(), None),
        false => traced(app, method, route, id, caller),
    };

    let mut response = PRESENT
        .scope(id, answer(request).instrument(span.clone()))
        .await;

    let (status, took) = (response.status().as_u16(), begun.elapsed());
    span.record("status", status);
    drop(span);
    app.metrics.count(method, route, status, took);
    let trace = place.or(caller);
    // Who asked for what is in the audit log; the program's own log tells of what went wrong.
    match status {
        500.. => log!(warn, method, route, status, took, id, trace),
        _ => log!(debug, method, route, status, took, id, trace),
    }
    if let Some(Ok(place)) = place.map(|place| HeaderValue::from_str(&place.to_string())) {
        response.headers_mut().insert(TRACERESPONSE, place);
    }
    secure(response.headers_mut(), app.options.tls);
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(CORRELATION, id);
    }
    response
}

/// The span of a request, and its place in a trace if somebody exports them.
fn traced(
    app: &App,
    method: &str,
    route: &str,
    id: Id,
    caller: Option<Place>,
) -> (Span, Option<Place>) {
    let span = tracing::debug_span!(
        "request",
        method,
        route,
        correlation = %id,
        status = field::Empty,
    );
    let traces = app.options.traces.as_ref();
    let place = traces.and_then(|traces| traces.follow(&span, caller));
    (span, place)
}

/// A label of bounded variety: callers may invent methods.
fn known_method(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Nothing here is for a browser to guess at, frame, run or keep (OWASP REST Security Cheat Sheet).
fn secure(headers: &mut axum::http::HeaderMap, tls: bool) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if tls {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000; includeSubDomains"),
        );
    }
}
