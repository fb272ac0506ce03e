//! How soon an answer is in `daily_summary`: from the moment at which it is published until another connection reads it.
//! `cargo bench -p projector --bench latency`
//!
//! A hundred events a second of twenty rows each, for twenty seconds, on a real nats-server that has an event on the disk
//! before it acknowledges it and a real PostgreSQL that has a transaction there before it commits it; two projectors, as a
//! service has them. Days come again and again with other numbers, so that most events replace rows. Publisher, projectors
//! and reader share one process and the machine. `-- --rate N --seconds N` measures something else. No time is asserted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use jetstream::BatchLimits;
use projections::Folds;
use projector::{MAX_EVENT_BYTES, Projector};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use testkit::history::{Ad, Answer, History, Random, Said, first_day};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const ROWS: u64 = 20;
/// So many days take turns.
const DAYS: u64 = 200;
/// How often the reader looks: no latency is measured finer.
const LOOK: Duration = Duration::from_millis(1);
/// How long the last event may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<()> {
    let (mut rate, mut seconds) = (100, 20);
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--rate" => rate = given.next().context("--rate needs a number")?.parse()?,
            "--seconds" => seconds = given.next().context("--seconds needs a number")?.parse()?,
            "--bench" => {}
            other => anyhow::bail!("{other} is not known: --rate N, --seconds N"),
        }
    }
    ensure!(rate > 0 && seconds > 0, "both must be 1 or more");
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    // As the binary's pool has it.
    let options = (*database.pool.connect_options()).clone();
    let port = options.get_port();
    let pool = PgPoolOptions::new().max_connections(12).after_connect(move |_, _| {
        Box::pin(async move {
            projector::send_at_once(port);
            Ok(())
        })
    });
    let pool = pool.connect_with(options).await?;
    let mut history = History::random(&mut Random::new(1));
    history.answers.clear();
    history.insert_tenants(&database.pool).await?;
    let cancel = CancellationToken::new();
    let mut projectors = JoinSet::new();
    for _ in 0..2 {
        let projector = Projector {
            pool: pool.clone(),
            wire: nats.wire.clone(),
            folds: Folds::default(),
            limits: BatchLimits::default(),
            max_event_bytes: MAX_EVENT_BYTES,
            observe: Arc::new(|_| {}),
        };
        let cancel = cancel.clone();
        projectors.spawn(async move { projector.run(&cancel).await });
    }
    let reading = tokio::spawn(read(database.pool.clone(), rate * seconds));
    let published = publish(&nats.wire, &history, rate, seconds).await?;
    let seen = reading.await??;
    cancel.cancel();
    while projectors.join_next().await.is_some() {}
    let mut latencies: Vec<Duration> = Vec::with_capacity(published.len());
    for (fetched_at, at) in &published {
        let seen = seen.get(fetched_at).with_context(|| format!("the event of {fetched_at} was never seen"))?;
        latencies.push(seen.saturating_duration_since(*at));
    }
    latencies.sort_unstable();
    let of = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!(
        "{rate} events of {ROWS} rows a second for {seconds} s, published until read from daily_summary: \
         p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        of(0.5),
        of(0.9),
        of(0.99),
        of(1.0)
    );
    Ok(())
}

/// Publishes at an even pace, and tells when each publication began. An event is known by its time, which is the summary's
/// `updated_at` once it is folded.
async fn publish(
    wire: &jetstream::Wire,
    history: &History,
    rate: u64,
    seconds: u64,
) -> Result<Vec<(DateTime<Utc>, Instant)>> {
    let (account_id, ad_accounts) = &history.tenants[0];
    let mut random = Random::new(2);
    let mut pace = tokio::time::interval(Duration::from_secs(1) / u32::try_from(rate)?);
    let began: DateTime<Utc> =
        first_day().and_hms_opt(12, 0, 0).context("a time")?.and_utc() + chrono::Duration::days(90);
    let mut publishing: JoinSet<Result<(DateTime<Utc>, Instant)>> = JoinSet::new();
    for number in 0..rate * seconds {
        let fetched_at = began + chrono::Duration::milliseconds(i64::try_from(number)?);
        let answer = answer(&mut random, *account_id, ad_accounts[0], number, fetched_at);
        pace.tick().await;
        let wire = wire.clone();
        publishing.spawn(async move {
            let at = Instant::now();
            answer.publish(&wire).await?;
            Ok((fetched_at, at))
        });
    }
    publishing.join_all().await.into_iter().collect()
}

fn answer(
    random: &mut Random,
    account_id: Uuid,
    ad_account_id: Uuid,
    number: u64,
    fetched_at: DateTime<Utc>,
) -> Answer {
    let said = |number| Said { action_type: "purchase".to_owned(), number, windows: Vec::new() };
    let mut ad = |ad_id| Ad {
        ad_id,
        spend_cents: random.below(100_000) as i64,
        impressions: random.below(10_000) as i64,
        clicks: random.below(500) as i64,
        actions: vec![said(random.below(9) as i64)],
        values: vec![said(random.below(90_000) as i64)],
    };
    let ads: Vec<Ad> = (0..ROWS).map(|n| ad(1_000 + n)).collect();
    let control = Some((ads.iter().map(|a| a.spend_cents).sum(), ads.iter().map(|a| a.impressions).sum()));
    let date = first_day() - chrono::Duration::days((number % DAYS) as i64);
    Answer { account_id, ad_account_id, date, event_id: random.uuid(), fetched_at, ads, control, windows: Vec::new() }
}

/// When each summary was first read, by its `updated_at`.
async fn read(pool: PgPool, events: u64) -> Result<HashMap<DateTime<Utc>, Instant>> {
    let mut connection = pool.acquire().await?;
    let mut seen: HashMap<DateTime<Utc>, Instant> = HashMap::new();
    let mut last = Instant::now();
    let mut look = tokio::time::interval(LOOK);
    while (seen.len() as u64) < events && last.elapsed() < PATIENCE {
        look.tick().await;
        let known: Vec<Option<DateTime<Utc>>> =
            sqlx::query_scalar("select updated_at from daily_summary").fetch_all(&mut *connection).await?;
        let now = Instant::now();
        for updated_at in known.into_iter().flatten() {
            seen.entry(updated_at).or_insert_with(|| {
                last = now;
                now
            });
        }
    }
    Ok(seen)
}
