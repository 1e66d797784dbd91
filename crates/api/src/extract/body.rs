//! JSON bodies: bounded, zeroised, and with errors that quote nothing.
//!
//! The parser's own texts say `invalid type: string "hunter2", expected u16`: they quote what they
//! refuse, and that may be a value. So a problem is composed of the place (line, column, field), of
//! what was expected, and of the sort of thing that was found; what stood there is cut out. An
//! unknown field's name is shown only if it looks like a name, since people swap keys and values.

use std::{fmt::Write as _, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    App,
    bodies::{FIRST, Room},
    problem::Problem,
};

/// The longest field name that is shown.
const SHOWN_NAME: usize = 32;

/// A body of JSON.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        json_only(request.headers())?;
        let limit = limit(app, request.uri().path());
        if request.extensions().get::<Received>().is_some() {
            let bytes = collect(request.into_body(), limit).await?;
            return parse(&bytes).map(Self);
        }
        let (bytes, _room) = receive(app, request.into_body(), limit).await?;
        parse(&bytes).map(Self)
    }
}

/// Marks a request whose body is here already, and has its room.
#[derive(Clone, Copy)]
pub(crate) struct Received;

/// How many bytes a body may have.
pub(crate) fn limit(app: &App, path: &str) -> usize {
    match path {
        "/v1/batch" | "/v1/backups" => app.options.batch_body_limit,
        // From anybody.
        "/v1/login" => FIRST.min(app.options.body_limit),
        _ => app.options.body_limit,
    }
}

fn json_only(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let media = given.split(';').next().unwrap_or("").trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not-json",
        "The body must be JSON",
        "the request does not say that its body is JSON",
    )
    .hint("send `Content-Type: application/json`"))
}

/// How long the refusal of a body waits that was read in vain. Whoever announces a length that is too
/// large is refused at once; a body without one has to be read up to the limit to know, and a client
/// that sends such bodies one after the other would have the processors read and wipe megabytes for
/// nothing, beside those who wait for an answer. Meanwhile nothing is read, so that TCP holds the
/// client back too.
const IN_VAIN: Duration = Duration::from_secs(1);

/// Reads a body off its connection, up to `limit` bytes and as long as all bodies together have room;
/// the room is to be kept as long as the bytes.
pub(crate) async fn receive(
    app: &App,
    body: Body,
    limit: usize,
) -> Result<(Zeroizing<Vec<u8>>, Room), Problem> {
    let announced = body_size(&body).is_some();
    let mut room = app.bodies.room();
    let arrives = gather(body, limit, |bytes| room.grow(bytes));
    let within = app.options.body_timeout;
    match timeout(within, arrives).await {
        Ok(Ok(bytes)) => Ok((bytes, room)),
        Ok(Err(problem)) => {
            if !announced && problem.status() == StatusCode::PAYLOAD_TOO_LARGE {
                // Of the body and its room nothing is held while it waits.
                drop(room);
                tokio::time::sleep(IN_VAIN).await;
            }
            Err(problem)
        }
        Err(_) => Err(too_slow(within)),
    }
}

/// What came too slowly, or stopped coming.
pub(crate) fn too_slow(within: Duration) -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "body-too-slow",
        "The body came too slowly",
        format!("the body was not here within {} s", within.as_secs()),
    )
    .hint("nothing was done; send less at once, or ask the operator about server.body_timeout")
}

/// Reads a body that was received before, up to `limit` bytes.
pub(crate) async fn collect(body: Body, limit: usize) -> Result<Zeroizing<Vec<u8>>, Problem> {
    gather(body, limit, |_| Ok(())).await
}

