//! Logs, on standard error, and traces, to a collector where one is configured. Values can't reach
//! them: `Secret` has no form that shows one.
//!
//! | file | holds |
//! |---|---|
//! | [`traces`] | the OpenTelemetry side: sampling, the caller's trace, the collector's address |
//! | `layer` | our spans as OpenTelemetry's |
//! | `queue` | finished spans on their way: bounded, on a thread of its own |
//! | `shape` | what of a span leaves the process: a list, and nothing beside it |

use std::io::IsTerminal;

use tracing_subscriber::{
    EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::failure::Failure;

mod layer;
mod queue;
mod shape;
pub(crate) mod traces;

use traces::Exporter;

/// The form of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging at `level`, a filter such as `info` or `info,pentad_agents=debug`, and the export
/// of spans if there is an exporter. What is logged does not change what is exported.
pub(crate) fn start(
    level: &str,
    format: Format,
    exporter: Option<&Exporter>,
) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Failure::usage(format!("`{level}` is no log level: {error}"))
            .hint("use error, warn, info, debug or trace")
    })?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(exporter.and_then(Exporter::layer))
        .try_init()
        .map_err(|error| Failure::internal(error.to_string()))
}
