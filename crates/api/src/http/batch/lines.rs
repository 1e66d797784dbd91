//! A body as lines, one in memory at a time.
//!
//! Each line has its own room in the [budget](crate::bodies) and its own bound. One that is too long, or
//! for which there is no room, is passed over up to its end and told as a problem; the next one is
//! read. A line has as long as a body may take, from its first byte on: who sends nothing for so long,
//! or a line by drops, is heard no longer.

use axum::body::Body;
use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    App,
    bodies::Room,
    extract::body::{grow, too_slow},
    problem::Problem,
};

/// A line that is not empty.
pub(super) struct Line {
    /// Counted from 1, empty ones too.
    pub(super) number: u64,
    /// Its bytes, without its end, and the room that they take.
    pub(super) content: Result<(Zeroizing<Vec<u8>>, Room), Problem>,
}

/// The lines of a body that is arriving.
pub(super) struct Lines {
    app: App,
    body: Body,
    /// What has arrived and was not looked at.
    arrived: Bytes,
    /// The lines so far.
    number: u64,
    ended: bool,
}

impl Lines {
    pub(super) fn of(app: App, body: Body) -> Self {
        Self {
            app,
            body,
            arrived: Bytes::new(),
            number: 0,
            ended: false,
        }
    }

    /// How many lines there were.
    pub(super) async fn next(&mut self) -> Option<Line> {
        while !self.ended {
            self.number += 1;
            let content = self.line().await;
            let blank = match &content {
                Ok((bytes, _)) => bytes.trim_ascii().is_empty(),
                Err(_) => false,
            };
            if !blank {
                return Some(Line {
                    number: self.number,
                    content,
                });
            }
        }
        None
    }

    /// Everything up to the next newline, or to the end of the body.
    async fn line(&mut self) -> Result<(Zeroizing<Vec<u8>>, Room), Problem> {
        let limit = self.app.options.body_limit;
        let mut room = self.app.bodies.room();
        let mut line = Zeroizing::new(Vec::new());
        let mut refused = None;
        let mut until = None;
        loop {
            if self.arrived.is_empty() && !self.arrive(until).await? {
                break;
            }
            until.get_or_insert_with(|| Instant::now() + self.app.options.body_timeout);
            let end = self.arrived.iter().position(|byte| *byte == b'\n');
            let part = &self.arrived[..end.unwrap_or(self.arrived.len())];
            if refused.is_none() {
                refused = add(&mut line, part, limit, &mut room).await.err();
            }
            self.pass(end.map_or(self.arrived.len(), |end| end + 1));
            if end.is_some() {
                break;
            }
        }
        match refused {
            None => Ok((line, room)),
            Some(problem) => Err(problem),
        }
    }

    /// Waits for more, for as long as a body may take where no end is given. Whether there is.
    async fn arrive(&mut self, until: Option<Instant>) -> Result<bool, Problem> {
        let until = until.unwrap_or_else(|| Instant::now() + self.app.options.body_timeout);
        loop {
            let frame = timeout_at(until, self.body.frame()).await;
            let frame = match frame {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => {
                    self.ended = true;
                    return Ok(false);
                }
                Ok(Some(Err(_))) => {
                    self.ended = true;
                    return Err(Problem::invalid("the body broke off"));
                }
                Err(_) => {
                    self.ended = true;
                    return Err(too_slow(self.app.options.body_timeout));
                }
            };
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                self.arrived = data;
                return Ok(true);
            }
        }
    }

    /// Zeroises what was looked at, where nobody else has it.
    fn pass(&mut self, length: usize) {
        let mut seen = self.arrived.split_to(length.min(self.arrived.len()));
        if self.arrived.is_empty() {
            self.arrived = Bytes::new();
        }
        if let Ok(mut alone) = seen.split_to(seen.remaining()).try_into_mut() {
            alone.as_mut().zeroize();
        }
    }
}

async fn add(
    line: &mut Zeroizing<Vec<u8>>,
    part: &[u8],
    limit: usize,
    room: &mut Room,
) -> Result<(), Problem> {
    let needed = line.len() + part.len();
    if needed > limit {
        return Err(Problem::too_large(limit));
    }
    if needed > line.capacity() {
        let capacity = needed.next_power_of_two().min(limit).max(needed);
        room.grow_in_time(capacity).await?;
        grow(line, capacity);
    }
    line.extend_from_slice(part);
    Ok(())
}