/// Zeroises the parts that a body came in where nobody else has them. Asks for room before it is
/// filled; while it is made larger, the old one is there for a moment more.
async fn gather(
    mut body: Body,
    limit: usize,
    mut room: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let most = body_size(&body).unwrap_or(limit);
    if most > limit {
        return Err(Problem::too_large(limit));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::invalid("the body broke off"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let needed = bytes.len() + data.len();
        if needed > limit {
            return Err(Problem::too_large(limit));
        }
        if needed > bytes.capacity() {
            let capacity = needed.next_power_of_two().min(most).max(needed);
            room(capacity)?;
            grow(&mut bytes, capacity);
        }
        bytes.extend_from_slice(&data);
        if let Ok(mut alone) = data.try_into_mut() {
            alone.as_mut().zeroize();
        }
    }
    Ok(bytes)
}

fn body_size(body: &Body) -> Option<usize> {
    axum::body::HttpBody::size_hint(body)
        .exact()
        .map(|size| usize::try_from(size).unwrap_or(usize::MAX))
}

/// Makes a buffer larger without leaving the old one's content behind.
pub(crate) fn grow(bytes: &mut Zeroizing<Vec<u8>>, capacity: usize) {
    let mut grown = Zeroizing::new(Vec::with_capacity(capacity));
    grown.extend_from_slice(bytes);
    *bytes = grown;
}

/// Parses JSON; see the module for its errors.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut parser);
    let parsed = parsed.and_then(|value| {
        let end = parser.end();
        end.map(|()| value).map_err(|error| {
            serde_path_to_error::Error::new(serde_path_to_error::Track::new().path(), error)
        })
    });
    parsed.map_err(|error| {
        let place = error.path().to_string();
        explain(&place, error.inner())
    })
}

fn explain(place: &str, error: &serde_json::Error) -> Problem {
    let mut detail = match error.classify() {
        serde_json::error::Category::Data => expectation(&error.to_string()),
        serde_json::error::Category::Eof => "the JSON ends too early".to_owned(),
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
            "that is not JSON".to_owned()
        }
    };
    if place != "." && place.split('.').all(looks_like_a_name) {
        let _ = write!(detail, "; in `{place}`");
    }
    let _ = write!(
        detail,
        " (line {}, column {})",
        error.line(),
        error.column()
    );
    Problem::invalid(detail).hint("GET /openapi.json describes what the body may hold")
}

/// A parser's text about unfit data, without what it quotes of the data.
fn expectation(text: &str) -> String {
    // serde_json appends the place, which is told by us.
    let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    if let Some(rest) = text.strip_prefix("unknown field `") {
        // The last one is the parser's: a name may hold the same words.
        let (name, known) = rest.rsplit_once("`, expected ").unwrap_or((rest, "none"));
        let known = known.replace("one of ", "");
        return match looks_like_a_name(name) {
            true => format!("there is no field `{name}` here; known ones: {known}"),
            false => format!("there is an unknown field here; known ones: {known}"),
        };
    }
    if text.starts_with("missing field `") || text.starts_with("duplicate field `") {
        return text.to_owned();
    }
    match (
        text.strip_prefix("invalid "),
        text.rsplit_once(", expected "),
    ) {
        (Some(rest), Some((_, expected))) => {
            let sort = rest.split([':', ' ']).next().unwrap_or("value");
            format!("unfit {sort}: expected {expected}")
        }
        _ => match (
            text.starts_with("unknown variant"),
            text.rsplit_once("`, expected "),
        ) {
            // "expected one of `a`, `b`": what follows the quoted variant.
            (true, Some((_, expected))) => format!("unknown word: expected {expected}"),
            // Our own texts, which quote nothing but names that were refused.
            _ => format!("unfit value: {}", ours(text)),
        },
    }
}

/// Texts that this project's own types give; what they quote in backticks is cut.
fn ours(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, piece) in text.split('`').enumerate() {
        out.push_str(if index % 2 == 0 { piece } else { "…" });
    }
    out
}

