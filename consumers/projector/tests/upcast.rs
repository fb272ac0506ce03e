//! A log that holds two versions of the insights event ends in the tables that a log of the first alone ends in.
//!
//! The second version is made up here. Nothing but its upcaster knows it: the messages go through a real stream, the raw
//! log, the projector and both replays as any other.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::NaiveDate;
use events::payload::Encoder;
use events::{AdAccount, ControlTotal, InsightsData, Request, Upcaster, headers, made_up, payload};
use jetstream::{BatchLimits, META_INSIGHTS, Which};
use logs::{Range, Source};
use projections::Folds;
use projector::Projector;
use projector::replay::Replay;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::PgPool;
use testkit::history::{Ad, Answer, History, Random, first_day};
use testkit::{Database, Nats, wait};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(60);
const MAX_EVENT_BYTES: u64 = 1 << 26;
const V2: &str = "adledger.meta.insights.fetched.v2";

/// The data of v2: the ad account is nested with its tenant, the total is part of what was asked, the day is `day`.
#[derive(Serialize, Deserialize)]
struct DataV2<'a> {
    day: NaiveDate,
    #[serde(borrow)]
    account: AccountV2<'a>,
    #[serde(borrow)]
    asked: AskedV2<'a>,
    #[serde(borrow)]
    rows: Vec<&'a RawValue>,
}

#[derive(Serialize, Deserialize)]
struct AccountV2<'a> {
    tenant_id: Uuid,
    #[serde(borrow)]
    ad_account: AdAccount<'a>,
}

#[derive(Serialize, Deserialize)]
struct AskedV2<'a> {
    #[serde(borrow)]
    request: Request<'a>,
    total: Option<ControlTotal>,
}

fn rewrite(json: &[u8]) -> Result<Vec<u8>, String> {
    let DataV2 { day: date, account, asked, .. } = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let AccountV2 { tenant_id: account_id, ad_account } = account;
    let AskedV2 { request, total: control } = asked;
    let newest = InsightsData { account_id, ad_account, date, request, control, rows: Vec::new() };
    serde_json::to_vec(&newest).map_err(|error| error.to_string())
}

/// Publishes an answer as v2.
async fn publish_v2(nats: &Nats, answer: &Answer) -> Result<()> {
    let event = answer.event()?;
    let json = payload::decode(event.circumstances.codec, &event.payload, MAX_EVENT_BYTES)?;
    let data = InsightsData::parse(&json, &event.day)?;
    let of_v2 = DataV2 {
        day: data.date,
        account: AccountV2 { tenant_id: data.account_id, ad_account: data.ad_account },
        asked: AskedV2 { request: data.request, total: data.control },
        rows: data.rows,
    };
    let mut encoder = Encoder::default();
    encoder.push(&serde_json::to_vec(&of_v2)?)?;
    let encoded = encoder.finish()?;
    let mut pairs = headers::to_pairs(&event.attributes()?);
    for (name, value) in &mut pairs {
        match name.as_str() {
            "ce-type" => *value = V2.to_owned(),
            "ce-datacodec" => *value = encoded.codec.to_string(),
            "ce-databytes" => *value = encoded.uncompressed_bytes.to_string(),
            _ => {}
        }
    }
    nats.publish_foreign(&event.day.subject(), &pairs, &encoded.payload).await
}

async fn publish(nats: &Nats, answer: &Answer, as_v2: bool) -> Result<()> {
    if as_v2 { publish_v2(nats, answer).await } else { answer.publish(&nats.wire).await }
}

/// Has everything in the stream folded and appended to the raw log.
async fn settle(database: &Database, nats: &Nats) -> Result<()> {
    let cancel = CancellationToken::new();
    let projector = Projector {
        pool: database.pool.clone(),
        wire: nats.wire.clone(),
        folds: Folds::default(),
        limits: BatchLimits { max_messages: 7, ..BatchLimits::default() },
        max_event_bytes: MAX_EVENT_BYTES,
        observe: Arc::new(|_| {}),
    };
    let until_done = async {
        let waited = wait::until("every event is folded and in raw", DEADLINE, async || {
            let folded = nats.is_settled(META_INSIGHTS, projector::DURABLE).await?;
            Ok(folded && nats.is_settled(META_INSIGHTS, raw::DURABLE).await?)
        })
        .await;
        cancel.cancel();
        waited
    };
    let appending = raw::run(&database.pool, &nats.wire, BatchLimits::default(), &cancel);
    tokio::join!(projector.run(&cancel), appending, until_done).2
}

