//! Figures, on request: `cargo test --release -p pentad-store measure -- --ignored --nocapture`.

use std::{io::Write, time::Instant};

use super::*;

#[test]
#[ignore = "measures, needs a release build and some ten seconds"]
fn measure_durable_appends_and_verification() {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let mut out = std::io::stderr();
    for writers in [1u64, 16, 64, 256] {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(AuditLog::open(dir.path(), Options::default(), 0).unwrap());
        let each = (4_000 / writers).max(300);
        let begin = Instant::now();
        runtime.block_on(async {
            let tasks = (0..writers).map(|writer| {
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    for n in 0..each {
                        log.append(&record(writer * each + n)).await.unwrap();
                    }
                })
            });
            futures::future::join_all(tasks).await;
        });
        let rate = (writers * each) as f64 / begin.elapsed().as_secs_f64();
        writeln!(out, "{writers:>4} writers: {rate:>9.0} durable appends/s").unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path(), Options::default(), 0).unwrap();
    let total = 400_000;
    fill(&log, 0..total, 2000);
    let head = log.head("t").unwrap();
    drop(log);
    let begin = Instant::now();
    let log = AuditLog::open(dir.path(), Options::default(), total).unwrap();
    writeln!(out, "open with {total} records: {:?}", begin.elapsed()).unwrap();
    let begin = Instant::now();
    assert!(verify(dir.path(), &[head]).unwrap().is_intact());
    let rate = total as f64 / begin.elapsed().as_secs_f64();
    writeln!(out, "verify: {rate:.0} records/s").unwrap();
    let begin = Instant::now();
    for index in 0..10_000 {
        log.inclusion_proof(index * 37 % total, total).unwrap();
    }
    writeln!(out, "inclusion proof: {:?}", begin.elapsed() / 10_000).unwrap();
    let begin = Instant::now();
    let none = Filter {
        principal: Some("nobody".to_owned()),
        ..Filter::default()
    };
    let page = log.search(&none, 0..u64::MAX, 10, u64::MAX).unwrap();
    let rate = page.examined as f64 / begin.elapsed().as_secs_f64();
    writeln!(out, "search: {rate:.0} records/s").unwrap();
}
