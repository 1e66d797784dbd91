//! The figures of a bench, for people and as one line of JSON.

use std::time::Duration;

use pentad_model::Rotation;
use serde::Serialize;

use crate::{failure::Failure, output::Output};

/// All figures. Times are in seconds or milliseconds, as the names say.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// Roles rotated in the batch.
    pub(super) count: usize,
    /// Of these: ended as done, have another value than before, and log in with it.
    pub(super) ok: usize,
    /// From the submission of the batch until its last rotation had ended.
    pub(super) seconds: f64,
    /// What rotating them one after another takes: measured on `sequential_sample` of them and
    /// scaled to `count`.
    pub(super) sequential_seconds: f64,
    /// `sequential_seconds` / `seconds`.
    pub(super) speedup: f64,
    /// The same work at the target without Pentad: the faster of two runs, before and after.
    pub(super) floor_seconds: f64,
    /// `floor_seconds` / `seconds`: 1 means that Pentad costs nothing.
    pub(super) floor_ratio: f64,
    /// From the submission of all of them at once, in one request, until each is durably accepted,
    /// 99th percentile. They are answered together, so it is the time of the answer.
    pub(super) initiate_p99_ms: f64,
    /// The longest of the batch's rotations, from its acceptance to its end.
    pub(super) slowest_ms: f64,
    /// The median of these.
    pub(super) p50_ms: f64,
    /// Their 99th percentile.
    pub(super) p99_ms: f64,
    /// The most memory that this process had (VmHWM), the bench itself included.
    pub(super) rss_mb: f64,

    /// Round trip to the server that was added.
    pub(super) latency_ms: u16,
    /// Rotations at the target at once.
    pub(super) concurrency: u16,
    /// Connections of the floor: as many, or fewer where fewer were faster.
    pub(super) floor_connections: usize,
    /// Processor time of this process for each rotation of the batch, Pentad's and the bench's.
    pub(super) cpu_ms_each: f64,
    /// The same for each role of the floor.
    pub(super) floor_cpu_ms_each: f64,
    /// Roles that `sequential_seconds` was measured on.
    pub(super) sequential_sample: usize,
    /// The same where each is submitted in a request of its own, all requests at the same moment:
    /// 99th percentile over the requests.
    pub(super) initiate_single_p99_ms: f64,
    /// Of these, how many ended as done.
    pub(super) single_ok: usize,
}

impl Figures {
    /// Lines for people, unless only JSON is wanted; the JSON is always the last line.
    pub(super) fn print(&self, out: Output) -> Result<(), Failure> {
        if !out.json {
            out.line(self.text())?;
        }
        let json = serde_json::to_string(self);
        out.line(json.map_err(|error| Failure::internal(error.to_string()))?)
    }

    fn text(&self) -> String {
        let scaled = match self.sequential_sample < self.count {
            true => format!("scaled from {} roles", self.sequential_sample),
            false => "all of them".to_owned(),
        };
        format!(
            "rotated      {ok} of {count} roles in {seconds:.2} s, {concurrency} at once, \
             {latency} ms away; each new value logs in\n\
             one by one   {sequential:.2} s ({scaled}): {speedup:.1} times as long\n\
             floor        {floor:.2} s for the same work at the server without Pentad, by \
             {connections} connections: {ratio:.0} % of the time\n\
             processor    {cpu:.1} ms each, {floor_cpu:.1} ms of the floor\n\
             accepted     p99 {initiate:.0} ms (by {count} requests at once {single:.0} ms)\n\
             each         p50 {p50:.0} ms, p99 {p99:.0} ms, slowest {slowest:.0} ms, from \
             acceptance to end\n\
             memory       {rss:.0} MB at most, the bench itself included",
            ok = self.ok,
            count = self.count,
            seconds = self.seconds,
            concurrency = self.concurrency,
            latency = self.latency_ms,
            sequential = self.sequential_seconds,
            speedup = self.speedup,
            floor = self.floor_seconds,
            connections = self.floor_connections,
            ratio = self.floor_ratio * 100.0,
            cpu = self.cpu_ms_each,
            floor_cpu = self.floor_cpu_ms_each,
            initiate = self.initiate_p99_ms,
            single = self.initiate_single_p99_ms,
            p50 = self.p50_ms,
            p99 = self.p99_ms,
            slowest = self.slowest_ms,
            rss = self.rss_mb,
        )
    }
}

/// Lines for people, unless only JSON is wanted; the figures as JSON are always the last line.
pub(super) fn print(out: Output, text: &str, figures: &impl Serialize) -> Result<(), Failure> {
    if !out.json {
        out.line(text)?;
    }
    let json = serde_json::to_string(figures);
    out.line(json.map_err(|error| Failure::internal(error.to_string()))?)
}

/// From acceptance to end, by the rotation's own record.
pub(super) fn duration(rotation: &Rotation) -> Duration {
    rotation.updated_at.since(rotation.created_at)
}

/// The smallest of the times that `percent` of them do not exceed (nearest rank); zero of none.
pub(super) fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// Milliseconds, with two decimals.
pub(super) fn ms(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3, 2)
}

/// The processor time that this process has taken so far, by the kernel's ticks of 10 ms; zero where
/// the system does not say. Source: proc_pid_stat(5), fields 14 and 15.
pub(super) fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field may hold spaces, and ends with the last bracket.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// A figure with so many decimals.
pub(super) fn rounded(figure: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (figure * scale).round() / scale
}

/// The most memory that this process ever had resident; zero where the system does not say.
pub(super) fn peak_memory_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    rounded(kb.unwrap_or(0.0) / 1024.0, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&times, 100), Duration::from_millis(200));
        assert_eq!(percentile(&times[..1], 99), Duration::from_millis(200));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn memory_is_known_on_linux() {
        assert!(peak_memory_mb() > 1.0);
    }
}
