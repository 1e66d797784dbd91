//! Panics and time-outs become problems.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures::FutureExt as _;

use crate::problem::Problem;

/// Ends a request that takes too long. What it asked of the agents may still take effect.
pub(crate) async fn in_time(limit: Duration, answer: impl Future<Output = Response>) -> Response {
    match tokio::time::timeout(limit, answer).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timed-out",
            "It took too long",
            format!("there was no answer within {} s", limit.as_secs()),
        )
        .hint("it may still have taken effect: look, or repeat it with the same Idempotency-Key")
        .into_response(),
    }
}

/// A panic's text may quote a value, so nobody is shown it; the correlation id leads to the place.
pub(crate) async fn contained(answer: impl Future<Output = Response>) -> Response {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(_) => panicked(),
    }
}

fn panicked() -> Response {
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
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[tokio::test]
    async fn a_panics_text_is_shown_to_nobody() {
        let answer = async { panic!("{} is not a number", "hunter2") };
        let response = contained(answer).await;
        assert_eq!(response.status(), 500);
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("hunter2"));
    }
}
