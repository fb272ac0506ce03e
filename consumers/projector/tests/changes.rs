//! What is announced of `daily_summary`: each change once, in the change's own transaction, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::NaiveDate;
use events::{Cause, DailySummaryChanged, DailySummaryValues};
use jetstream::{BatchLimits, WAREHOUSE};
use logs::{Range, Source};
use projections::{AdAccounts, Folds, Snapshot};
use projector::replay::Replay;
use projector::{Projector, fold_events};
use sqlx::PgPool;
use testkit::history::{Answer, History, Random, first_day};
use testkit::oracle::Rule;
use testkit::{Nats, wait};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(60);
const MAX_EVENT_BYTES: u64 = 1 << 24;

/// Folds answers in one transaction, as live traffic does.
async fn fold(pool: &PgPool, answers: &[Answer]) -> Result<()> {
    let ad_accounts = AdAccounts::load(pool, None).await?;
    let mut snapshots = Vec::new();
    for answer in answers {
        let event = answer.event()?;
        let rule = ad_accounts.rule(&event.day);
        let (circumstances, at) = (&event.circumstances, answer.fetched_at);
        snapshots.push(Snapshot::decode(circumstances, event.day, at, &event.payload, rule, MAX_EVENT_BYTES)?);
    }
    let (_, refused) = fold_events(pool, &Folds::default(), snapshots).await?;
    ensure!(refused.is_empty(), "{refused:?}");
    Ok(())
}

/// Publishes answers and appends them to the raw log.
async fn record(pool: &PgPool, nats: &Nats, answers: &[Answer]) -> Result<()> {
    let append = async |cancel: &CancellationToken| raw::run(pool, &nats.wire, BatchLimits::default(), cancel).await;
    testkit::record(pool, &nats.wire, answers, append).await
}

fn replay(pool: &PgPool, dry_run: bool) -> Replay {
    let from = Source::Raw(pool.clone());
    Replay { rows_a_transaction: 1, max_event_bytes: MAX_EVENT_BYTES, dry_run, ..Replay::new(pool.clone(), from) }
}

fn day(date: NaiveDate) -> Range {
    Range { account_id: None, ad_account_id: None, since: date, until: date }
}

/// Everything that waits in the outbox, in the order of tenants, days and versions.
async fn announced(pool: &PgPool) -> Result<Vec<DailySummaryChanged>> {
    let rows: Vec<(Uuid, String, Vec<u8>)> =
        sqlx::query_as("select event_id, subject, payload from outbox").fetch_all(pool).await?;
    let mut events = Vec::new();
    for (event_id, subject, payload) in rows {
        let event: DailySummaryChanged = serde_json::from_slice(&payload)?;
        assert_eq!(subject, format!("warehouse.daily_summary.{}.{}", event.account_id, event.date));
        assert_eq!(event_id, event.event_id());
        events.push(event);
    }
    events.sort_by_key(|event| (event.account_id, event.date, event.version));
    Ok(events)
}

/// Takes what waits out of the outbox.
async fn heard(pool: &PgPool) -> Result<Vec<(i64, Cause, Option<String>, Option<String>)>> {
    let events = announced(pool).await?;
    sqlx::query("delete from outbox").execute(pool).await?;
    let spend = |values: Option<DailySummaryValues>| comparable(&values).and_then(|values| values.meta_spend);
    Ok(events.into_iter().map(|e| (e.version, e.cause, spend(e.old), spend(e.new))).collect())
}

/// The same values with their decimals in one spelling.
fn comparable(values: &Option<DailySummaryValues>) -> Option<DailySummaryValues> {
    let number = |text: Option<String>| {
        text.map(|text| match text.split_once('.') {
            Some((whole, places)) if places.trim_end_matches('0').is_empty() => whole.to_owned(),
            Some(_) => text.trim_end_matches('0').to_owned(),
            None => text,
        })
    };
    values.clone().map(|values| DailySummaryValues {
        meta_spend: number(values.meta_spend),
        meta_purchases: number(values.meta_purchases),
        meta_purchase_value: number(values.meta_purchase_value),
        meta_roas: number(values.meta_roas),
        ..values
    })
}

