use anyhow::{Context, Result, bail};
use chrono::NaiveDate;
use clap::{Args, ValueEnum};
use projections::Folds;
use projector::{Range, Replay as Refold, Source};
use sqlx::PgPool;
use uuid::Uuid;

use super::in_order;
use crate::boot::Boot;
use crate::exit::Outcome;
use crate::output;
use crate::progress::Progress;

/// Fold a range of days again, into the live tables, beside live traffic
///
/// Each transaction replaces whole days, so breaking it off is safe, and repeating it ends in the same tables. Exit code 3
/// when an event of the range cannot be folded, as when it came.
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
    #[arg(long, value_name = "ROWS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rows_a_transaction: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    /// The JetStream log
    Stream,
    /// meta_insights_raw, without the stream
    Raw,
}

impl Replay {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        in_order(self.since, self.until)?;
        match self.from {
            From::Stream => {
                let servers = boot.servers().await?;
                let from = Source::stream(&servers.wire).await?;
                let outcome = self.fold(&servers.pool, from, Some(Source::Raw(servers.pool.clone()))).await;
                servers.close().await;
                outcome
            }
            // Works where the stream is gone: that is what the second log is for.
            From::Raw => {
                let (pool, embedded) = boot.tables().await?;
                let outcome = self.fold(&pool, Source::Raw(pool.clone()), None).await;
                pool.close().await;
                if let Some(embedded) = embedded {
                    embedded.stop().await;
                }
                outcome
            }
        }
    }

    async fn fold(&self, pool: &PgPool, from: Source, other: Option<Source>) -> Result<Outcome> {
        let range = self.range(pool).await?;
        let both = other.is_some();
        let replay = Refold {
            pool: pool.clone(),
            folds: Folds::default(),
            from,
            other,
            rows_a_transaction: usize::try_from(self.rows_a_transaction)?,
            max_event_bytes: projector::MAX_EVENT_BYTES,
            dry_run: self.dry_run,
        };
        let progress = std::cell::RefCell::new(Progress::new("days folded again"));
        let report = replay
            .run(&range, |report| {
                progress.borrow_mut().at(
                    report.days as u64,
                    report.days_total as u64,
                    &format!("{} rows", report.rows),
                );
            })
            .await?;
        drop(progress);
        for (day, reason) in &report.unfoldable {
            eprintln!("An event of {} cannot be folded, as when it came: {reason}", day.subject());
        }
        let would = if self.dry_run { "Would fold" } else { "Folded" };
        output::line(&format!(
            "{would} {} days again: {} events, {} rows written.",
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

    async fn range(&self, pool: &PgPool) -> Result<Range> {
        if let Some(id) = self.account {
            accounts::tenant(pool, id).await?;
        }
        let ad_account_id = match &self.ad_account {
            None => None,
            Some(name) => {
                let found = accounts::named_ad_accounts(pool, name, self.account).await;
                let found = found.context("the ad account cannot be looked up")?;
                match found.as_slice() {
                    [id] => Some(*id),
                    [] => bail!("ad account {name:?} is not connected: `adledger status` lists those that are"),
                    _ => bail!("ad account {name} belongs to several tenants: say which with --account"),
                }
            }
        };
        Ok(Range { account_id: self.account, ad_account_id, since: self.since, until: self.until })
    }
}
