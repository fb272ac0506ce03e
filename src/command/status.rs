use anyhow::Result;
use chrono::{DateTime, NaiveDate, Utc};
use clap::Args;
use jetstream::META_INSIGHTS;
use serde::Serialize;
use uuid::Uuid;

use crate::boot::{Boot, Servers};
use crate::exit::Outcome;
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
    consumers: Vec<Gap>,
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
}

/// How far a durable consumer is behind the log.
#[derive(Serialize)]
struct Gap {
    consumer: String,
    messages_waiting: u64,
    messages_in_flight: u64,
}

impl Status {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let servers = boot.servers().await?;
        let report = Report { integrations: freshness(&servers).await?, consumers: gaps(&servers).await? };
        if self.json {
            output::json(&report)?;
        } else {
            print(&report)?;
        }
        servers.close().await;
        Ok(Outcome::Done)
    }
}

async fn freshness(servers: &Servers) -> Result<Vec<Freshness>> {
    let pool = &servers.pool;
    let mut all = Vec::new();
    for i in accounts::integrations(pool).await? {
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

async fn gaps(servers: &Servers) -> Result<Vec<Gap>> {
    let mut gaps = Vec::new();
    for durable in [raw::DURABLE, projector::DURABLE] {
        let progress = servers.wire.puller(META_INSIGHTS, durable).await?.progress().await?;
        gaps.push(Gap {
            consumer: durable.to_owned(),
            messages_waiting: progress.gap,
            messages_in_flight: progress.in_flight,
        });
    }
    Ok(gaps)
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
                or_dash(i.last_fetched_at.map(|at| at.format("%Y-%m-%d %H:%M:%S UTC"))),
            ]);
        }
        output::line(&table.to_string())?;
    }
    let mut table = output::table(&["consumer", "messages waiting", "in flight"]);
    output::right(&mut table, [1, 2]);
    for gap in &report.consumers {
        table.add_row([gap.consumer.clone(), gap.messages_waiting.to_string(), gap.messages_in_flight.to_string()]);
    }
    output::line(&table.to_string())
}
