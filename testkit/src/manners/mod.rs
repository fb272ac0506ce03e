//! The trial of the product's manners towards Meta: many ad accounts of all sizes are backfilled by several processes, while
//! the fake Graph API throttles them, fails, and counts. In the end every day has to be there to the cent, with hardly more
//! calls than were needed, and none while Meta had said for how long it wants none.
//!
//! A [`Plan`] says what is tried, [`happen`] tries it, [`Told`] is what came of it. What must not live here: anything of the
//! product's code, which is a program given by its path.

mod judge;
mod plan;
mod told;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::{Days, NaiveDate, Utc};
use embedded::Servers;
use sqlx::{Connection, PgConnection, Row};
use tokio::time::Instant;
use uuid::Uuid;

use crate::faults::process::{Crew, Launcher};
use crate::graph::Graph;
use crate::history::Random;
use crate::servers::options;

pub use plan::Plan;
pub use told::{RunsOfJob, Told};

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Lets a plan happen, on servers and a fake of its own, and judges. `folder` is empty; logs stay in it.
///
/// # Errors
/// What is wrong with the trial itself, or with a command of its set-up. What the product does wrong afterwards is a
/// finding of [`Told`].
pub async fn happen(plan: &Plan, binary: &Path, folder: &Path) -> Result<Told> {
    std::fs::create_dir_all(folder)?;
    let folder = folder.canonicalize()?;
    let servers = start_servers(&folder.join("servers")).await?;
    let database_url = servers.database_url().context("PostgreSQL was asked for")?.to_owned();
    let nats_url = servers.nats_url().context("nats-server was asked for")?.to_owned();
    let until = now_in(plan::ZONE) - Days::new(1);
    let graph = Graph::start(plan.world(until)).await?;
    let settings = plan.settings(graph.url());
    let launcher = Launcher { binary: binary.to_owned(), folder, database_url, nats_urls: vec![nats_url], settings };
    let mut connection = PgConnection::connect(&launcher.database_url).await.context("connect to PostgreSQL")?;

    let account_id = set_up(plan, &launcher, until).await?;
    // A connection is made by a person, who would see the fault and try again.
    graph.edit(|world| world.faults = plan.faults.clone());
    graph.forget_counts();
    let started = Instant::now();
    let crew = Crew::start(launcher, &vec!["all"; plan.processes], Random::new(plan.faults.seed));
    let watched = watch(plan, &crew, &mut connection).await;
    let lasted = started.elapsed();
    let mut told = Told {
        plan: plan.clone(),
        lasted,
        counts: graph.counts(),
        days_complete: 0,
        findings: crew.surprises(),
        runs: runs(&mut connection).await?,
        meanwhile: String::new(),
        killed: 0,
    };
    match watched {
        Ok(watched) => (told.killed, told.meanwhile) = (watched.killed, watched.meanwhile),
        Err(error) => told.findings.push(format!("stuck: {error:#}")),
    }
    drop(crew);
    let wanted = graph.edit(|world| judge::wanted(plan, world, until));
    judge::judge(&mut told, &wanted, account_id, &mut connection).await?;
    connection.close().await?;
    servers.stop().await;
    Ok(told)
}

async fn start_servers(data_dir: &Path) -> Result<Servers> {
    let mut options = options(data_dir);
    (options.postgres, options.nats) = (true, true);
    // The trial ends processes, never the machine: what PostgreSQL acknowledged survives without fsync.
    let settings = [("fsync", "off"), ("full_page_writes", "off")];
    options.postgres_settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Ok(Servers::start(options).await?)
}

