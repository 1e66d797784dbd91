//! Pentad's HTTP API, as a client without any knowledge of ours would use it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::{Client, Method};
use serde_json::Value;

/// A client for one server.
#[derive(Clone)]
pub struct Api {
    base: String,
    token: String,
    http: Client,
}

/// Status and body.
#[derive(Debug)]
pub struct Answer {
    /// HTTP's.
    pub status: u16,
    /// JSON, or null.
    pub body: Value,
}

impl Answer {
    /// Whether it is a 2xx.
    pub fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body of a success; else the problem's words.
    pub fn body(self) -> Result<Value> {
        match self.ok() {
            true => Ok(self.body),
            false => bail!(
                "{}: {} {}",
                self.status,
                text(&self.body, "title"),
                text(&self.body, "detail")
            ),
        }
    }
}

/// A text field, or nothing.
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

impl Api {
    /// A client with its own connections: those to a killed server are of no use to the next.
    pub fn new(base: &str, token: &str) -> Result<Self> {
        let http = Client::builder()
            .timeout(Duration::from_secs(20))
            .no_proxy()
            .build()?;
        Ok(Self {
            base: base.to_owned(),
            token: token.to_owned(),
            http,
        })
    }

    /// Who asks.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The same server, for somebody else.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// Any request. `Err` where no whole answer came: then nobody knows what was done.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        correlation: Option<&str>,
    ) -> Result<Answer> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.token);
        if let Some(correlation) = correlation {
            request = request.header("X-Correlation-Id", correlation);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await?;
        let body = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        };
        Ok(Answer { status, body })
    }

    /// GET of what may be no JSON.
    pub async fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        let url = format!("{}{path}", self.base);
        let response = self.http.get(url).bearer_auth(&self.token).send().await?;
        Ok(response.error_for_status()?.bytes().await?.to_vec())
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.call(Method::GET, path, None, None).await
    }

    /// POST.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.call(Method::POST, path, Some(body), None).await
    }

    /// PUT.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.call(Method::PUT, path, Some(body), None).await
    }

    /// All pages of a listing whose cursor goes back as `cursor`.
    pub async fn all(&self, path: &str, cursor: &str) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let from = next.map(|at| format!("&{cursor}={at}")).unwrap_or_default();
            let page = self
                .get(&format!("{path}{joint}limit=1000{from}"))
                .await?
                .body()?;
            items.extend(
                page["items"]
                    .as_array()
                    .context("a listing has items")?
                    .iter()
                    .cloned(),
            );
            match page["next"].as_str() {
                Some(at) => next = Some(at.to_owned()),
                None => return Ok(items),
            }
        }
    }
}
