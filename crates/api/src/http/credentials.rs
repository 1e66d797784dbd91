//! Credentials: their metadata, storing, deleting, restoring, taking over.

use axum::{
    Json as Answer,
    extract::State,
    http::{HeaderValue, StatusCode, header::ETAG},
    response::{IntoResponse, Response},
};
use pentad_agents::{Caller, operations::CredentialQuery};
use pentad_model::{Kind, Name};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    extract::{At, By, Expected, Json, Params},
    problem::Problem,
    wire,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(describe, put, delete))
        .routes(routes!(restore))
        .routes(routes!(adopt))
}

/// Which credentials; all conditions hold at once.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Paths that begin so.
    #[serde(default)]
    prefix: String,
    /// Of this kind.
    #[param(value_type = Option<String>)]
    kind: Option<Kind>,
    /// With this tag: `k` or `k=v`.
    tag: Option<String>,
    /// Bound to this target.
    #[param(value_type = Option<String>)]
    target: Option<Name>,
    /// Soft-deleted ones instead of living ones.
    #[serde(default)]
    deleted: bool,
    /// The `next` of the page before, as it was given; or any path, to begin after it.
    after: Option<String>,
    /// Items of the page, 1 to 1000; 100 if not given.
    limit: Option<usize>,
}

impl Filter {
    /// As the operations take it.
    pub(super) async fn into_query(
        self,
        app: &App,
        caller: &Caller,
    ) -> Result<CredentialQuery, Problem> {
        let after = match &self.after {
            Some(next) => Some(app.pentad.place(caller, next).await?),
            None => None,
        };
        Ok(CredentialQuery {
            tenant: caller.context.tenant.clone(),
            prefix: self.prefix,
            kind: self.kind,
            tag: self.tag.as_deref().map(tag),
            target: self.target.map(|name| name.to_string()),
            deleted: self.deleted,
            after,
            limit: wire::limit(self.limit)?,
        })
    }
}

/// `k` or `k=v`.
pub(super) fn tag(text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// Lists metadata of credentials in the order of their paths, as far as the caller may see them.
///
/// A page looks at a bounded number of credentials: where hardly any of them is asked for or may be
/// seen, it holds fewer than `limit`, or none, and still has a `next`. The end is where `next` is null.
#[utoipa::path(
    get,
    path = "/v1/credentials",
    tag = "credentials",
    params(Filter),
    responses((status = 200, description = "A page", body = wire::Page<wire::Credential>)),
)]
async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(filter): Params<Filter>,
) -> Result<Answer<wire::Page<wire::Credential>>, Problem> {
    let query = filter.into_query(&app, &caller).await?;
    let page = app.pentad.list(&caller, query).await?;
    Ok(Answer(wire::of_listed(page)))
}

/// Metadata of one credential. The ETag is its revision.
#[utoipa::path(
    get,
    path = "/v1/credentials/{*path}",
    tag = "credentials",
    params(("path" = String, Path, description = "The credential's path, slashes included")),
    responses((status = 200, description = "Its metadata", body = wire::Credential)),
)]
async fn describe(
    State(app): State<App>,
    By(caller): By,
    At(path): At,
) -> Result<Response, Problem> {
    let credential = app.pentad.describe(&caller, &path).await?;
    Ok(tagged(
        StatusCode::OK,
        credential.revision,
        wire::Credential::from(credential),
    ))
}

