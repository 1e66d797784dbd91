//! Correlation id, access log, metrics and security headers of every answer.
//!
//! The log and the metrics know a request by its method and the *pattern* of its route: paths and
//! queries are written by callers and may hold anything.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Response, header},
    middleware::Next,
};
use pentad_model::Id;

use crate::App;

/// The header that carries the correlation id, both ways.
pub(crate) const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");

tokio::task_local! {
    static PRESENT: Id;
}

/// The correlation id of the request that this task answers; the nil id outside of one.
pub(crate) fn correlation() -> Id {
    PRESENT.try_with(|id| *id).unwrap_or(Id::from_u128(0))
}

/// See the module.
pub(crate) async fn observe(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Response<axum::body::Body> {
    let begun = Instant::now();
    let given = request
        .headers()
        .get(CORRELATION)
        .and_then(|value| value.to_str().ok());
    let id = given
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| app.pentad.correlation());
    let method = known_method(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or_else(
        || "unmatched".to_owned(),
        |matched| matched.as_str().to_owned(),
    );

    let mut response = PRESENT.scope(id, next.run(request)).await;

    let (status, took) = (response.status().as_u16(), begun.elapsed());
    app.metrics.count(method, &route, status, took);
    tracing::info!(
        method,
        route,
        status,
        milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        correlation = %id,
        "answered"
    );
    secure(response.headers_mut(), app.options.tls);
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(CORRELATION, id);
    }
    response
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
