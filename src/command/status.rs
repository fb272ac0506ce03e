use ::projections::PROJECTION_VERSION;
use accounts::{Expiry, KnownToken};
use anyhow::Result;
use chrono::{DateTime, NaiveDate, Utc};
use clap::Args;
use jetstream::{LogRoom, META_INSIGHTS, Verdict, Wire, topology};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::purchase_rule;
use crate::boot::{self, Boot};
use crate::exit::{self, Outcome};
use crate::output::{self, or_dash};

/// Show integrations, how fresh their days are, and what waits to be folded
#[derive(Args)]
pub struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    integrations: Vec<Freshness>,
    /// Runs that wait, each with its reason.
    waiting: Vec<Waiting>,
    /// Integrations of which some days are still folded by an older purchase rule.
    purchase_rules_behind: Vec<RuleBehind>,
    projections: Projections,
    /// Events that are written and not published yet.
    outbox_events: i64,
    consumers: Vec<Behind>,
    log: Option<LogRoom>,
    /// Why nothing is known of consumers and log.
    nats_error: Option<String>,
}

#[derive(Serialize)]
struct Waiting {
    run_id: Uuid,
    integration_id: Uuid,
    job_type: String,
    wait_reason: Option<String>,
    not_before: Option<DateTime<Utc>>,
    message: Option<String>,
}

#[derive(Serialize)]
struct RuleBehind {
    integration_id: Uuid,
    days: i64,
    message: String,
}

/// By which versions of the fold the account-days in the tables were made.
#[derive(Serialize)]
struct Projections {
    /// The one that folds now.
    version: i32,
    account_days: Vec<OfVersion>,
}

#[derive(Serialize)]
struct OfVersion {
    version: i32,
    account_days: i64,
}

#[derive(Serialize)]
struct Freshness {
    account_id: Uuid,
    account: String,
    integration_id: Uuid,
    ad_account: String,
    source: &'static str,
    status: &'static str,
    status_reason: Option<String>,
    sync_cursor: Option<NaiveDate>,
    days_owed: usize,
    newest_day: Option<NaiveDate>,
    last_fetched_at: Option<DateTime<Utc>>,
    /// How long the token lasts, in words; `None` where there is none, and for the stub's.
    token: Option<String>,
    /// What ends first, the token or its access to data; `None` where neither does, or nobody said.
    token_expires_at: Option<DateTime<Utc>>,
    /// Meta said that it never expires.
    token_never_expires: bool,
    /// When Meta was last asked about the token and answered.
    token_checked_at: Option<DateTime<Utc>>,
    /// Who must do what, from 14 days before the end.
    token_warning: Option<String>,
}

/// How far a durable consumer is behind the log.
#[derive(Serialize)]
struct Behind {
    consumer: String,
    messages_waiting: u64,
    messages_in_flight: u64,
    /// Age of the oldest message that is not settled; 0 when all are, `None` where it could not be read.
    lag_seconds: Option<u64>,
}

impl Status {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let mut reached = boot.reach().await?;
        let pool = reached.pool.as_ref().map_err(|error| anyhow::anyhow!(exit::sentence(error)))?;
        boot::check_tables(pool).await?;
        // Why a run waits for the log is seen where the log cannot be.
        let stream = match std::mem::replace(&mut reached.wire, Err(anyhow::anyhow!("taken"))) {
            Ok(wire) => stream(&wire).await,
            Err(error) => Err(error),
        };
        let (consumers, log, nats_error) = match stream {
            Ok((consumers, log)) => (consumers, Some(log), None),
            Err(error) => (Vec::new(), None, Some(exit::sentence(&error))),
        };
        let report = Report {
            integrations: freshness(pool).await?,
            waiting: waiting(pool).await?,
            purchase_rules_behind: rules_behind(pool).await?,
            projections: projections(pool).await?,
            outbox_events: outbox::waiting(pool).await?.events,
            consumers,
            log,
            nats_error,
        };
        if self.json {
            output::json(&report)?;
        } else {
            print(&report)?;
        }
        reached.close().await;
        Ok(Outcome::Done)
    }
}

async fn freshness(pool: &PgPool) -> Result<Vec<Freshness>> {
    let mut all = Vec::new();
    let now = sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(pool).await?;
    for i in accounts::integrations(pool).await? {
        let standing = accounts::token_standing(pool, i.account_id, i.id).await?;
        let standing = standing.filter(|_| i.origin == accounts::Origin::Meta);
        let known = standing.as_ref().map(|standing| &standing.known);
        let end = known.and_then(KnownToken::end);
        let days = sqlx::query!(
            "select a.last_fetched_at, (select max(date) from daily_meta_metrics m
                                        where m.account_id = a.account_id and m.ad_account_id = a.id) as newest_day
             from ad_accounts a where a.account_id = $1 and a.id = $2",
            i.account_id,
            i.ad_account_id,
        )
        .fetch_one(pool)
        .await?;
        all.push(Freshness {
            token: known.map(|known| known.words(now)),
            token_expires_at: end.map(|end| end.at),
            token_never_expires: known.is_some_and(|known| known.expiry == Expiry::Never),
            token_checked_at: standing.as_ref().and_then(|standing| standing.checked_at),
            token_warning: end.and_then(|end| end.warning(now)).filter(|_| i.status == accounts::Status::Connected),
            account: accounts::tenant(pool, i.account_id).await?.name,
            sync_cursor: ::runs::sync_cursor(pool, i.account_id, i.id).await?,
            days_owed: ::runs::days_owed(pool, i.account_id, i.id).await?.len(),
            newest_day: days.newest_day,
            last_fetched_at: days.last_fetched_at,
            account_id: i.account_id,
            integration_id: i.id,
            ad_account: i.external_id,
            source: i.origin.as_str(),
            status: i.status.as_str(),
            status_reason: i.status_reason,
        });
    }
    Ok(all)
}

