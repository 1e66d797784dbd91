//! What stands in the path of a request.

use std::{fmt::Display, str::FromStr};

use axum::{
    extract::{FromRequestParts, Path as Captures},
    http::request::Parts,
};
use pentad_model::Path;
use serde::de::DeserializeOwned;

use crate::{App, problem::Problem};

/// A credential's path: the rest of the request's path.
pub(crate) struct At(pub(crate) Path);

impl FromRequestParts<App> for At {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Rest { path } = captures(parts, app).await?;
        parsed(&path).map(Self)
    }
}

#[derive(serde::Deserialize)]
struct Rest {
    path: String,
}

/// The one segment that a route captures: a name or an id.
pub(crate) struct Segment<T>(pub(crate) T);

impl<T> FromRequestParts<App> for Segment<T>
where
    T: FromStr,
    T::Err: Display,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let mut all: std::collections::BTreeMap<String, String> = captures(parts, app).await?;
        // A route has at most one segment beside a credential's path.
        all.remove("path");
        let text = all.into_values().next().unwrap_or_default();
        parsed(&text).map(Self)
    }
}

async fn captures<T: DeserializeOwned + Send>(parts: &mut Parts, app: &App) -> Result<T, Problem> {
    match Captures::<T>::from_request_parts(parts, app).await {
        Ok(Captures(captured)) => Ok(captured),
        Err(_) => Err(Problem::invalid(
            "the request's path is not percent-encoded UTF-8",
        )),
    }
}

fn parsed<T>(text: &str) -> Result<T, Problem>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse()
        .map_err(|error: T::Err| Problem::invalid(error.to_string()))
}