/// Stores a new credential, a new version of one, or new metadata.
///
/// The value is judged by its policy first. `If-Match: "<revision>"` stores only if nobody changed
/// it meanwhile, `If-None-Match: *` only if there is none.
#[utoipa::path(
    put,
    path = "/v1/credentials/{*path}",
    tag = "credentials",
    params(
        ("path" = String, Path, description = "The credential's path, slashes included"),
        ("If-Match" = Option<String>, Header, description = "The revision that the caller saw, in quotes"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: it must not exist yet"),
        ("Idempotency-Key" = Option<String>, Header, description = "A random text; a retry with the same one is carried out once"),
    ),
    request_body = wire::Put,
    responses(
        (status = 200, description = "It was changed", body = wire::Stored),
        (status = 201, description = "It was made", body = wire::Stored),
        (status = 409, description = "In conflict with the present state", body = crate::problem::Body, content_type = "application/problem+json"),
        (status = 412, description = "The precondition does not hold", body = crate::problem::Body, content_type = "application/problem+json"),
        (status = 422, description = "Policy refuses the value; the assessment says why", body = crate::problem::Body, content_type = "application/problem+json"),
    ),
)]
async fn put(
    State(app): State<App>,
    By(caller): By,
    At(path): At,
    Expected(expect): Expected,
    Json(put): Json<wire::Put>,
) -> Result<Response, Problem> {
    let put = put.into_operation(expect)?;
    let stored = app.pentad.put(&caller, &path, put).await;
    let stored = stored.map_err(|fault| Problem::from(fault).conditional(expect.is_some()))?;
    Ok(answer(stored.into()))
}

/// Soft-deletes a credential: it is no longer readable, and can be restored.
#[utoipa::path(
    delete,
    path = "/v1/credentials/{*path}",
    tag = "credentials",
    params(
        ("path" = String, Path, description = "The credential's path, slashes included"),
        ("If-Match" = Option<String>, Header, description = "The revision that the caller saw, in quotes"),
    ),
    responses(
        (status = 200, description = "It is deleted", body = wire::Credential),
        (status = 412, description = "The precondition does not hold", body = crate::problem::Body, content_type = "application/problem+json"),
    ),
)]
async fn delete(
    State(app): State<App>,
    By(caller): By,
    At(path): At,
    Expected(expect): Expected,
) -> Result<Response, Problem> {
    let deleted = app.pentad.delete(&caller, &path, expect).await;
    let credential = deleted.map_err(|fault| Problem::from(fault).conditional(expect.is_some()))?;
    Ok(tagged(
        StatusCode::OK,
        credential.revision,
        wire::Credential::from(credential),
    ))
}

/// Takes a soft deletion back.
#[utoipa::path(
    post,
    path = "/v1/restore/{*path}",
    tag = "credentials",
    params(("path" = String, Path, description = "The credential's path, slashes included")),
    responses((status = 200, description = "It is back", body = wire::Credential)),
)]
async fn restore(
    State(app): State<App>,
    By(caller): By,
    At(path): At,
) -> Result<Response, Problem> {
    let credential = app.pentad.restore(&caller, &path).await?;
    Ok(tagged(
        StatusCode::OK,
        credential.revision,
        wire::Credential::from(credential),
    ))
}

/// Takes over an account that exists, without resetting it.
///
/// The value must log in at the target, and a random one must not. For a stored credential this is
/// how drift is mended.
#[utoipa::path(
    post,
    path = "/v1/adopt/{*path}",
    tag = "credentials",
    params(("path" = String, Path, description = "The credential's path, slashes included")),
    request_body = wire::Put,
    responses(
        (status = 200, description = "A stored credential has the value now", body = wire::Stored),
        (status = 201, description = "It was taken over", body = wire::Stored),
        (status = 502, description = "The target refuses the value, or can't tell", body = crate::problem::Body, content_type = "application/problem+json"),
    ),
)]
async fn adopt(
    State(app): State<App>,
    By(caller): By,
    At(path): At,
    Expected(expect): Expected,
    Json(put): Json<wire::Put>,
) -> Result<Response, Problem> {
    let put = put.into_operation(expect)?;
    let stored = app.pentad.adopt(&caller, &path, put).await;
    let stored = stored.map_err(|fault| Problem::from(fault).conditional(expect.is_some()))?;
    Ok(answer(stored.into()))
}

fn answer(stored: wire::Stored) -> Response {
    tagged(made_or_changed(&stored), stored.credential.revision, stored)
}

/// 201 for a credential that did not exist before, else 200.
pub(super) fn made_or_changed(stored: &wire::Stored) -> StatusCode {
    match stored.credential.revision {
        1 => StatusCode::CREATED,
        _ => StatusCode::OK,
    }
}

fn tagged<T: serde::Serialize>(status: StatusCode, revision: u64, answer: T) -> Response {
    let mut response = (status, Answer(answer)).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