async fn waiting(pool: &PgPool) -> Result<Vec<Waiting>> {
    let runs = ::runs::waiting(pool, 1000).await?.into_iter();
    Ok(runs
        .map(|run| Waiting {
            run_id: run.id,
            integration_id: run.integration_id,
            job_type: run.job_type,
            wait_reason: run.wait_reason,
            not_before: run.not_before,
            message: run.error_message,
        })
        .collect())
}

async fn rules_behind(pool: &PgPool) -> Result<Vec<RuleBehind>> {
    let behind = ::projections::purchases::behind(pool).await?.into_iter();
    Ok(behind
        .map(|b| RuleBehind { message: purchase_rule::behind(&b), integration_id: b.integration_id, days: b.days })
        .collect())
}

async fn projections(pool: &PgPool) -> Result<Projections> {
    let versions = ::projections::daily_meta_metrics::versions(pool).await?.into_iter();
    let account_days = versions.map(|v| OfVersion { version: v.version, account_days: v.account_days }).collect();
    Ok(Projections { version: PROJECTION_VERSION, account_days })
}

async fn stream(wire: &Wire) -> Result<(Vec<Behind>, LogRoom)> {
    let mut behind = Vec::new();
    for durable in topology::durables()? {
        let lag = wire.lag(&durable.stream, &durable.name).await?;
        behind.push(Behind {
            consumer: durable.name,
            messages_waiting: lag.gap,
            messages_in_flight: lag.in_flight,
            lag_seconds: lag.oldest_age.map(|age| age.as_secs()),
        });
    }
    Ok((behind, LogRoom::ask(wire).await?))
}

fn print(report: &Report) -> Result<()> {
    if report.integrations.is_empty() {
        output::line("No ad account is connected yet: `adledger connect` does it.")?;
    } else {
        let header = [
            "account",
            "ad account",
            "integration",
            "status",
            "fetched up to",
            "days owed",
            "newest day",
            "last fetched",
            "token",
        ];
        let mut table = output::table(&header);
        output::right(&mut table, [5]);
        for i in &report.integrations {
            table.add_row([
                i.account.clone(),
                i.ad_account.clone(),
                i.integration_id.to_string(),
                i.status_reason
                    .as_ref()
                    .map_or_else(|| i.status.to_owned(), |reason| format!("{}: {reason}", i.status)),
                or_dash(i.sync_cursor),
                i.days_owed.to_string(),
                or_dash(i.newest_day),
                or_dash(i.last_fetched_at.map(output::time)),
                or_dash(i.token.as_ref()),
            ]);
        }
        output::line(&table.to_string())?;
        for i in &report.integrations {
            if let Some(warning) = &i.token_warning {
                output::line(&format!("{} of {}: {warning}.", i.ad_account, i.account))?;
            }
        }
    }
    print_waiting(report)?;
    let Some(log) = &report.log else {
        return output::line(report.nats_error.as_deref().unwrap_or("Nothing is known of the log."));
    };
    let mut table = output::table(&["consumer", "messages waiting", "in flight", "lag"]);
    output::right(&mut table, [1, 2, 3]);
    for consumer in &report.consumers {
        table.add_row([
            consumer.consumer.clone(),
            consumer.messages_waiting.to_string(),
            consumer.messages_in_flight.to_string(),
            or_dash(consumer.lag_seconds.map(|seconds| format!("{seconds} s"))),
        ]);
    }
    output::line(&table.to_string())?;
    let mut table = output::table(&["log", "events", "bytes", "of", "full"]);
    output::right(&mut table, [1, 2, 3, 4]);
    table.add_row([
        META_INSIGHTS.to_owned(),
        log.messages.to_string(),
        log.bytes.to_string(),
        or_dash(log.max_bytes),
        or_dash(log.percent.map(|percent| format!("{percent}%"))),
    ]);
    output::line(&table.to_string())?;
    if log.verdict() != Verdict::Room {
        output::line(&log.sentence())?;
    }
    Ok(())
}

fn print_waiting(report: &Report) -> Result<()> {
    if !report.waiting.is_empty() {
        let mut table = output::table(&["waiting run", "job", "for", "until", "because"]);
        for run in &report.waiting {
            table.add_row([
                run.run_id.to_string(),
                run.job_type.clone(),
                or_dash(run.wait_reason.as_ref()),
                or_dash(run.not_before.map(output::time)),
                or_dash(run.message.as_ref()),
            ]);
        }
        output::line(&table.to_string())?;
    }
    for behind in &report.purchase_rules_behind {
        output::line(&behind.message)?;
    }
    let Projections { version, account_days } = &report.projections;
    for of in account_days {
        output::line(&if of.version == *version {
            format!("{} account-days are folded by projection version {version}, the newest.", of.account_days)
        } else {
            format!(
                "{} account-days are folded by projection version {}, and {version} is the newest: `adledger rebuild` folds \
                 them again.",
                of.account_days, of.version
            )
        })?;
    }
    match report.outbox_events {
        0 => Ok(()),
        events => output::line(&format!("{events} events wait for the relay to publish them.")),
    }
}
