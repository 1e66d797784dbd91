//! Moments as text.

use pentad_model::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::ToSchema;

/// A moment: RFC 3339 with milliseconds in UTC, such as `2026-01-31T12:00:00.000Z`. Other offsets
/// are accepted and turned into UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-01-31T12:00:00.000Z")]
pub struct Time(pub Timestamp);

impl From<Timestamp> for Time {
    fn from(moment: Timestamp) -> Self {
        Self(moment)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let moment: jiff::Timestamp = text.parse().map_err(|_| {
            de::Error::custom("a time is RFC 3339 text, such as 2026-01-31T12:00:00Z")
        })?;
        Ok(Self(Timestamp(moment.as_millisecond())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_moment_round_trips_and_offsets_become_utc() {
        let time: Time = serde_json::from_str("\"2025-11-24T18:00:00.123+02:00\"").unwrap();
        assert_eq!(time.0, Timestamp(1_764_000_000_123));
        assert_eq!(
            serde_json::to_string(&time).unwrap(),
            "\"2025-11-24T16:00:00.123Z\""
        );
        assert!(serde_json::from_str::<Time>("\"tomorrow\"").is_err());
    }
}
