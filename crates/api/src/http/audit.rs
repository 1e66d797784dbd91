//! The audit log and its proofs.

use axum::{Json as Answer, extract::State};
use pentad_agents::contract::monitoring as mon;
use pentad_model::{Id, Path};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    extract::{By, Params},
    problem::Problem,
    wire,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(records))
        .routes(routes!(checkpoint))
        .routes(routes!(inclusion))
        .routes(routes!(consistency))
}

/// Which records; all conditions hold at once.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// On exactly this credential.
    #[param(value_type = Option<String>)]
    path: Option<Path>,
    /// By this principal, such as `user:ann`.
    principal: Option<String>,
    /// This action, such as `credential.read`; with a dot at the end, all that begin so:
    /// `credential.`.
    action: Option<String>,
    /// Of this request.
    #[param(value_type = Option<String>)]
    correlation: Option<Id>,
    /// Since then.
    #[param(value_type = Option<String>)]
    since: Option<wire::Time>,
    /// Before this position: the `next` of the page before.
    before: Option<u64>,
    /// Items of the page, 1 to 1000; 100 if not given.
    limit: Option<usize>,
}

/// Records of the tenant, the newest first. A page may be short and still have a next one.
#[utoipa::path(
    get,
    path = "/v1/audit/records",
    tag = "audit",
    params(Which),
    responses((status = 200, description = "A page", body = wire::Page<wire::Record>)),
)]
async fn records(
    State(app): State<App>,
    By(caller): By,
    Params(which): Params<Which>,
) -> Result<Answer<wire::Page<wire::Record>>, Problem> {
    let query = mon::AuditQuery {
        path: which.path,
        principal: which.principal,
        action: which.action,
        correlation: which.correlation,
        since: which.since.map(|wire::Time(moment)| moment),
        before: which.before,
        limit: wire::limit(which.limit)?,
    };
    let page = app.pentad.audit_page(&caller, query).await?;
    Ok(Answer(wire::Page {
        items: page.records.into_iter().map(wire::Record::from).collect(),
        next: page.before.map(|position| position.to_string()),
    }))
}

/// A fresh signed checkpoint. Whoever keeps it elsewhere can later prove that nothing before it
/// changed.
#[utoipa::path(
    get,
    path = "/v1/audit/checkpoint",
    tag = "audit",
    responses((status = 200, description = "The checkpoint", body = wire::Checkpoint)),
)]
async fn checkpoint(
    State(app): State<App>,
    By(caller): By,
) -> Result<Answer<wire::Checkpoint>, Problem> {
    Ok(Answer(app.pentad.checkpoint(&caller).await?.into()))
}

/// A record and the size of a tree.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Leaf {
    /// The record's position.
    index: u64,
    /// The tree's size.
    size: u64,
}

/// Proof that a record is in the log of a given size (RFC 9162, section 2.1.3).
#[utoipa::path(
    get,
    path = "/v1/audit/inclusion",
    tag = "audit",
    params(Leaf),
    responses((status = 200, description = "The proof", body = wire::Proof)),
)]
async fn inclusion(
    State(app): State<App>,
    By(caller): By,
    Params(Leaf { index, size }): Params<Leaf>,
) -> Result<Answer<wire::Proof>, Problem> {
    Ok(Answer(
        app.pentad.inclusion(&caller, index, size).await?.into(),
    ))
}

/// Sizes of two trees.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Sizes {
    /// The smaller one.
    old: u64,
    /// The larger one.
    new: u64,
}

/// Proof that the log of one size is a beginning of the log of another (RFC 9162, section 2.1.4).
#[utoipa::path(
    get,
    path = "/v1/audit/consistency",
    tag = "audit",
    params(Sizes),
    responses((status = 200, description = "The proof", body = wire::Proof)),
)]
async fn consistency(
    State(app): State<App>,
    By(caller): By,
    Params(Sizes { old, new }): Params<Sizes>,
) -> Result<Answer<wire::Proof>, Problem> {
    Ok(Answer(
        app.pentad.consistency(&caller, old, new).await?.into(),
    ))
}
