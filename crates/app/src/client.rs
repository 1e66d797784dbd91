//! The API's client: one question form, two transports.
//!
//! Over the network, or in this process: the same router, called without a socket, by the local
//! user who has the store's directory and its key. No command knows which.
//!
//! Bodies with values live in zeroised buffers here. The HTTP library's own buffers and TLS's are
//! not ours to zeroise.

use std::path::Path;

use axum::{Router, body::Body};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use pentad_agents::Pentad;
use pentad_api::LocalUser;
use pentad_model::Secret;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tower::ServiceExt as _;
use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};

/// The longest answer that is taken.
const LONGEST_ANSWER: usize = 256 << 20;

/// Where questions go.
pub(crate) enum Client {
    /// A server.
    Network(Network),
    /// This process.
    Local(Local),
}

/// A connection to a server.
pub(crate) struct Network {
    address: String,
    http: reqwest::Client,
    token: Option<Secret>,
    tenant: String,
}

/// The router in this process.
pub(crate) struct Local {
    pub(crate) pentad: Pentad,
    router: Router,
    user: LocalUser,
    tenant: String,
}

/// One question.
pub(crate) struct Call {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Zeroizing<Vec<u8>>>,
    headers: Vec<(&'static str, String)>,
    no_token: bool,
}

/// A successful answer.
pub(crate) struct Answer(Zeroizing<Vec<u8>>);

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

    /// For the login, and what needs none.
    #[must_use]
    pub(crate) fn without_token(mut self) -> Self {
        self.no_token = true;
        self
    }

    fn target(&self) -> String {
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

impl Client {
    /// A client of the server at `address`.
    pub(crate) fn network(
        address: &str,
        tenant: &str,
        token: Option<Secret>,
        ca_cert: Option<&Path>,
    ) -> Result<Self, Failure> {
        let address = checked_address(address)?;
        let http = builder(ca_cert)?
            .timeout(std::time::Duration::from_secs(120))
            .build()
            .map_err(|error| Failure::internal(error.to_string()))?;
        Ok(Self::Network(Network {
            address,
            http,
            token,
            tenant: tenant.to_owned(),
        }))
    }

    /// A client of the system in this process.
    pub(crate) fn local(pentad: Pentad, user: String, tenant: &str) -> Self {
        let router = pentad_api::router(pentad.clone(), pentad_api::Options::default());
        Self::Local(Local {
            pentad,
            router,
            user: LocalUser(user),
            tenant: tenant.to_owned(),
        })
    }

    /// Whether a server carries on when this program ends.
    pub(crate) fn outlives_us(&self) -> bool {
        matches!(self, Self::Network(_))
    }

    /// Asks. Any status but success is a failure, with the problem's words.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, Failure> {
        let (status, body) = self.ask(call).await?;
        match status.is_success() {
            true => Ok(Answer(body)),
            false => Err(problem(status, &body)),
        }
    }

    /// Asks, and takes any status.
    pub(crate) async fn ask(
        &self,
        call: Call,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), Failure> {
        match self {
            Self::Network(network) => network.ask(call).await,
            Self::Local(local) => local.ask(call).await,
        }
    }
}

impl Network {
    async fn ask(&self, mut call: Call) -> Result<(StatusCode, Zeroizing<Vec<u8>>), Failure> {
        let url = format!("{}{}", self.address, call.target());
        let mut request = self
            .http
            .request(call.method, url)
            .header("x-pentad-tenant", &self.tenant);
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        match (&self.token, call.no_token) {
            (_, true) => {}
            (Some(token), false) => {
                let mut bearer = Zeroizing::new(b"Bearer ".to_vec());
                bearer.extend_from_slice(token.expose());
                let mut value = header::HeaderValue::from_bytes(&bearer).map_err(|_| {
                    Failure::usage("the token holds characters that no token has")
                        .hint("give it as it was shown: pntd_…")
                })?;
                value.set_sensitive(true);
                request = request.header(header::AUTHORIZATION, value);
            }
            (None, false) => {
                return Err(
                    Failure::new(Exit::Denied, "there is no token to authenticate with")
                        .hint("set PENTAD_TOKEN, or run `pentad login --save`"),
                );
            }
        }
        if let Some(body) = call.body.take() {
            request = request
                .header(header::CONTENT_TYPE, "application/json")
                .body(axum::body::Bytes::from_owner(body));
        }
        let failed = |error| unreachable_server(&self.address, &error);
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut bytes = Zeroizing::new(Vec::with_capacity(capacity(response.content_length())));
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            take(&mut bytes, &chunk)?;
        }
        Ok((status, bytes))
    }
}