fn looks_like_a_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'[' | b']');
    let index = |byte: u8| byte.is_ascii_digit();
    !text.is_empty()
        && text.len() <= SHOWN_NAME
        && text.bytes().all(|byte| plain(byte) || index(byte))
        && text.bytes().filter(|byte| index(*byte)).count() <= 4
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde::Deserialize;

    use super::*;
    use crate::wire;

    const CANARY: &str = "cAnArY-hunter2";

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Sample {
        count: Option<u16>,
        list: Option<Vec<bool>>,
    }

    fn told(json: &str) -> String {
        parse::<Sample>(json.as_bytes()).unwrap_err().body().detail
    }

    #[test]
    fn an_error_names_line_field_and_what_was_expected() {
        let told = told("{\n  \"count\": \"x\"}");
        assert!(
            told.contains("line 2") && told.contains("`count`"),
            "{told}"
        );
        assert!(told.contains("expected u16"), "{told}");
    }

    #[test]
    fn an_unknown_field_is_named_with_the_known_ones() {
        let told = told("{\"cuont\": 1}");
        assert!(told.contains("`cuont`"), "{told}");
        assert!(
            told.contains("`count`") && told.contains("`list`"),
            "{told}"
        );
    }

    #[test]
    fn broken_json_is_told_by_its_place() {
        assert!(told("{\"count\": ").contains("ends too early"));
        assert!(told("{} x").contains("not JSON"));
    }

    /// Each place of a put's body takes the canary, in each shape that JSON has.
    #[test]
    fn nothing_of_the_body_is_quoted_wherever_it_stands() {
        let fields = [
            "kind",
            "value",
            "value_base64",
            "generate",
            "description",
            "provider",
            "tags",
            "owner",
            "depends_on",
            "policy",
            "generator",
            "binding",
            "expires_at",
            "accept_weak",
        ];
        let shapes = [
            format!("\"{CANARY}\""),
            format!("\"{CANARY} at line 1, expected `x`, expected y\""),
            format!("[\"{CANARY}\"]"),
            format!("[[\"{CANARY}\"]]"),
            format!("{{\"{CANARY}\": 1}}"),
            format!("{{\"type\": \"{CANARY}\"}}"),
            format!("{{\"type\": \"password\", \"{CANARY}\": 1}}"),
            format!("{{\"type\": \"password\", \"length\": \"{CANARY}\"}}"),
            format!("{{\"target\": \"{CANARY} /\", \"account\": [\"{CANARY}\"]}}"),
            format!("\"{CANARY}"),
        ];
        let mut refused = 0;
        for field in fields {
            for shape in &shapes {
                let json = format!("{{\"{field}\": {shape}}}");
                if let Err(problem) = parse::<wire::Put>(json.as_bytes()) {
                    refused += 1;
                    let body = serde_json::to_string(&problem.body()).unwrap();
                    assert!(!body.contains("cAnArY"), "{json}: {body}");
                }
            }
        }
        for json in [
            format!("{{\"{CANARY}\": 1}}"),
            format!("\"{CANARY}\""),
            format!("[\"{CANARY}\"]"),
            format!("{{\"value\": \"a\", \"{CANARY}`, expected `x\": 1}}"),
            CANARY.to_owned(),
        ] {
            let problem = parse::<wire::Put>(json.as_bytes()).unwrap_err();
            refused += 1;
            let body = serde_json::to_string(&problem.body()).unwrap();
            assert!(!body.contains("cAnArY"), "{json}: {body}");
        }
        assert!(refused > 100, "{refused}");
    }

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused_with_or_without_a_length() {
        assert!(collect(Body::from(vec![b'x'; 11]), 10).await.is_err());
        assert_eq!(
            collect(Body::from(vec![b'x'; 10]), 10).await.unwrap().len(),
            10
        );
        let chunks =
            futures::stream::iter((0..3).map(|_| Ok::<_, std::convert::Infallible>(vec![b'x'; 5])));
        assert!(collect(Body::from_stream(chunks), 14).await.is_err());
    }
}
