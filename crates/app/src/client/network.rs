//! Over the network, to a server.

use std::path::Path;

use http::{StatusCode, header};
use pentad_model::Secret;
use zeroize::Zeroizing;

use super::{
    address::checked_address,
    call::{Call, buffer, take},
};
use crate::failure::{Exit, Failure};

/// How long an answer that comes in a stream may take in all.
const LONGEST_STREAM: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// How long nothing may come of it.
const LONGEST_SILENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// A connection to a server.
pub(crate) struct Network {
    address: String,
    http: reqwest::Client,
    token: Option<Secret>,
    tenant: String,
}

impl Network {
    /// A client of the server at `address`.
    pub(super) fn new(
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
        Ok(Self {
            address,
            http,
            token,
            tenant: tenant.to_owned(),
        })
    }

    pub(super) async fn ask(
        &self,
        call: Call,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), Failure> {
        let failed = |error| unreachable_server(&self.address, &error);
        let mut response = self.request(call)?.send().await.map_err(failed)?;
        let status = response.status();
        let mut bytes = buffer(response.content_length());
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            take(&mut bytes, &chunk)?;
        }
        Ok((status, bytes))
    }

    /// Asks, and hands a successful answer out as it comes, however long that takes; the answer of a
    /// refusal is returned.
    pub(super) async fn stream(
        &self,
        call: Call,
        each: &mut (dyn FnMut(&[u8]) -> Result<(), Failure> + Send),
    ) -> Result<Option<(StatusCode, Zeroizing<Vec<u8>>)>, Failure> {
        let failed = |error| unreachable_server(&self.address, &error);
        let request = self.request(call)?.timeout(LONGEST_STREAM);
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut bytes = buffer(None);
        loop {
            let next = tokio::time::timeout(LONGEST_SILENCE, response.chunk()).await;
            let next = next.map_err(|_| {
                Failure::unavailable(format!("{} fell silent", self.address))
                    .hint("try again; what came so far was thrown away")
            })?;
            match next.map_err(failed)? {
                None if status.is_success() => return Ok(None),
                None => return Ok(Some((status, bytes))),
                Some(chunk) if status.is_success() => each(&chunk)?,
                Some(chunk) => take(&mut bytes, &chunk)?,
            }
        }
    }

    fn request(&self, mut call: Call) -> Result<reqwest::RequestBuilder, Failure> {
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
                .header(header::CONTENT_TYPE, call.media)
                .body(axum::body::Bytes::from_owner(body));
        }
        Ok(request)
    }
}

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
    if lower.contains("invalidcontenttype") {
        return Failure::unavailable(format!("{address} does not speak TLS"))
            .hint("a server on this machine is at http://, unless it listens beyond it");
    }
    // What answers is a TLS alert, before anything was asked.
    if lower.contains("invalid http version") && address.starts_with("http://") {
        return Failure::unavailable(format!("{address} does not speak plain HTTP"))
            .hint("a server that listens beyond this machine is at https://");
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
