//! Tokens for programs.

use std::time::Duration;

use axum::{Json as Answer, extract::State, http::StatusCode, response::Response};
use pentad_agents::operations;
use pentad_model::Id;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    extract::{By, Json, Params, Segment},
    problem::Problem,
    wire,
};

/// Tokens that are looked at; logins run out, so an estate has far fewer.
const SEEN: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
}

/// Tokens, without their texts.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    tag = "access",
    params(wire::Paging),
    responses((status = 200, description = "A page", body = wire::Page<wire::Token>)),
)]
async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(paging): Params<wire::Paging>,
) -> Result<Answer<wire::Page<wire::Token>>, Problem> {
    let limit = wire::limit(paging.limit)?;
    let after: Option<Id> = match paging.after.as_deref().map(str::parse).transpose() {
        Ok(after) => after,
        Err(error) => return Err(Problem::invalid(format!("after: {error}"))),
    };
    // The store keeps them by the hash of their text, which is nobody's to see and no order for
    // people: here they are in the order in which they were made.
    let mut page = app.pentad.tokens(&caller, None, SEEN).await?;
    page.items.sort_unstable_by_key(|token| token.id);
    page.items
        .retain(|token| after.is_none_or(|after| token.id > after));
    page.more = page.items.len() > limit;
    page.items.truncate(limit);
    Ok(Answer(wire::of_page(page, |token| token.id.to_string())))
}

/// Makes a token. Its text is in this answer and nowhere else.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    tag = "access",
    request_body = wire::NewToken,
    responses((status = 201, description = "The token", body = wire::TokenIssued)),
)]
async fn create(
    State(app): State<App>,
    By(caller): By,
    Json(new): Json<wire::NewToken>,
) -> Result<Response, Problem> {
    let new = operations::NewToken {
        name: new.name,
        roles: new.roles,
        ttl: new.ttl_seconds.map(Duration::from_secs),
    };
    let issued = app.pentad.create_token(&caller, new).await?;
    Ok(wire::secret_json(
        StatusCode::CREATED,
        &wire::TokenIssued::from(issued),
    )?)
}

/// Revokes a token, at once.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{id}",
    tag = "access",
    params(("id" = String, Path, description = "The token's id")),
    responses((status = 200, description = "The token, revoked", body = wire::Token)),
)]
async fn revoke(
    State(app): State<App>,
    By(caller): By,
    Segment(id): Segment<Id>,
) -> Result<Answer<wire::Token>, Problem> {
    Ok(Answer(app.pentad.revoke_token(&caller, id).await?.into()))
}
