//! Long work, shown: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a plain line is written at most.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// One piece of work with so many steps.
pub struct Progress {
    what: String,
    bar: Option<ProgressBar>,
    said: Option<(Instant, String)>,
    begun: Instant,
    /// Steps that were done before.
    before: Option<u64>,
    /// Rows a second that are not passed.
    most: Option<u64>,
}

impl Progress {
    pub fn new(what: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▓░"));
            bar.set_prefix(what.to_owned());
            bar
        });
        Progress { what: what.to_owned(), bar, said: None, begun: Instant::now(), before: None, most: None }
    }

    /// Steps that were done before this piece of work began: they say nothing about how fast it is.
    pub fn begins_after(&mut self, done: u64) {
        self.before = Some(done);
    }

    /// So many rows a second are not passed: what is done too soon is waited for.
    pub fn at_most(&mut self, rows_a_second: Option<u64>) {
        self.most = rows_a_second;
    }

    /// So far so many steps of so many.
    pub fn at(&mut self, done: u64, total: u64, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(message.to_owned());
            return;
        }
        if total == 0 {
            return;
        }
        let line = format!("{}: {done} of {total}{}{message}", self.what, if message.is_empty() { "" } else { ", " });
        let due =
            self.said.as_ref().is_none_or(|(at, said)| *said != line && (at.elapsed() >= LINE_EVERY || done == total));
        if due {
            eprintln!("{line}");
            self.said = Some((Instant::now(), line));
        }
    }

    /// The same, with the rate at which `rows` of all steps since the beginning were done, and the time that is left at
    /// it; or with what is waited for.
    pub fn at_rate(&mut self, done: u64, total: u64, rows: u64, waiting: Option<&str>) {
        let due = self.most.map_or(Duration::ZERO, |most| Duration::from_secs_f64(rows as f64 / most.max(1) as f64));
        let elapsed = self.begun.elapsed();
        let rate = rows as f64 / elapsed.as_secs_f64().max(0.001);
        let message = match (waiting, time_left(elapsed.max(due), self.before.unwrap_or(0), done, total)) {
            (Some(waiting), _) => format!("{rows} rows, {waiting}"),
            (None, Some(left)) => format!("{rows} rows, {rate:.0} rows/s, {} left", in_words(left)),
            (None, None) => format!("{rows} rows, {rate:.0} rows/s"),
        };
        self.at(done, total, &message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How long the steps that are left take, at the rate of those that were done since `before`; unknown before the first
/// and after the last.
fn time_left(elapsed: Duration, before: u64, done: u64, total: u64) -> Option<Duration> {
    let (own, left) = (done.checked_sub(before)?, total.checked_sub(done)?);
    (own > 0 && left > 0).then(|| elapsed.mul_f64(left as f64 / own as f64))
}

/// A duration as exactly as somebody who waits has use for.
fn in_words(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..90 => format!("{seconds} s"),
        seconds @ 90..5400 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_at_the_rate_of_this_piece_of_work() {
        let ten = Duration::from_secs(10);
        for (before, done, total, left) in [
            (0, 0, 100, None),
            (0, 10, 100, Some("90 s")),
            (50, 60, 100, Some("40 s")),
            (0, 1, 1000, Some("2 h 46 min")),
            (0, 100, 100, None),
            (60, 60, 100, None),
        ] {
            let said = time_left(ten, before, done, total).map(in_words);
            let left = left.map(|text| text.replace("90 s", "2 min"));
            assert_eq!(said, left, "{before} {done} {total}");
        }
    }
}
