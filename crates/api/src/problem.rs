//! Failures as problems (RFC 9457): statuses, slugs and hints live here and nowhere else.
//!
//! A problem's `type` is `https://pentad.dev/problems/<slug>`; programs compare the slug or the
//! status, people read `detail` and `hint`. No problem holds a value.

use std::time::Duration;

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use pentad_agents::Fault;
use pentad_model::Id;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{layers, wire};

/// Where the types of problems are documented.
const BASE: &str = "https://pentad.dev/problems/";

/// A failed request, before it is written.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: String,
    hint: Option<String>,
    nearest: Option<String>,
    assessment: Option<wire::Assessment>,
    retry_after: Option<Duration>,
}

/// A failed request (RFC 9457), `application/problem+json`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Body {
    /// A URI that names the sort of problem; the last segment is its slug.
    #[serde(rename = "type")]
    pub kind: String,
    /// The sort of problem, in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened. Never holds a value.
    pub detail: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The request's correlation id: the access log and the audit log have the same.
    #[schema(value_type = String, format = "uuid")]
    pub correlation: Id,
    /// A name that exists, close to the one that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// Why policy refuses the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assessment: Option<wire::Assessment>,
    /// When it may be tried again, in seconds, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

impl Problem {
    /// A problem of the interface itself.
    pub(crate) fn new(
        status: StatusCode,
        slug: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Parts {
            status,
            slug,
            title,
            detail: detail.into(),
            hint: None,
            nearest: None,
            assessment: None,
            retry_after: None,
        }))
    }

    /// The request is wrong.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid",
            "The request is wrong",
            detail,
        )
    }

    /// The body has more bytes than are accepted.
    pub(crate) fn too_large(limit: usize) -> Self {
        let detail = format!("the body has more than {limit} bytes");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            detail,
        )
        .hint("split it: a batch takes up to 1000 operations and 16 MiB")
    }

    /// No token came with the request.
    pub(crate) fn no_token() -> Self {
        Fault::Unauthenticated {
            message: "the request has no token".to_owned(),
        }
        .into()
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// A conflict with a request that stated a precondition is a failed precondition (RFC 9110,
    /// section 13).
    #[must_use]
    pub(crate) fn conditional(mut self, stated: bool) -> Self {
        if stated && self.0.status == StatusCode::CONFLICT {
            self.0.status = StatusCode::PRECONDITION_FAILED;
        }
        self
    }

    /// The status that it is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// As it is written, under the correlation id of the present request.
    pub(crate) fn body(self) -> Body {
        let parts = *self.0;
        Body {
            kind: format!("{BASE}{}", parts.slug),
            title: parts.title,
            status: parts.status.as_u16(),
            detail: parts.detail,
            hint: parts.hint,
            correlation: layers::correlation(),
            nearest: parts.nearest,
            assessment: parts.assessment,
            retry_after_seconds: parts.retry_after.map(seconds),
        }
    }
}

/// Whole seconds, rounded up: who waits that long does not come too early.
fn seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let detail = fault.to_string();
        match fault {
            Fault::Invalid { .. } => Self::invalid(detail),
            Fault::Unauthenticated { .. } => Self::new(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "It is not known who asks",
                detail,
            )
            .hint("send `Authorization: Bearer pntd_…`; POST /v1/login or `pentad login` gives a token"),
            Fault::Denied { .. } => {
                Self::new(StatusCode::FORBIDDEN, "denied", "Not allowed", detail).hint(
                    "ask an admin for a role that allows it; `pentad role explain` shows what does",
                )
            }
            Fault::LockedOut { retry_after, .. } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "locked-out",
                "Too many failed tries",
                detail,
            )
            .retry_after(retry_after),
            Fault::Missing { nearest, .. } => {
                let problem = Self::new(StatusCode::NOT_FOUND, "missing", "Not found", detail);
                match nearest {
                    Some(near) => {
                        let mut problem = problem.hint(format!("did you mean `{near}`?"));
                        problem.0.nearest = Some(near);
                        problem
                    }
                    None => problem.hint("the listing of the resource shows what there is"),
                }
            }
            Fault::Conflict { .. } => {
                Self::new(StatusCode::CONFLICT, "conflict", "In conflict with the present state", detail)
                    .hint("read it again and decide anew")
            }
            Fault::Refused { assessment } => {
                let mut problem = Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "refused",
                    "Policy refuses the value",
                    detail,
                )
                .hint(
                    "choose a stronger value, let Pentad make one (`\"generate\": true`), or store it \
                     all the same (`\"accept_weak\": true`, on record)",
                );
                problem.0.assessment = Some((*assessment).into());
                problem
            }
            Fault::Busy { retry_after, .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "queue-full",
                "Too busy",
                detail,
            )
            .hint("nothing was accepted; try again after the stated time")
            .retry_after(retry_after),
            Fault::Unavailable { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Not available now",
                detail,
            )
            .hint("nothing was changed; GET /readyz and `pentad agents` show which part is down"),
            Fault::Full => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", "The disk is full", detail)
                    .hint(
                        "free some space on the volume of the store's directory (`df -h` shows it) \
                         and try again; no restart is needed",
                    )
            }
            Fault::Damaged { .. } => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "damaged",
                "Stored data is damaged",
                detail,
            )
            .hint("`pentad store verify` lists what is damaged; everything else is unharmed"),
            Fault::Target { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, "target", "The target failed", detail)
                    .hint("POST /v1/targets/{name}/check or `pentad target check` says what is wrong")
            }
            Fault::Internal { .. } => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Pentad failed",
                detail,
            )
            .hint("report it with the correlation id; look first whether the request took effect"),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.0.status;
        let body = self.body();
        if status.is_server_error() {
            tracing::warn!(
                correlation = %body.correlation,
                problem = body.kind,
                detail = body.detail,
                "request failed"
            );
        }
        let after = body.retry_after_seconds;
        // Texts and numbers only: it can't fail, and an empty body would still carry the status.
        let bytes = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (status, bytes).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(after) = after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"pentad\""),
            );
        }
        response
    }
}
