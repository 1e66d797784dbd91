//! Work with stored keys: sign, verify, encrypt, decrypt. The private key does not leave.

use axum::{
    Json as Answer,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use pentad_agents::Caller;
use pentad_model::Path;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    extract::{At, By, Json, Params},
    problem::Problem,
    wire::{self, Operation},
};

/// Items of one request.
const MOST: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(sign))
        .routes(routes!(verify))
        .routes(routes!(encrypt))
        .routes(routes!(decrypt))
        .routes(routes!(public_key))
}

/// Signs with the current version: Ed25519, ECDSA or RSA-PSS, as the key's type says.
#[utoipa::path(
    post,
    path = "/v1/crypto/sign/{*path}",
    tag = "crypto",
    params(("path" = String, Path, description = "The key's path, slashes included")),
    request_body = wire::Work,
    responses((status = 200, description = "One result for each item", body = wire::WorkAnswer)),
)]
async fn sign(
    State(app): State<App>,
    By(caller): By,
    At(path): At,
    Json(work): Json<wire::Work>,
) -> Result<Response, Problem> {
    done(&app, &caller, &path, Operation::Sign, work).await
}

/// Says whether signatures are the key's, each by the version that it names.
#[utoipa::path(
    post,
    path = "/v1/crypto/verify/{*path}",
    tag = "crypto",
    params(("path" = String, Path, description = "The key's path, slashes included")),
    request_body = wire::Work,
    responses((status = 200, description = "One result for each item", body = wire::WorkAnswer)),
)]
async fn verify(
    State(app): State<App>,
    By(caller): By,
    At(path): At,
    Json(work): Json<wire::Work>,
) -> Result<Response, Problem> {
    done(&app, &caller, &path, Operation::Verify, work).await
}

/// Encrypts for the current version of an RSA key (OAEP with SHA-256): up to 190 bytes for 2048 bits.
#[utoipa::path(
    post,
    path = "/v1/crypto/encrypt/{*path}",
    tag = "crypto",
    params(("path" = String, Path, description = "The key's path, slashes included")),
    request_body = wire::Work,
    responses((status = 200, description = "One result for each item", body = wire::WorkAnswer)),
)]
async fn encrypt(
    State(app): State<App>,
    By(caller): By,
    At(path): At,
    Json(work): Json<wire::Work>,
) -> Result<Response, Problem> {
    done(&app, &caller, &path, Operation::Encrypt, work).await
}

/// Decrypts with an RSA key, each by the version that made it.
#[utoipa::path(
    post,
    path = "/v1/crypto/decrypt/{*path}",
    tag = "crypto",
    params(("path" = String, Path, description = "The key's path, slashes included")),
    request_body = wire::Work,
    responses((status = 200, description = "One result for each item", body = wire::WorkAnswer)),
)]
async fn decrypt(
    State(app): State<App>,
    By(caller): By,
    At(path): At,
    Json(work): Json<wire::Work>,
) -> Result<Response, Problem> {
    done(&app, &caller, &path, Operation::Decrypt, work).await
}

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// The current one if not given.
    version: Option<u32>,
}

/// The public half of a key, for others to verify and encrypt with.
#[utoipa::path(
    get,
    path = "/v1/crypto/public-key/{*path}",
    tag = "crypto",
    params(Which, ("path" = String, Path, description = "The key's path, slashes included")),
    responses((status = 200, description = "The public key", body = wire::PublicKey)),
)]
async fn public_key(
    State(app): State<App>,
    By(caller): By,
    At(path): At,
    Params(Which { version }): Params<Which>,
) -> Result<Answer<wire::PublicKey>, Problem> {
    let found = app.pentad.public_key(&caller, &path, version).await?;
    Ok(Answer(wire::PublicKey {
        version: found.version,
        algorithm: found.algorithm,
        public_key: found.pem,
    }))
}

async fn done(
    app: &App,
    caller: &Caller,
    path: &Path,
    operation: Operation,
    work: wire::Work,
) -> Result<Response, Problem> {
    let count = work.items.len();
    if !(1..=MOST).contains(&count) {
        return Err(
            Problem::invalid(format!("a request has 1 to {MOST} items, not {count}"))
                .hint("send several requests"),
        );
    }
    let mut results: Vec<_> = work.items.iter().map(|_| None).collect();
    let mut tasks = Vec::with_capacity(count);
    let mut places = Vec::with_capacity(count);
    for (index, item) in work.items.into_iter().enumerate() {
        match item.into_task(operation) {
            Ok(task) => {
                tasks.push(task);
                places.push(index);
            }
            Err(fault) => results[index] = Some(Err(fault)),
        }
    }
    // Also where no item is sound: whether the caller may is decided first.
    let worked = app.pentad.work(caller, path, tasks).await?;
    for (index, result) in places.into_iter().zip(worked) {
        results[index] = Some(result);
    }
    let results: Vec<_> = results
        .into_iter()
        .flatten()
        .map(|result| wire::WorkResult::of(operation, result))
        .collect();
    let failed = results.iter().filter(|r| r.problem.is_some()).count();
    let answer = wire::WorkAnswer { results, failed };
    match operation {
        Operation::Decrypt => Ok(wire::secret_json(StatusCode::OK, &answer)?),
        _ => Ok(Answer(answer).into_response()),
    }
}
