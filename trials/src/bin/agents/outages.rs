//! Faults under load: when they are found, when the agent serves again, and what work that does not
//! need it did meanwhile.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use pentad_runtime::chaos::Fault as Chaos;
use tokio::time::sleep;

use crate::{
    Options,
    load::Load,
    world::{HUNG, Work, World},
};

/// The longest that a restart may take.
const RESTART: Duration = Duration::from_secs(2);
/// The least share of its throughput that unaffected work keeps.
const LEAST: f64 = 0.8;

/// An agent, what works without it, and what does not.
struct Subject {
    agent: &'static str,
    unaffected: &'static [Work],
    affected: &'static [Work],
}

const SUBJECTS: [Subject; 5] = [
    Subject {
        agent: "encryption",
        unaffected: &[Work::Describe, Work::Plan],
        affected: &[Work::Read, Work::Write, Work::Check],
    },
    Subject {
        agent: "validation",
        unaffected: &[Work::Read, Work::Describe, Work::Target, Work::Plan],
        affected: &[Work::Check, Work::Write],
    },
    Subject {
        agent: "monitoring",
        // Whatever is put on record needs it, and that is all but metadata.
        unaffected: &[Work::Describe, Work::Plan],
        affected: &[Work::Write, Work::Read, Work::Check],
    },
    Subject {
        agent: "integration",
        unaffected: &[
            Work::Read,
            Work::Write,
            Work::Check,
            Work::Describe,
            Work::Plan,
        ],
        affected: &[Work::Target, Work::Adopt],
    },
    Subject {
        agent: "rotation",
        unaffected: &[
            Work::Read,
            Work::Write,
            Work::Check,
            Work::Describe,
            Work::Target,
        ],
        affected: &[Work::Plan],
    },
];

const FAULTS: [(&str, Chaos); 3] = [
    ("killed", Chaos::Panic),
    ("hangs", Chaos::HangAsync),
    ("blocks", Chaos::HangBlocking),
];

/// One row of the table.
struct Row {
    /// Requests a second of what does not need the agent, without fault and with it.
    baseline: f64,
    outage: f64,
    /// Requests a second of what needs it, without fault.
    affected: f64,
    /// From the fault to the moment at which the agent counts as dead.
    found: Duration,
    /// From there until it answered again.
    restart: Duration,
    faults: u64,
    share: f64,
}

pub(crate) async fn outages(world: &Arc<World>, options: &Options) -> Result<bool> {
    println!(
        "{:12} {:7} {:>7} {:>9} {:>9} {:>9} {:>6} {:>9} {:>11}",
        "agent",
        "fault",
        "faults",
        "base/s",
        "outage/s",
        "needs/s",
        "share",
        "found ms",
        "restart ms"
    );
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    let subjects: Vec<&Subject> = SUBJECTS
        .iter()
        .filter(|subject| {
            options
                .agent
                .as_deref()
                .is_none_or(|only| only == subject.agent)
        })
        .collect();
    for subject in &subjects {
        let unaffected = Load::start(world, subject.unaffected, 6, Duration::ZERO);
        let affected = Load::start(world, subject.affected, 3, Duration::from_millis(2));
        sleep(Duration::from_millis(500)).await;
        for (name, fault) in FAULTS {
            let row = measure(world, subject.agent, fault, &unaffected, &affected, options).await?;
            println!(
                "{:12} {:7} {:>7} {:>9.0} {:>9.0} {:>9.0} {:>6.2} {:>9} {:>11}",
                subject.agent,
                name,
                row.faults,
                row.baseline,
                row.outage,
                row.affected,
                row.share,
                row.found.as_millis(),
                row.restart.as_millis()
            );
            rows.push(row);
        }
        for load in [unaffected, affected] {
            failed.extend(load.end().await?);
        }
    }
    for failure in failed.iter().take(10) {
        println!("failed: {failure}");
    }
    let set_aside: u64 = world.health().iter().map(|agent| agent.quarantined).sum();
    let lost = world.lost().await;
    println!(
        "writes acknowledged: {}, set aside: {set_aside}",
        world.ledger().len()
    );
    let slowest = rows.iter().map(|row| row.restart).max().unwrap_or_default();
    let least = rows
        .iter()
        .map(|row| row.share)
        .fold(f64::INFINITY, f64::min);
    println!(
        "agents: {}, faults: {}, slowest_restart_ms: {}, failed: {}, lost: {lost}, \
         least_throughput: {least:.2}",
        subjects.len(),
        rows.len(),
        slowest.as_millis(),
        failed.len()
    );
    Ok(slowest < RESTART && failed.is_empty() && set_aside == 0 && lost == 0 && least >= LEAST)
}

/// Windows without fault around each outage; medians of all.
async fn measure(
    world: &World,
    agent: &str,
    fault: Chaos,
    unaffected: &Load,
    affected: &Load,
    options: &Options,
) -> Result<Row> {
    let window = Duration::from_millis(options.window);
    let calm = async || {
        let (work, needs) = (unaffected.mark(), affected.mark());
        sleep(window).await;
        (unaffected.rate(work), affected.rate(needs))
    };
    let (mut bases, mut outages, mut needs, mut shares) = (vec![], vec![], vec![], vec![]);
    let (mut found, mut restart, mut faults) = (Duration::ZERO, Duration::ZERO, 0);
    let mut before = calm().await;
    for _ in 0..options.rounds {
        let mark = unaffected.mark();
        // A killed agent is back within milliseconds. It is killed again and again, so that there is
        // an outage of a window's length to look at.
        while mark.0.elapsed() < window {
            let strike = strike(world, agent, fault, affected).await?;
            found = found.max(strike.0);
            restart = restart.max(strike.1);
            faults += 1;
        }
        let outage = unaffected.rate(mark);
        let after = calm().await;
        let base = f64::midpoint(before.0, after.0);
        shares.push(outage / base);
        bases.push(base);
        outages.push(outage);
        needs.push(f64::midpoint(before.1, after.1));
        before = after;
    }
    Ok(Row {
        baseline: median(bases),
        outage: median(outages),
        affected: median(needs),
        found,
        restart,
        faults,
        share: median(shares),
    })
}

/// One fault: how long until the agent counted as dead, and from there until it answered.
async fn strike(
    world: &World,
    agent: &str,
    fault: Chaos,
    affected: &Load,
) -> Result<(Duration, Duration)> {
    let crashes = world.agent(agent)?.restarts;
    let begun = Instant::now();
    if !world.inject(agent, fault) {
        bail!("there is no {agent} agent");
    }
    while world.agent(agent)?.restarts == crashes {
        if begun.elapsed() > HUNG {
            bail!("the {agent} agent hangs and nobody notices");
        }
        sleep(Duration::from_millis(1)).await;
    }
    let dead = Instant::now();
    // Whatever is answered now was carried out by the successor, or was queued for it.
    let answered = affected.done();
    while affected.done() < answered + affected.callers {
        if dead.elapsed() > HUNG {
            bail!("the {agent} agent does not come back");
        }
        sleep(Duration::from_millis(1)).await;
    }
    let reported = world.agent(agent)?.last_restart_ms.unwrap_or_default();
    Ok((
        dead - begun,
        dead.elapsed().max(Duration::from_millis(reported)),
    ))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
