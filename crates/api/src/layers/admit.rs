//! How many requests are carried out at a time, and which first.
//!
//! A request enters by the [`gate`](pentad_runtime::gate) of the running system once its body is
//! here, so a slow sender holds no place, only its room among the [bodies](crate::bodies); a full
//! lane is refused with `busy` and a Retry-After. The lane is by who asks: a person (a login, the
//! local user) before programs (tokens). Anybody may step back: `Priority: u=7` (RFC 9218, section
//! 4.1: "reserved for background tasks") asks for the background lane. Nobody steps forward by a
//! header.
//!
//! A streamed batch (`application/x-ndjson`) has no body that could be here first: it enters without a
//! place and without room, and each of its lines takes both.

use axum::{
    body::{Body, HttpBody as _},
    extract::Request,
    http::{HeaderMap, header::CONTENT_TYPE},
};
use bytes::Bytes;
use pentad_agents::{Caller, Pass, Priority};

use crate::{
    App,
    bodies::Room,
    extract::body::{self, Received},
    problem::Problem,
};

/// RFC 9218's header.
const PRIORITY: &str = "priority";

/// The media type of a JSON document a line.
pub(crate) const NDJSON: &str = "application/x-ndjson";
/// The route that takes it.
const STREAMS: &str = "/v1/batch";

/// Whether the body says that it is a JSON document a line.
pub(crate) fn is_ndjson(headers: &HeaderMap) -> bool {
    let given = headers
        .get(CONTENT_TYPE)
        .and_then(|text| text.to_str().ok());
    let media = given.and_then(|text| text.split(';').next()).unwrap_or("");
    media.trim().eq_ignore_ascii_case(NDJSON)
}

/// See the module. The pass and the room are to be held until the answer is made.
pub(crate) async fn enter(
    app: &App,
    mut request: Request,
) -> Result<(Option<Pass>, Option<Room>, Request), Problem> {
    let steps_back = is_background(request.headers());
    let Some(caller) = request.extensions_mut().get_mut::<Caller>() else {
        return Err(Problem::no_token());
    };
    if steps_back {
        caller.priority = Priority::Background;
    }
    let priority = caller.priority;
    if request.uri().path() == STREAMS && is_ndjson(request.headers()) {
        return Ok((None, None, request));
    }
    let mut room = None;
    if !request.body().is_end_stream() {
        let limit = body::limit(app, request.uri().path());
        let (mut parts, content) = request.into_parts();
        let (content, taken) = body::receive(app, content, limit).await?;
        room = Some(taken);
        parts.extensions.insert(Received);
        // Owned by what zeroises it.
        request = Request::from_parts(parts, Body::from(Bytes::from_owner(content)));
    }
    let pass = app.pentad.admit(priority).await?;
    Ok((Some(pass), room, request))
}

/// Whether the urgency of a `Priority` header is that of background tasks. What can't be read is as
/// good as absent (RFC 9218, section 4).
fn is_background(headers: &HeaderMap) -> bool {
    let Some(text) = headers.get(PRIORITY).and_then(|text| text.to_str().ok()) else {
        return false;
    };
    text.split(',')
        .filter_map(|member| member.trim().strip_prefix("u="))
        .next_back()
        .is_some_and(|urgency| urgency.split(';').next() == Some("7"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_urgency_of_background_tasks_steps_back() {
        let with = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(PRIORITY, text.parse().unwrap());
            is_background(&headers)
        };
        for background in ["u=7", "i, u=7", "u=7, i", "u=3, u=7", "u=7;x=1"] {
            assert!(with(background), "{background}");
        }
        for not in ["", "u=6", "u=70", "i", "u=7, u=3", "v=7", "u = 7"] {
            assert!(!with(not), "{not}");
        }
        assert!(!is_background(&HeaderMap::new()));
    }
}
