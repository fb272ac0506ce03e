mod told;

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Result, bail};
use chrono::NaiveDate;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use logs::{Logs, Range};
use projections::Table;
use projector::replay::{Asked, Begun, Ended, Lag, Pace, Record, Report, Totals};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::log_source::{LogChoice, with_log};
use super::names::Names;
use super::{ad_account_named, in_order};
use crate::boot::Boot;
use crate::exit::{Outcome, usage};
use crate::output;
use crate::progress::Progress;
use crate::shutdown;

pub(super) use told::{Told, tell};

/// Rows after which a transaction is complete, unless somebody says otherwise.
const ROWS_A_TRANSACTION: usize = 10_000;

/// How far live traffic may be behind, unless somebody says otherwise.
const MAX_LAG_SECONDS: u64 = 30;

/// How long the record of a replay that failed may take to be written.
const RECORDED_WITHIN: Duration = Duration::from_secs(5);

/// Fold a range of days again, into the live tables, beside live traffic
///
/// Every row is made anew from the log and compared in every column; what differs is written, whole days a
/// transaction. A replay that is broken off, by Ctrl-C, `kill -9` or `adledger replays pause`, goes on where it was
/// when the same command is given within 24 hours. It ends where the log did when it began. Exit code 3 when an
/// event of the range cannot be folded, as when it came, or a day was left as it is because an event of it is in no log;
/// 1 when it was paused or failed; 0 otherwise, whether or not something changes: --json counts it.
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
    from: LogChoice,
    /// Compare this table alone, and write those computed from it only where it changes; daily_summary reads no log: it
    /// is what daily_meta_metrics says, damage there included
    #[arg(long, value_name = "TABLE", value_parser = table_named())]
    table: Option<Table>,
    /// Compare and report, and take everything back
    #[arg(long)]
    dry_run: bool,
    /// Skip days whose events have the hashes that the tables know, without making their rows anew: damage to facts, to
    /// sums, and to what observations say beside the hash stays there
    #[arg(long)]
    trust_hash: bool,
    /// Begin anew, where a replay of the same range would be gone on with
    #[arg(long)]
    restart: bool,
    /// Rows after which a transaction is complete; memory follows it, and how long live traffic can wait for a day
    #[arg(long, value_name = "ROWS", default_value_t = ROWS_A_TRANSACTION as u64, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rows_a_transaction: u64,
    /// Work on so many rows a second at most; a day is never divided
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    rows_a_second: Option<u64>,
    /// Wait while live traffic has an event that is older than this and not folded; 0 does not look. 30, unless said
    /// otherwise; from raw nobody asks the stream
    #[arg(long, value_name = "SECONDS")]
    max_lag: Option<u64>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn table_named() -> impl TypedValueParser<Value = Table> {
    let named = |name: String| Table::ALL.into_iter().find(|table| table.name() == name).unwrap_or(Table::Observations);
    PossibleValuesParser::new(Table::ALL.map(Table::name)).map(named)
}

