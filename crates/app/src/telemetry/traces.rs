//! Traces for an OpenTelemetry collector (OTLP over HTTP, protobuf).
//!
//! One trace shows a request through the API and all agents; a rotation's drive is a trace of its
//! own, linked to the request that asked for it. A caller's `traceparent` is followed, and its
//! decision whether to keep the trace; of the others, a configured part is kept.
//!
//! Off unless a collector is configured: then no span is made for it, and no thread started.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SpanExporter as _};
use pentad_api::trace::{Counts, Place, Traces};
use tracing::{Span, Subscriber};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use super::{
    layer::{self, Part, Spans},
    queue::{self, EXPORT_WITHIN, Exit, Tally},
};
use crate::{client, config, failure::Failure};

/// How long the last spans may take when the server stops.
const FINISH_WITHIN: Duration = Duration::from_secs(3);
/// The longest answer of a collector that is read.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Exports spans until it is finished.
pub(crate) struct Exporter {
    /// Until the subscriber has them.
    spans: Mutex<Option<Spans>>,
    tally: Arc<Tally>,
    exit: Mutex<Option<Exit>>,
}

impl Exporter {
    /// An exporter to the configured collector; `None` if there is none.
    pub(crate) fn of(settings: &config::Traces) -> Result<Option<Arc<Self>>, Failure> {
        if settings.endpoint.is_empty() {
            return Ok(None);
        }
        let endpoint = client::collector_address(&settings.endpoint)?;
        if !(0.0..=1.0).contains(&settings.sample) {
            return Err(Failure::usage(format!(
                "traces.sample is a part of all, from 0 to 1, not {}",
                settings.sample
            )));
        }
        let ca_cert = Some(settings.ca_cert.as_path()).filter(|path| !path.as_os_str().is_empty());
        let http = client::builder(ca_cert)?
            .timeout(EXPORT_WITHIN)
            .build()
            .map_err(internal)?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Http(http))
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{endpoint}/v1/traces"))
            .with_timeout(EXPORT_WITHIN)
            .build()
            .map_err(|error| Failure::usage(error.to_string()))?;
        let resource = Resource::builder()
            .with_service_name(settings.service.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        exporter.set_resource(&resource);

        let tally = Arc::new(Tally::default());
        let room = usize::try_from(settings.queue).unwrap_or(usize::MAX);
        let (entrance, exit) =
            queue::start(exporter, room.min(1 << 20), Arc::clone(&tally)).map_err(internal)?;
        let spans = Spans::new(entrance, Part::of(settings.sample));
        Ok(Some(Arc::new(Self {
            spans: Mutex::new(Some(spans)),
            tally,
            exit: Mutex::new(Some(exit)),
        })))
    }

    /// Takes our own spans, and no log line. There is one: the subscriber's.
    pub(super) fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let spans = self
            .spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        Some(spans.with_filter(filter_fn(|metadata| {
            metadata.is_span()
                && metadata.target().starts_with("pentad")
                && *metadata.level() <= tracing::Level::DEBUG
        })))
    }

    /// Sends what waits, for a bounded time. Later spans are dropped.
    pub(crate) fn finish(&self) {
        let exit = self
            .exit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(exit) = exit {
            exit.finish(FINISH_WITHIN);
        }
    }
}

impl Traces for Exporter {
    fn follow(&self, span: &Span, caller: Option<Place>) -> Option<Place> {
        layer::follow(span, caller)
    }

    fn counts(&self) -> Counts {
        self.tally.counts()
    }
}

/// The HTTP client that the rest of the program has: the same TLS.
#[derive(Debug)]
struct Http(reqwest::Client);

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut answer = self.0.execute(request.try_into()?).await?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err("the collector's answer is too long".into());
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::internal(format!("the export of traces: {error}"))
}
