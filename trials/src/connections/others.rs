//! The well-behaved clients: a few, each with one connection that it keeps, reading at a steady pace.

use std::time::Duration;

use anyhow::{Result, bail};
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::{GOOD, Scene};
use crate::{gauge::permille, raw::Connection};

/// So many.
const CLIENTS: usize = 8;
/// Between two requests of one.
const PAUSE: Duration = Duration::from_millis(5);

/// How long answers took.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Half of them took no longer.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
}

/// Watches them for so long. An answer that is no 200 fails it.
pub async fn watch(scene: &Scene, long: Duration) -> Result<Seen> {
    let clients = (0..CLIENTS).map(|_| {
        let scene = scene.clone();
        tokio::spawn(async move { read(&scene, long).await })
    });
    let mut times = Vec::new();
    for client in join_all(clients).await {
        times.extend(client??);
    }
    Ok(Seen {
        p50: permille(&mut times, 500),
        p99: permille(&mut times, 990),
    })
}

async fn read(scene: &Scene, long: Duration) -> Result<Vec<Duration>> {
    let (request, end) = (scene.read(), Instant::now() + long);
    let mut connection = Connection::open(GOOD, scene.server).await?;
    let mut times = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        let answer = connection.ask(&request).await?;
        if answer.status != 200 {
            bail!("a well-behaved client was answered {}", answer.status);
        }
        times.push(begun.elapsed());
        sleep(PAUSE).await;
    }
    Ok(times)
}
