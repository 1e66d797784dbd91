//! Whether the process lives, the agents serve and the files can be written; for load balancers, so
//! without a token.

use axum::{Json as Answer, extract::State, http::StatusCode};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::agents::state;
use crate::{App, wire};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(alive))
        .routes(routes!(ready))
}

/// Whether the process lives.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "system",
    security(()),
    responses((status = 200, description = "It does", body = wire::Health)),
)]
async fn alive() -> Answer<wire::Health> {
    Answer(wire::Health {
        status: "ok",
        waiting_for: Vec::new(),
    })
}

/// Whether all agents serve, and neither the store nor the audit log has failed.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "system",
    security(()),
    responses(
        (status = 200, description = "They do", body = wire::Health),
        (status = 503, description = "Some don't just now, or a file has failed", body = wire::Health),
    ),
)]
async fn ready(State(app): State<App>) -> (StatusCode, Answer<wire::Health>) {
    let health = app.pentad.supervisor().health();
    let mut waiting_for: Vec<String> = health
        .into_iter()
        .filter(|agent| state(&agent.state) != "running")
        .map(|agent| agent.name)
        .collect();
    waiting_for.extend(app.pentad.failed().await.into_iter().map(str::to_owned));
    match waiting_for.is_empty() {
        true => (
            StatusCode::OK,
            Answer(wire::Health {
                status: "ok",
                waiting_for,
            }),
        ),
        false => {
            let health = wire::Health {
                status: "not ready",
                waiting_for,
            };
            (StatusCode::SERVICE_UNAVAILABLE, Answer(health))
        }
    }
}
