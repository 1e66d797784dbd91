//! How long a change and a test login take at each system. Run by hand:
//! `cargo nextest run -p pentad-connectors --run-ignored only --no-capture`.

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use pentad_connectors::Outcome;
use pentad_model::rotation::{Login, Strategy};

use crate::bench::{self, account, change, password};

const ROUNDS: usize = 60;

#[tokio::test]
#[ignore = "a measurement"]
async fn changes_and_logins() {
    for bench in bench::all() {
        let (name, old) = (account(), password());
        bench.create(&name, &old).await;
        let mut session = bench.open().await;
        let (mut opens, mut applies, mut logins) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let new = password();
            let start = Instant::now();
            drop(bench.open().await);
            opens.push(start.elapsed());
            let start = Instant::now();
            let outcome = session
                .apply(&change(Strategy::InPlace, &name, &new, None))
                .await;
            applies.push(start.elapsed());
            assert_eq!(outcome, Outcome::Done);
            let start = Instant::now();
            assert_eq!(bench.login(&name, &new).await, Login::Works);
            logins.push(start.elapsed());
        }
        println!(
            "{:<11} open {}  apply {}  login {}",
            bench.system(),
            show(opens),
            show(applies),
            show(logins)
        );
    }
}

fn show(mut times: Vec<Duration>) -> String {
    times.sort();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    format!(
        "p50 {:.2} ms, p95 {:.2} ms",
        ms(times[times.len() / 2]),
        ms(times[times.len() * 95 / 100])
    )
}
