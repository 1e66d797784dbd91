//! Traces, as a collector gets them from the real server: decoded with OpenTelemetry's own messages.

use std::{
    io::{BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message as _;

use crate::world::{STRONG, Server, World};

/// A collector: takes what comes to `/v1/traces`, and says so.
struct Collector {
    endpoint: String,
    taken: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let taken = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let keep = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let (head, body) = message(BufReader::new(&stream));
                assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
                let head = head.to_lowercase();
                assert!(
                    head.contains("content-type: application/x-protobuf"),
                    "{head}"
                );
                assert!(head.contains("x-tenant: acme"), "{head}");
                keep.lock().unwrap().push(body);
                let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\
                              Content-Length: 0\r\nConnection: close\r\n\r\n";
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { endpoint, taken }
    }

    fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for body in self.taken.lock().unwrap().iter() {
            let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
            for of_resource in request.resource_spans {
                let resource = of_resource.resource.unwrap();
                let service = resource.attributes.iter().find(|a| a.key == "service.name");
                let name = service.unwrap().value.clone().unwrap().value.unwrap();
                assert_eq!(name, Value::StringValue("pentad-under-test".to_owned()));
                let scopes = of_resource.scope_spans.into_iter();
                spans.extend(scopes.flat_map(|scope| scope.spans));
            }
        }
        spans
    }
}

/// Head and body of an HTTP message with a length.
fn message(mut stream: impl std::io::BufRead) -> (String, Vec<u8>) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).unwrap(), 0, "cut short: {head}");
    }
    let length = head
        .lines()
        .find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length:")?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

/// One request with a `traceparent`; the answer's head and body.
fn ask(
    world: &World,
    server: &Server,
    line: &str,
    traceparent: &str,
    body: &str,
) -> (String, String) {
    let mut stream = TcpStream::connect(server.address.trim_start_matches("http://")).unwrap();
    let limit = Some(Duration::from_secs(10));
    stream.set_read_timeout(limit).unwrap();
    write!(
        stream,
        "{line} HTTP/1.1\r\nHost: it\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         traceparent: {traceparent}\r\ntracestate: vendor=canary-in-the-state\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        world.token,
        body.len()
    )
    .unwrap();
    let (head, body) = message(BufReader::new(stream));
    (head, String::from_utf8(body).unwrap())
}

fn of_trace<'a>(spans: &'a [Span], trace: &str) -> Vec<&'a Span> {
    let own = |span: &&Span| hex(&span.trace_id) == trace;
    spans.iter().filter(own).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn named<'a>(spans: &[&'a Span], name: &str) -> &'a Span {
    let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
    let found = spans.iter().find(|span| span.name == name);
    found.unwrap_or_else(|| panic!("no `{name}` in {names:?}"))
}

const PUT: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const GET: &str = "0af7651916cd43dd8448eb211c80319c";
const UNKEPT: &str = "1234567890abcdef1234567890abcdef";
const CALLER: &str = "00f067aa0ba902b7";