/// The law of the announcements: of each day they are numbered without a gap, each begins with what the one before it
/// ended with, none says nothing, and the last one is what the table says.
async fn check(pool: &PgPool) -> Result<usize> {
    let events = announced(pool).await?;
    let mut known: BTreeMap<(Uuid, NaiveDate), (i64, Option<DailySummaryValues>)> = BTreeMap::new();
    for event in &events {
        let (version, said) = known.entry((event.account_id, event.date)).or_default();
        assert_eq!(event.version, *version + 1, "{event:?}");
        assert_eq!(comparable(&event.old), *said, "{event:?}");
        assert_ne!(comparable(&event.new), *said, "{event:?}");
        assert_eq!(event.currency.as_deref(), Some("USD"));
        (*version, *said) = (event.version, comparable(&event.new));
    }
    type Row =
        (Uuid, NaiveDate, Option<String>, Option<i64>, Option<i64>, Option<String>, Option<String>, Option<String>);
    let rows: Vec<Row> = sqlx::query_as(
        "select account_id, date, meta_spend::text, meta_impressions, meta_clicks, meta_purchases::text,
                meta_purchase_value::text, meta_roas::text from daily_summary",
    )
    .fetch_all(pool)
    .await?;
    let table: BTreeMap<(Uuid, NaiveDate), Option<DailySummaryValues>> = rows
        .into_iter()
        .map(|(account_id, date, spend, meta_impressions, meta_clicks, purchases, value, roas)| {
            let (meta_spend, meta_purchases, meta_purchase_value, meta_roas) = (spend, purchases, value, roas);
            let values = Some(DailySummaryValues {
                meta_spend,
                meta_impressions,
                meta_clicks,
                meta_purchases,
                meta_purchase_value,
                meta_roas,
            });
            ((account_id, date), comparable(&values))
        })
        .collect();
    let told = known.into_iter().map(|(day, (_, said))| (day, said)).filter(|(_, said)| said.is_some());
    assert_eq!(told.collect::<BTreeMap<_, _>>(), table);
    Ok(events.len())
}

