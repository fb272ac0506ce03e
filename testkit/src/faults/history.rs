use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Days, NaiveDate, Utc};
use rust_decimal::Decimal;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;
use uuid::Uuid;

use super::disk::{STORE, SmallDisk};
use super::inject::{Injected, Stage};
use super::judge::{AdAccount, Judge};
use super::log::Log;
use super::plan::Plan;
use super::postgres::Postgres;
use super::process::{Crew, Launcher};
use super::reading::Streams;
use super::work;
use crate::graph::{self, Failure, Graph, World};
use crate::history::Random;

const TOKEN: &str = "EAABfaults";
const KEYS: &str = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const ZONE: chrono_tz::Tz = chrono_tz::Asia::Tokyo;
/// How long a command may be tried for; each is repeated until it went well.
const DONE_WITHIN: Duration = Duration::from_secs(120);
const DISK_MEGABYTES: u32 = 48;

/// What came of a history.
#[derive(Debug)]
pub struct Told {
    pub plan: Plan,
    pub injected: Vec<Injected>,
    /// From the first process to the rest.
    pub lasted: Duration,
    /// From the moment when everything was healed to the rest.
    pub rested_after: Duration,
    pub events: usize,
    /// Messages in the stream of events that it had already.
    pub doubled_messages: usize,
    pub findings: Vec<String>,
    /// Bells that a killed nats-server left behind.
    pub bells_left: u64,
    /// The day changed meanwhile: what was to be expected is not known.
    pub is_void: bool,
    /// Where the logs are, if there are findings.
    pub folder: Option<PathBuf>,
}

