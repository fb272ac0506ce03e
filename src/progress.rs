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
        Progress { what: what.to_owned(), bar, said: None }
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
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
