//! Results of a batch as the bytes that leave, each with its room in the budget of all
//! [bodies](crate::bodies) until somebody takes it: a request of a few bytes may ask for a thousand
//! values of a mebibyte each.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{bodies::Room, problem::Problem, wire};

/// Bytes of a result that waits to be taken.
struct Waiting {
    bytes: Zeroizing<Vec<u8>>,
    _room: Room,
}

impl AsRef<[u8]> for Waiting {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// These bytes, which give their room back when the connection has taken them.
pub(super) fn waiting(bytes: Zeroizing<Vec<u8>>, room: Room) -> Bytes {
    Bytes::from_owner(Waiting { bytes, _room: room })
}

/// A result as JSON, if there is room for it now.
pub(super) fn fitted<T: Serialize>(result: &T, mut room: Room) -> Result<Bytes, Problem> {
    let bytes = wire::secret_bytes(result)?;
    room.grow(bytes.len())?;
    Ok(waiting(bytes, room))
}

/// The [`wire::BatchAnswer`] of results that are written already.
pub(super) fn answer(results: Vec<Bytes>, failed: usize) -> Body {
    let mut parts = Vec::with_capacity(2 * results.len() + 2);
    for (number, result) in results.into_iter().enumerate() {
        let before = if number == 0 { "{\"results\":[" } else { "," };
        parts.extend([Bytes::from_static(before.as_bytes()), result]);
    }
    parts.push(Bytes::from(format!("],\"failed\":{failed}}}")));
    Body::from_stream(stream::iter(parts.into_iter().map(Ok::<_, Infallible>)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bodies::Bodies;

    #[tokio::test]
    async fn results_are_one_answer_and_hold_room_until_they_are_taken() {
        let bodies = Bodies::new(128 << 10);
        let fits = |length| fitted(&"y".repeat(length), bodies.room_to_answer());
        let small = fitted(&"small", bodies.room_to_answer()).unwrap();
        let large = fits(90 << 10).unwrap();
        assert!(fits(90 << 10).is_err());
        // What is kept for small requests is there for them.
        assert!(bodies.room().grow(32 << 10).is_err() && bodies.room().grow(16 << 10).is_ok());
        let body = answer(vec![small, large], 0);
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let told: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(told["results"][0], "small");
        assert_eq!(told["results"][1].as_str().unwrap().len(), 90 << 10);
        assert_eq!(told["failed"], 0);
        assert!(fits(90 << 10).is_ok());
    }
}
