//! Whether the machine is short of processor or memory.
//!
//! Under pressure an agent keeps its least number of workers and defers background work until it
//! has aged (see the rule of the `mailbox`). Nothing accepted is dropped.
//!
//! Source: Linux pressure stall information, `Documentation/accounting/psi.rst`: `some avg10` is
//! the share of the last ten seconds, in percent, in which at least one task waited for it.

use std::{fs, time::Duration};

use parking_lot::Mutex;

use crate::moment::Moment;

/// Tells whether the machine is short of something. Asked on each round: quick.
pub trait Pressure: Send + Sync + 'static {
    /// Whether it is at this moment.
    fn is_high(&self, now: Moment) -> bool;
}

/// Never short of anything: for tests, and where the operator wants no degradation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calm;

impl Pressure for Calm {
    fn is_high(&self, _now: Moment) -> bool {
        false
    }
}

/// By the kernel's stall information, read once a second. A kernel without it is never short.
#[derive(Debug)]
pub struct Stalls {
    /// Percent of the time in which tasks waited for a processor. Default 80: a machine that works
    /// at full load is not yet one that stalls.
    pub cpu: f64,
    /// Percent of the time in which tasks waited for memory. Default 10: thrashing starts early.
    pub memory: f64,
    last: Mutex<Option<(Moment, bool)>>,
}

impl Default for Stalls {
    fn default() -> Self {
        Self {
            cpu: 80.0,
            memory: 10.0,
            last: Mutex::new(None),
        }
    }
}

impl Pressure for Stalls {
    fn is_high(&self, now: Moment) -> bool {
        let mut last = self.last.lock();
        match *last {
            Some((at, high)) if now.since(at) < Duration::from_secs(1) => high,
            _ => {
                let over = |file: &str, limit: f64| {
                    let text = fs::read_to_string(file).unwrap_or_default();
                    some_avg10(&text).is_some_and(|share| share > limit)
                };
                let high = over("/proc/pressure/cpu", self.cpu)
                    || over("/proc/pressure/memory", self.memory);
                *last = Some((now, high));
                high
            }
        }
    }
}

fn some_avg10(text: &str) -> Option<f64> {
    let some = text.lines().find(|line| line.starts_with("some "))?;
    some.split(' ')
        .find_map(|field| field.strip_prefix("avg10="))?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_stall_information_is_read() {
        let text =
            "some avg10=12.34 avg60=0.10 avg300=0.00 total=12\nfull avg10=99.00 avg60=0 total=1\n";
        assert_eq!(some_avg10(text), Some(12.34));
        assert_eq!(some_avg10(""), None);
        assert_eq!(some_avg10("some avg10=much"), None);
    }
}
