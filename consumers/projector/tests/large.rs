//! A day whose payload fits into no message, from its publishing to the tables, and again from either log.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use chrono::NaiveDate;
use events::{AdAccount, ControlTotal, InsightsData, InsightsFetched, Request};
use jetstream::{BatchLimits, META_INSIGHTS};
use logs::{Range, Source};
use projections::Folds;
use projector::replay::Replay;
use projector::{MAX_EVENT_BYTES, Projector};
use sqlx::PgPool;
use testkit::history::Random;
use testkit::{Database, Nats, Tenant, wait};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(120);
const ADS: usize = 2_500;
const DATE: NaiveDate = NaiveDate::from_ymd_opt(2026, 2, 3).expect("a day");

/// Rows with names that no compression makes small; the last but one names an ad that a row before named, and one name holds
/// bytes that are no UTF-8.
fn rows() -> Vec<Vec<u8>> {
    let mut random = Random::new(9);
    let mut name = || (0..600).map(|_| char::from(b'a' + random.below(26) as u8)).collect::<String>();
    let mut row = |ad: usize, spend: usize| {
        let (one, two) = (name(), name());
        format!(r#"{{"ad_id":"{ad}","ad_name":"{one}","adset_name":"{two}","spend":"{spend}","impressions":"10"}}"#)
            .into_bytes()
    };
    let mut rows: Vec<_> = (0..ADS).map(|ad| row(ad, ad)).collect();
    rows.push(row(7, 1_000_007));
    let mut cut = row(ADS, 1);
    cut[40] = 0xff;
    rows.push(cut);
    rows
}

fn event(tenant: &Tenant) -> Result<InsightsFetched> {
    let head = InsightsData {
        account_id: tenant.account_id,
        ad_account: AdAccount {
            id: tenant.ad_account_id,
            external_id: "act_1".into(),
            currency: "USD".into(),
            timezone_name: "UTC".into(),
        },
        date: DATE,
        request: Request {
            api_version: "v25.0".into(),
            fields: Vec::new(),
            effective_status: None,
            attribution_windows: Vec::new(),
        },
        control: Some(ControlTotal { spend: "4123751".into(), impressions: 25_010 }),
        rows: Vec::new(),
    };
    let fetched_at = DATE.and_hms_opt(23, 0, 0).unwrap_or_default().and_utc();
    Ok(InsightsFetched::new(Uuid::now_v7(), fetched_at, None, 3, &head, rows())?)
}

/// Appends and folds until both consumers have settled everything.
async fn work(database: &Database, nats: &Nats) -> Result<()> {
    let cancel = CancellationToken::new();
    let projector = Projector {
        pool: database.pool.clone(),
        wire: nats.wire.clone(),
        folds: Folds::default(),
        limits: BatchLimits::default(),
        max_event_bytes: MAX_EVENT_BYTES,
        observe: Arc::new(|_| {}),
    };
    let appending = raw::run(&database.pool, &nats.wire, BatchLimits::default(), &cancel);
    let waiting = async {
        let done = wait::until("both have settled everything", DEADLINE, async || {
            let folded = nats.is_settled(META_INSIGHTS, projector::DURABLE).await?;
            Ok(folded && nats.is_settled(META_INSIGHTS, raw::DURABLE).await?)
        });
        let done = done.await;
        cancel.cancel();
        done
    };
    tokio::join!(projector.run(&cancel), appending, waiting).2
}

/// What the tables say of the day.
async fn check(what: &str, pool: &PgPool) -> Result<()> {
    let (ads, spend, replaced, name): (i64, String, String, String) = sqlx::query_as(
        "select count(*), sum(spend)::text, max(spend) filter (where ad_id = '7')::text,
                max(ad_name) filter (where ad_id = '2500')
         from fact_meta_daily where absence is null",
    )
    .fetch_one(pool)
    .await?;
    // 0 + 1 + … + 2499, a million more for ad 7, and 1 for the last one.
    ensure!(
        (ads, spend.as_str(), replaced.as_str()) == (2501, "4123751", "1000007"),
        "{what}: {ads} {spend} {replaced}"
    );
    ensure!(name.contains('\u{fffd}'), "{what}: {name}");
    let coverage: Option<String> =
        sqlx::query_scalar("select coverage::text from daily_meta_metrics").fetch_one(pool).await?;
    ensure!(coverage.as_deref().is_some_and(|coverage| coverage.starts_with('1')), "{what}: {coverage:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_beside_its_message_is_folded_and_replayed_from_either_log() -> Result<()> {
    for nats in [testkit::nats_by_default().await?, testkit::nats().await?] {
        let database = testkit::database().await?;
        let tenant = Tenant::insert(&database.pool).await?;
        let event = event(&tenant)?;
        let (attributes, payload) = (event.attributes()?, Bytes::from(event.payload));
        nats.wire.publish(&event.day.subject(), &attributes, payload.clone()).await?;
        let log = nats.wire.log(META_INSIGHTS).await?;
        let message = log.next(&event.day.subject(), 1).await?.expect("it is there");
        assert_eq!(message.claim().is_some(), nats.wire.max_payload_bytes() < payload.len());
        work(&database, &nats).await?;
        check("live", &database.pool).await?;
        let stored: Vec<u8> = sqlx::query_scalar("select payload from meta_payloads").fetch_one(&database.pool).await?;
        assert!(stored == payload, "PostgreSQL has the bytes as they travelled");

        for from in [Source::stream(&nats.wire).await?, Source::Raw(database.pool.clone())] {
            sqlx::raw_sql("truncate fact_meta_daily, observations, daily_meta_metrics, daily_summary")
                .execute(&database.pool)
                .await?;
            let replay = Replay {
                rows_a_transaction: 1000,
                max_event_bytes: MAX_EVENT_BYTES,
                ..Replay::new(database.pool.clone(), from)
            };
            let range = Range { account_id: None, ad_account_id: None, since: DATE, until: DATE };
            let report = replay.run(&range, |_| {}).await?;
            assert!(report.not_folded.is_empty() && report.left.is_empty(), "{report:?}");
            check(replay.logs.first.name(), &database.pool).await?;
        }
    }
    Ok(())
}
