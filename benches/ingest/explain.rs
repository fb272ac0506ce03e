//! Where a run's time went: its spans, by name, and PostgreSQL's statements, by text.

use std::collections::BTreeMap;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use opentelemetry_proto::tonic::trace::v1::Span;
use testkit::Collector;

use crate::fake::Fake;
use crate::run::{self, Job};
use crate::stage::Stage;

/// Statements that took longest together.
const SHOWN: usize = 16;

/// Runs the job once more, watched, and prints what was seen. It is slower for it.
pub async fn explain(job: Job, stage: &Stage, fake: &Fake) -> Result<()> {
    let collector = Collector::start().await?;
    stage.sql("alter system set log_min_duration_statement = 0").await?;
    stage.sql("select pg_reload_conf()").await?;
    let log_before = stage.postgres_log().await?.len();
    let figures = run::measure(job, stage, fake, Some(&collector.url)).await?;
    let log = stage.postgres_log().await?;
    stage.sql("alter system reset log_min_duration_statement").await?;
    stage.sql("select pg_reload_conf()").await?;
    println!("\nThe {} job, watched: {figures}\n", job.name());
    println!(
        "{}\nOpen: while at least one was. Of messages that come together, each is as long as their batch.\n",
        spans(&collector.spans())
    );
    println!("{}", statements(&log[log_before..]));
    Ok(())
}

fn spans(spans: &[Span]) -> Table {
    let mut of_name: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for span in spans {
        of_name.entry(&span.name).or_default().push((span.start_time_unix_nano, span.end_time_unix_nano));
    }
    let begin = spans.iter().map(|span| span.start_time_unix_nano).min().unwrap_or_default();
    let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
    let mut table = new_table(["span", "number", "mean, ms", "open, s", "first to last, s"]);
    for (name, mut all) in of_name {
        all.sort_unstable();
        let together: u64 = all.iter().map(|(start, end)| end - start).sum();
        let (mut open, mut until) = (0, 0);
        for (start, end) in &all {
            open += end.saturating_sub(until.max(*start));
            until = until.max(*end);
        }
        let first = all.first().map_or(begin, |(start, _)| *start);
        table.add_row([
            name.to_owned(),
            all.len().to_string(),
            format!("{:.2}", 1e3 * seconds(together) / all.len() as f64),
            format!("{:.3}", seconds(open)),
            format!("{:.3} - {:.3}", seconds(first - begin), seconds(until - begin)),
        ]);
    }
    aligned(table)
}

/// What PostgreSQL logged with `log_min_duration_statement = 0`. Of a COPY, that includes waiting for its rows.
fn statements(log: &str) -> Table {
    let mut of_text: BTreeMap<String, (u64, f64)> = BTreeMap::new();
    let mut lines = log.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((_, rest)) = line.split_once("duration: ") else { continue };
        let Some((milliseconds, rest)) = rest.split_once(" ms") else { continue };
        let mut text = rest.split_once(": ").map_or("", |(_, text)| text).to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with('\t')) {
            text.push_str(more);
        }
        let without_comments = text.split('\t').filter(|line| !line.trim_start().starts_with("--"));
        let words: Vec<&str> = without_comments.flat_map(str::split_ascii_whitespace).collect();
        let (number, sum) = of_text.entry(words.join(" ").chars().take(100).collect()).or_default();
        *number += 1;
        *sum += milliseconds.parse::<f64>().unwrap_or_default();
    }
    let mut all: Vec<_> = of_text.into_iter().collect();
    all.sort_by(|(_, (_, one)), (_, (_, other))| other.total_cmp(one));
    let sum: f64 = all.iter().map(|(_, (_, milliseconds))| milliseconds).sum();
    let mut table = new_table(["statement", "number", "ms together", "mean, ms"]);
    for (text, (number, milliseconds)) in all.into_iter().take(SHOWN) {
        let mean = milliseconds / number as f64;
        table.add_row([text, number.to_string(), format!("{milliseconds:.0}"), format!("{mean:.2}")]);
    }
    table.add_row(["all of them".to_owned(), String::new(), format!("{sum:.0}"), String::new()]);
    aligned(table)
}

fn new_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}

fn aligned(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
