//! What of a span leaves the process.
//!
//! A list of fields, and nothing beside it: a field that somebody adds to a span for the log does
//! not reach the collector until it has its line here. Paths of credentials, accounts, principals
//! and targets have none; a route is its pattern. Log lines inside a span stay in the log.

use opentelemetry::{
    KeyValue, Value,
    trace::{SpanKind, Status},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents};

/// A span's field, and the attribute that it becomes: OpenTelemetry's own name where it has one
/// (semantic conventions for HTTP).
const ATTRIBUTES: [(&str, &str); 11] = [
    ("method", "http.request.method"),
    ("route", "http.route"),
    ("status", "http.response.status_code"),
    ("correlation", "pentad.correlation"),
    ("agent", "pentad.agent"),
    ("ask", "pentad.ask"),
    ("envelope", "pentad.envelope"),
    ("attempt", "pentad.attempt"),
    ("rotation", "pentad.rotation"),
    ("strategy", "pentad.rotation.strategy"),
    ("step", "pentad.rotation.step"),
];

/// Whether this field is on the list.
pub(super) fn leaves(field: &str) -> bool {
    ATTRIBUTES.iter().any(|(name, _)| *name == field)
}

/// The span as the collector gets it.
pub(super) fn shaped(mut span: SpanData) -> SpanData {
    let word = |name| word(&span.attributes, name);
    let name = match &*span.name {
        "request" => format!("{} {}", word("method"), word("route")),
        "handle" => format!("{} {}", word("agent"), word("ask")),
        other => other.to_owned(),
    };
    if span.name == "request" {
        span.span_kind = SpanKind::Server;
        let failed = number(&span.attributes, "status").is_some_and(|status| status >= 500);
        if failed {
            span.status = Status::error("");
        }
    }
    span.name = name.into();
    span.attributes = std::mem::take(&mut span.attributes)
        .into_iter()
        .filter_map(|field| {
            let (_, key) = ATTRIBUTES
                .iter()
                .find(|(name, _)| *name == field.key.as_str())?;
            Some(KeyValue::new(*key, field.value))
        })
        .collect();
    span.events = SpanEvents::default();
    span
}

fn word(fields: &[KeyValue], name: &str) -> String {
    let field = fields.iter().find(|field| field.key.as_str() == name);
    field.map_or_else(String::new, |field| field.value.as_str().into_owned())
}

fn number(fields: &[KeyValue], name: &str) -> Option<i64> {
    let field = fields.iter().find(|field| field.key.as_str() == name)?;
    match field.value {
        Value::I64(number) => Some(number),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::SystemTime;

    use opentelemetry::{
        InstrumentationScope,
        trace::{Event, SpanContext, SpanId},
    };
    use opentelemetry_sdk::trace::SpanLinks;

    use super::*;

    /// A finished span.
    pub(in crate::telemetry) fn span(name: &'static str, attributes: Vec<KeyValue>) -> SpanData {
        let mut events = SpanEvents::default();
        events.events = vec![Event::with_name("a log line with a path: prod/db")];
        SpanData {
            span_context: SpanContext::NONE,
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: SystemTime::UNIX_EPOCH,
            end_time: SystemTime::UNIX_EPOCH,
            attributes,
            dropped_attributes_count: 0,
            events,
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("pentad").build(),
        }
    }

    #[test]
    fn a_field_without_a_line_in_the_list_does_not_leave() {
        let fields = vec![
            KeyValue::new("agent", "encryption"),
            KeyValue::new("ask", "open"),
            KeyValue::new("path", "prod/db"),
            KeyValue::new("code.file.path", "src/pool.rs"),
        ];
        let shaped = shaped(span("handle", fields));
        assert_eq!(shaped.name, "encryption open");
        assert!(shaped.events.is_empty());
        let keys: Vec<_> = shaped.attributes.iter().map(|a| a.key.as_str()).collect();
        assert_eq!(keys, ["pentad.agent", "pentad.ask"]);
    }

    #[test]
    fn a_request_has_the_names_that_other_tools_know() {
        let fields = vec![
            KeyValue::new("method", "GET"),
            KeyValue::new("route", "/v1/values/{*path}"),
            KeyValue::new("status", 503),
        ];
        let shaped = shaped(span("request", fields));
        assert_eq!(shaped.name, "GET /v1/values/{*path}");
        assert_eq!(shaped.span_kind, SpanKind::Server);
        assert_eq!(shaped.status, Status::error(""));
        let expected = KeyValue::new("http.response.status_code", 503);
        assert!(shaped.attributes.contains(&expected));
    }

    #[test]
    fn no_attribute_is_doubled() {
        for (index, (field, key)) in ATTRIBUTES.iter().enumerate() {
            let later = &ATTRIBUTES[index + 1..];
            assert!(later.iter().all(|(f, k)| f != field && k != key), "{field}");
        }
    }
}