/// Random histories in any order, several transactions at once, events that come twice, replays and a rule beside them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announcements_add_up_to_the_table_in_any_order() -> Result<()> {
    for seed in [1, 2, 3] {
        let (database, nats) = (testkit::database().await?, testkit::nats().await?);
        let pool = &database.pool;
        let mut random = Random::new(seed);
        let history = History::random(&mut random);
        history.insert_tenants(pool).await?;
        record(pool, &nats, &history.answers).await?;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let (pool, mut answers, mut random) = (pool.clone(), history.answers.clone(), Random::new(random.next()));
            tasks.spawn(async move {
                random.shuffle(&mut answers);
                while !answers.is_empty() {
                    let batch = answers.split_off(answers.len().saturating_sub(1 + random.below(9) as usize));
                    // Who is told that the rule was changed reads the event again.
                    while fold(&pool, &batch).await.is_err() {}
                }
            });
        }
        let (account_id, ad_account_id) = (history.tenants[0].0, history.tenants[0].1[0]);
        for (since, dry_run) in [(0, false), (1, false), (0, true)] {
            let (replay, since) = (replay(pool, dry_run), first_day() + chrono::Duration::days(since));
            let until = since + chrono::Duration::days(1);
            let range = Range { account_id: None, ad_account_id: None, since, until };
            tasks.spawn(async move { while replay.run(&range, |_| {}).await.is_err() {} });
        }
        let rule = Rule::new(2, &["lead"], "unified");
        rule.set(pool, account_id, ad_account_id).await?;
        while replay(pool, false).run_behind(account_id, ad_account_id, |_| {}).await.is_err() {}
        tasks.join_all().await;
        let events = check(pool).await?;
        assert!(events >= 6, "each of two tenants' days changed once at least: {events}");

        // Everything again says nothing new.
        fold(pool, &history.answers).await?;
        let until = first_day() + chrono::Duration::days(9);
        let all = Range { account_id: None, ad_account_id: None, since: first_day(), until };
        let report = replay(pool, false).run(&all, |_| {}).await?;
        ensure!(report.events > 0 && report.left.is_empty(), "{report:?}");
        assert_eq!(check(pool).await?, events);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_cause_announces_what_it_changed_and_nothing_else() -> Result<()> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let pool = &database.pool;
    let history = History::random(&mut Random::new(5));
    history.insert_tenants(pool).await?;
    let (account_id, ad_account_id) = (history.tenants[0].0, history.tenants[0].1[0]);
    let template = history.answers.iter().find(|a| a.ad_account_id == ad_account_id && !a.ads.is_empty());
    let template = template.context("an answer with an ad")?;
    let at = |n: u8, spend_cents: i64, date: NaiveDate| {
        let mut answer = Answer { date, event_id: Uuid::now_v7(), control: None, ..template.clone() };
        answer.fetched_at = first_day().and_hms_opt(n.into(), 0, 0).unwrap_or_default().and_utc();
        answer.ads.truncate(1);
        answer.ads[0].spend_cents = spend_cents;
        answer
    };
    let date = first_day();
    let some = |text: &str| Some(text.to_owned());
    let answers = [at(1, 1050, date), at(2, 1050, date), at(3, 2000, date), at(2, 777, date)];
    record(pool, &nats, &answers).await?;

    fold(pool, &answers[..1]).await?;
    assert_eq!(heard(pool).await?, [(1, Cause::Live, None, some("10.5"))]);
    fold(pool, &answers[..1]).await?;
    assert_eq!(heard(pool).await?, [], "the same event");
    fold(pool, &answers[1..2]).await?;
    assert_eq!(heard(pool).await?, [], "a newer answer that says the same");
    let updated_at = "select updated_at from daily_summary where account_id = $1 and date = $2";
    let updated_at: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar(updated_at).bind(account_id).bind(date).fetch_one(pool).await?;
    assert_eq!(updated_at, answers[1].fetched_at, "it is in the table all the same");
    fold(pool, &answers[2..3]).await?;
    assert_eq!(heard(pool).await?, [(2, Cause::Live, some("10.5"), some("20"))]);
    fold(pool, &answers[3..]).await?;
    assert_eq!(heard(pool).await?, [], "an older answer that changes nothing");

    let range = day(date);
    let spelled = "update daily_summary set meta_spend = 20.0000000, meta_roas = meta_roas * 1.000";
    sqlx::query(spelled).execute(pool).await?;
    replay(pool, false).run(&range, |_| {}).await?;
    assert_eq!(heard(pool).await?, [], "a replay that changes nothing but a number's spelling");
    sqlx::query("update daily_summary set meta_spend = 99").execute(pool).await?;
    replay(pool, true).run(&range, |_| {}).await?;
    assert_eq!(heard(pool).await?, [], "a dry run");
    replay(pool, false).run(&range, |_| {}).await?;
    assert_eq!(heard(pool).await?, [(3, Cause::Replay, some("99"), some("20"))]);
    sqlx::query("delete from daily_summary").execute(pool).await?;
    replay(pool, false).run(&range, |_| {}).await?;
    assert_eq!(heard(pool).await?, [(4, Cause::Replay, None, some("20"))]);

    let purchases = "update daily_summary set meta_purchases = 1000 returning meta_spend::text";
    let _: String = sqlx::query_scalar(purchases).fetch_one(pool).await?;
    Rule::new(2, &["lead"], "unified").set(pool, account_id, ad_account_id).await?;
    replay(pool, false).run_behind(account_id, ad_account_id, |_| {}).await?;
    assert_eq!(heard(pool).await?, [(5, Cause::Rule, some("20"), some("20"))]);

    // A day whose only event is in no log: a replay takes it out, and it comes back with a higher version.
    let next = date.succ_opt().context("a day")?;
    let lost = at(4, 300, next);
    fold(pool, std::slice::from_ref(&lost)).await?;
    assert_eq!(heard(pool).await?, [(1, Cause::Live, None, some("3"))]);
    let forgotten = ["delete from observations where date = $1", "delete from fact_meta_daily where date = $1"];
    for forgotten in forgotten {
        sqlx::query(forgotten).bind(next).execute(pool).await?;
    }
    replay(pool, false).run(&day(next), |_| {}).await?;
    assert_eq!(heard(pool).await?, [(2, Cause::Replay, some("3"), None)]);
    fold(pool, std::slice::from_ref(&lost)).await?;
    assert_eq!(heard(pool).await?, [(3, Cause::Live, None, some("3"))]);
    // And once more where nothing but the summary knows of the day.
    for forgotten in forgotten.into_iter().chain(["delete from daily_meta_metrics where date = $1"]) {
        sqlx::query(forgotten).bind(next).execute(pool).await?;
    }
    replay(pool, true).run(&day(next), |_| {}).await?;
    assert_eq!(heard(pool).await?, []);
    replay(pool, false).run(&day(next), |_| {}).await?;
    assert_eq!(heard(pool).await?, [(4, Cause::Replay, some("3"), None)]);

    for damage in [
        "delete from daily_summary_versions",
        "update daily_summary_versions set version = 1",
        "truncate daily_summary_versions",
    ] {
        let refused = sqlx::query(damage).execute(pool).await.err().map(|e| e.to_string()).unwrap_or_default();
        ensure!(refused.contains("only grows"), "{damage}: {refused}");
    }
    Ok(())
}