const TABLES: [&str; 4] = ["observations", "fact_meta_daily", "daily_meta_metrics", "daily_summary"];

/// Every column of every row.
async fn rows(pool: &PgPool) -> Result<Vec<(String, String)>> {
    let all = TABLES.map(|table| format!("select '{table}', t::text from {table} t")).join(" union all ");
    let all = sqlx::AssertSqlSafe(format!("{all} order by 1, 2"));
    Ok(sqlx::query_as(all).fetch_all(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_two_versions_folds_as_one_of_the_first_alone() -> Result<()> {
    let mut random = Random::new(21);
    let mut history = History::random(&mut random);
    // One that is read in several parts.
    let many = history.answers.iter().find(|answer| !answer.ads.is_empty()).context("an answer with an ad")?;
    let ads = (0..9_000).map(|n| Ad { ad_id: 10_000 + n, ..many.ads[0].clone() }).collect();
    let fetched_at = many.fetched_at + chrono::Duration::days(9);
    history.answers.push(Answer { ads, event_id: random.uuid(), fetched_at, control: None, ..many.clone() });
    // And one that says in v2 what an event said in v1: its content is the same, so no row changes by it.
    let last = history.answers.len() - 2;
    let same = history.answers[last].clone();
    let fetched_at = same.fetched_at + chrono::Duration::days(8);
    history.answers.push(Answer { event_id: random.uuid(), fetched_at, ..same });
    let mut versions: Vec<bool> = history.answers.iter().map(|_| random.one_in(2)).collect();
    let newest = versions.len() - 1;
    (versions[last], versions[newest - 1], versions[newest]) = (false, true, true);

    let (of_both, of_one) = (testkit::database().await?, testkit::database().await?);
    let (both, one) = (testkit::nats().await?, testkit::nats().await?);
    history.insert_tenants(&of_both.pool).await?;
    history.insert_tenants(&of_one.pool).await?;

    // Who does not know a version parks it, and takes it when it is published again, later.
    publish(&both, &history.answers[newest], true).await?;
    settle(&of_both, &both).await?;
    assert!(rows(&of_both.pool).await?.is_empty());
    let letters = both.wire.dead_letters().await?;
    let letter = letters.next(&Which::default(), 1).await?.context("it is parked")?;
    ensure!(letter.reason.as_ref().is_some_and(|reason| reason.contains(V2)), "{letter:?}");
    made_up::accept(Upcaster { event_type: V2, rewrite });

    let mut order: Vec<(&Answer, bool)> = history.answers.iter().zip(versions).collect();
    random.shuffle(&mut order);
    for (answer, as_v2) in &order {
        publish(&both, answer, *as_v2).await?;
        publish(&one, answer, false).await?;
    }
    settle(&of_both, &both).await?;
    settle(&of_one, &one).await?;
    let wanted = rows(&of_one.pool).await?;
    ensure!(wanted.len() > 9_000, "{} rows", wanted.len());
    ensure!(rows(&of_both.pool).await? == wanted, "the live fold of both versions differs");

    for from in [Source::stream(&both.wire).await?, Source::Raw(of_both.pool.clone())] {
        let damage = "delete from fact_meta_daily where date = $1";
        sqlx::query(damage).bind(first_day()).execute(&of_both.pool).await?;
        let name = from.name();
        let replay = Replay { rows_a_transaction: 100, ..Replay::new(of_both.pool.clone(), from) };
        let until = first_day() + chrono::Duration::days(9);
        let range = Range { account_id: None, ad_account_id: None, since: first_day(), until };
        let report = replay.run(&range, |_| {}).await?;
        ensure!(report.not_folded.is_empty() && report.left.is_empty(), "{name}: {report:?}");
        ensure!(rows(&of_both.pool).await? == wanted, "a replay of both versions from {name} differs");
    }
    Ok(())
}
