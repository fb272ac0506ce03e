use std::cell::RefCell;

use anyhow::{Result, bail};
use chrono::NaiveDate;
use clap::{Args, ValueEnum};
use logs::{Range, Source};
use projections::Folds;
use projector::{Replay as Refold, Report};
use sqlx::PgPool;
use uuid::Uuid;

use super::{ad_account_named, in_order};
use crate::boot::Boot;
use crate::exit::Outcome;
use crate::output;
use crate::progress::Progress;

/// Rows after which a transaction is complete, unless somebody says otherwise.
const ROWS_A_TRANSACTION: usize = 10_000;

/// Fold a range of days again, into the live tables, beside live traffic
///
/// Each transaction replaces whole days, so breaking it off is safe, and repeating it ends in the same tables. Exit
/// code 3 when an event of the range cannot be folded, as when it came.
#[derive(Args)]
pub struct Replay {
    /// This tenant only
    #[arg(long, value_name = "ID")]
    account: Option<Uuid>,
    /// This ad account only: Meta's id (act_…), or its id in our tables
    #[arg(long, value_name = "ACT")]
    ad_account: Option<String>,
    /// First report day, YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    since: NaiveDate,
    /// Last report day, YYYY-MM-DD
    #[arg(long, value_name = "DATE")]
    until: NaiveDate,
    /// Which log to read
    #[arg(long, default_value = "stream")]
    from: From,
    /// Fold and report, and take everything back
    #[arg(long)]
    dry_run: bool,
    /// Rows after which a transaction is complete; memory follows it
    #[arg(long, value_name = "ROWS", default_value_t = ROWS_A_TRANSACTION as u64, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rows_a_transaction: u64,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum From {
    /// The JetStream log
    Stream,
    /// meta_insights_raw, without the stream
    Raw,
}

impl Replay {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        in_order(self.since, self.until)?;
        with_log(boot, self.from, async |pool, from, other| self.fold(pool, from, other).await).await
    }

    async fn fold(&self, pool: &PgPool, from: Source, other: Option<Source>) -> Result<Outcome> {
        let range = self.range(pool).await?;
        let both = other.is_some();
        let rows_a_transaction = usize::try_from(self.rows_a_transaction)?;
        let replay = Refold { rows_a_transaction, dry_run: self.dry_run, ..refold(pool, from, other) };
        let progress = RefCell::new(Progress::new(PROGRESS));
        let report = replay.run(&range, |report| show(&progress, report)).await?;
        drop(progress);
        tell(&report, both, if self.dry_run { "Would fold" } else { "Folded" })
    }

    async fn range(&self, pool: &PgPool) -> Result<Range> {
        if let Some(id) = self.account {
            accounts::tenant(pool, id).await?;
        }
        let ad_account_id = match &self.ad_account {
            Some(name) => Some(ad_account_named(pool, name, self.account).await?),
            None => None,
        };
        Ok(Range { account_id: self.account, ad_account_id, since: self.since, until: self.until })
    }
}

/// Starts what reading this log takes, and ends it after `work`, which is given the log to read and the one that can
/// help out.
pub(super) async fn with_log(
    boot: &Boot,
    from: From,
    work: impl AsyncFnOnce(&PgPool, Source, Option<Source>) -> Result<Outcome>,
) -> Result<Outcome> {
    match from {
        From::Stream => {
            let servers = boot.servers().await?;
            let from = Source::stream(&servers.wire).await?;
            let outcome = work(&servers.pool, from, Some(Source::Raw(servers.pool.clone()))).await;
            servers.close().await;
            outcome
        }
        // Works where the stream is gone: that is what the second log is for.
        From::Raw => {
            let (pool, embedded) = boot.tables().await?;
            let outcome = work(&pool, Source::Raw(pool.clone()), None).await;
            pool.close().await;
            if let Some(embedded) = embedded {
                embedded.stop().await;
            }
            outcome
        }
    }
}

/// A replay with the usual bounds.
pub(super) fn refold(pool: &PgPool, from: Source, other: Option<Source>) -> Refold {
    Refold {
        pool: pool.clone(),
        folds: Folds::default(),
        from,
        other,
        rows_a_transaction: ROWS_A_TRANSACTION,
        max_event_bytes: projector::MAX_EVENT_BYTES,
        dry_run: false,
    }
}

/// What the progress of a replay is called.
pub(super) const PROGRESS: &str = "days folded again";

pub(super) fn show(progress: &RefCell<Progress>, report: &Report) {
    let rows = format!("{} rows", report.rows);
    progress.borrow_mut().at(report.days as u64, report.days_total as u64, &rows);
}

/// Says what a replay has done. `both`: it could read both logs.
pub(super) fn tell(report: &Report, both: bool, folded: &str) -> Result<Outcome> {
    for (day, reason) in &report.unfoldable {
        eprintln!("An event of {} cannot be folded, as when it came: {reason}", day.subject());
    }
    output::line(&format!(
        "{folded} {} days again: {} events, {} rows written.",
        report.days, report.events, report.rows
    ))?;
    if let Some((day, event_id)) = report.left.first() {
        bail!(
            "{} days were left as they are, {} first: event {event_id} was folded once, and {} it{}",
            report.left.len(),
            day.subject(),
            if both { "neither log holds" } else { "meta_insights_raw does not hold" },
            if both { "" } else { "; the stream may: replay with --from stream" },
        );
    }
    Ok(if report.unfoldable.is_empty() { Outcome::Done } else { Outcome::Findings })
}
