//! One question and its answer, whichever way they go.

use http::Method;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::failure::Failure;

/// The longest answer that is taken.
const LONGEST_ANSWER: usize = 256 << 20;

/// One question.
pub(crate) struct Call {
    pub(super) method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    pub(super) body: Option<Zeroizing<Vec<u8>>>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) no_token: bool,
    pub(super) media: &'static str,
}

/// A successful answer.
pub(crate) struct Answer(pub(super) Zeroizing<Vec<u8>>);

impl Call {
    fn new(method: Method, path: impl Into<String>) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Self {
            method,
            path: path.into(),
            query,
            body: None,
            headers,
            no_token: false,
            media: "application/json",
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// A parameter; `None` is left out.
    #[must_use]
    pub(crate) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query
            .extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// A header; `None` is left out.
    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.headers
            .extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// A body. It is written into a buffer that is zeroised, sized so that it need not grow.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, Failure> {
        let failed = |_| Failure::internal("the request has no JSON form");
        let mut size = Counter(0);
        serde_json::to_writer(&mut size, body).map_err(failed)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(size.0));
        serde_json::to_writer(&mut *bytes, body).map_err(failed)?;
        self.body = Some(bytes);
        Ok(self)
    }

    /// A body of bytes as they are.
    #[must_use]
    pub(crate) fn octets(mut self, bytes: Vec<u8>) -> Self {
        self.media = "application/octet-stream";
        self.body = Some(Zeroizing::new(bytes));
        self
    }

    /// For the login, and what needs none.
    #[must_use]
    pub(crate) fn without_token(mut self) -> Self {
        self.no_token = true;
        self
    }

    pub(super) fn target(&self) -> String {
        let mut target = self.path.clone();
        for (index, (name, value)) in self.query.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(name);
            target.push('=');
            encode(value, &mut target);
        }
        target
    }
}

impl Answer {
    /// Its JSON; not for answers that hold a value.
    pub(crate) fn json(&self) -> Result<Value, Failure> {
        if self.0.is_empty() {
            return Ok(Value::Null);
        }
        self.parse()
    }

    /// Its JSON in a type.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        // The parser's words could quote a value.
        serde_json::from_slice(&self.0)
            .map_err(|_| Failure::internal("the server's answer is not of the form expected"))
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A path's segments as they stand in a URL; the alphabet of names needs no escapes.
pub(crate) fn at(resource: &str, path: &str) -> String {
    let mut target = format!("/v1/{resource}/");
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            target.push('/');
        }
        encode(segment, &mut target);
    }
    target
}

/// Percent-encodes all but the unreserved characters (RFC 3986 section 2.3).
fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                into.push(char::from(byte));
            }
            _ => into.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// A buffer for an answer of this length, if it is known.
pub(super) fn buffer(length: Option<u64>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(capacity(length)))
}

fn capacity(length: Option<u64>) -> usize {
    usize::try_from(length.unwrap_or(4096))
        .unwrap_or(4096)
        .min(1 << 20)
}

/// Appends without leaving a copy behind where the buffer must grow.
pub(super) fn take(bytes: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) -> Result<(), Failure> {
    let needed = bytes.len() + chunk.len();
    if needed > LONGEST_ANSWER {
        return Err(Failure::internal("the server's answer is absurdly long"));
    }
    if needed > bytes.capacity() {
        let mut grown = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two()));
        grown.extend_from_slice(bytes);
        *bytes = grown;
    }
    bytes.extend_from_slice(chunk);
    Ok(())
}

struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn questions_are_encoded() {
        let call = Call::get(at("credentials", "a b/c+d")).query("tag", Some("k=v&x"));
        assert_eq!(call.target(), "/v1/credentials/a%20b/c%2Bd?tag=k%3Dv%26x");
    }
}
