//! The samples, and what must hold over them.
//!
//! The first sixth of a soak (ten minutes of an hour), at least a minute and at most half of it, is for
//! warming up: caches fill, pools grow. After it:
//!
//! * **Memory is flat**: a straight line through all samples ends at most [`GROWTH`] percent and
//!   [`ROOM_MB`] MB above the value at the end of the warming up (the median of three samples). No
//!   single sample is more than as many percent and [`PEAK_MB`] MB above it.
//! * **Descriptors and threads** of the last third are at most [`HANDLES`] above those of the second.
//! * **Latency is steady**: for each operation with at least [`ENOUGH`] in a third, the median of the
//!   last third's p99 is at most [`SLOWER`] percent, and [`PAUSE_MS`] ms, above the second third's.
//! * **No error.**

use std::{collections::BTreeSet, fmt, time::Duration};

use super::load::{Operation, Times};
use crate::gauge::{Process, mb, ms, permille};

/// Percent that memory may grow after the warming up.
const GROWTH: f64 = 10.0;
/// And so many MB: an allocator's pools come in steps.
const ROOM_MB: f64 = 8.0;
/// In a single sample: two passwords may be checked at that moment, with 19 MiB each.
const PEAK_MB: f64 = 48.0;
/// Descriptors or threads more.
const HANDLES: usize = 16;
/// Percent that the p99 may grow.
const SLOWER: f64 = 30.0;
/// And so many ms.
const PAUSE_MS: f64 = 10.0;
/// Fewer operations say nothing of a p99.
const ENOUGH: usize = 300;

/// One look.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When, since the beginning.
    pub at: Duration,
    /// The server.
    pub process: Process,
    /// The store's directory, in bytes.
    pub disk: u64,
    /// What was done since the look before.
    pub done: Times,
}

impl Sample {
    fn p99(&self, operation: Operation) -> Option<Duration> {
        let mut times = self.done.get(&operation)?.clone();
        Some(permille(&mut times, 990))
    }

    fn count(&self) -> usize {
        self.done.values().map(Vec::len).sum()
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5} s: {} MB, {} descriptors, {} threads, {} MB on disk, {} operations;",
            self.at.as_secs(),
            mb(self.process.rss),
            self.process.descriptors,
            self.process.threads,
            mb(self.disk),
            self.count(),
        )?;
        for (operation, times) in &self.done {
            let mut times = times.clone();
            let p50 = permille(&mut times, 500);
            let p99 = permille(&mut times, 990);
            write!(f, " {} {}/{}", operation.name(), ms(p50), ms(p99))?;
        }
        Ok(())
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Verdict {
    minutes: f64,
    errors: usize,
    operations: usize,
    rss_start: f64,
    rss_warm: f64,
    rss_max: f64,
    rss_end: f64,
    /// MB an hour, after the warming up.
    slope: f64,
    /// Milliseconds, of the second and the last third.
    read_p99: (f64, f64),
    /// What must not be.
    pub found: Vec<String>,
}

impl Verdict {
    /// Judges a soak by its samples, and the number of its errors with the words of some.
    pub fn of(long: Duration, samples: &[Sample], errors: &(usize, Vec<String>)) -> Self {
        let warming = (long / 6).max(Duration::from_secs(60)).min(long / 2);
        let first = samples
            .iter()
            .position(|sample| sample.at >= warming)
            .unwrap_or(0);
        let memory: Vec<f64> = samples
            .iter()
            .map(|sample| mb(sample.process.rss))
            .collect();
        let around = first.saturating_sub(1)..(first + 2).min(samples.len());
        let mut verdict = Self {
            minutes: (long.as_secs_f64() / 6.0).round() / 10.0,
            errors: errors.0,
            operations: samples.iter().map(Sample::count).sum(),
            rss_start: memory.first().copied().unwrap_or_default(),
            rss_warm: median(memory[around].to_vec()),
            rss_max: memory[first..].iter().copied().fold(0.0, f64::max),
            rss_end: memory.last().copied().unwrap_or_default(),
            slope: 0.0,
            read_p99: (0.0, 0.0),
            found: Vec::new(),
        };
        verdict
            .found
            .extend(errors.1.iter().map(|words| format!("error: {words}")));
        verdict.memory(&samples[first..]);
        let (second, last) = thirds(samples);
        verdict.handles(second, last);
        verdict.latency(second, last);
        verdict
    }

    fn memory(&mut self, samples: &[Sample]) {
        let points: Vec<(f64, f64)> = samples
            .iter()
            .map(|sample| (sample.at.as_secs_f64() / 3600.0, mb(sample.process.rss)))
            .collect();
        let (slope, end) = line(&points);
        self.slope = (slope * 10.0).round() / 10.0;
        let grown = self.rss_warm * (1.0 + GROWTH / 100.0);
        for (what, seen, most) in [
            ("at most", self.rss_max, grown + PEAK_MB),
            ("by a line through all of it", end, grown + ROOM_MB),
        ] {
            if seen > most {
                self.found.push(format!(
                    "memory: {seen:.1} MB {what}, after {} MB when warm: more than {most:.1}",
                    self.rss_warm
                ));
            }
        }
    }

