//! The figures are what was done, whoever did it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use events::subject::AccountDay;
use jetstream::{DEAD_LETTERS, META_INSIGHTS};
use testkit::graph::{Endpoint, Failure};
use testkit::wait;
use uuid::Uuid;

use crate::openmetrics::{self, Samples};
use crate::service::{DEADLINE, Service, get};
use crate::shop::{Shop, days_ago};

async fn scrape(url: &str) -> Result<(String, Samples)> {
    let answer = get(&format!("{url}/metrics")).await?;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let samples = openmetrics::read(&answer.body)?;
    Ok((answer.body, samples))
}

/// One fill that goes through with throttles and an event that cannot be folded, one fresh run with a day that fails.
async fn misfortunes(shop: &Shop) -> Result<()> {
    shop.graph.fail(Failure::account_throttle(0).times(2).on(Endpoint::AdRows));
    shop.spoil(days_ago(3));
    assert_eq!(shop.sync("meta_7d_fill").await?.code, 1);
    shop.graph.heal();
    shop.mend();
    shop.graph.fail(Failure::refusal(400, 100, None, "(#100) no").on(Endpoint::AdRows).on_date(days_ago(2)));
    assert_eq!(shop.sync("meta_fresh").await?.code, 1);
    shop.graph.heal();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_figures_equal_what_was_done() -> Result<()> {
    let shop = Shop::open().await?;
    misfortunes(&shop).await?;
    runs::enqueue(&shop.database.pool, shop.integration_id, runs::JobType::Fresh, "test", None).await?;
    let mut command = shop.command(&["serve", "--role", "web"]);
    command.env("HTTP_ADDR", "127.0.0.1:0");
    let mut service = Service::start(command)?;
    let url = service.url().await?;

    // Nobody consumes: what is published now waits, but for one message that somebody took and holds.
    let day = AccountDay { account_id: Uuid::now_v7(), ad_account_id: Uuid::now_v7(), date: days_ago(9) };
    let published_at = Instant::now();
    for _ in 0..3 {
        shop.nats.publish_foreign(&day.subject(), &[], b"x").await?;
    }
    let since_published = published_at.elapsed();
    let raw = shop.nats.wire.puller(META_INSIGHTS, raw::DURABLE).await?;
    let held = raw.next_batch(1, jetstream::BATCH_BYTES, Duration::from_secs(5)).await?;
    assert_eq!(held.len(), 1);

    let asked_at = Instant::now();
    let (text, samples) = scrape(&url).await?;
    let value = |name: &str, labels: &[(&str, &str)]| samples.value(name, labels);
    for (consumer, gap, in_flight, parked) in [("raw", 2.0, 1.0, 0.0), ("projector", 3.0, 0.0, 1.0)] {
        let labels = [("stream", META_INSIGHTS), ("consumer", consumer)];
        assert_eq!(value("adledger_consumer_gap_messages", &labels)?, gap, "{text}");
        assert_eq!(value("adledger_consumer_in_flight_messages", &labels)?, in_flight, "{text}");
        assert_eq!(value("adledger_parked_messages", &labels)?, parked, "{text}");
        let lag = value("adledger_consumer_lag_seconds", &labels)?;
        let oldest = published_at.elapsed().as_secs_f64();
        assert!(lag > 0.0 && lag <= oldest, "{lag} s, published {oldest} s ago");
        assert!(lag >= (asked_at - published_at - since_published).as_secs_f64(), "{lag} s");
    }
    // `adledger status` says the same.
    let report: serde_json::Value = serde_json::from_str(&shop.done(&["status", "--json"]).await?.stdout)?;
    let oldest = published_at.elapsed().as_secs();
    for (consumer, gap, in_flight) in [("raw", 2, 1), ("projector", 3, 0)] {
        let consumers = report["consumers"].as_array().context("the consumers")?;
        let said = consumers.iter().find(|said| said["consumer"] == consumer).context("this one, too")?;
        assert_eq!(
            (&said["messages_waiting"], &said["messages_in_flight"]),
            (&gap.into(), &in_flight.into()),
            "{said}"
        );
        assert!(said["lag_seconds"].as_u64().context("an age")? <= oldest, "{said}, published {oldest} s ago");
    }
    for part in ["database", "stream"] {
        assert_eq!(value("adledger_up", &[("part", part)])?, 1.0);
    }
    check_database(&shop, &samples).await?;
    let log = shop.nats.wire.log(META_INSIGHTS).await?.level().await?;
    assert_eq!(value("adledger_log_bytes", &[])?, log.bytes as f64);
    assert!(!text.contains("adledger_log_max_bytes") && !text.contains("adledger_log_fill_ratio"), "{text}");
    assert_eq!(shop.nats.wire.log(DEAD_LETTERS).await?.level().await?.messages, 1);

    // For some seconds the same is said again; then what is new.
    raw.settle(&held[0], jetstream::Disposition::Ack).await;
    let (again, _) = scrape(&url).await?;
    assert!(again == text || asked_at.elapsed() > Duration::from_secs(4), "a scrape that is repeated asks nobody");
    wait::until("the acknowledgement is seen", DEADLINE, async || {
        let (_, samples) = scrape(&url).await?;
        Ok(samples.value("adledger_consumer_in_flight_messages", &[("consumer", "raw")])? == 0.0)
    })
    .await?;
    service.end().await
}

/// What PostgreSQL's tables say, counted here in another way.
async fn check_database(shop: &Shop, samples: &Samples) -> Result<()> {
    let runs = runs::runs(&shop.database.pool, 100).await?;
    assert_eq!(runs.len(), 3);
    let (mut by_status, mut durations): (BTreeMap<_, f64>, BTreeMap<_, Vec<f64>>) = Default::default();
    for run in &runs {
        *by_status.entry(run.status.as_str()).or_default() += 1.0;
        if let (Some(start), Some(end)) = (run.started_at, run.finished_at) {
            let seconds = (end - start).num_microseconds().unwrap_or_default() as f64 / 1e6;
            durations.entry((run.job_type.as_str(), run.status.as_str())).or_default().push(seconds);
        }
    }
    for status in ["queued", "running", "waiting", "succeeded", "partial", "failed"] {
        let expected = by_status.get(status).copied().unwrap_or_default();
        assert_eq!(samples.value("adledger_runs", &[("status", status)])?, expected, "{status}");
    }
    assert_eq!(durations.len(), 2, "{durations:?}");
    for ((job_type, status), seconds) in durations {
        let labels = [("job_type", job_type), ("status", status)];
        assert_eq!(samples.value("adledger_run_duration_seconds_count", &labels)?, seconds.len() as f64);
        let sum: f64 = seconds.iter().sum();
        assert!((samples.value("adledger_run_duration_seconds_sum", &labels)? - sum).abs() < 1e-6);
        for bound in [1.0, 5.0, 60.0] {
            let within = seconds.iter().filter(|seconds| **seconds <= bound).count();
            let le = format!("{bound:.1}");
            let labels = [labels[0], labels[1], ("le", le.as_str())];
            assert_eq!(samples.value("adledger_run_duration_seconds_bucket", &labels)?, within as f64, "{seconds:?}");
        }
    }
    let throttles: i32 = runs.iter().map(|run| run.throttle_count).sum();
    let wait_ms: i64 = runs.iter().map(|run| run.throttle_wait_ms).sum();
    assert!(throttles == 2 && wait_ms > 0, "{runs:?}");
    assert_eq!(samples.value("adledger_throttles_total", &[])?, f64::from(throttles));
    assert_eq!(samples.value("adledger_throttle_wait_seconds_total", &[])?, wait_ms as f64 / 1000.0);
    let states: Vec<(String, i64)> =
        sqlx::query_as("select state, count(*) from sync_days group by 1").fetch_all(&shop.database.pool).await?;
    let days = |wanted: &[&str]| -> i64 {
        states.iter().filter(|(state, _)| wanted.contains(&state.as_str())).map(|(_, count)| count).sum()
    };
    assert!(days(&["failed"]) > 0, "{states:?}");
    assert_eq!(samples.value("adledger_owed_days", &[])?, days(&["due", "failed"]) as f64);
    assert_eq!(samples.value("adledger_failed_days", &[])?, days(&["failed"]) as f64);
    Ok(())
}

/// A duration that equals a bound is within it, as Prometheus has it.
#[tokio::test]
async fn a_duration_on_the_bound_is_within_it() -> Result<()> {
    let shop = Shop::open().await?;
    let pool = &shop.database.pool;
    for (seconds, class) in [(0.0, 0), (1.0, 0), (1.000001, 1), (86_400.0, 9), (86_400.000001, 10)] {
        sqlx::query("delete from sync_runs").execute(pool).await?;
        sqlx::query(
            "insert into sync_runs (account_id, id, integration_id, job_type, trigger, status, started_at, finished_at)
             values ($1, $2, $3, 'meta_fresh', 'test', 'failed', '2026-11-01T00:00:00Z',
                     '2026-11-01T00:00:00Z'::timestamptz + make_interval(secs => $4))",
        )
        .bind(shop.account_id)
        .bind(Uuid::now_v7())
        .bind(shop.integration_id)
        .bind(seconds)
        .execute(pool)
        .await?;
        let figures = runs::figures(&mut *pool.acquire().await?).await?;
        let durations = &figures.durations[&("meta_fresh".to_owned(), "failed".to_owned())];
        let expected: Vec<u64> = (0..11).map(|at| u64::from(at == class)).collect();
        assert_eq!(durations.counts.to_vec(), expected, "{seconds} s");
    }
    Ok(())
}
