//! Panics and time-outs become problems.

use std::any::Any;

use axum::{
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{App, problem::Problem};

/// Ends a request that takes too long. What it asked of the agents may still take effect.
pub(crate) async fn time_out(State(app): State<App>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(app.options.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timed-out",
            "It took too long",
            format!(
                "there was no answer within {} s",
                app.options.timeout.as_secs()
            ),
        )
        .hint("it may still have taken effect: look, or repeat it with the same Idempotency-Key")
        .into_response(),
    }
}

/// A panic's text may quote a value, so nobody is shown it; the correlation id leads to the place.
pub(crate) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response<Body> {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "Pentad failed",
        "internal error: the request's handler panicked",
    )
    .hint("report it with the correlation id; look first whether the request took effect")
    .into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_panics_text_is_shown_to_nobody() {
        let response = panicked(Box::new("hunter2 is not a number".to_owned()));
        assert_eq!(response.status(), 500);
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("hunter2"));
    }
}
