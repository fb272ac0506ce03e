//! The figures, for a person.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use crate::run::{Figures, Job};
use crate::stage::Stage;

/// What was reached before, by the best loader there was: seconds and megabytes.
const BEST_LOADER: &str = "The best existing loader, on such a machine and into one table without a broker or a raw log: \
                           46.5 s and 267 MB for the large job, 2.0 s for the small one.";

pub async fn print(stage: &Stage, all: &[(Job, Vec<Figures>)]) -> Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
        "",
        "rows",
        "seconds",
        "fastest - slowest",
        "rows/s",
        "times COPY",
        "peak RSS, MB",
        "CPU s: adledger",
        "PostgreSQL",
        "nats-server",
        "the fake",
    ]);
    for (job, runs) in all {
        let seconds = median(runs, |figures| figures.seconds);
        let extreme = |pick: fn(f64, f64) -> f64| runs.iter().map(|f| f.seconds).reduce(pick).unwrap_or(seconds);
        table.add_row([
            job.name().to_owned(),
            job.rows().to_string(),
            format!("{seconds:.3}"),
            format!("{:.3} - {:.3}", extreme(f64::min), extreme(f64::max)),
            format!("{:.0}", job.rows() as f64 / seconds),
            format!("{:.1}", seconds / median(runs, |figures| figures.copy_seconds)),
            format!("{:.1}", median(runs, |figures| figures.peak_rss_bytes as f64) / 1e6),
            format!("{:.2}", median(runs, |figures| figures.cpu_seconds)),
            format!("{:.2}", median(runs, |figures| figures.postgres_cpu_seconds)),
            format!("{:.2}", median(runs, |figures| figures.nats_cpu_seconds)),
            format!("{:.2}", median(runs, |figures| figures.fake_cpu_seconds)),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("\ncargo bench --bench ingest\n\n{}\n\n{table}\n", stage.settings().await?);
    println!(
        "Times COPY: PostgreSQL alone, with the same rows from memory into an empty table with the same keys, right after the run."
    );
    println!("{BEST_LOADER}\nWanted: 4.6 s under 64 MB, and 0.4 s.");
    Ok(())
}

fn median(runs: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
