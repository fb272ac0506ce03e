use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use logs::{Range, Source};
use projector::{Applied, Loaded, Rebuild as Everything};
use sqlx::PgPool;
use verifier::{Difference, Finding, Report, Tables, Verifier};

use super::log_source::{LogChoice, with_log};
use super::replay::told::named;
use crate::boot::Boot;
use crate::exit::Outcome;
use crate::output;
use crate::progress::Progress;

/// Ad accounts folded at once, unless somebody says otherwise.
const WORKERS: u64 = 2;
const ROWS_A_TRANSACTION: usize = 10_000;
/// How often the rebuilt tables are verified while live traffic comes in between.
const VERIFIED_AT_MOST: u32 = 4;
/// How long what is on its way gets to arrive.
const PATIENCE: Duration = Duration::from_secs(2);
/// Sentences that are shown of what differs.
const SHOWN: usize = 20;

/// Fold everything once more beside the live tables, and apply what differs to them
///
/// Everything is folded into the schema `rebuild`, caught up with live traffic, and verified; then the account-days that
/// differ are made equal, a few at a time, under the lock that every fold of them takes. The tables stay the same tables:
/// views, grants and policies on them are not touched. Rows that were replaced are kept in the schema `rebuild_undo` until
/// `rebuild --drop`. Broken off, it has applied whole days; repeated, it begins anew. Exit code 3 where a day was left as
/// it is, or where the rebuilt tables are not what the log says: then nothing is applied.
#[derive(Args)]
pub struct Rebuild {
    /// Which log to read
    #[arg(long, default_value = "stream", conflicts_with = "drop")]
    from: LogChoice,
    /// Fold and verify, and apply nothing
    #[arg(long, conflicts_with = "drop")]
    dry_run: bool,
    /// Ad accounts folded at once; memory follows it
    #[arg(long, value_name = "N", default_value_t = WORKERS, value_parser = clap::value_parser!(u64).range(1..=32), conflicts_with = "drop")]
    workers: u64,
    /// Drop what rebuilds have left: the schemas `rebuild` and `rebuild_undo`
    #[arg(long)]
    drop: bool,
}

impl Rebuild {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        if self.drop {
            let (pool, _servers) = boot.tables().await?;
            projector::drop_schemas(&pool).await.context("the schemas cannot be dropped")?;
            output::line("The schemas rebuild and rebuild_undo are gone.")?;
            return Ok(Outcome::Done);
        }
        with_log(boot, self.from, async |pool, from, other| self.rebuild(pool, from, other).await).await
    }

    async fn rebuild(&self, pool: &PgPool, from: Source, other: Option<Source>) -> Result<Outcome> {
        let both = other.is_some();
        let verifier = Verifier {
            pool: pool.clone(),
            from: from.clone(),
            other: other.clone(),
            tables: Tables::Rebuild,
            max_event_bytes: projector::MAX_EVENT_BYTES,
            patience: PATIENCE,
        };
        let everything = Everything {
            pool: pool.clone(),
            from,
            other,
            workers: usize::try_from(self.workers)?,
            rows_a_transaction: ROWS_A_TRANSACTION,
            max_event_bytes: projector::MAX_EVENT_BYTES,
        };
        let progress = RefCell::new(Progress::new("days folded beside"));
        let mut rebuilt = everything
            .load(|loaded| {
                let rows = format!("{} rows", loaded.rows);
                progress.borrow_mut().at(loaded.days as u64, loaded.days_total as u64, &rows);
            })
            .await?;
        drop(progress);
        let mut caught_up = rebuilt.catch_up().await?;
        say_loaded(&rebuilt.loaded, caught_up)?;
        for round in 1..=VERIFIED_AT_MOST {
            let (report, differing) = differing(&verifier).await?;
            if differing.is_empty() {
                output::line(&format!(
                    "Verified by the second implementation: {} account-days, {} rows, none differ.",
                    report.account_days, report.rows
                ))?;
                break;
            }
            // What live traffic has folded since is no mistake of the rebuild's.
            caught_up = rebuilt.catch_up().await?;
            if caught_up == 0 || round == VERIFIED_AT_MOST {
                for sentence in &differing {
                    output::line(&output::printable(sentence))?;
                }
                output::line("The rebuilt tables are not what the log says: nothing was applied.")?;
                rebuilt.close().await;
                return Ok(Outcome::Findings);
            }
        }
        if self.dry_run {
            let (days, summaries) = rebuilt.differing().await?;
            rebuilt.close().await;
            for day in &days {
                output::line(&format!("{} differs", named(day)))?;
            }
            for (account_id, date) in &summaries {
                output::line(&format!("{date} of tenant {account_id} differs in its summary alone"))?;
            }
            output::line(&format!(
                "{} account-days differ, and {} summaries without them; nothing was applied.",
                days.len(),
                summaries.len()
            ))?;
            return Ok(Outcome::Done);
        }
        let progress = RefCell::new(Progress::new("days applied"));
        let applied = rebuilt
            .apply(|applied| progress.borrow_mut().at(applied.days as u64, applied.days_total as u64, ""))
            .await?;
        drop(progress);
        rebuilt.close().await;
        say_applied(&applied, both)
    }
}

/// What the second implementation says of the rebuilt tables: the first of what differs, in words.
async fn differing(verifier: &Verifier) -> Result<(Report, Vec<String>)> {
    let progress = RefCell::new(Progress::new("account-days verified"));
    let mut sentences = Vec::new();
    let take = |finding| match finding {
        Finding::Differs(Difference { ad_account_id, account_id, date, sentences: said, .. }) => {
            let of = ad_account_id.unwrap_or(account_id);
            sentences.extend(said.iter().map(|sentence| format!("{of}, {date}: {sentence}")).take(SHOWN));
        }
        Finding::Refused(_) => {}
    };
    let show = |report: &Report| progress.borrow_mut().at(report.account_days, report.account_days_total, "");
    let report = verifier.run(&Range::everything(), take, show).await.context("verifying broke off")?;
    sentences.truncate(SHOWN);
    Ok((report, sentences))
}

fn say_loaded(loaded: &Loaded, caught_up: usize) -> Result<()> {
    for (day, reason) in &loaded.unfoldable {
        eprintln!("An event of {} cannot be folded, as when it came: {reason}", day.subject());
    }
    output::line(&format!(
        "Folded {} account-days into the schema rebuild: {} events, {} rows; {caught_up} caught up with live traffic.",
        loaded.days_total, loaded.events, loaded.rows
    ))
}

fn say_applied(applied: &Applied, both: bool) -> Result<Outcome> {
    output::line(&format!(
        "{} account-days differed: {} rows written; {} rows and {} summaries replaced, which rebuild_undo keeps.",
        applied.days, applied.written, applied.replaced, applied.summaries
    ))?;
    for (day, event_id) in &applied.left {
        eprintln!(
            "{} was left as it is: event {event_id} was folded once, and {} it in a form that can be folded{}",
            day.subject(),
            if both { "neither log holds" } else { "meta_insights_raw does not hold" },
            if both { "" } else { "; the stream may: rebuild with --from stream" },
        );
    }
    for day in &applied.busy {
        eprintln!("{} was left as it is: it was changed again and again meanwhile; repeat the command", day.subject());
    }
    Ok(if applied.left.is_empty() && applied.busy.is_empty() { Outcome::Done } else { Outcome::Findings })
}
