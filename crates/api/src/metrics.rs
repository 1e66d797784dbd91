//! Metrics in the Prometheus text format (OpenMetrics).
//!
//! Labels are methods, route patterns, statuses and names of agents: never a path of a credential,
//! a tenant or a principal, so that their number is bounded and a scrape tells nothing of the
//! estate.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use parking_lot::RwLock;
use pentad_agents::Pentad;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
        histogram::Histogram,
    },
    registry::Registry,
};

use crate::{http::state, trace::Traces};

/// Seconds; a read takes one or two fsyncs, a password check about 100 ms.
const BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// What is counted of requests, and a view on the agents.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    seconds: Family<Route, Histogram>,
    /// The same, by route: found without making labels.
    lines: RwLock<HashMap<Box<str>, Vec<Line>>>,
}

/// What is counted of one method on one route.
struct Line {
    method: &'static str,
    seconds: Histogram,
    /// By status; a route answers with few of them.
    requests: Vec<(u16, Counter)>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Route {
    method: &'static str,
    route: String,
}

impl Metrics {
    pub(crate) fn new(pentad: Pentad, traces: Option<Arc<dyn Traces>>) -> Self {
        let mut registry = Registry::with_prefix("pentad");
        let requests = Family::<Request, Counter>::default();
        let seconds = Family::<Route, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register(
            "http_request_seconds",
            "Time to the answer",
            seconds.clone(),
        );
        let pentad = Arc::new(pentad);
        registry.register_collector(Box::new(Agents(Arc::clone(&pentad))));
        registry.register_collector(Box::new(Admission(pentad)));
        if let Some(traces) = traces {
            registry.register_collector(Box::new(Spans(traces)));
        }
        Self {
            registry,
            requests,
            seconds,
            lines: RwLock::default(),
        }
    }

    /// Counts an answered request. `route` is a pattern of the router.
    pub(crate) fn count(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let took = took.as_secs_f64();
        let known = self.lines.read().get(route).is_some_and(|lines| {
            let line = lines.iter().find(|line| line.method == method);
            line.is_some_and(|line| line.count(status, took))
        });
        if !known {
            self.line(method, route, status);
            if let Some(lines) = self.lines.read().get(route) {
                lines
                    .iter()
                    .filter(|line| line.method == method)
                    .for_each(|line| {
                        line.count(status, took);
                    });
            }
        }
    }

    /// Sees to it that there is a line for this.
    fn line(&self, method: &'static str, route: &str, status: u16) {
        let mut all = self.lines.write();
        let lines = all.entry(route.into()).or_default();
        let at = match lines.iter().position(|line| line.method == method) {
            Some(at) => at,
            None => {
                let route = route.to_owned();
                let seconds = self.seconds.get_or_create_owned(&Route { method, route });
                lines.push(Line {
                    method,
                    seconds,
                    requests: Vec::new(),
                });
                lines.len() - 1
            }
        };
        let requests = &mut lines[at].requests;
        if requests.iter().all(|(known, _)| *known != status) {
            let route = route.to_owned();
            let counter = self.requests.get_or_create_owned(&Request {
                method,
                route,
                status,
            });
            requests.push((status, counter));
        }
    }

