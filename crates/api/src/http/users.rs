//! Users.

use axum::{Json as Answer, extract::State, http::StatusCode};
use pentad_agents::operations;
use pentad_model::Name;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    extract::{By, Json, Params, Segment},
    problem::Problem,
    wire,
};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(put, remove))
        .routes(routes!(unlock))
}

/// Users, in the order of their names.
#[utoipa::path(
    get,
    path = "/v1/users",
    tag = "access",
    params(wire::Paging),
    responses((status = 200, description = "A page", body = wire::Page<wire::User>)),
)]
async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(paging): Params<wire::Paging>,
) -> Result<Answer<wire::Page<wire::User>>, Problem> {
    let limit = wire::limit(paging.limit)?;
    let page = app
        .pentad
        .users(&caller, paging.after.as_deref(), limit)
        .await?;
    Ok(Answer(wire::of_page(page, |user| user.name.to_string())))
}

/// Makes a user, or sets an existing one's password and roles.
#[utoipa::path(
    put,
    path = "/v1/users/{name}",
    tag = "access",
    params(("name" = String, Path, description = "The user's name")),
    request_body = wire::NewUser,
    responses((status = 204, description = "Done")),
)]
async fn put(
    State(app): State<App>,
    By(caller): By,
    Segment(user): Segment<Name>,
    Json(new): Json<wire::NewUser>,
) -> Result<StatusCode, Problem> {
    let login = operations::Login {
        user,
        password: new.password.0,
    };
    app.pentad.put_user(&caller, login, new.roles).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a user, and with it the authority of the user's logins.
#[utoipa::path(
    delete,
    path = "/v1/users/{name}",
    tag = "access",
    params(("name" = String, Path, description = "The user's name")),
    responses((status = 204, description = "The user is gone")),
)]
async fn remove(
    State(app): State<App>,
    By(caller): By,
    Segment(user): Segment<Name>,
) -> Result<StatusCode, Problem> {
    app.pentad.remove_user(&caller, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a locked user try again.
#[utoipa::path(
    post,
    path = "/v1/users/{name}/unlock",
    tag = "access",
    params(("name" = String, Path, description = "The user's name")),
    responses((status = 204, description = "Done")),
)]
async fn unlock(
    State(app): State<App>,
    By(caller): By,
    Segment(user): Segment<Name>,
) -> Result<StatusCode, Problem> {
    app.pentad.unlock_user(&caller, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}