    fn handles(&mut self, second: &[Sample], last: &[Sample]) {
        let most = |samples: &[Sample], of: fn(&Process) -> usize| {
            let all = samples.iter().map(|sample| of(&sample.process));
            all.max().unwrap_or_default()
        };
        for (what, of) in [
            (
                "descriptors",
                (|process| process.descriptors) as fn(&Process) -> usize,
            ),
            ("threads", |process| process.threads),
        ] {
            let (before, after) = (most(second, of), most(last, of));
            if after > before + HANDLES {
                self.found.push(format!(
                    "{what}: {after} in the last third, {before} before"
                ));
            }
        }
    }

    fn latency(&mut self, second: &[Sample], last: &[Sample]) {
        let known: BTreeSet<Operation> = last
            .iter()
            .flat_map(|sample| sample.done.keys().copied())
            .collect();
        for operation in known {
            let of = |samples: &[Sample]| {
                let all = samples.iter().filter_map(|sample| sample.p99(operation));
                median(all.map(ms).collect())
            };
            let (before, after) = (of(second), of(last));
            if operation == Operation::Read {
                self.read_p99 = (before, after);
            }
            let count: usize = last
                .iter()
                .filter_map(|sample| sample.done.get(&operation))
                .map(Vec::len)
                .sum();
            if count >= ENOUGH && after > before * (1.0 + SLOWER / 100.0) + PAUSE_MS {
                self.found.push(format!(
                    "{}: p99 of {after} ms in the last third, {before} ms before",
                    operation.name()
                ));
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in &self.found {
            writeln!(f, "FOUND: {found}")?;
        }
        write!(
            f,
            "soak: minutes {}, errors {}, rss_start {} .. rss_end {} MB (warm {}, at most {}, {} MB an \
             hour), read p99 {} .. {} ms, operations {}, found wrong {}",
            self.minutes,
            self.errors,
            self.rss_start,
            self.rss_end,
            self.rss_warm,
            self.rss_max,
            self.slope,
            self.read_p99.0,
            self.read_p99.1,
            self.operations,
            self.found.len(),
        )
    }
}

fn thirds(samples: &[Sample]) -> (&[Sample], &[Sample]) {
    let third = samples.len() / 3;
    let (before, last) = samples.split_at(samples.len() - third);
    (&before[third.min(before.len())..], last)
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or_default()
}

/// The straight line of least squares: its slope, and where it ends.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let across: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let along: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let slope = if along > 0.0 { across / along } else { 0.0 };
    (
        slope,
        y + slope * (points.last().map_or(x, |point| point.0) - x),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour, a sample each ten seconds.
    fn soak(memory: impl Fn(f64) -> f64, p99: impl Fn(f64) -> u64) -> Verdict {
        let samples: Vec<Sample> = (1..=360)
            .map(|number| {
                let minute = f64::from(number) / 6.0;
                let process = Process {
                    rss: (memory(minute) * 1e6) as u64,
                    descriptors: 100,
                    threads: 20,
                };
                let times = vec![Duration::from_millis(p99(minute)); 10];
                Sample {
                    at: Duration::from_secs(number as u64 * 10),
                    process,
                    disk: 0,
                    done: Times::from([(Operation::Read, times)]),
                }
            })
            .collect();
        Verdict::of(Duration::from_secs(3600), &samples, &(0, Vec::new()))
    }

    #[test]
    fn what_warms_up_and_stays_is_flat() {
        let flat = soak(|minute| 60.0 + 4.0 * minute.min(9.0), |_| 5);
        assert!(flat.found.is_empty(), "{flat}");
        assert_eq!((flat.rss_warm, flat.rss_end), (96.0, 96.0));
    }

    #[test]
    fn a_leak_is_found_and_so_is_a_peak() {
        let leak = soak(|minute| 90.0 + 0.5 * minute, |_| 5);
        assert_eq!(leak.found.len(), 1, "{leak}");
        assert_eq!(leak.slope, 30.0);
        let peak = soak(
            |minute| {
                if (40.0..41.0).contains(&minute) {
                    160.0
                } else {
                    90.0
                }
            },
            |_| 5,
        );
        assert_eq!(peak.found.len(), 1, "{peak}");
    }

    #[test]
    fn answers_that_take_longer_and_longer_are_found() {
        let slower = soak(|_| 90.0, |minute| 10 + minute as u64 * 2);
        assert_eq!(slower.found.len(), 1, "{slower}");
        assert!(
            soak(|_| 90.0, |minute| 10 + minute as u64 / 6)
                .found
                .is_empty()
        );
    }

    #[test]
    fn errors_and_handles_are_found() {
        let failed = (1, vec!["read: 500".to_owned()]);
        let sample = |descriptors| Sample {
            at: Duration::from_secs(1),
            process: Process {
                descriptors,
                ..Process::default()
            },
            disk: 0,
            done: Times::new(),
        };
        let samples = [sample(10), sample(10), sample(40)];
        let verdict = Verdict::of(Duration::from_secs(3), &samples, &failed);
        assert_eq!(verdict.found.len(), 2, "{verdict}");
        assert_eq!(verdict.errors, 1);
    }
}
