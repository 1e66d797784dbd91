//! Rotations: planning, starting, watching, steering.

use axum::{
    Json as Answer,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use pentad_agents::{
    Caller,
    contract::rotation as rot,
    operations::{CredentialQuery, RotationQuery},
};
use pentad_model::{
    Id, Path,
    rotation::{Control, Step},
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::credentials::tag;
use crate::{
    App,
    extract::{By, Json, Params, Segment},
    problem::Problem,
    wire,
};

/// Credentials that one request may rotate.
const MOST: usize = 10_000;
/// Credentials looked at in one go while a filter is resolved.
const PAGE: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(rotate, list))
        .routes(routes!(describe))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(cancel))
        .routes(routes!(rollback))
        .routes(routes!(resolve))
}

/// Starts rotations, or shows what they would do.
///
/// Durable when answered; they are driven from then on, also over a crash. With `dry_run` nothing
/// is touched and the answer is the plan.
#[utoipa::path(
    post,
    path = "/v1/rotations",
    tag = "rotations",
    request_body = wire::Rotate,
    responses(
        (status = 202, description = "Accepted", body = wire::Started),
        (status = 200, description = "The plan of a dry run", body = wire::Plan),
    ),
)]
async fn rotate(
    State(app): State<App>,
    By(caller): By,
    Json(ask): Json<wire::Rotate>,
) -> Result<Response, Problem> {
    let paths = match (ask.paths, ask.filter) {
        (Some(paths), None) => paths,
        (None, Some(filter)) => matching(&app, &caller, filter).await?,
        _ => return Err(Problem::invalid("give either `paths` or `filter`")),
    };
    if paths.len() > MOST {
        return Err(too_many());
    }
    let start = rot::Start {
        paths,
        strategy: ask.strategy,
    };
    if ask.dry_run {
        let plan = app.pentad.plan(&caller, start).await?;
        return Ok(Answer(wire::Plan::from(plan)).into_response());
    }
    let started = app.pentad.rotate(&caller, start).await?;
    Ok((StatusCode::ACCEPTED, Answer(wire::Started::from(started))).into_response())
}

/// The bound credentials that a filter names, as far as the caller may see them.
async fn matching(app: &App, caller: &Caller, filter: wire::Filter) -> Result<Vec<Path>, Problem> {
    let mut query = CredentialQuery {
        tenant: caller.context.tenant.clone(),
        prefix: filter.prefix,
        kind: filter.kind,
        tag: filter.tag.as_deref().map(tag),
        target: filter.target.map(|name| name.to_string()),
        deleted: false,
        after: None,
        limit: PAGE,
    };
    let mut paths = Vec::new();
    loop {
        let page = app.pentad.list(caller, query.clone()).await?;
        let bound = page
            .items
            .into_iter()
            .filter(|credential| credential.binding.is_some());
        paths.extend(bound.map(|credential| credential.path));
        if paths.len() > MOST {
            return Err(too_many());
        }
        match page.next {
            Some(next) => query.after = Some(app.pentad.place(caller, &next).await?),
            None => break,
        }
    }
    if paths.is_empty() {
        return Err(
            Problem::invalid("the filter matches no credential that is bound to a target")
                .hint("GET /v1/credentials with the same conditions shows what there is"),
        );
    }
    Ok(paths)
}

fn too_many() -> Problem {
    Problem::invalid(format!("one request rotates at most {MOST} credentials"))
        .hint("narrow the filter, for example by `prefix` or `target`")
}

/// Which rotations.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Of this credential.
    #[param(value_type = Option<String>)]
    path: Option<Path>,
    /// Of this batch.
    #[param(value_type = Option<String>)]
    batch: Option<Id>,
    /// Only unfinished ones.
    #[serde(default)]
    unfinished: bool,
    /// Only those that stand at this step, or ended there: `planned`, `applying`, `probing`,
    /// `verifying`, `delivering`, `observing`, `retiring`, `retire_probing`, `undoing`,
    /// `undo_probing`, `done`, `rolled_back`, `failed`, `diverged`.
    #[param(value_type = Option<String>)]
    step: Option<Step>,
    /// Only those that wait for a person: that diverged and were not settled since, or that paused
    /// themselves and say why.
    #[serde(default)]
    needs_person: bool,
    /// Only those before this one: the `next` of the page before.
    #[param(value_type = Option<String>)]
    before: Option<Id>,
    /// Items of the page, 1 to 1000; 100 if not given.
    limit: Option<usize>,
}