/// Lets a plan happen, and judges. An error is the trial's own; what the product does wrong is a finding.
///
/// `examine` sees the judge and the tables when everything rests.
pub async fn happen(
    plan: Plan,
    binary: &Path,
    folder: &Path,
    postgres: &mut Postgres,
    examine: impl AsyncFnOnce(&Judge, &mut PgConnection) -> Result<()>,
) -> Result<Told> {
    std::fs::create_dir_all(folder)?;
    let folder = folder.canonicalize()?;
    let mut random = Random::new(plan.seed ^ 0x5EED);
    let disk = if plan.small_disk { SmallDisk::mount(&folder.join(STORE), DISK_MEGABYTES)? } else { None };
    let log = Log::start(&folder.join("nats"), plan.nodes, plan.ack_wait()).await.context("start JetStream")?;
    let database = format!("h{}", plan.seed);
    postgres.database(&database).await?;

    let worlds = worlds(&plan);
    let graph = Graph::start(worlds.0.clone()).await?;
    graph.fail(Failure::slow(plan.answers_after));
    let launcher = launcher(&plan, binary, &folder, postgres.proxied(&database), log.urls(), graph.url());
    let started = Instant::now();
    let crew = Crew::start(launcher, &plan.roles, Random::new(random.next()));
    let create = ["account", "create", "--name", "Shop", "--currency", "EUR", "--timezone", "Europe/Berlin"];
    let account_id: Uuid = crew.run("create", &create, "", 0).await?.trim().parse()?;
    let day = today();

    let stage = Stage {
        database: &database,
        postgres: tokio::sync::Mutex::new(postgres),
        log: tokio::sync::Mutex::new(log),
        crew,
        disk,
        told: Mutex::default(),
    };
    let restating = async {
        tokio::time::sleep(plan.restated_after).await;
        let before = now();
        graph.edit(|world| *world = worlds.1.clone());
        Ok((before, now()))
    };
    let asking = ask(&stage.crew, &plan, account_id, day, Random::new(random.next()));
    let (restated, asked, (), ()) = tokio::try_join!(
        restating,
        asking,
        stage.on_processes(&plan.on_processes, Random::new(random.next())),
        stage.on_servers(&plan.on_servers, &plan),
    )?;

    let healed = Instant::now();
    let Stage { postgres, log, crew, disk, told, .. } = stage;
    let (postgres, log) = (postgres.into_inner(), log.into_inner());
    let mut findings = Vec::new();
    let mut connection = PgConnection::connect(&postgres.direct(&database)).await?;
    if let Err(error) = rest(&plan, &log, &mut connection).await {
        findings.push(format!("stuck: {error:#}"));
    }
    let rested = Instant::now();

    let mut ad_accounts = Vec::new();
    for asked in asked {
        let ad_account_id: Uuid = sqlx::query_scalar("select ad_account_id from integrations where id = $1")
            .bind(asked.integration_id)
            .fetch_one(&mut connection)
            .await?;
        ad_accounts.push(AdAccount { ad_account_id, ..asked });
    }
    let bells_left = log.bells().await?;
    let streams = Streams::read(&log.context().await?).await?;
    let judge = Judge { account_id, ad_accounts, worlds, restated, streams };
    findings.extend(judge.findings(&mut connection).await?);
    findings.extend(crew.surprises().iter().map(|surprise| format!("wrong: {surprise}")));
    let is_void = today() != day;
    if findings.is_empty() {
        examine(&judge, &mut connection).await?;
    }
    connection.close().await?;
    drop(crew);
    for node in log.nodes {
        node.end().await;
    }
    drop(disk);
    let is_clean = findings.is_empty() || is_void;
    if is_clean {
        postgres.drop_database(&database).await?;
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(Told {
        injected: told.into_inner().unwrap_or_else(PoisonError::into_inner),
        lasted: rested - started,
        rested_after: rested - healed,
        events: judge.streams.insights.len(),
        doubled_messages: judge.doubled_messages(),
        bells_left,
        findings: if is_void { Vec::new() } else { findings },
        is_void,
        folder: (!is_clean).then_some(folder),
        plan,
    })
}

fn external_id(number: u64) -> String {
    format!("act_{}", 1_001 + number)
}

/// The world, and the world after Meta has changed its mind about every ad and day.
fn worlds(plan: &Plan) -> (World, World) {
    let days = today() - Days::new(60)..=today() - Days::new(1);
    let mut before = World { today: Some(today()), ..World::default() };
    for number in 0..plan.ad_accounts {
        let id = external_id(number);
        before.insert(TOKEN, &id, graph::AdAccount::demo(&id, ZONE.name(), "EUR", days.clone(), plan.ads));
    }
    let mut after = before.clone();
    let ads = after.ad_accounts.values_mut().flat_map(|account| &mut account.ads);
    for delivery in ads.flat_map(|ad| ad.days.values_mut()) {
        delivery.spend += Decimal::new(1, 2);
        delivery.impressions += 1;
    }
    (before, after)
}

fn launcher(
    plan: &Plan,
    binary: &Path,
    folder: &Path,
    database_url: String,
    nats_urls: Vec<String>,
    graph_url: &str,
) -> Launcher {
    let settings = [
        ("META_API_BASE_URL", graph_url.to_owned()),
        ("META_MAX_BACKOFF_SECONDS", "1".to_owned()),
        ("ADLEDGER_SECRET_KEYS", KEYS.to_owned()),
        ("ADLEDGER_LEASE_SECONDS", plan.lease_seconds().to_string()),
        ("ADLEDGER_FETCH_WORKERS", plan.fetch_workers.to_string()),
        ("HTTP_ADDR", "127.0.0.1:0".to_owned()),
        ("NATS_REPLICAS", plan.nodes.to_string()),
        ("RUST_BACKTRACE", "1".to_owned()),
    ];
    let settings: BTreeMap<String, String> = settings.map(|(name, value)| (name.to_owned(), value)).into();
    Launcher { binary: binary.to_owned(), folder: folder.to_owned(), database_url, nats_urls, settings }
}

/// What an operator does: connects each ad account, asks for a backfill and for fresh days, and may fold a range again. What did
/// not go well is repeated.
async fn ask(crew: &Crew, plan: &Plan, account_id: Uuid, day: NaiveDate, mut random: Random) -> Result<Vec<AdAccount>> {
    let until_done = async |name: String, arguments: &[&str], random: &mut Random| {
        let deadline = Instant::now() + DONE_WITHIN;
        for attempt in 1.. {
            let name = format!("{name}-{attempt}");
            match crew.run(&name, arguments, TOKEN, random.next()).await {
                Ok(output) => return Ok((output, attempt)),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        anyhow::bail!("attempts are counted without an end")
    };
    let mut asked = Vec::new();
    for number in 0..plan.ad_accounts {
        let external_id = external_id(number);
        let account = account_id.to_string();
        let connect = ["connect", "--account", &account, "--ad-account", &external_id, "--token-stdin"];
        let (printed, _) = until_done(format!("connect-{number}"), &connect, &mut random).await?;
        let integration_id: Uuid = printed.trim().parse()?;
        let (since, length) = plan.backfill;
        let (since, until) = (day - Days::new(since), day - Days::new(since - length.min(since - 1) + 1));
        let integration = integration_id.to_string();
        let range = (since.to_string(), until.to_string());
        let backfill = ["backfill", "--integration", &integration, "--since", &range.0, "--until", &range.1];
        let (_, backfills_asked) = until_done(format!("backfill-{number}"), &backfill, &mut random).await?;
        let fresh = ["sync", "--integration", &integration, "--job", "meta_fresh"];
        until_done(format!("fresh-{number}"), &fresh, &mut random).await?;
        // The fill's days, the settle run's, and the backfill's.
        let mut days: BTreeSet<NaiveDate> = (1..=29).map(|ago| day - Days::new(ago)).collect();
        days.extend(since.iter_days().take_while(|date| *date <= until));
        asked.push(AdAccount {
            external_id,
            ad_account_id: Uuid::nil(),
            integration_id,
            days,
            yesterday: day - Days::new(1),
            backfills_asked,
        });
    }
    if let Some(log) = plan.replays_from {
        let (since, until) = ((day - Days::new(plan.backfill.0)).to_string(), (day - Days::new(1)).to_string());
        let replay = ["replay", "--since", &since, "--until", &until, "--from", log];
        until_done("replay".to_owned(), &replay, &mut random).await?;
    }
    Ok(asked)
}

/// Waits until nothing is left to do. Pauses and leases that are nothing but waiting are ended, unless the history is patient.
async fn rest(plan: &Plan, log: &Log, connection: &mut PgConnection) -> Result<()> {
    let deadline = Instant::now() + plan.rest_within();
    let ad_accounts = i64::try_from(plan.ad_accounts)?;
    let mut rested = 0;
    while rested < 2 {
        if !plan.is_patient {
            sqlx::raw_sql(
                "update sync_runs set not_before = now() where status = 'waiting' and not_before > now();
                 update outbox set not_before = now() where not_before > now();
                 -- A leader that lives has shown it within the last 5 of 20 s.
                 update leaders set lease_until = now() where lease_until between now() and now() + interval '13 s'",
            )
            .execute(&mut *connection)
            .await?;
        }
        let left = work::left(connection).await?;
        let (settles, fills) =
            (work::runs(connection, "meta_settle").await?, work::runs(connection, "meta_7d_fill").await?);
        let is_done = left == 0 && settles >= ad_accounts && fills >= ad_accounts;
        let in_log = async {
            let bells = if plan.kills_nats() { 0 } else { log.bells().await? };
            anyhow::Ok((log.in_hand().await?, bells))
        };
        let in_log = if is_done { Some(in_log.await) } else { None };
        let rests = matches!(in_log, Some(Ok((0, 0))));
        rested = if rests { rested + 1 } else { 0 };
        let last = format!(
            "{left} pieces of work are left, {fills} fills, {settles} settle runs, messages in hand and bells: {in_log:?}"
        );
        if Instant::now() > deadline {
            anyhow::bail!("no rest within {} s: {last}", plan.rest_within().as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "processes of their own live by the system's clock, and so does who judges them"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn today() -> NaiveDate {
    now().with_timezone(&ZONE).date_naive()
}
