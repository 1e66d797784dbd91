//! The system itself: the agents' health, the kinds, the metrics.

use axum::{
    Json as Answer,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use pentad_agents::{Caller, Fault};
use pentad_model::{Kind, Verb};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{App, extract::By, problem::Problem, wire};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(agents))
        .routes(routes!(kinds))
        .routes(routes!(metrics))
}

/// Whether the caller may see the system's own state. It tells nothing of credentials, so unlike
/// the operations' refusals this one is in the access log only.
pub(super) fn observer(caller: &Caller) -> Result<(), Problem> {
    let decision = caller.rights.access.decide_system(Verb::Observe);
    match decision.allowed {
        true => Ok(()),
        false => Err(Fault::Denied {
            message: format!(
                "{} may not use `observe`: {}",
                caller.context.principal, decision.because
            ),
        }
        .into()),
    }
}

/// Health of the five agents.
#[utoipa::path(
    get,
    path = "/v1/agents",
    tag = "system",
    responses((status = 200, description = "One entry for each agent", body = wire::Page<wire::Agent>)),
)]
async fn agents(
    State(app): State<App>,
    By(caller): By,
) -> Result<Answer<wire::Page<wire::Agent>>, Problem> {
    observer(&caller)?;
    let items = app
        .pentad
        .supervisor()
        .health()
        .into_iter()
        .map(|health| {
            let [critical, high, normal, background] = health.queued;
            wire::Agent {
                state: state(&health.state),
                name: health.name,
                incarnation: health.incarnation,
                restarts: health.restarts,
                last_restart_ms: health.last_restart_ms,
                queued: wire::Queued {
                    critical,
                    high,
                    normal,
                    background,
                },
                in_flight: health.in_flight,
                workers: health.workers,
                idle: health.idle,
                accepted: health.accepted,
                handled: health.handled,
                failed: health.failed,
                quarantined: health.quarantined,
                refused_full: health.refused_full,
                oldest_ms: health.oldest_ms,
                p50_us: health.p50_us,
                p99_us: health.p99_us,
            }
        })
        .collect();
    Ok(Answer(wire::Page { items, next: None }))
}

/// An agent's state by its name in answers.
pub(crate) fn state<S: serde::Serialize>(state: &S) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(name)) => name,
        _ => "unknown".to_owned(),
    }
}

/// The kinds of credential.
#[utoipa::path(
    get,
    path = "/v1/kinds",
    tag = "system",
    responses((status = 200, description = "All of them", body = wire::Page<wire::Kind>)),
)]
async fn kinds(By(_): By) -> Answer<wire::Page<wire::Kind>> {
    let items = Kind::ALL
        .iter()
        .map(|kind| {
            let profile = kind.profile();
            wire::Kind {
                name: profile.name,
                description: profile.description,
                generated: profile.generator.is_some(),
                memorable: profile.memorable,
                max_bytes: profile.max_bytes,
            }
        })
        .collect();
    Answer(wire::Page { items, next: None })
}

/// Metrics as OpenMetrics text, which Prometheus reads. Labels never name a credential.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "system",
    responses((status = 200, description = "Metrics", body = String, content_type = "application/openmetrics-text")),
)]
async fn metrics(State(app): State<App>, By(caller): By) -> Result<Response, Problem> {
    observer(&caller)?;
    let text = app
        .metrics
        .render()
        .map_err(|error| Fault::internal(error.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}
