//! What the clients do, and the book of it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::estate::{Estate, path};
use crate::{api::Api, dice::Dice};

/// Errors whose words are kept.
const KEPT: usize = 20;
/// Between two rotations of everything.
const PAUSE: Duration = Duration::from_secs(2);
/// A batch of rotations that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

macro_rules! operations {
    ($($variant:ident => $name:literal, $weight:literal;)+) => {
        /// What clients do.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[allow(missing_docs, reason = "each is called after what it does")]
        pub enum Operation { $($variant),+ }

        impl Operation {
            /// Each, with how often it is done, of 1,000 times; rotations have a task of their own.
            const WEIGHTS: &[(Self, u64)] = &[$((Self::$variant, $weight)),+];

            /// For people.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

operations! {
    Read => "read", 640;
    Write => "write", 150;
    Describe => "describe", 60;
    List => "list", 50;
    Check => "check", 30;
    Audit => "audit", 30;
    Batch => "batch", 20;
    Deny => "deny", 10;
    Metrics => "metrics", 8;
    Login => "login", 2;
    Rotate => "rotate", 0;
}

/// Times of one sort of operation.
pub type Times = BTreeMap<Operation, Vec<Duration>>;

/// What was done since the last look, and what went wrong since the beginning.
#[derive(Default)]
pub struct Book {
    times: Mutex<Times>,
    errors: Mutex<(usize, Vec<String>)>,
}

impl Book {
    fn enter(&self, operation: Operation, took: Duration, done: Result<()>) {
        self.times.lock().entry(operation).or_default().push(took);
        if let Err(error) = done {
            let mut errors = self.errors.lock();
            errors.0 += 1;
            if errors.1.len() < KEPT {
                errors.1.push(format!("{}: {error:#}", operation.name()));
            }
        }
    }

    /// What was done since the last time.
    pub fn take(&self) -> Times {
        std::mem::take(&mut *self.times.lock())
    }

    /// How many went wrong, and the words of the first ones.
    pub fn errors(&self) -> (usize, Vec<String>) {
        self.errors.lock().clone()
    }
}

/// One client.
pub struct Client {
    api: Api,
    stranger: Api,
    estate: Arc<Estate>,
    book: Arc<Book>,
    dice: Dice,
}

impl Client {
    /// With a connection of its own.
    pub fn new(api: Api, estate: Arc<Estate>, book: Arc<Book>, seed: u64, number: usize) -> Self {
        let stream = u64::try_from(number).unwrap_or_default() + 100;
        Self {
            stranger: api.with_token(""),
            api,
            estate,
            book,
            dice: Dice::new(seed, stream),
        }
    }

    /// One after the other, until it is told to stop.
    pub async fn work(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let operation = self.draw();
            let begun = Instant::now();
            let done = self.carry_out(operation).await;
            self.book.enter(operation, begun.elapsed(), done);
        }
    }

    fn draw(&mut self) -> Operation {
        let all: u64 = Operation::WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut at = self.dice.between(0, all - 1);
        for (operation, weight) in Operation::WEIGHTS {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return *operation,
            }
        }
        Operation::Read
    }

    fn some(&mut self) -> String {
        let last = self.estate.credentials as u64 - 1;
        path(self.dice.between(0, last) as usize)
    }

    async fn carry_out(&mut self, operation: Operation) -> Result<()> {
        let path = self.some();
        match operation {
            Operation::Read => expect(self.get(&format!("/v1/values/{path}")).await?, "value"),
            Operation::Describe => {
                expect(self.get(&format!("/v1/credentials/{path}")).await?, "path")
            }
            Operation::Check => expect(self.get(&format!("/v1/checks/{path}")).await?, "path"),
            Operation::List => {
                let prefix = &path[..path.len() - 2];
                let page = format!("/v1/credentials?prefix={prefix}&limit=50");
                expect(self.get(&page).await?, "items")
            }
            Operation::Audit => expect(self.get("/v1/audit/records?limit=50").await?, "items"),
            Operation::Write => {
                let body = json!({"value": self.dice.password()});
                let stored = self
                    .api
                    .put(&format!("/v1/credentials/{path}"), &body)
                    .await?;
                expect(stored.body()?, "credential")
            }
            Operation::Batch => self.batch().await,
            // What anybody may ask, and what nobody may who has no token.
            Operation::Metrics => {
                self.api.bytes("/metrics").await?;
                Ok(())
            }
            Operation::Deny => match self
                .stranger
                .get(&format!("/v1/values/{path}"))
                .await?
                .status
            {
                401 => Ok(()),
                // Failed tries are limited for each peer.
                429 => Ok(()),
                other => bail!("a stranger was answered {other}"),
            },
            Operation::Login => {
                let body = json!({"user": "soak", "password": self.estate.password});
                expect(self.api.post("/v1/login", &body).await?.body()?, "token")
            }
            Operation::Rotate => Ok(()),
        }
    }

    async fn get(&self, path: &str) -> Result<Value> {
        self.api.get(path).await?.body()
    }

    /// Reads and writes together.
    async fn batch(&mut self) -> Result<()> {
        let operations: Vec<_> = (0..20)
            .map(|number| match number % 4 {
                0 => json!({"op": "put", "path": self.some(), "value": self.dice.password()}),
                _ => json!({"op": "get", "path": self.some()}),
            })
            .collect();
        let answer = self
            .api
            .post("/v1/batch", &json!({"operations": operations}))
            .await?;
        let answer = answer.body()?;
        if answer["failed"] != 0 {
            let results = answer["results"].as_array().into_iter().flatten();
            let problem = results.map(|one| &one["problem"]).find(|it| !it.is_null());
            bail!("{} of a batch failed: {:?}", answer["failed"], problem);
        }
        Ok(())
    }
}

fn expect(body: Value, field: &str) -> Result<()> {
    if body.get(field).is_none() {
        bail!("an answer without `{field}`");
    }
    Ok(())
}

/// Rotates everything that is bound, again and again, and sees it end well.
pub async fn rotations(api: Api, estate: Arc<Estate>, book: Arc<Book>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let done = rotate(&api, &estate.rotated).await;
        book.enter(Operation::Rotate, begun.elapsed(), done);
        sleep(PAUSE).await;
    }
}

async fn rotate(api: &Api, paths: &[String]) -> Result<()> {
    let started = api
        .post("/v1/rotations", &json!({"paths": paths}))
        .await?
        .body()?;
    if let Some(refused) = started["refused"].as_array().and_then(|all| all.first()) {
        bail!("a rotation was refused: {refused}");
    }
    let batch = started["batch"].as_str().unwrap_or_default().to_owned();
    let begun = Instant::now();
    loop {
        let page = api
            .get(&format!("/v1/rotations?batch={batch}&limit=1000"))
            .await?
            .body()?;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        if items.iter().all(|one| one["ended"] == true) {
            return match items.iter().find(|one| one["step"] != "done") {
                Some(bad) => bail!("a rotation ended as {}: {}", bad["step"], bad["reason"]),
                None if items.len() < paths.len() => bail!("{} rotations only", items.len()),
                None => Ok(()),
            };
        }
        if begun.elapsed() > PATIENCE {
            bail!("rotations don't end");
        }
        sleep(Duration::from_millis(200)).await;
    }
}
