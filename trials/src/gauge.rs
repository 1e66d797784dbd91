//! What is read off from outside: a process in `/proc`, a directory's size, and percentiles.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};

/// A process at one moment.
#[derive(Clone, Copy, Default, Debug)]
pub struct Process {
    /// Resident memory, in bytes.
    pub rss: u64,
    /// Open file descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
}

impl Process {
    /// Reads it; fails if there is no such process.
    pub fn read(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .context("the server's process is gone")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
                .with_context(|| format!("/proc says no {name}"))
        };
        Ok(Self {
            rss: field("VmRSS:")? * 1024,
            threads: usize::try_from(field("Threads:")?)?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        })
    }
}

/// Bytes that a directory takes on disk, with all below it. What vanishes meanwhile counts nothing.
pub fn disk(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => disk(&entry.path()),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// The value that so many of 1,000 don't exceed; zero of nothing. Sorts them.
pub fn permille(times: &mut [Duration], of: usize) -> Duration {
    times.sort_unstable();
    let at = (times.len() * of).div_ceil(1000).saturating_sub(1);
    times.get(at).copied().unwrap_or_default()
}

/// Milliseconds, for people.
pub fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Megabytes, for people.
pub fn mb(bytes: u64) -> f64 {
    (bytes as f64 / 100_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_members() {
        let mut times: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(permille(&mut times, 500), Duration::from_millis(50));
        assert_eq!(permille(&mut times, 990), Duration::from_millis(99));
        assert_eq!(permille(&mut times, 1000), Duration::from_millis(100));
        assert_eq!(permille(&mut [], 990), Duration::ZERO);
    }

    #[test]
    fn this_process_can_be_read() {
        let process = Process::read(std::process::id()).unwrap_or_default();
        assert!(process.rss > 1 << 20 && process.threads > 0 && process.descriptors > 2);
    }
}
