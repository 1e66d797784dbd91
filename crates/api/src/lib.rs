//! HTTP: thin faces over the agents' operations.
//!
//! ```text
//! request ─▶ layers/observe      correlation id, access log, metrics, security headers
//!         ─▶ layers/guard        panics and time-outs become problems
//!         ─▶ layers/authenticate who asks; failed tries are limited for each peer
//!         ─▶ layers/admit        a place, or a wait, by priority
//!         ─▶ layers/idempotency  a request with a key is carried out once
//!         ─▶ http/<resource>     one operation of `pentad_agents::Pentad`
//! ```
//!
//! What always holds:
//!
//! * No route below `/v1` but the login runs without an authenticated [`Caller`]: the layer that
//!   makes one wraps them all, and handlers take it from there.
//! * Access is decided by the operations, never here.
//! * A value leaves in the answer of an authorised read only. It is in no log, metric, problem or
//!   kept answer; texts of a JSON parser are cut before they are shown, because they quote.
//! * Every failure is a problem (RFC 9457) of one form, made in [`problem`].
//!
//! | module | holds |
//! |---|---|
//! | [`problem`] | faults as problems: statuses, slugs, hints |
//! | [`wire`] | the outward messages, apart from the model's |
//! | `bodies` | how much memory bodies may take together |
//! | `extract` | bodies, queries, paths and preconditions, with errors that name the place |
//! | `layers` | what wraps every request |
//! | `http` | the routes, a file a resource |
//! | [`trace`] | the trace that a caller sends, and the door to whoever exports spans |
//! | [`openapi`] | the description, held against `openapi.json` by a test |
//!
//! **To add a route:** its handler with `#[utoipa::path]` in `http/<resource>.rs`, its line in that
//! file's `routes`, then `./dev generate`.
//!
//! **What can't be zeroised.** Bodies are copied from the connection's buffers, which the HTTP
//! library owns and reuses; JSON strings with escapes pass through a scratch buffer of the parser;
//! an answer is copied once more into the connection's write buffer, and by TLS. All other copies
//! are in buffers that are zeroised on drop.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    middleware,
    response::IntoResponse,
    routing::get,
};
use bytes::Bytes;
use pentad_agents::Pentad;
use pentad_model::{Clock, SystemClock};

mod bodies;
mod extract;
mod http;
mod layers;
mod metrics;
pub mod openapi;
mod peers;
pub mod problem;
pub mod trace;
pub mod wire;

use problem::Problem;

/// What can be set, and why each default is what it is.
#[derive(Clone)]
pub struct Options {
    /// The clock of the limit on failed authentications.
    pub clock: Arc<dyn Clock>,
    /// Whether the listener speaks TLS: answers then say so to browsers (HSTS, RFC 6797).
    /// Default no: over plain HTTP that header is forbidden.
    pub tls: bool,
    /// How long a request may take. Default 60 s: an RSA key of 4096 bits and a slow target's check
    /// fit in.
    pub timeout: Duration,
    /// How long a body may take to arrive, within that. Default 20 s: the largest one over a line of
    /// 8 Mbit/s. Who sends more slowly holds room that others need.
    pub body_timeout: Duration,
    /// The largest body, in bytes. Default 2 MiB: more than the longest value of any kind, in
    /// base64, with its metadata.
    pub body_limit: usize,
    /// The largest body of a batch, in bytes. Default 16 MiB.
    pub batch_body_limit: usize,
    /// Bytes that the bodies of all requests together may take until they are answered; beyond it
    /// they are refused as too busy. A quarter of it is kept for the first 16 KiB of each body, so
    /// that the largest body should be well below three quarters of it. Default 256 MiB: a dozen of
    /// the largest batches at once.
    pub body_budget: usize,
    /// Operations of one batch under way at once. Default 16: enough to share fsyncs, and one
    /// caller can't fill a mailbox.
    pub batch_concurrency: usize,
    /// Who exports spans. Default nobody: then a request costs nothing but the span of its log.
    pub traces: Option<Arc<dyn trace::Traces>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            tls: false,
            timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(20),
            body_limit: 2 << 20,
            batch_body_limit: 16 << 20,
            body_budget: 256 << 20,
            batch_concurrency: 16,
            traces: None,
        }
    }
}

/// The operating system's name of the user in whose process the router runs, without a network.
///
/// A request that carries this as an *extension* acts as [`Pentad::local`], as whoever has the
/// store's directory and its key may. An extension can't be set from outside: no header, path or
/// body becomes one. Only code that holds the router itself can insert it.
#[derive(Clone, Debug)]
pub struct LocalUser(pub String);

/// What handlers and layers share.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) pentad: Pentad,
    pub(crate) options: Options,
    pub(crate) bodies: bodies::Bodies,
    pub(crate) metrics: metrics::Metrics,
    pub(crate) peers: peers::Peers,
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Every route with everything around it. Serve it with
/// `into_make_service_with_connect_info::<SocketAddr>()`, so that peers are told apart; without
/// that they share one limit, and records say `unknown`.
pub fn router(pentad: Pentad, options: Options) -> Router {
    let app = App(Arc::new(Shared {
        metrics: metrics::Metrics::new(pentad.clone(), options.traces.clone()),
        peers: peers::Peers::new(options.clock.clone()),
        bodies: bodies::Bodies::new(options.body_budget),
        pentad,
        options,
    }));
    let known = http::authenticated()
        .route_layer(middleware::from_fn_with_state(app.clone(), layers::known))
        .merge(http::open());
    let (routes, _) = known.split_for_parts();
    // Anybody may ask for it, as often as they like: it is there once.
    let description = Bytes::from(openapi::text());
    routes
        .route(
            "/openapi.json",
            get(move || async move { described(description) }),
        )
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(app.clone(), layers::every))
        .with_state(app)
}

fn described(text: Bytes) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], text)
}

async fn no_route() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no-such-route",
        "No such route",
        "there is no such route",
    )
    .hint("GET /openapi.json lists all of them")
}

async fn no_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "no-such-method",
        "No such method",
        "the route does not take this method",
    )
    .hint("the Allow header and GET /openapi.json say which it takes")
}