#[test]
fn one_trace_shows_a_request_through_the_agents_and_nothing_of_what_it_carried() {
    let collector = Collector::start();
    let world = World::new();
    world.bind_env_file();
    let server = world.serve_with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=acme"),
        ("OTEL_SERVICE_NAME", "pentad-under-test"),
        ("PENTAD_TRACES_SAMPLE", "1.0"),
    ]);
    let parent = |trace| format!("00-{trace}-{CALLER}-01");
    let value = format!(r#"{{"kind":"password","value":"{STRONG}"}}"#);
    let (head, _) = ask(
        &world,
        &server,
        "PUT /v1/credentials/prod/canary",
        &parent(PUT),
        &value,
    );
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    assert!(
        head.contains(&format!("traceresponse: 00-{PUT}-")),
        "{head}"
    );
    let (head, body) = ask(
        &world,
        &server,
        "GET /v1/values/prod/canary",
        &parent(GET),
        "",
    );
    assert!(
        head.starts_with("HTTP/1.1 200") && body.contains(STRONG),
        "{head}"
    );
    // Its caller does not keep this trace; and what asks whether the server lives has none.
    let unkept = format!("00-{UNKEPT}-{CALLER}-00");
    ask(&world, &server, "GET /v1/values/prod/canary", &unkept, "");
    ask(&world, &server, "GET /healthz", &parent(UNKEPT), "");
    let rotated = world
        .remote(&server, &["rotate", "app/db", "--quiet"])
        .status()
        .unwrap();
    assert!(rotated.success());
    let (code, log) = server.stop();
    assert_eq!(code, Some(0), "{log}");

    let spans = collector.spans();
    for (trace, request, asks) in [
        (
            PUT,
            "PUT /v1/credentials/{*path}",
            &["encryption seal", "validation judge", "monitoring commit"][..],
        ),
        (
            GET,
            "GET /v1/values/{*path}",
            &["encryption open", "monitoring record"],
        ),
    ] {
        let own = of_trace(&spans, trace);
        let request = named(&own, request);
        assert_eq!(hex(&request.parent_span_id), CALLER);
        assert_eq!(request.kind, SpanKind::Server as i32);
        for ask in asks {
            let handled = named(&own, ask);
            assert_eq!(handled.parent_span_id, request.span_id, "{ask}");
            assert!(handled.start_time_unix_nano >= request.start_time_unix_nano);
            assert!(handled.end_time_unix_nano <= request.end_time_unix_nano);
        }
        assert!(log.contains(&format!("trace={trace}")), "{log}");
    }
    assert!(of_trace(&spans, UNKEPT).is_empty());

    // A rotation is a trace of its own, with a link to the request that asked for it.
    let drive = spans.iter().find(|span| span.name == "drive").unwrap();
    assert!(drive.parent_span_id.is_empty());
    let asked = of_trace(&spans, &hex(&drive.links[0].trace_id));
    named(&asked, "POST /v1/rotations");
    let driven = of_trace(&spans, &hex(&drive.trace_id));
    for ask in [
        "encryption draft",
        "integration effect",
        "monitoring commit",
    ] {
        assert_eq!(named(&driven, ask).parent_span_id, drive.span_id, "{ask}");
    }

    let all = collector.taken.lock().unwrap().concat();
    let all = String::from_utf8_lossy(&all);
    let names = [
        STRONG,
        &world.token,
        "canary",
        "app/db",
        "DB_PASSWORD",
        "app.env",
    ];
    for secret in names {
        assert!(!all.contains(secret), "`{secret}` left with the spans");
    }
    assert!(all.contains("encryption"), "this search finds nothing");
}

#[test]
fn a_collector_that_is_away_costs_spans_and_no_request() {
    let world = World::new();
    world.put(&["put", "prod/mail", "--kind", "password"], STRONG);
    // Bound, and nobody accepts: a connection is made, and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for (address, reason) in [(silent.local_addr().unwrap(), "full"), (gone, "failed")] {
        let server = world.serve_with(&[
            ("PENTAD_TRACES_ENDPOINT", &format!("http://{address}")),
            ("PENTAD_TRACES_QUEUE", "2"),
            ("PENTAD_TRACES_SAMPLE", "1"),
        ]);
        let none = format!("00-{PUT}-{CALLER}-01");
        let start = format!("pentad_spans_dropped_total{{reason=\"{reason}\"}} ");
        let begun = Instant::now();
        loop {
            let asked = Instant::now();
            let (head, _) = ask(&world, &server, "GET /v1/values/prod/mail", &none, "");
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            assert!(asked.elapsed() < Duration::from_secs(5), "a request waited");
            let (_, text) = ask(&world, &server, "GET /metrics", &none, "");
            let dropped = text.lines().find_map(|line| line.strip_prefix(&start));
            if dropped.unwrap() != "0" {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{text}");
            // Nobody reads the server's log, and a pipe holds 64 KiB.
            std::thread::sleep(Duration::from_millis(100));
        }
        let stopping = Instant::now();
        let (code, log) = server.stop();
        assert_eq!(code, Some(0), "{log}");
        assert!(stopping.elapsed() < Duration::from_secs(10), "{log}");
    }
}

#[test]
fn a_collector_beyond_loopback_is_spoken_to_under_tls_only() {
    let world = World::new();
    for endpoint in [
        "http://collector.example:4318",
        "https://user:pw@c.example",
        "nothing",
    ] {
        let mut command = world.command(&["server", "--listen", "127.0.0.1:0"]);
        let out = command
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            .output();
        let out = out.unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(
            said.contains("traces.endpoint") && !said.contains("pw"),
            "{said}"
        );
    }
}
