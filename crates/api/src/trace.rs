//! Traces: the context that a caller sends (W3C Trace Context, `traceparent`), and the door to
//! whoever exports spans.
//!
//! This crate makes the span of a request and asks no more of an exporter than [`Traces`] says, so
//! that it knows none. Without one a caller's trace id is still in the access log.
//!
//! * A `traceparent` that is not exactly as the standard has it counts as absent; so do several.
//! * `tracestate` is not read: it is free text of others, and nothing is sent on that would carry it.
//! * Only the answer's own `traceresponse` tells of a span, and only to whoever asked.

use std::{fmt, str::FromStr};

use axum::http::{HeaderMap, HeaderName};

/// The caller's place in its trace.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// This server's place in it (W3C Trace Context Level 2, the form of `traceparent`).
pub(crate) const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// What an exporter of spans offers.
pub trait Traces: Send + Sync {
    /// Makes a new span the child of the caller's, where there is one, and says where it is itself.
    /// Called before the span is entered.
    fn follow(&self, span: &tracing::Span, caller: Option<Place>) -> Option<Place>;

    /// What became of the spans so far.
    fn counts(&self) -> Counts;
}

/// Finished spans since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Taken by the collector.
    pub exported: u64,
    /// Dropped because too many were waiting.
    pub dropped_full: u64,
    /// Dropped because the collector was away or refused them.
    pub dropped_failed: u64,
}

/// A span's place in a trace, in the form of `traceparent` (W3C Trace Context, 3.2):
/// `00-<32 hex>-<16 hex>-<2 hex>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The trace. Not zero.
    pub trace: u128,
    /// The span. Not zero.
    pub span: u64,
    /// Whether the caller keeps this trace.
    pub sampled: bool,
}

/// The text is no `traceparent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoPlace;

impl Place {
    /// What the caller sent.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(TRACEPARENT).iter();
        match (given.next(), given.next()) {
            (Some(one), None) => one.to_str().ok()?.parse().ok(),
            _ => None,
        }
    }
}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let mut parts = text.split('-');
        let mut part = |length| {
            let part = parts.next().filter(|part| part.len() == length);
            part.filter(|part| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                .ok_or(NoPlace)
        };
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        // A later version may say more, and is to be read as this one.
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return Err(NoPlace);
        }
        let place = Self {
            trace: u128::from_str_radix(trace, 16).map_err(|_| NoPlace)?,
            span: u64::from_str_radix(span, 16).map_err(|_| NoPlace)?,
            sampled: u8::from_str_radix(flags, 16).map_err(|_| NoPlace)? & 1 == 1,
        };
        if place.trace == 0 || place.span == 0 {
            return Err(NoPlace);
        }
        Ok(place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_standards_example_is_read() {
        let place: Place = EXAMPLE.parse().unwrap();
        assert_eq!(place.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((place.span, place.sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(place.to_string(), EXAMPLE);
        // A later version, with flags that nobody knows yet and more behind them.
        let later = EXAMPLE.replace("00-4", "cc-4").replace("-01", "-09-more");
        assert_eq!(later.parse(), Ok(place));
    }

    #[test]
    fn what_the_standard_refuses_is_refused() {
        let none = "0".repeat(32);
        for wrong in [
            String::new(),
            EXAMPLE.to_uppercase(),
            EXAMPLE.replace("00-4", "ff-4"),
            EXAMPLE.replace("00-4", "0-4"),
            format!("{EXAMPLE}-more"),
            format!("{EXAMPLE} "),
            EXAMPLE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &none),
            EXAMPLE.replace("00f067aa0ba902b7", &none[..16]),
            EXAMPLE.replace("4b", "+b"),
        ] {
            assert_eq!(wrong.parse::<Place>(), Err(NoPlace), "{wrong}");
        }
    }

    #[test]
    fn two_of_them_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, EXAMPLE.parse().unwrap());
        assert!(Place::of(&headers).is_some());
        headers.append(TRACEPARENT, EXAMPLE.parse().unwrap());
        assert_eq!(Place::of(&headers), None);
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_the_same(trace in 1u128.., span in 1u64.., sampled: bool) {
            let place = Place { trace, span, sampled };
            prop_assert_eq!(place.to_string().parse(), Ok(place));
        }

        #[test]
        fn nothing_panics(text in ".{0,80}") {
            let _ = text.parse::<Place>();
        }
    }
}
