//! One run: what is measured of it, and whether it did what it was to do.

use std::fmt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::TryStreamExt;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rust_decimal::Decimal;
use sqlx::AssertSqlSafe;
use tokio::process::Child;

use crate::fake::Fake;
use crate::stage::{Scene, Stage};
use crate::usage;

/// How often it is looked whether everything is there.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const GIVEN_UP_AFTER: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Backfills that a service works off.
    Large,
    /// One fill that somebody waits for.
    Small,
}

impl Job {
    pub const ALL: [Job; 2] = [Job::Large, Job::Small];

    pub fn name(self) -> &'static str {
        match self {
            Job::Large => "large",
            Job::Small => "small",
        }
    }

    pub fn ad_accounts(self) -> Vec<String> {
        match self {
            Job::Large => (1..=5).map(|number| format!("act_100000000{number}")).collect(),
            Job::Small => vec!["act_2000000001".to_owned()],
        }
    }

    pub fn days(self) -> u64 {
        match self {
            Job::Large => 30,
            Job::Small => 7,
        }
    }

    pub fn ads(self) -> usize {
        match self {
            Job::Large => 1_000,
            Job::Small => 200,
        }
    }

    pub fn account_days(self) -> usize {
        self.ad_accounts().len() * self.days() as usize
    }

    pub fn rows(self) -> usize {
        self.account_days() * self.ads()
    }
}

/// What a run took.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    pub seconds: f64,
    /// Of adledger's own process, from its start to its end.
    pub cpu_seconds: f64,
    pub peak_rss_bytes: u64,
    pub postgres_cpu_seconds: f64,
    pub nats_cpu_seconds: f64,
    pub fake_cpu_seconds: f64,
    /// That PostgreSQL alone needs for the same rows, right after the run.
    pub copy_seconds: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.3} s; CPU: adledger {:.2} s, PostgreSQL {:.2} s, nats-server {:.2} s, the fake {:.2} s; {:.1} MB",
            self.seconds,
            self.cpu_seconds,
            self.postgres_cpu_seconds,
            self.nats_cpu_seconds,
            self.fake_cpu_seconds,
            self.peak_rss_bytes as f64 / 1e6
        )
    }
}

/// Runs a job once; its spans go to the collector, if there is one.
pub async fn measure(job: Job, stage: &Stage, fake: &Fake, collector: Option<&str>) -> Result<Figures> {
    let scene = stage.scene().await?;
    let figures = match job {
        Job::Large => serve(stage, fake, &scene, collector).await,
        Job::Small => sync(stage, fake, &scene, collector).await,
    }
    .with_context(|| format!("the {} job", job.name()))?;
    check(job, &scene, fake).await?;
    let copy_seconds = copy_alone(job, &scene).await?;
    scene.end().await;
    Ok(Figures { copy_seconds, ..figures })
}

/// What has been used so far by everybody.
struct Before {
    started: Instant,
    own_cpu_seconds: f64,
    postgres_cpu_seconds: f64,
    nats_cpu_seconds: f64,
    fake_cpu_seconds: f64,
}

impl Before {
    fn now(stage: &Stage, scene: &Scene, fake: &Fake) -> Result<Self> {
        Ok(Before {
            own_cpu_seconds: children_cpu_seconds()?,
            postgres_cpu_seconds: usage::cpu_seconds(stage.postgres_pid)?,
            nats_cpu_seconds: usage::cpu_seconds(scene.nats_pid)?,
            fake_cpu_seconds: usage::cpu_seconds(fake.pid)?,
            started: Instant::now(),
        })
    }

    /// What is not known before the process has ended stays to be said.
    fn until_now(&self, stage: &Stage, scene: &Scene, fake: &Fake) -> Result<Figures> {
        Ok(Figures {
            seconds: self.started.elapsed().as_secs_f64(),
            cpu_seconds: f64::NAN,
            peak_rss_bytes: 0,
            copy_seconds: f64::NAN,
            postgres_cpu_seconds: usage::cpu_seconds(stage.postgres_pid)? - self.postgres_cpu_seconds,
            nats_cpu_seconds: usage::cpu_seconds(scene.nats_pid)? - self.nats_cpu_seconds,
            fake_cpu_seconds: usage::cpu_seconds(fake.pid)? - self.fake_cpu_seconds,
        })
    }
}

