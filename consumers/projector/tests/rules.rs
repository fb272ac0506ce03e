//! A purchase rule that changes: what a row is worth by it, who waits for whom, and a change that was broken off.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use logs::Source;
use projections::purchases::{PurchaseRule, UNIFIED, behind};
use projections::{AdAccounts, Folds, Snapshot};
use projector::replay::Replay;
use projector::{FoldError, fold_events};
use sqlx::PgPool;
use testkit::history::{Ad, Answer, History, Random, Said, first_day};
use testkit::oracle::{self, Rule};
use testkit::{Database, wait};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(60);
const MAX_EVENT_BYTES: u64 = 1 << 24;

fn snapshot(answer: &Answer, rule: &Arc<PurchaseRule>) -> Result<Snapshot> {
    let event = answer.event()?;
    let stored_at = answer.fetched_at;
    Ok(Snapshot::decode(&event.circumstances, event.day, stored_at, &event.payload, rule, MAX_EVENT_BYTES)?)
}

/// Folds answers as live traffic does, by the newest rules.
async fn fold(pool: &PgPool, answers: &[Answer]) -> Result<()> {
    let ad_accounts = AdAccounts::load(pool, None).await?;
    for answer in answers {
        let rule = ad_accounts.rule(&answer.event()?.day).clone();
        let (_, refused) = fold_events(pool, &Folds::default(), vec![snapshot(answer, &rule)?]).await?;
        ensure!(refused.is_empty(), "{refused:?}");
    }
    Ok(())
}

/// A history whose every answer is in the raw log, and its first ad account.
async fn recorded(database: &Database, seed: u64) -> Result<(History, Uuid, Uuid)> {
    let history = History::random(&mut Random::new(seed));
    history.insert_tenants(&database.pool).await?;
    record(&database.pool, &history.answers).await?;
    let (account_id, ad_accounts) = &history.tenants[0];
    let (account_id, ad_account_id) = (*account_id, ad_accounts[0]);
    Ok((history, account_id, ad_account_id))
}

async fn record(pool: &PgPool, answers: &[Answer]) -> Result<()> {
    let nats = testkit::nats().await?;
    let append =
        async |cancel: &CancellationToken| raw::run(pool, &nats.wire, jetstream::BatchLimits::default(), cancel).await;
    testkit::record(pool, &nats.wire, answers, append).await
}

fn replay(pool: &PgPool) -> Replay {
    Replay {
        rows_a_transaction: 1,
        max_event_bytes: MAX_EVENT_BYTES,
        ..Replay::new(pool.clone(), Source::Raw(pool.clone()))
    }
}

fn said(action_type: &str, number: i64, windows: &[(&str, i64)]) -> Said {
    let windows = windows.iter().map(|(window, n)| ((*window).to_owned(), *n)).collect();
    Said { action_type: action_type.to_owned(), number, windows }
}

/// One ad with these purchases, asked with these windows.
fn answer(actions: Vec<Said>, asked: &[&str]) -> Answer {
    let (spend_cents, impressions, clicks) = (100, 10, 1);
    let ads = vec![Ad { ad_id: 7, spend_cents, impressions, clicks, actions, values: Vec::new() }];
    Answer {
        account_id: Uuid::from_u128(1),
        ad_account_id: Uuid::from_u128(2),
        date: first_day(),
        event_id: Uuid::from_u128(3),
        fetched_at: (first_day() + chrono::Duration::days(1)).and_hms_opt(1, 0, 0).unwrap_or_default().and_utc(),
        ads,
        control: None,
        windows: asked.iter().map(|window| (*window).to_owned()).collect(),
    }
}

