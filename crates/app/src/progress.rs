//! Progress of what takes a while: a bar on a terminal, lines elsewhere, nothing with `--quiet`.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

/// A count that goes up. Clones show the same one.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    output: Output,
    lines: bool,
}

impl Progress {
    /// Of `total` things; 0 if nobody knows how many there are.
    pub(crate) fn new(output: Output, total: usize) -> Self {
        let terminal = std::io::stderr().is_terminal() && !output.quiet;
        let target = match terminal {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        let template = match total {
            0 => "{spinner} {pos} {elapsed} {wide_msg}",
            _ => "{spinner} {pos}/{len} [{wide_bar}] {elapsed} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        if terminal {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self {
            bar,
            output,
            lines: !terminal,
        }
    }

    /// Of so many bytes; 0 if nobody knows how many there are.
    pub(crate) fn bytes(output: Output, total: u64) -> Self {
        let progress = Self::new(output, usize::try_from(total).unwrap_or(usize::MAX));
        let template = match total {
            0 => "{spinner} {bytes} {elapsed} {wide_msg}",
            _ => "{spinner} {bytes}/{total_bytes} [{wide_bar}] {elapsed} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            progress.bar.set_style(style.progress_chars("=> "));
        }
        progress
    }

    /// So many bytes are done; `now` is what happens.
    pub(crate) fn at_bytes(&self, done: u64, now: &str) {
        self.bar.set_position(done);
        self.bar.set_message(now.to_owned());
    }

    /// So many are done; `now` is what happens.
    pub(crate) fn at(&self, done: usize, now: &str) {
        self.bar.set_position(done as u64);
        self.bar.set_message(now.to_owned());
    }

    /// A line that stays: above the bar, or by itself.
    pub(crate) fn say(&self, line: &str) {
        match self.lines {
            true => self.output.note(line),
            false => self.bar.println(line),
        }
    }

    /// As [`say`](Self::say), but not to be silenced.
    pub(crate) fn complain(&self, line: &str) {
        match self.lines {
            true => self.output.complain(line),
            false => self.bar.println(line),
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