async fn serve(stage: &Stage, fake: &Fake, scene: &Scene, collector: Option<&str>) -> Result<Figures> {
    let days = fake.days(Job::Large);
    let (since, until) = (days[0].to_string(), days[days.len() - 1].to_string());
    for id in stage.integrations(Job::Large) {
        let backfill = ["backfill", "--integration", id, "--since", &since, "--until", &until];
        stage.adledger(&scene.database_url, Some(&scene.nats_url), &backfill, None).await?;
    }
    let before = Before::now(stage, scene, fake)?;
    let mut process = start(stage, scene, &["serve"], collector)?;
    let pid = process.id().context("adledger has ended")?;
    let wanted = i64::try_from(Job::Large.account_days())?;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (raw, folded): (i64, i64) =
            sqlx::query_as("select (select count(*) from meta_insights_raw), (select count(*) from observations)")
                .fetch_one(&scene.pool)
                .await?;
        if raw >= wanted && folded >= wanted {
            break;
        }
        ensure!(process.try_wait()?.is_none(), "adledger has ended with {raw} days in the log, {folded} folded");
        ensure!(
            before.started.elapsed() < GIVEN_UP_AFTER,
            "after {GIVEN_UP_AFTER:?}: {raw} days in the log, {folded} folded"
        );
    }
    let figures = before.until_now(stage, scene, fake)?;
    let peak_rss_bytes = usage::peak_rss_bytes(pid)?;
    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
    let status = process.wait().await?;
    ensure!(status.success(), "adledger serve: {status}");
    Ok(Figures { cpu_seconds: children_cpu_seconds()? - before.own_cpu_seconds, peak_rss_bytes, ..figures })
}

async fn sync(stage: &Stage, fake: &Fake, scene: &Scene, collector: Option<&str>) -> Result<Figures> {
    let id = stage.integrations(Job::Small).first().context("it is connected")?;
    let before = Before::now(stage, scene, fake)?;
    let sync = ["sync", "--integration", id, "--job", "meta_7d_fill", "--wait"];
    let mut process = start(stage, scene, &sync, collector)?;
    let pid = process.id().context("adledger has ended")?;
    let mut peak_rss_bytes = 0;
    let status = loop {
        match tokio::time::timeout(LOOK_EVERY, process.wait()).await {
            Ok(status) => break status?,
            Err(_) => peak_rss_bytes = usage::peak_rss_bytes(pid).unwrap_or(peak_rss_bytes),
        }
    };
    let figures = before.until_now(stage, scene, fake)?;
    ensure!(status.success(), "adledger sync: {status}");
    Ok(Figures { cpu_seconds: children_cpu_seconds()? - before.own_cpu_seconds, peak_rss_bytes, ..figures })
}

fn start(stage: &Stage, scene: &Scene, arguments: &[&str], collector: Option<&str>) -> Result<Child> {
    let mut command = stage.command(&scene.database_url, Some(&scene.nats_url), arguments);
    command.envs(collector.map(|url| ("OTEL_EXPORTER_OTLP_ENDPOINT", url)));
    // What a service says to itself is nobody's here; what it warns of is.
    command.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command.spawn()?)
}

fn children_cpu_seconds() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// A run that wrote anything else than all of what the fake has said has measured nothing.
async fn check(job: Job, scene: &Scene, fake: &Fake) -> Result<()> {
    type Sums = (i64, Option<Decimal>, Option<i64>, Option<i64>, Option<Decimal>, Option<Decimal>);
    for (date, totals) in fake.totals(job)? {
        let ads = i64::try_from(totals.ads)?;
        let ad_accounts = i64::try_from(job.ad_accounts().len())?;
        let columns = "sum(spend), sum(impressions)::bigint, sum(clicks)::bigint, sum(purchases), sum(purchase_value)";
        for (table, columns, rows) in [
            ("fact_meta_daily", columns.to_owned(), ads),
            ("daily_meta_metrics", columns.to_owned(), ad_accounts),
            ("daily_summary", columns.replace("sum(", "sum(meta_"), 1),
        ] {
            let statement = format!("select count(*), {columns} from {table} where date = $1");
            let found: Sums = sqlx::query_as(AssertSqlSafe(statement)).bind(date).fetch_one(&scene.pool).await?;
            let wanted: Sums = (
                rows,
                Some(totals.spend),
                Some(i64::try_from(totals.impressions)?),
                Some(i64::try_from(totals.clicks)?),
                Some(totals.purchases.into()),
                Some(totals.purchase_value),
            );
            ensure!(found == wanted, "{table} on {date}: {found:?}, and not {wanted:?}");
        }
    }
    let (events, ads): (i64, Option<i64>) =
        sqlx::query_as("select count(*), sum(row_count)::bigint from meta_insights_raw").fetch_one(&scene.pool).await?;
    let wanted = (i64::try_from(job.account_days())?, Some(i64::try_from(job.rows())?));
    ensure!((events, ads) == wanted, "the raw log: {events} events, {ads:?} rows");
    Ok(())
}

/// Seconds that PostgreSQL alone needs for the rows: COPY of the folded ones, encoded beforehand, into an empty table with
/// the same columns and keys.
async fn copy_alone(job: Job, scene: &Scene) -> Result<f64> {
    let mut connection = scene.pool.acquire().await?;
    let rows: Vec<_> = connection.copy_out_raw("copy fact_meta_daily to stdout").await?.try_collect().await?;
    sqlx::query("create table copy_baseline (like fact_meta_daily including all)").execute(&mut *connection).await?;
    sqlx::query("checkpoint").execute(&mut *connection).await?;
    let started = Instant::now();
    let mut copy = connection.copy_in_raw("copy copy_baseline from stdin").await?;
    for chunk in rows {
        copy.send(chunk).await?;
    }
    let copied = copy.finish().await?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(copied == job.rows() as u64, "{copied} rows");
    Ok(seconds)
}
