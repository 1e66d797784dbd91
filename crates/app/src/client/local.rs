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
        mut call: Call,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), Failure> {
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
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(axum::body::Bytes::from_owner(bytes))
            }
        };
        let request = request
            .body(body)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let response = match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status();
        let mut body = response.into_body();
        let mut bytes = buffer(axum::body::HttpBody::size_hint(&body).exact());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::internal(error.to_string()))?;
            if let Ok(chunk) = frame.into_data() {
                take(&mut bytes, &chunk)?;
            }
        }
        Ok((status, bytes))
    }
}