/// A transaction that does not commit tells nobody, and its number is used by the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_commit_has_said_nothing() -> Result<()> {
    let database = testkit::database().await?;
    let pool = &database.pool;
    let history = History::random(&mut Random::new(8));
    history.insert_tenants(pool).await?;
    let event = history.answers[0].event()?;
    let at = history.answers[0].fetched_at;
    let rule = Arc::default();
    let snapshot = Snapshot::decode(&event.circumstances, event.day, at, &event.payload, &rule, MAX_EVENT_BYTES)?;
    let mut dying = projections::begin(pool).await?;
    let folded = Folds::default().fold(&mut dying, &[&snapshot]).await?;
    projector::announce_changes(&mut dying, &folded.changes, Cause::Live).await?;
    assert_eq!(folded.changes.iter().map(|change| change.version).collect::<Vec<_>>(), [1]);
    dying.rollback().await?;
    assert_eq!(announced(pool).await?, []);
    fold(pool, &history.answers).await?;
    check(pool).await?;
    Ok(())
}

/// From the stream of answers to the stream of changes, through the outbox and the relay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_reach_their_stream_under_their_own_ids() -> Result<()> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let pool = &database.pool;
    let history = History::random(&mut Random::new(13));
    history.insert_tenants(pool).await?;
    for answer in &history.answers {
        answer.publish(&nats.wire).await?;
    }
    let projector = Projector {
        pool: pool.clone(),
        wire: nats.wire.clone(),
        folds: Folds::default(),
        limits: BatchLimits { max_messages: 5, ..BatchLimits::default() },
        max_event_bytes: MAX_EVENT_BYTES,
        observe: Arc::new(|_| {}),
    };
    let cancel = CancellationToken::new();
    let until_folded = async {
        wait::until("every event is folded", DEADLINE, async || {
            nats.is_settled(jetstream::META_INSIGHTS, projector::DURABLE).await
        })
        .await?;
        cancel.cancel();
        Ok::<_, anyhow::Error>(())
    };
    tokio::join!(projector.run(&cancel), until_folded).1?;
    let announced = announced(pool).await?;
    check(pool).await?;
    let relaying = CancellationToken::new();
    wait::until("the outbox is empty", DEADLINE, async || {
        relay::relay_once(pool, &nats.wire, &relaying).await?;
        Ok(outbox::waiting(pool).await?.events == 0)
    })
    .await?;
    let log = nats.wire.log(WAREHOUSE).await?;
    assert_eq!(log.level().await?.messages, announced.len() as u64);
    let mut heard = Vec::new();
    let mut from = 1;
    while let Some(message) = log.next("warehouse.daily_summary.*.*", from).await? {
        from = message.sequence + 1;
        let event: DailySummaryChanged = serde_json::from_slice(&message.payload)?;
        let header = |name: &str| message.header_pairs().into_iter().find(|(n, _)| n == name).map(|(_, value)| value);
        let id = event.event_id().to_string();
        assert_eq!((header("Nats-Msg-Id"), header("ce-id")), (Some(id.clone()), Some(id)));
        assert_eq!(header("ce-type").as_deref(), Some(events::DAILY_SUMMARY_CHANGED_V1));
        assert_eq!(header("content-type").as_deref(), Some("application/json"));
        assert_eq!(message.subject, format!("warehouse.daily_summary.{}.{}", event.account_id, event.date));
        heard.push(event);
    }
    heard.sort_by_key(|event| (event.account_id, event.date, event.version));
    assert_eq!(heard, announced);
    Ok(())
}