impl Local {
    async fn ask(&self, mut call: Call) -> Result<(StatusCode, Zeroizing<Vec<u8>>), Failure> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(call.target())
            .header("x-pentad-tenant", &self.tenant)
            .extension(self.user.clone());
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let body = match call.body.take() {
            None => Body::empty(),
            Some(bytes) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(axum::body::Bytes::from_owner(bytes))
            }
        };
        let request = request
            .body(body)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let response = match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status();
        let mut body = response.into_body();
        let mut bytes = Zeroizing::new(Vec::with_capacity(capacity(
            axum::body::HttpBody::size_hint(&body).exact(),
        )));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::internal(error.to_string()))?;
            if let Ok(chunk) = frame.into_data() {
                take(&mut bytes, &chunk)?;
            }
        }
        Ok((status, bytes))
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

/// An address with its scheme. A token never travels in the clear beyond this machine.
/// What every HTTP client here has in common: no redirects, no proxies, one way to trust.
pub(crate) fn builder(ca_cert: Option<&Path>) -> Result<reqwest::ClientBuilder, Failure> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("pentad/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(std::time::Duration::from_secs(10));
    let Some(path) = ca_cert else {
        return Ok(builder);
    };
    let pem = std::fs::read(path).map_err(|e| Failure::file(path.display(), &e))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem)
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| {
            Failure::usage(format!("{} holds no PEM certificate", path.display()))
                .hint("PENTAD_CACERT names a file that begins with BEGIN CERTIFICATE")
        })?;
    Ok(builder.tls_certs_only(certificates))
}

/// The address of a collector of traces, without a slash at its end. Spans tell who asks for what,
/// and a token goes with them: beyond loopback they travel under TLS.
pub(crate) fn collector_address(given: &str) -> Result<String, Failure> {
    let wrong = || {
        Failure::usage("traces.endpoint is no collector's address")
            .hint("it is like http://127.0.0.1:4318 or https://collector.internal:4318")
    };
    let url = reqwest::Url::parse(given).map_err(|_| wrong())?;
    let bare = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    match url.scheme() {
        _ if !bare || url.host_str().is_none() => Err(wrong()),
        "https" => Ok(given.trim_end_matches('/').to_owned()),
        "http" if is_loopback(given) => Ok(given.trim_end_matches('/').to_owned()),
        "http" => Err(Failure::usage(
            "traces.endpoint: spans would travel in the clear beyond this machine",
        )
        .hint("use https://, or a collector on loopback")),
        _ => Err(wrong()),
    }
}

fn checked_address(given: &str) -> Result<String, Failure> {
    let given = given.strip_suffix('/').unwrap_or(given);
    let wrong = || {
        Failure::usage(format!("`{given}` is no server's address"))
            .hint("PENTAD_ADDR is like http://127.0.0.1:8277 or https://pentad.internal:8277")
    };
    let full = match given.contains("://") {
        true => given.to_owned(),
        false => match is_loopback(&format!("http://{given}")) {
            true => format!("http://{given}"),
            false => format!("https://{given}"),
        },
    };
    let url = reqwest::Url::parse(&full).map_err(|_| wrong())?;
    let bare = url.path() == "/" && url.query().is_none() && url.username().is_empty();
    match url.scheme() {
        _ if !bare || url.host_str().is_none() => Err(wrong()),
        "https" => Ok(full),
        "http" if is_loopback(&full) => Ok(full),
        "http" => Err(
            Failure::usage(format!("{full} would carry your token in the clear"))
                .hint("beyond this machine use https://"),
        ),
        _ => Err(wrong()),
    }
}