    /// All of them, as text.
    pub(crate) fn render(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

impl Line {
    /// `false`: that status is new here.
    fn count(&self, status: u16, took: f64) -> bool {
        let Some((_, counter)) = self.requests.iter().find(|(known, _)| *known == status) else {
            return false;
        };
        counter.inc();
        self.seconds.observe(took);
        true
    }
}

/// The health of the agents, read at each scrape.
struct Agents(Arc<Pentad>);

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Agents")
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Agent {
    agent: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Lane {
    agent: String,
    lane: &'static str,
}

const LANES: [&str; 4] = ["critical", "high", "normal", "background"];

impl Collector for Agents {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let health = self.0.supervisor().health();
        macro_rules! counters {
            ($($name:literal, $help:literal => $field:ident;)+) => { $(
                let mut family =
                    encoder.encode_descriptor($name, $help, None, MetricType::Counter)?;
                for agent in &health {
                    let label = Agent { agent: agent.name.clone() };
                    ConstCounter::new(agent.$field).encode(family.encode_family(&label)?)?;
                }
            )+ };
        }
        macro_rules! gauges {
            ($($name:literal, $help:literal => |$agent:ident| $value:expr;)+) => { $(
                let mut family = encoder.encode_descriptor($name, $help, None, MetricType::Gauge)?;
                for $agent in &health {
                    let label = Agent { agent: $agent.name.clone() };
                    ConstGauge::new($value as u64).encode(family.encode_family(&label)?)?;
                }
            )+ };
        }
        counters! {
            "agent_accepted", "Envelopes accepted" => accepted;
            "agent_handled", "Envelopes answered" => handled;
            "agent_failed", "Attempts that a crash cut short" => failed;
            "agent_restarts", "Incarnations that crashed" => restarts;
            "agent_quarantined", "Envelopes set aside after too many crashes" => quarantined;
            "agent_refused_full", "Calls refused because their lane was full" => refused_full;
        }
        gauges! {
            "agent_up", "Whether the agent serves" => |agent| u8::from(state(&agent.state) == "running");
            "agent_in_flight", "Envelopes being handled" => |agent| agent.in_flight;
            "agent_workers", "Workers" => |agent| agent.workers;
            "agent_idle_workers", "Workers that are idle" => |agent| agent.idle;
            "agent_oldest_milliseconds", "Age of the oldest envelope" => |agent| agent.oldest_ms;
            "agent_p99_microseconds", "99th percentile of the service time"
                => |agent| agent.p99_us;
        }
        let mut family = encoder.encode_descriptor(
            "agent_queued",
            "Envelopes waiting in each lane",
            None,
            MetricType::Gauge,
        )?;
        for agent in &health {
            for (lane, queued) in LANES.into_iter().zip(agent.queued) {
                let label = Lane {
                    agent: agent.name.clone(),
                    lane,
                };
                ConstGauge::new(queued as u64).encode(family.encode_family(&label)?)?;
            }
        }
        Ok(())
    }
}

/// Who is inside and who waits, read at each scrape.
struct Admission(Arc<Pentad>);

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admission")
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Urgency {
    lane: &'static str,
}

impl Collector for Admission {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let lanes = || LANES.into_iter().zip(self.0.admission());
        macro_rules! family {
            ($name:literal, $help:literal, $kind:ident, $metric:ident, $value:expr) => {
                let mut family =
                    encoder.encode_descriptor($name, $help, None, MetricType::$kind)?;
                for (lane, figures) in lanes() {
                    let value: u64 = $value(figures);
                    $metric::new(value).encode(family.encode_family(&Urgency { lane })?)?;
                }
            };
        }
        type F = pentad_agents::operations::Figures;
        family!(
            "requests_inside",
            "Requests that are carried out",
            Gauge,
            ConstGauge,
            |f: F| f.inside as u64
        );
        family!(
            "requests_waiting",
            "Requests that wait for a place",
            Gauge,
            ConstGauge,
            |f: F| f.waiting as u64
        );
        family!(
            "requests_admitted",
            "Requests that got a place",
            Counter,
            ConstCounter,
            |f: F| f.admitted
        );
        family!(
            "requests_refused",
            "Requests refused because too many waited",
            Counter,
            ConstCounter,
            |f: F| f.refused
        );
        Ok(())
    }
}

/// What became of finished spans, read at each scrape.
struct Spans(Arc<dyn Traces>);

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spans")
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl Collector for Spans {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.0.counts();
        let exported = encoder.encode_descriptor(
            "spans_exported",
            "Spans that the collector of traces took",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(counts.exported).encode(exported)?;
        let mut dropped = encoder.encode_descriptor(
            "spans_dropped",
            "Spans that were not exported: too many waited, or the collector failed",
            None,
            MetricType::Counter,
        )?;
        for (reason, count) in [
            ("full", counts.dropped_full),
            ("failed", counts.dropped_failed),
        ] {
            let label = Reason { reason };
            ConstCounter::new(count).encode(dropped.encode_family(&label)?)?;
        }
        Ok(())
    }
}
