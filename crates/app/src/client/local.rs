//! In this process: the same router, called without a socket.

use axum::{Router, body::Body};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use pentad_agents::Pentad;
use pentad_api::LocalUser;
use tower::ServiceExt as _;
use zeroize::Zeroizing;

use super::call::{Call, buffer, take};
use crate::failure::Failure;

/// The router in this process.
pub(crate) struct Local {
    pub(crate) pentad: Pentad,
    router: Router,
    user: LocalUser,
    tenant: String,
}

impl Local {
    /// A client of the system in this process.
    pub(super) fn new(pentad: Pentad, user: String, tenant: &str) -> Self {
        let router = pentad_api::router(pentad.clone(), pentad_api::Options::default());
        Self {
            pentad,
            router,
            user: LocalUser(user),
            tenant: tenant.to_owned(),
        }
    }

    pub(super) async fn ask(
        &self,
        call: Call,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), Failure> {
        let response = self.respond(call).await?;
        let status = response.status();
        let mut bytes = buffer(axum::body::HttpBody::size_hint(response.body()).exact());
        pour(response, &mut |chunk| take(&mut bytes, chunk)).await?;
        Ok((status, bytes))
    }

    /// Asks, and hands a successful answer out as it comes; the answer of a refusal is returned.
    pub(super) async fn stream(
        &self,
        call: Call,
        each: &mut (dyn FnMut(&[u8]) -> Result<(), Failure> + Send),
    ) -> Result<Option<(StatusCode, Zeroizing<Vec<u8>>)>, Failure> {
        let response = self.respond(call).await?;
        let status = response.status();
        if status.is_success() {
            pour(response, each).await?;
            return Ok(None);
        }
        let mut bytes = buffer(None);
        pour(response, &mut |chunk| take(&mut bytes, chunk)).await?;
        Ok(Some((status, bytes)))
    }

    async fn respond(&self, mut call: Call) -> Result<http::Response<Body>, Failure> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(call.target())
            .header("x-pentad-tenant", &self.tenant)
            .extension(self.user.clone());
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let body = match call.body.take() {
            None => Body::empty(),
            Some(bytes) => {
                request = request.header(header::CONTENT_TYPE, call.media);
                Body::from(axum::body::Bytes::from_owner(bytes))
            }
        };
        let request = request
            .body(body)
            .map_err(|error| Failure::usage(error.to_string()))?;
        match self.router.clone().oneshot(request).await {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }
}

async fn pour(
    response: http::Response<Body>,
    each: &mut (dyn FnMut(&[u8]) -> Result<(), Failure> + Send),
) -> Result<(), Failure> {
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::unavailable(reason(&error)))?;
        if let Ok(chunk) = frame.into_data() {
            each(&chunk)?;
        }
    }
    Ok(())
}

/// What broke an answer off, in its own words.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(inner) => reason(inner),
        None => error.to_string(),
    }
}