fn is_loopback(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else {
        return false;
    };
    let host = url
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn unreachable_server(address: &str, error: &reqwest::Error) -> Failure {
    let mut reason = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause {
        reason = inner.to_string();
        cause = inner.source();
    }
    let lower = reason.to_ascii_lowercase();
    if lower.contains("certificate") || lower.contains("unknownissuer") {
        return Failure::unavailable(format!("{address} shows a certificate that is not trusted: {reason}"))
            .hint("name the CA's file with PENTAD_CACERT; a self-signed server keeps its own in <dir>/tls/cert.pem");
    }
    if error.is_connect() {
        return Failure::unavailable(format!("no server answers at {address}: {reason}")).hint(
            "start one with `pentad server`, mend PENTAD_ADDR, or unset it to work on the \
             directory itself",
        );
    }
    let what = if error.is_timeout() {
        "took too long".to_owned()
    } else {
        reason
    };
    Failure::unavailable(format!("{address} did not answer to the end: {what}"))
        .hint("whether it took effect is not known: look before you repeat it")
}

/// A failure from an answer that is no success.
pub(crate) fn problem(status: StatusCode, body: &[u8]) -> Failure {
    let Ok(problem) = serde_json::from_slice::<Value>(body) else {
        return Failure::internal(format!(
            "the server answered {status}, and nothing that pentad knows"
        ))
        .hint("does PENTAD_ADDR name a pentad server?");
    };
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    let kind = text("type");
    let slug = kind.rsplit('/').next().unwrap_or_default();
    let exit = match status.as_u16() {
        400 | 405 | 413 | 415 => Exit::Usage,
        401 | 403 | 429 => Exit::Denied,
        404 => Exit::Missing,
        409 | 412 => Exit::Conflict,
        422 => Exit::Refused,
        408 | 502 | 503 | 504 | 507 => Exit::Unavailable,
        _ if slug == "damaged" => Exit::Damaged,
        _ => Exit::Internal,
    };
    let hint = match (status.as_u16(), problem["nearest"].as_str()) {
        (_, Some(near)) => format!("did you mean `{near}`?"),
        (400, _) if text("detail").contains("its operator names these") => {
            "name its directory in `files.below` of pentad.toml, or in PENTAD_FILES_BELOW, where \
             the server is started"
                .to_owned()
        }
        (401, _) => "set PENTAD_TOKEN to a good token, or run `pentad login --save`".to_owned(),
        (403, _) => {
            "ask an admin for a role that allows it; `pentad role explain` says why".to_owned()
        }
        (404, _) => format!("`pentad {}` shows what there is", listing(&text("detail"))),
        (422, _) => {
            "choose a stronger value, let Pentad make one (--generate), or keep it on record \
                     (--accept-weak)"
                .to_owned()
        }
        (429 | 503, _) if problem["retry_after_seconds"].is_number() => {
            format!("try again in {} s", problem["retry_after_seconds"])
        }
        (500, _) => format!("{} (correlation {})", text("hint"), text("correlation")),
        (503, _) => {
            "nothing was changed: try again once it is up; `pentad agents` shows Pentad's own parts"
                .to_owned()
        }
        (502, _) => "`pentad target check NAME` says what is wrong there".to_owned(),
        _ => text("hint"),
    };
    let mut message = crate::output::printable(&text("detail"));
    message.push_str(&findings(&problem["assessment"]));
    let hint = Some(hint).filter(|hint| !hint.is_empty());
    Failure {
        exit,
        message,
        hint,
        problem: Some(problem),
    }
}

/// The command that lists what something missing is one of.
fn listing(detail: &str) -> &'static str {
    match detail.split(' ').next() {
        Some("target") => "target list",
        Some("rotation") => "rotations",
        Some("token") => "token list",
        Some("user") => "user list",
        Some("role") => "role list",
        _ => "list",
    }
}

/// What the first line of a refusal leaves out: the second finding and those after it.
fn findings(assessment: &Value) -> String {
    let found = assessment["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .skip(1);
    let lines = found.map(|finding| {
        let text = finding["message"].as_str().unwrap_or_default();
        format!("\n  also: {}", crate::output::printable(text))
    });
    lines.collect()
}

fn capacity(length: Option<u64>) -> usize {
    usize::try_from(length.unwrap_or(4096))
        .unwrap_or(4096)
        .min(1 << 20)
}

/// Appends without leaving a copy behind where the buffer must grow.
fn take(bytes: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) -> Result<(), Failure> {
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
    fn a_token_does_not_leave_the_machine_in_the_clear() {
        for good in [
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost:1",
            "https://h:1",
        ] {
            assert_eq!(checked_address(good).unwrap(), good);
        }
        assert_eq!(
            checked_address("127.0.0.1:1/").unwrap(),
            "http://127.0.0.1:1"
        );
        assert_eq!(
            checked_address("vault.example:1").unwrap(),
            "https://vault.example:1"
        );
        for bad in [
            "http://10.0.0.1:1",
            "http://127.0.0.1.example:1",
            "ftp://h",
            "https://h/x",
            "",
        ] {
            assert_eq!(checked_address(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn questions_are_encoded() {
        let call = Call::get(at("credentials", "a b/c+d")).query("tag", Some("k=v&x"));
        assert_eq!(call.target(), "/v1/credentials/a%20b/c%2Bd?tag=k%3Dv%26x");
    }

    #[test]
    fn a_problem_becomes_an_exit_code_and_a_next_step() {
        let body = br#"{"type":"https://pentad.dev/problems/missing","detail":"`a` does not exist","nearest":"b"}"#;
        let failure = problem(StatusCode::NOT_FOUND, body);
        assert_eq!(
            (failure.exit, failure.hint.as_deref()),
            (Exit::Missing, Some("did you mean `b`?"))
        );
        assert_eq!(
            problem(StatusCode::BAD_GATEWAY, b"<html>").exit,
            Exit::Internal
        );
    }
}