#[test]
fn a_window_is_zero_where_meta_left_it_out_and_unknown_where_nobody_asked() -> Result<()> {
    let sold = || vec![said("purchase", 9, &[]), said("omni_purchase", 3, &[("7d_click", 2)])];
    type Case<'a> = (&'a [&'a str], &'a str, Vec<Said>, &'a [&'a str], Option<i64>);
    let cases: [Case<'_>; 9] = [
        // (alternatives, window, what Meta said, what was asked, what counts)
        (&["omni_purchase"], UNIFIED, sold(), &["7d_click"], Some(3)),
        (&["omni_purchase"], UNIFIED, sold(), &[], Some(3)),
        (&["omni_purchase"], "7d_click", sold(), &["1d_view", "7d_click"], Some(2)),
        (&["omni_purchase"], "1d_view", sold(), &["1d_view", "7d_click"], Some(0)),
        (&["omni_purchase"], "1d_view", sold(), &["7d_click"], None),
        (&["purchase", "omni_purchase"], "7d_click", sold(), &["7d_click"], Some(0)),
        (&["lead"], "7d_click", sold(), &["7d_click"], None),
        (&["lead", "purchase+omni_purchase"], UNIFIED, sold(), &[], Some(12)),
        (&["omni_purchase"], "7d_click", Vec::new(), &["7d_click"], None),
    ];
    for (alternatives, window, actions, asked, wanted) in cases {
        let rule = Arc::new(PurchaseRule::new(2, alternatives, window));
        let snapshot = snapshot(&answer(actions, asked), &rule)?;
        let known = window == UNIFIED || asked.contains(&window);
        assert_eq!((snapshot.purchases_known, snapshot.rule.version), (known, 2));
        assert_eq!(snapshot.sums.purchases, wanted.map(Into::into), "{alternatives:?} {window} {asked:?}");
        // A day without a row says 0 of what was asked, and nothing of what was not.
        let empty = Answer { ads: Vec::new(), ..answer(Vec::new(), asked) };
        assert_eq!(self::snapshot(&empty, &rule)?.sums.purchases, known.then_some(0.into()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_folded_by_a_rule_that_was_replaced() -> Result<()> {
    let database = testkit::database().await?;
    let pool = &database.pool;
    let (mut history, account_id, ad_account_id) = recorded(&database, 3).await?;
    history.answers.retain(|answer| answer.ad_account_id == ad_account_id);
    let read_before = snapshot(&history.answers[0], &Arc::default())?;
    let rule = Rule::new(2, &["purchase"], "7d_click");

    // Who has begun to fold by the old rule is waited for: its day is then among those to be folded again.
    let mut begun = projections::begin(pool).await?;
    let setting = rule.set(pool, account_id, ad_account_id);
    let folding = async {
        wait::until("who sets the rule waits", DEADLINE, async || {
            let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted";
            Ok(sqlx::query_scalar::<_, i64>(waiting).fetch_one(pool).await? > 0)
        })
        .await?;
        Folds::default().fold(&mut begun, &[&read_before]).await?;
        begun.commit().await?;
        Ok::<_, anyhow::Error>(())
    };
    tokio::try_join!(setting, folding)?;
    assert_eq!(behind(pool).await?.iter().map(|b| (b.version, b.days)).collect::<Vec<_>>(), [(2, 1)]);

    // Who read an event before, and comes to fold it after, is told to read it again.
    let late = snapshot(&history.answers[1], &Arc::default())?;
    let outcome = fold_events(pool, &Folds::default(), vec![late]).await;
    ensure!(matches!(outcome, Err(FoldError::RuleChanged)), "{outcome:?}");

    // A rule is another row, never another text.
    for damage in ["update purchase_rules set version = 9", "delete from purchase_rules", "truncate purchase_rules"] {
        let refused = sqlx::query(damage).execute(pool).await.err().map(|e| e.to_string()).unwrap_or_default();
        ensure!(refused.contains("append-only"), "{damage}: {refused}");
    }
    replay(pool).run_behind(account_id, ad_account_id, |_| {}).await?;
    fold(pool, &history.answers).await?;
    check(pool, &history, ad_account_id, &rule).await
}

async fn check(pool: &PgPool, history: &History, changed: Uuid, rule: &Rule) -> Result<()> {
    let rule_of = |id| if id == changed { rule.clone() } else { Rule::first() };
    let wanted = oracle::tables_by(&history.answers, rule_of);
    if let Some(difference) = wanted.difference(&oracle::read(pool).await?) {
        bail!("{rule:?}:\n{difference}");
    }
    Ok(())
}

/// Broken off after one of its days, then live traffic, then gone on with, twice at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_was_broken_off_goes_on() -> Result<()> {
    let database = testkit::database().await?;
    let pool = &database.pool;
    let (mut history, account_id, ad_account_id) = recorded(&database, 11).await?;
    fold(pool, &history.answers).await?;
    check(pool, &history, ad_account_id, &Rule::first()).await?;
    let rules = [
        Rule::new(2, &["lead", "purchase+onsite_conversion.purchase"], "unified"),
        Rule::new(3, &["omni_purchase"], "1d_view"),
        Rule::new(4, &["omni_purchase", "purchase"], "28d_click"),
        Rule { version: 5, ..Rule::first() },
    ];
    for rule in rules {
        rule.set(pool, account_id, ad_account_id).await?;
        assert_eq!(behind(pool).await?[0].days, 3, "{rule:?}");
        let killed = CancellationToken::new();
        let run = replay(pool);
        let running = run.run_behind(account_id, ad_account_id, |_| killed.cancel());
        ensure!(killed.run_until_cancelled(running).await.is_none(), "it was not broken off");
        let left = behind(pool).await?;
        let [left] = left.as_slice() else { bail!("{left:?}") };
        assert_eq!((left.integration_id, left.version), (ad_account_id, rule.version));
        ensure!((1..3).contains(&left.days), "{left:?}");

        // What comes meanwhile is read by the new rule, also where it repeats what the day says already.
        let of_it = history.answers.iter().filter(|a| a.ad_account_id == ad_account_id);
        let newest = of_it.max_by_key(|a| (a.date, a.fetched_at, a.event_id)).cloned();
        let Some(newest) = newest else { bail!("no answer") };
        let again = Answer {
            event_id: Uuid::now_v7(),
            fetched_at: newest.fetched_at + chrono::Duration::hours(1),
            ..newest.clone()
        };
        record(pool, std::slice::from_ref(&again)).await?;
        fold(pool, std::slice::from_ref(&again)).await?;
        history.answers.push(again.clone());
        let versions: Vec<i32> = sqlx::query_scalar(
            "select distinct rule_version from fact_meta_daily where ad_account_id = $1 and date = $2 and absence is null",
        )
        .bind(ad_account_id)
        .bind(again.date)
        .fetch_all(pool)
        .await?;
        ensure!(again.ads.is_empty() || versions == [rule.version], "{versions:?} by {rule:?}");
        // Sums over rows of two rules are no sums.
        let mixed: i64 = sqlx::query_scalar(
            "select count(*) from daily_meta_metrics m where purchases is not null and exists (
                 select from fact_meta_daily f where f.ad_account_id = m.ad_account_id and f.date = m.date
                 and absence is distinct from 'deleted' having count(distinct rule_version) > 1)",
        )
        .fetch_one(pool)
        .await?;
        assert_eq!(mixed, 0, "{rule:?}");

        let (one, other) = (replay(pool), replay(pool));
        let (one, other) = tokio::join!(
            one.run_behind(account_id, ad_account_id, |_| {}),
            other.run_behind(account_id, ad_account_id, |_| {})
        );
        let (one, other) = (one?, other?);
        ensure!(one.left.is_empty() && other.left.is_empty(), "{one:?} {other:?}");
        ensure!(behind(pool).await?.is_empty());
        check(pool, &history, ad_account_id, &rule).await?;
        // Nothing is left to do.
        let nothing = replay(pool).run_behind(account_id, ad_account_id, |_| {}).await?;
        assert_eq!((nothing.days_total, nothing.rows), (0, 0));
    }
    Ok(())
}
