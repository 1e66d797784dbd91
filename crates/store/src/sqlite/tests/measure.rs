//! Figures, on request: `cargo test --release -p pentad-store -- --ignored --nocapture figures`.

#![allow(clippy::print_stdout)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;

use super::run;
use crate::{
    OpenOptions, Reader, SqliteStore, Writer,
    conformance::samples::{change, path, stored, tenant, update},
};

const SPAN: Duration = Duration::from_secs(2);

/// Repeats `act` in so many tasks for a while; acts a second.
async fn rate<F>(tasks: usize, act: impl Fn(usize) -> F + Clone + Send + 'static) -> f64
where
    F: Future<Output = ()> + Send,
{
    let begin = Instant::now();
    let tasks = (0..tasks).map(|task| {
        let act = act.clone();
        tokio::spawn(async move {
            let mut done = 0u32;
            while begin.elapsed() < SPAN {
                act(task).await;
                done += 1;
            }
            done
        })
    });
    let done: u32 = join_all(tasks).await.into_iter().map(Result::unwrap).sum();
    f64::from(done) / begin.elapsed().as_secs_f64()
}

#[test]
#[ignore = "measures for some seconds"]
fn figures() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::create(dir.path(), OpenOptions::default()).unwrap();
    let store = Arc::new(store);
    run(async {
        for n in 0..1000 {
            let ops = stored(&format!("n/{n}"));
            store.commit(change(ops)).await.unwrap();
        }
        for tasks in [1, 16, 64] {
            let writer = Arc::clone(&store);
            let commits = rate(tasks, move |task| {
                let store = Arc::clone(&writer);
                async move {
                    let path = path(&format!("n/{task}"));
                    let found = store.credential(&tenant(), &path).await;
                    let next = update(found.unwrap().unwrap());
                    store.commit(change([next])).await.unwrap();
                }
            });
            println!("{tasks:>3} committers: {:>8.0} changes/s", commits.await);
        }
        for tasks in [1, 16, 64] {
            let reader = Arc::clone(&store);
            let reads = rate(tasks, move |task| {
                let store = Arc::clone(&reader);
                async move {
                    let path = path(&format!("n/{}", task * 7));
                    assert!(store.current(&tenant(), &path).await.unwrap().is_some());
                }
            });
            println!("{tasks:>3} readers: {:>8.0} current()/s", reads.await);
        }
    });
}