/// Rotations of credentials that the caller may see, the newest first.
///
/// A page may have fewer items than asked for, or none, and still a `next`: one request looks at
/// 2,000 rotations at most.
#[utoipa::path(
    get,
    path = "/v1/rotations",
    tag = "rotations",
    params(Which),
    responses((status = 200, description = "A page", body = wire::Page<wire::Rotation>)),
)]
async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(which): Params<Which>,
) -> Result<Answer<wire::Page<wire::Rotation>>, Problem> {
    let query = RotationQuery {
        tenant: caller.context.tenant.clone(),
        path: which.path,
        batch: which.batch,
        unfinished: which.unfinished,
        step: which.step,
        for_a_person: which.needs_person,
        before: which.before,
        limit: wire::limit(which.limit)?,
    };
    let page = match which.needs_person {
        true => app.pentad.rotations_for_a_person(&caller, query).await?,
        false => app.pentad.rotations(&caller, query).await?,
    };
    Ok(Answer(wire::Page {
        items: page.items.into_iter().map(Into::into).collect(),
        next: page.next.map(|id| id.to_string()),
    }))
}

/// One rotation.
#[utoipa::path(
    get,
    path = "/v1/rotations/{id}",
    tag = "rotations",
    params(("id" = String, Path, description = "The rotation's id")),
    responses((status = 200, description = "The rotation", body = wire::Rotation)),
)]
async fn describe(
    State(app): State<App>,
    By(caller): By,
    Segment(id): Segment<Id>,
) -> Result<Answer<wire::Rotation>, Problem> {
    Ok(Answer(app.pentad.rotation(&caller, id).await?.into()))
}

macro_rules! steering {
    ($($(#[$doc:meta])* $name:ident, $path:literal => $control:ident;)+) => { $(
        $(#[$doc])*
        #[utoipa::path(
            post,
            path = $path,
            tag = "rotations",
            params(("id" = String, Path, description = "The rotation's id")),
            responses(
                (status = 200, description = "The rotation, which obeys at the next safe point", body = wire::Rotation),
                (status = 409, description = "It has ended", body = crate::problem::Body, content_type = "application/problem+json"),
            ),
        )]
        async fn $name(
            State(app): State<App>,
            By(caller): By,
            Segment(id): Segment<Id>,
        ) -> Result<Answer<wire::Rotation>, Problem> {
            Ok(Answer(app.pentad.steer(&caller, id, Control::$control).await?.into()))
        }
    )+ };
}

steering! {
    /// Stops a rotation at the next safe point, until it is resumed.
    pause, "/v1/rotations/{id}/pause" => Pause;
    /// Lets a paused rotation go on.
    resume, "/v1/rotations/{id}/resume" => Run;
    /// Ends a rotation, taking back what was not promoted.
    cancel, "/v1/rotations/{id}/cancel" => Cancel;
    /// Makes the old version current again, while the target accepts it.
    rollback, "/v1/rotations/{id}/rollback" => Rollback;
}

/// Decides on a diverged rotation: look again, or overwrite what somebody else set.
#[utoipa::path(
    post,
    path = "/v1/rotations/{id}/resolve",
    tag = "rotations",
    params(("id" = String, Path, description = "The rotation's id")),
    request_body = wire::Resolve,
    responses(
        (status = 200, description = "The rotation", body = wire::Rotation),
        (status = 409, description = "It has not diverged", body = crate::problem::Body, content_type = "application/problem+json"),
    ),
)]
async fn resolve(
    State(app): State<App>,
    By(caller): By,
    Segment(id): Segment<Id>,
    Json(ask): Json<wire::Resolve>,
) -> Result<Answer<wire::Rotation>, Problem> {
    Ok(Answer(
        app.pentad.resolve(&caller, id, ask.how).await?.into(),
    ))
}