impl Replay {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        in_order(self.since, self.until)?;
        if self.from == LogChoice::Raw && self.max_lag.is_some_and(|seconds| seconds > 0) {
            return Err(usage(
                "--max-lag asks the stream, and --from raw goes without it: --rows-a-second bounds it there",
            ));
        }
        let log = match self.table {
            Some(Table::DailySummary) if self.trust_hash => {
                return Err(usage("--trust-hash skips days of the log, and daily_summary is summed without it"));
            }
            // No log is read: what takes the fewest servers will do.
            Some(Table::DailySummary) => LogChoice::Raw,
            _ => self.from,
        };
        with_log(boot, log, async |pool, logs| self.fold(pool, logs).await).await
    }

    async fn fold(&self, pool: &PgPool, logs: Logs) -> Result<Outcome> {
        let range = self.range(pool).await?;
        let both = logs.other.is_some();
        let max_lag = self.max_lag.unwrap_or(MAX_LAG_SECONDS);
        let wire = logs.first.wire().filter(|_| max_lag > 0 && !self.dry_run).cloned();
        let end = if self.table == Some(Table::DailySummary) { None } else { Some(logs.first.end(&range).await?) };
        let replay = projector::replay::Replay {
            // A transaction is done at once, and what it took too little time for is waited for after it.
            rows_a_transaction: usize::try_from(self.rows_a_transaction.min(self.rows_a_second.unwrap_or(u64::MAX)))?,
            dry_run: self.dry_run,
            only: self.table,
            trust_hash: self.trust_hash,
            end,
            pace: Pace {
                rows_a_second: self.rows_a_second,
                lag: wire.map(|wire| Lag { wire, most: Duration::from_secs(max_lag) }),
            },
            ..refold(pool, logs)
        };
        let (report, totals) = if self.dry_run {
            (try_out(&replay, &range).await?, None)
        } else {
            let (report, totals) = self.work(replay, &range).await?;
            (report, Some(totals))
        };
        let told = Told { report: &report, totals: totals.as_ref(), both, dry_run: self.dry_run };
        tell(&told, &Names::load(pool).await?, self.json)
    }

    /// Replays the range, or goes on with it, to its end.
    async fn work(&self, replay: projector::replay::Replay, range: &Range) -> Result<(Report, Totals)> {
        let asked = Asked {
            range: *range,
            source: if self.from == LogChoice::Raw { "raw" } else { "stream" },
            only: self.table,
            trust_hash: self.trust_hash,
        };
        let begun = Record::begin(&replay.pool, &asked, replay.end, self.restart).await?;
        say(&begun);
        let record = begun.record;
        let replay = projector::replay::Replay { end: record.end, ..replay };
        let progress = RefCell::new(Progress::new(PROGRESS));
        progress.borrow_mut().begins_after(record.days_done as u64);
        progress.borrow_mut().at_most(self.rows_a_second);
        let cancel = CancellationToken::new();
        let work = replay.run_recorded(range, Some(&record), &cancel, |report| show(&progress, report));
        let ended = shutdown::until_done(&cancel, work).await;
        drop(progress);
        match ended? {
            Ok((report, Ended::Finished)) => {
                let totals = record.finished().await?;
                Ok((report, totals))
            }
            Ok((_, Ended::Paused)) => {
                let (done, total) = record.stopped(false).await?;
                bail!("paused after {done} of {total} days; the same command goes on from there")
            }
            Err(error) => {
                // Where the database is away, nobody holds the lock any more, which says the same.
                let _ = tokio::time::timeout(RECORDED_WITHIN, record.stopped(true)).await;
                Err(error.into())
            }
        }
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

/// Compares, and leaves nothing behind: there is nothing to go on with.
async fn try_out(replay: &projector::replay::Replay, range: &Range) -> Result<Report> {
    let progress = RefCell::new(Progress::new("days compared"));
    let compare = async { Ok(replay.run(range, |report| show(&progress, report)).await?) };
    shutdown::unless_signalled("nothing was changed", compare).await
}

fn say(begun: &Begun) {
    let Begun { record, goes_on, beside } = begun;
    if *goes_on {
        eprintln!(
            "Going on with the replay begun at {}, after {} of {} days; --restart begins anew.",
            output::time(record.started_at),
            record.days_done,
            record.days_total
        );
    }
    if let Some(id) = beside {
        eprintln!(
            "Replay {id} of the same range is running; this one, {}, runs beside it from the beginning.",
            record.id
        );
    }
}

/// A replay with the usual bounds.
pub(super) fn refold(pool: &PgPool, logs: Logs) -> projector::replay::Replay {
    projector::replay::Replay {
        rows_a_transaction: ROWS_A_TRANSACTION,
        ..projector::replay::Replay::new(pool.clone(), logs)
    }
}

/// What the progress of a replay is called.
pub(super) const PROGRESS: &str = "days folded again";

pub(super) fn show(progress: &RefCell<Progress>, report: &Report) {
    let (days, total) = (report.days as u64, report.days_total as u64);
    progress.borrow_mut().at_rate(days, total, report.rows, report.waiting.as_deref());
}
