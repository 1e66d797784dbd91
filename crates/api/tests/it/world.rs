//! A system on an embedded store in a directory of its own, behind its router.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Request, StatusCode},
};
use http_body_util::BodyExt;
use pentad_agents::{Directories, Parts, Pentad, system};
use pentad_api::{LocalUser, Options, router};
use pentad_keys::{Keyring, RootKey, root};
use pentad_model::{SystemClock, Timestamp, clock::ManualClock, id::OsEntropy};
use pentad_store::{
    audit::{self, AuditLog},
    sqlite::{OpenOptions, SqliteStore},
};
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) router: Router,
    /// The clock of the limit on failed authentications.
    pub(crate) clock: Arc<ManualClock>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The slug of a problem, with its status.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{}",
            self.text
        );
        let json = self.json();
        assert_eq!(json["status"], self.status.as_u16());
        assert_eq!(json["correlation"], self.header("x-correlation-id"));
        let kind = json["type"].as_str().unwrap();
        let slug = kind.strip_prefix("https://pentad.dev/problems/").unwrap();
        (self.status.as_u16(), slug.to_owned())
    }

    /// The answer, which must be a success.
    pub(crate) fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.text);
        if self.text.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }
}

/// A request to be sent.
pub(crate) struct Call<'a> {
    world: &'a World,
    request: axum::http::request::Builder,
    body: Vec<u8>,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// As the in-process client does it.
    pub(crate) fn local(mut self) -> Self {
        self.request = self.request.extension(LocalUser("tester".to_owned()));
        self
    }

    pub(crate) fn from(mut self, peer: &str) -> Self {
        let address: SocketAddr = format!("{peer}:5000").parse().unwrap();
        self.request = self.request.extension(ConnectInfo(address));
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.raw(body.to_string())
    }

    pub(crate) fn raw(self, body: impl Into<Vec<u8>>) -> Self {
        self.bytes(body).header("content-type", "application/json")
    }

    /// A body of whatever type a header says.
    pub(crate) fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let request: Request<Body> = self.request.body(Body::from(self.body)).unwrap();
        let response = self.world.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pentad = run(dir.path()).await;
        let clock = Arc::new(ManualClock::at(Timestamp(1_764_000_000_000)));
        let options = Options {
            clock: clock.clone(),
            ..options
        };
        let router = router(pentad, options);
        Self { dir, router, clock }
    }

    /// `"METHOD /path"`.
    pub(crate) fn call(&self, line: &str) -> Call<'_> {
        let (method, uri) = line.split_once(' ').unwrap();
        Call {
            world: self,
            request: Request::builder().method(method).uri(uri),
            body: Vec::new(),
        }
    }

    /// As the local admin.
    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.call(&format!("GET {uri}")).local().send().await
    }

    /// As the local admin.
    pub(crate) async fn send(&self, line: &str, body: Value) -> Answer {
        self.call(line).local().json(&body).send().await
    }

    pub(crate) async fn put(&self, path: &str, value: &str) -> Value {
        let body = json!({"kind": "secret", "value": value, "accept_weak": true});
        self.send(&format!("PUT /v1/credentials/{path}"), body)
            .await
            .ok()
    }

    /// A token with these roles.
    pub(crate) async fn token(&self, name: &str, roles: &[&str]) -> String {
        let made = self
            .send("POST /v1/tokens", json!({"name": name, "roles": roles}))
            .await;
        assert_eq!(made.status, 201, "{}", made.text);
        made.json()["token"].as_str().unwrap().to_owned()
    }

    /// Revokes the token with this name.
    pub(crate) async fn revoke(&self, name: &str) {
        let tokens = self.get("/v1/tokens").await.ok();
        let mut tokens = tokens["items"].as_array().unwrap().iter();
        let token = tokens.find(|it| it["name"] == name).unwrap();
        let line = format!("DELETE /v1/tokens/{}", token["id"].as_str().unwrap());
        assert!(self.call(&line).local().send().await.status.is_success());
    }

    /// A `.env` file as target `app`, with one variable.
    pub(crate) async fn env_file(&self, name: &str, value: &str) -> std::path::PathBuf {
        let file = self.dir.path().join("app.env");
        std::fs::write(&file, format!("{name}={value}\n")).unwrap();
        let body = json!({"system": "envfile", "address": file});
        self.send("PUT /v1/targets/app", body).await.ok();
        file
    }
}

async fn run(dir: &Path) -> Pentad {
    let key = dir.join("master.key");
    root::file::create(&key, &RootKey::generate(&OsEntropy), &OsEntropy).unwrap();
    let store = Arc::new(SqliteStore::create(dir.join("store"), OpenOptions::default()).unwrap());
    let keyring =
        Arc::new(Keyring::new(root::file::read(&key).unwrap(), Arc::new(OsEntropy)).unwrap());
    let check = serde_json::to_value(keyring.root_check()).unwrap();
    system::initialise(&*store, &keyring, check, &SystemClock, &OsEntropy)
        .await
        .unwrap();
    let parts = Parts {
        keyring,
        reader: store.clone(),
        writer: store,
        audit: AuditLog::open(&dir.join("audit"), audit::Options::default(), 0).unwrap(),
        origin: "pentad.test".to_owned(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
    };
    system::start_with(parts, Directories::below([dir]))
        .await
        .unwrap()
}

/// Everything that was logged, at every level.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts to keep the log of this process.
pub(crate) fn keep_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| Log)
            .init();
    });
}

pub(crate) fn log() -> String {
    String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned()
}

/// Tries until something is so; for what agents do on their own.
pub(crate) async fn until<F: Future<Output = Option<T>>, T>(look: impl Fn() -> F) -> T {
    for _ in 0..1500 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came");
}
