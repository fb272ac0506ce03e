//! The estimates on curves that they were not written for: a shop's days are observed at every age, through the wire and the
//! fold, and what was estimated of each day is held against where it ended.
//!
//! `cargo test -p settlement --test backtest -- --nocapture` prints the figures of docs/SETTLEMENT.md.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::NaiveDate;
use jetstream::{BatchLimits, META_INSIGHTS};
use projections::Folds;
use projector::Projector;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use settlement::{Backtested, Metric, observations};
use sqlx::PgPool;
use testkit::graph::{Curve, World};
use testkit::history::{Ad, Answer, Random, Said};
use testkit::{Nats, Tenant, wait};
use tokio_util::sync::CancellationToken;

const AD_ACCOUNT: &str = "act_1";
const DAYS: i64 = 160;
const DEADLINE: Duration = Duration::from_secs(300);

fn first_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 1).unwrap_or_default()
}

/// What Meta says on `today` of the days that may still change, and of those that just settled.
fn answers(whole: &World, curve: Curve, today: NaiveDate, tenant: &Tenant, random: &mut Random) -> Vec<Answer> {
    let mut world = whole.clone();
    curve.mature(&mut world, today);
    let days = (1..=29).map(|age| today - chrono::Duration::days(age)).filter(|date| *date >= first_day());
    let cents = |amount: Decimal| (amount * Decimal::ONE_HUNDRED).to_i64().unwrap_or_default();
    let said = |number: i64| Said { action_type: "omni_purchase".to_owned(), number, windows: Vec::new() };
    days.map(|date| {
        let totals = world.totals(AD_ACCOUNT, date, None);
        let ad = Ad {
            ad_id: 1,
            spend_cents: cents(totals.spend),
            impressions: i64::try_from(totals.impressions).unwrap_or_default(),
            clicks: 0,
            actions: vec![said(i64::try_from(totals.purchases).unwrap_or_default())],
            values: vec![said(cents(totals.purchase_value))],
        };
        Answer {
            account_id: tenant.account_id,
            ad_account_id: tenant.ad_account_id,
            date,
            event_id: random.uuid(),
            fetched_at: today.and_hms_opt(6, 0, 0).unwrap_or_default().and_utc(),
            ads: vec![ad],
            control: None,
            windows: Vec::new(),
        }
    })
    .collect()
}

async fn fold(pool: &PgPool, nats: &Nats) -> Result<()> {
    let cancel = CancellationToken::new();
    let projector = Projector {
        pool: pool.clone(),
        wire: nats.wire.clone(),
        folds: Folds::default(),
        limits: BatchLimits::default(),
        max_event_bytes: 1 << 24,
        observe: Arc::new(|_| {}),
    };
    let waiting = async {
        let done = wait::until("everything is folded", DEADLINE, async || {
            nats.is_settled(META_INSIGHTS, projector::DURABLE).await
        });
        let done = done.await;
        cancel.cancel();
        done
    };
    tokio::join!(projector.run(&cancel), waiting).1
}

/// A shop of some ads, each of whose days was asked for at every age up to 29.
async fn observed(curve: Curve) -> Result<(testkit::Database, Tenant)> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let tenant = Tenant::insert(&database.pool).await?;
    let days = first_day()..=first_day() + chrono::Duration::days(DAYS - 1);
    let whole = World::demo("token", AD_ACCOUNT, "UTC", "USD", days, 12);
    let mut random = Random::new(20_260_101);
    for today in first_day().iter_days().skip(1).take(DAYS as usize) {
        for answer in answers(&whole, curve, today, &tenant, &mut random) {
            answer.publish(&nats.wire).await?;
        }
    }
    fold(&database.pool, &nats).await?;
    Ok((database, tenant))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_end_nearer_to_their_estimates_than_to_what_stood() -> Result<()> {
    for curve in [Curve::Steady, Curve::Slow] {
        let (database, tenant) = observed(curve).await?;
        let all = observations(&database.pool, tenant.account_id, tenant.ad_account_id, first_day()).await?;
        ensure!(all.len() > 4_000, "{}", all.len());
        for metric in [Metric::Purchases, Metric::PurchaseValue] {
            let backtested = Backtested::of(&all, metric);
            println!("{curve:?}, {}: {} settled days", metric.words(), backtested.settlement.curve.settled_days);
            for line in &backtested.backtest.ages {
                println!(
                    "  age {:2}: {} days, off by {} of {} as estimated, {} as it stands; band held {} %",
                    line.age_days,
                    line.days,
                    line.mean_absolute_error,
                    line.mean_end,
                    line.mean_absolute_error_as_it_stands,
                    line.band_held * 100 / line.days
                );
                ensure!(line.days > 80, "{line:?}");
                ensure!(line.mean_absolute_error < line.mean_absolute_error_as_it_stands, "{curve:?} {line:?}");
                let held = line.band_held * 100 / line.days;
                ensure!((65..=95).contains(&held), "{curve:?} {metric:?} {line:?}: {held} %");
            }
            assert_eq!(backtested.settlement.curve.settled_days, 132);
            assert_eq!(backtested.settlement.curve.points.len(), 28);
            assert_eq!(backtested.settlement.provisional.len(), 28);
            for day in &backtested.settlement.provisional {
                ensure!(day.end.is_some() && day.band.is_some(), "{day:?}");
            }
        }
    }
    Ok(())
}
