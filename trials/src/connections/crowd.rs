//! Many connections at once.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::Result;
use futures::future::join_all;
use tokio::{
    sync::Barrier,
    time::{Instant, sleep, timeout},
};

use super::{BAD, GOOD, PER_PEER, Scene};
use crate::{
    gauge::{ms, permille},
    raw::{Answer, Connection},
};

/// Requests of each of the crowd.
const EACH: usize = 5;

/// How a crowd within the bound fared.
#[derive(Default)]
pub struct Crowd {
    /// Requests that were answered with a value.
    pub served: usize,
    /// Requests that were refused with a time to come back at.
    pub refused: usize,
    /// What else happened.
    pub failed: Vec<String>,
    times: Vec<Duration>,
}

/// All connect and ask at the same moment, and again when they are answered.
pub async fn within(scene: &Scene, connections: usize) -> Crowd {
    let together = Arc::new(Barrier::new(connections));
    let clients = (0..connections).map(|_| {
        let (scene, together) = (scene.clone(), Arc::clone(&together));
        tokio::spawn(async move {
            together.wait().await;
            let request = scene.read();
            let mut answers = Vec::new();
            let begun = Instant::now();
            let mut connection = match Connection::open(GOOD, scene.server).await {
                Ok(connection) => connection,
                Err(error) => return vec![(Err(error), begun.elapsed())],
            };
            for _ in 0..EACH {
                let begun = Instant::now();
                let answer = connection.ask(&request).await;
                let goes_on = answer.as_ref().is_ok_and(|answer| !answer.closes);
                answers.push((answer, begun.elapsed()));
                if !goes_on {
                    break;
                }
            }
            answers
        })
    });
    let mut crowd = Crowd::default();
    for client in join_all(clients).await {
        for (answer, took) in client.unwrap_or_default() {
            crowd.count(answer, took);
        }
    }
    crowd
}

impl Crowd {
    fn count(&mut self, answer: Result<Answer>, took: Duration) {
        match answer {
            Ok(Answer { status: 200, .. }) => {
                self.served += 1;
                self.times.push(took);
            }
            Ok(Answer {
                status: 503 | 429,
                retry_after: Some(_),
                ..
            }) => self.refused += 1,
            Ok(other) => self.failed.push(format!("{other:?}")),
            Err(error) => self.failed.push(format!("{error:#}")),
        }
    }

    /// What must not be.
    pub fn complaints(&self, connections: usize) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(first) = self.failed.first() {
            found.push(format!(
                "crowd: {} failed, the first: {first}",
                self.failed.len()
            ));
        }
        if self.served < connections {
            found.push(format!(
                "crowd: {} of {connections} were served",
                self.served
            ));
        }
        found
    }
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times = self.times.clone();
        write!(
            f,
            "crowd: served {}, refused {}, failed {}; p50 {} ms, p99 {} ms",
            self.served,
            self.refused,
            self.failed.len(),
            ms(permille(&mut times, 500)),
            ms(permille(&mut times, 990)),
        )
    }
}

/// How connections beyond the bound fared.
pub struct Beyond {
    opened: usize,
    told: usize,
    closed: usize,
    odd: Vec<String>,
    other_served: bool,
}

/// One peer opens more than its share, and somebody else comes.
pub async fn beyond(scene: &Scene) -> Beyond {
    let mut beyond = Beyond {
        opened: 0,
        told: 0,
        closed: 0,
        odd: Vec::new(),
        other_served: false,
    };
    let mut held = Vec::new();
    for _ in 0..PER_PEER {
        match Connection::open(BAD, scene.server).await {
            Ok(connection) => held.push(connection),
            Err(error) => beyond.odd.push(format!("{error:#}")),
        }
    }
    beyond.opened = held.len();
    // Those are accepted by now; the next ones are too many.
    sleep(Duration::from_millis(200)).await;
    for _ in 0..100 {
        match Connection::open(BAD, scene.server).await {
            Err(error) => beyond.odd.push(format!("{error:#}")),
            Ok(mut connection) => {
                match timeout(Duration::from_secs(5), connection.ask(&scene.read())).await {
                    Ok(Ok(answer)) if answer.status == 503 && answer.retry_after.is_some() => {
                        beyond.told += 1;
                    }
                    Ok(Ok(answer)) => beyond.odd.push(format!("{answer:?}")),
                    Ok(Err(_)) => beyond.closed += 1,
                    Err(_) => beyond.odd.push("it hangs".to_owned()),
                }
            }
        }
    }
    let other = async {
        let mut connection = Connection::open(GOOD, scene.server).await?;
        connection.ask(&scene.read()).await
    };
    beyond.other_served = other.await.is_ok_and(|answer| answer.status == 200);
    drop(held);
    beyond
}

impl Beyond {
    /// What must not be.
    pub fn complaints(&self) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(first) = self.odd.first() {
            found.push(format!(
                "beyond: {} odd ones, the first: {first}",
                self.odd.len()
            ));
        }
        // The last of those that were held may have been let go already.
        if self.told < 90 {
            found.push(format!(
                "beyond: only {} of 100 were told when to come back",
                self.told
            ));
        }
        if !self.other_served {
            found.push("beyond: another peer was not served".to_owned());
        }
        found
    }
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "beyond: one peer holds {}; of 100 more {} were told when to come back, {} closed, {} \
             odd; another peer was {}served",
            self.opened,
            self.told,
            self.closed,
            self.odd.len(),
            if self.other_served { "" } else { "not " },
        )
    }
}