/// What an operator does once: the tables, the streams, the tenant, its ad accounts, and a backfill of each.
async fn set_up(plan: &Plan, launcher: &Launcher, until: NaiveDate) -> Result<Uuid> {
    let crew = Crew::start(launcher.clone(), &[], Random::new(0));
    crew.run("migrate", &["migrate"], "", 0).await?;
    crew.run("streams", &["streams", "apply"], "", 0).await?;
    let create = ["account", "create", "--name", "Shop", "--currency", plan::CURRENCY, "--timezone", plan::ZONE.name()];
    let account_id: Uuid = crew.run("account", &create, "", 0).await?.trim().parse()?;
    let account = account_id.to_string();
    let (since, until) = (plan.since(until).to_string(), until.to_string());
    for number in 0..plan.ad_accounts {
        let external_id = plan::external_id(number);
        let connect = ["connect", "--account", &account, "--ad-account", &external_id, "--token-stdin"];
        let connected = crew.run(&format!("connect-{number}"), &connect, plan::token(number), 0).await?;
        let integration = connected.trim();
        let backfill = ["backfill", "--integration", integration, "--since", &since, "--until", &until];
        crew.run(&format!("backfill-{number}"), &backfill, "", 0).await?;
    }
    Ok(account_id)
}

struct Watched {
    killed: usize,
    /// What `adledger runs` said in the middle.
    meanwhile: String,
}

/// Waits until every run is finished and folded; ends a process outright now and then, which is started again at once.
async fn watch(plan: &Plan, crew: &Crew, connection: &mut PgConnection) -> Result<Watched> {
    let deadline = Instant::now() + plan.within;
    let mut watched = Watched { killed: 0, meanwhile: String::new() };
    loop {
        let left = left(connection).await?;
        let ad_accounts = i64::try_from(plan.ad_accounts)?;
        if left.pieces == 0 && left.fills >= ad_accounts && left.settles >= ad_accounts {
            return Ok(watched);
        }
        let share_done = left.days_done * 100 / (ad_accounts * i64::try_from(plan.days)?).max(1);
        if watched.meanwhile.is_empty() && share_done >= 50 {
            watched.meanwhile = crew.run("meanwhile", &["runs", "--limit", "12"], "", 0).await?;
        }
        let next_kill = i64::try_from((watched.killed + 1) * 100 / (plan.kills + 1))?;
        if watched.killed < plan.kills && share_done >= next_kill {
            let running = crew.running(None);
            if let Some(name) = running.get(watched.killed % plan.processes.max(1)) {
                crew.kill(name);
                watched.killed += 1;
            }
        }
        if Instant::now() > deadline {
            let Left { pieces, fills, settles, days_done } = left;
            let within = plan.within.as_secs();
            bail!(
                "after {within} s, {pieces} pieces of work are left, {fills} fills, {settles} settle runs, {days_done} days of backfills done"
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What is still to be done.
struct Left {
    /// Runs that no worker is done with, announcements, and days that are not folded.
    pieces: i64,
    fills: i64,
    settles: i64,
    /// Of backfills.
    days_done: i64,
}

async fn left(connection: &mut PgConnection) -> Result<Left> {
    let row = sqlx::query(
        "select count(*) filter (where finished_at is null)
                    + (select count(*) from outbox) + (select count(*) from sync_days_unfolded),
                count(*) filter (where job_type = 'meta_7d_fill'), count(*) filter (where job_type = 'meta_settle'),
                coalesce(sum(days_done) filter (where job_type = 'meta_backfill'), 0)
         from sync_runs",
    )
    .fetch_one(connection)
    .await?;
    Ok(Left { pieces: row.try_get(0)?, fills: row.try_get(1)?, settles: row.try_get(2)?, days_done: row.try_get(3)? })
}

async fn runs(connection: &mut PgConnection) -> Result<Vec<RunsOfJob>> {
    let rows = sqlx::query(
        "select job_type, count(*), count(*) filter (where status = 'succeeded'), sum(throttle_count),
                sum(throttle_wait_ms)::bigint, max(attempts), count(*) filter (where rate_limited)
         from sync_runs group by 1 order by 1",
    );
    rows.fetch_all(connection).await?.iter().map(|row| RunsOfJob::read(row).context("read the runs")).collect()
}

#[expect(clippy::disallowed_methods, reason = "processes of their own live by the system's clock")]
fn now_in(zone: chrono_tz::Tz) -> NaiveDate {
    Utc::now().with_timezone(&zone).date_naive()
}
