//! Values on their way in and out: the only places where plaintext meets JSON.

use std::{fmt, io};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use pentad_model::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::ToSchema;
use zeroize::Zeroizing;

macro_rules! taken_in {
    ($(#[$doc:meta])* $name:ident, $expecting:literal, $take:expr) => {
        $(#[$doc])*
        #[derive(Debug, ToSchema)]
        #[schema(value_type = String, format = Password)]
        pub struct $name(pub Secret);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Taking;

                impl de::Visitor<'_> for Taking {
                    type Value = Secret;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                        let take: fn(&str) -> Option<Secret> = $take;
                        // The error must not quote: it says what was expected, not what came.
                        take(text).ok_or_else(|| E::custom(concat!("expected ", $expecting)))
                    }

                    fn visit_string<E: de::Error>(self, text: String) -> Result<Secret, E> {
                        self.visit_str(&Zeroizing::new(text))
                    }
                }

                deserializer.deserialize_str(Taking).map(Self)
            }
        }
    };
}

taken_in!(
    /// A value given as text.
    TextValue, "text", |text| Some(Secret::new(text))
);
taken_in!(
    /// A value given as standard base64 with padding (RFC 4648, section 4).
    Base64Value, "standard base64 with padding", |text| {
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3 + 3));
        STANDARD.decode_vec(text, &mut bytes).ok()?;
        Some(Secret::new(std::mem::take(&mut *bytes)))
    }
);
taken_in!(
    /// A user's password.
    Password, "text", |text| Some(Secret::new(text))
);

/// A value that leaves as text; made by the handlers of authorised reads only.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Password)]
pub struct Shown(pub(crate) Secret);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.expose_str() {
            Some(text) => serializer.serialize_str(text),
            None => Err(serde::ser::Error::custom("the value is not text")),
        }
    }
}

/// A value that is not UTF-8 and leaves as standard base64.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Byte)]
pub struct ShownBase64(pub(crate) Secret);

impl Serialize for ShownBase64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.0.expose();
        let mut text = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(3) * 4));
        STANDARD.encode_string(bytes, &mut text);
        serializer.serialize_str(&text)
    }
}

/// Marks an answer that holds a value or a token: it is kept nowhere.
#[derive(Clone, Copy)]
pub(crate) struct HoldsSecret;

/// JSON that holds a secret, written once into a buffer that has room for one byte more.
pub(crate) fn secret_bytes<T: Serialize>(
    answer: &T,
) -> Result<Zeroizing<Vec<u8>>, pentad_agents::Fault> {
    let failed = |_| pentad_agents::Fault::internal("an answer could not be written as JSON");
    let mut size = Counter(0);
    serde_json::to_writer(&mut size, answer).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.0 + 1));
    serde_json::to_writer(&mut *bytes, answer).map_err(failed)?;
    Ok(bytes)
}

/// An answer that holds a secret. Its bytes are written once, into a buffer of the right size that
/// is zeroised when the connection has taken it.
pub(crate) fn secret_json<T: Serialize>(
    status: StatusCode,
    answer: &T,
) -> Result<Response, pentad_agents::Fault> {
    let bytes = secret_bytes(answer)?;
    let mut response = Response::new(Body::from(Bytes::from_owner(bytes)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.extensions_mut().insert(HoldsSecret);
    Ok(response)
}

/// Counts what is written to it.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_come_in_as_text_or_base64() {
        let text: TextValue = serde_json::from_str("\"a\\u00e9\\n\"").unwrap();
        assert_eq!(text.0, Secret::new("aé\n"));
        let bytes: Base64Value = serde_json::from_str("\"/wA=\"").unwrap();
        assert_eq!(bytes.0, Secret::new([0xff, 0x00]));
    }

    #[test]
    fn an_unfit_value_is_not_quoted() {
        let error = serde_json::from_str::<Base64Value>("\"hunter2!\"")
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn what_leaves_is_what_came() {
        let text = serde_json::to_string(&Shown(Secret::new("\"q\" é"))).unwrap();
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), "\"q\" é");
        let bytes = serde_json::to_string(&ShownBase64(Secret::new([0xff, 0x00]))).unwrap();
        assert_eq!(bytes, "\"/wA=\"");
    }
}
