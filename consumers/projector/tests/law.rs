//! The law: any order, any duplication, any batches, any number of projectors and replays at once end in the same tables.
//!
//! Random histories run through real servers, while database connections are cut; a naive second fold says what the
//! tables must hold. A law that no fault can break proves nothing, so three faults are planted, and each must be caught.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use jetstream::{BatchLimits, META_INSIGHTS};
use logs::{Logs, Range, Source};
use projections::{Folds, Mutant};
use projector::Projector;
use projector::replay::Replay;
use testkit::history::{DAYS, History, Random, first_day};
use testkit::oracle::Rule;
use testkit::{Database, Nats, oracle, wait};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(60);
const MAX_EVENT_BYTES: u64 = 1 << 24;

/// Runs one history; `Ok(None)` when the tables are what the oracle says.
async fn run(seed: u64, mutant: Option<Mutant>) -> Result<Option<String>> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let mut random = Random::new(seed);
    let history = History::random(&mut random);
    history.insert_tenants(&database.pool).await?;
    let folds = Folds { mutant };
    let (cancel, settled) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = tokio::task::JoinSet::new();

    for batch in [1, 3, 8] {
        let projector = Projector {
            pool: database.pool.clone(),
            wire: nats.wire.clone(),
            folds,
            limits: BatchLimits { max_messages: batch, ..BatchLimits::default() },
            max_event_bytes: MAX_EVENT_BYTES,
            observe: Arc::new(|_| {}),
        };
        let cancel = cancel.clone();
        tasks.spawn(async move { projector.run(&cancel).await });
    }
    {
        let (pool, wire, cancel) = (database.pool.clone(), nats.wire.clone(), cancel.clone());
        tasks.spawn(async move { raw::run(&pool, &wire, BatchLimits::default(), &cancel).await });
    }
    // Replays of overlapping ranges, again and again, beside the traffic; none of them when a fault is to be caught that
    // a replay would mend.
    if mutant.is_none() {
        let stream = Source::stream(&nats.wire).await?;
        for (from, first) in [(stream, 0), (Source::Raw(database.pool.clone()), 1)] {
            let (replay, settled) = (replay(&database, &nats, folds, from).await?, settled.clone());
            let since = first_day() + chrono::Duration::days(first);
            let range =
                Range { account_id: None, ad_account_id: None, since, until: since + chrono::Duration::days(1) };
            tasks.spawn(async move {
                let mut done = 0;
                // A replay that loses its connection fails, and is repeated; one at least goes through.
                while !settled.is_cancelled() || done == 0 {
                    done += u32::from(replay.run(&range, |_| {}).await.is_ok());
                }
            });
        }
    }
    // The same events, some twice, straight into the fold: deliveries that no acknowledgement stopped.
    let mut again: Vec<_> = history.answers.iter().chain(history.answers.iter().step_by(2)).cloned().collect();
    random.shuffle(&mut again);
    if mutant.is_none() {
        let pool = database.pool.clone();
        let mut random = random.clone();
        tasks.spawn(async move {
            while !again.is_empty() {
                let batch = again.split_off(again.len().saturating_sub(1 + random.below(5) as usize));
                let snapshots = batch.iter().map(snapshot).collect::<Result<Vec<_>>>().expect("the history is valid");
                let _ = projector::fold_events(&pool, &folds, snapshots).await;
            }
        });
    }
    // Purchase rules change meanwhile, and each change folds the days again that it finds, once.
    let rules = if mutant.is_none() { rules(&mut random, &history) } else { Vec::new() };
    {
        let replay = replay(&database, &nats, folds, Source::Raw(database.pool.clone())).await?;
        let (pool, rules) = (database.pool.clone(), rules.clone());
        tasks.spawn(async move {
            for (account_id, ad_account_id, rule) in rules {
                wait::until("the rule is written", DEADLINE, async || {
                    // A connection that is cut after the commit leaves the rule behind, whatever it says.
                    Ok(rule.set(&pool, account_id, ad_account_id).await.is_ok()
                        || sqlx::query_scalar(
                            "select exists (select from purchase_rules where integration_id = $1 and version = $2)",
                        )
                        .bind(ad_account_id)
                        .bind(rule.version)
                        .fetch_one(&pool)
                        .await
                        .unwrap_or(false))
                })
                .await
                .expect("the rule is written");
                while replay.run_behind(account_id, ad_account_id, |_| {}).await.is_err() {}
            }
        });
    }
    let mut order = history.answers.clone();
    random.shuffle(&mut order);
    for (n, answer) in order.iter().enumerate() {
        answer.publish(&nats.wire).await?;
        if n % 16 == 7 {
            cut_connections(&database).await?;
        }
    }
    wait::until("every event is folded and in raw", DEADLINE, async || {
        let folded = nats.is_settled(META_INSIGHTS, projector::DURABLE).await?;
        let in_raw: i64 =
            sqlx::query_scalar("select count(*) from meta_insights_raw").fetch_one(&database.pool).await?;
        let all_there = in_raw.cast_unsigned() == history.answers.len() as u64;
        Ok(all_there && folded && nats.is_settled(META_INSIGHTS, raw::DURABLE).await?)
    })
    .await?;
    settled.cancel();
    cancel.cancel();
    while let Some(done) = tokio::time::timeout(DEADLINE, tasks.join_next()).await? {
        done?;
    }
    let behind = projections::purchases::behind(&database.pool).await?;
    assert!(behind.is_empty(), "a rule was added, its days folded again, and an older one used after that: {behind:?}");
    let newest = |ad_account| {
        let of_it = rules.iter().filter(|(_, id, _)| *id == ad_account).map(|(_, _, rule)| rule.clone());
        of_it.max_by_key(|rule| rule.version).unwrap_or_else(Rule::first)
    };
    Ok(oracle::tables_by(&history.answers, newest).difference(&oracle::read(&database.pool).await?))
}

/// The rules that are set one after the other: of some ad accounts one, of some several, of some none.
fn rules(random: &mut Random, history: &History) -> Vec<(Uuid, Uuid, Rule)> {
    let kinds: [(&[&str], &str); 5] = [
        (&["lead"], "unified"),
        (&["omni_purchase", "purchase"], "7d_click"),
        (&["purchase+onsite_conversion.purchase"], "1d_view"),
        (&["lead", "omni_purchase"], "28d_click"),
        (&["omni_purchase"], "unified"),
    ];
    let mut rules = Vec::new();
    for version in 2..4 {
        for (account_id, ad_accounts) in &history.tenants {
            for ad_account_id in ad_accounts {
                let set = rules.iter().any(|(_, id, _)| id == ad_account_id);
                if (version == 2 || set) && !random.one_in(3) {
                    let (alternatives, window) = kinds[random.below(kinds.len() as u64) as usize];
                    rules.push((*account_id, *ad_account_id, Rule::new(version, alternatives, window)));
                }
            }
        }
    }
    rules
}

async fn replay(database: &Database, nats: &Nats, folds: Folds, first: Source) -> Result<Replay> {
    let other = Some(match first {
        Source::Stream(_) => Source::Raw(database.pool.clone()),
        Source::Raw(_) => Source::stream(&nats.wire).await?,
    });
    let replay = Replay::new(database.pool.clone(), Logs { first, other });
    Ok(Replay { folds, rows_a_transaction: 5, max_event_bytes: MAX_EVENT_BYTES, ..replay })
}

fn snapshot(answer: &testkit::history::Answer) -> Result<projections::Snapshot> {
    let event = answer.event()?;
    let rule = Arc::default();
    let stored_at = answer.fetched_at;
    Ok(projections::Snapshot::decode(
        &event.circumstances,
        event.day,
        stored_at,
        &event.payload,
        &rule,
        MAX_EVENT_BYTES,
    )?)
}

/// Ends every other connection of this database, in the middle of whatever it does.
async fn cut_connections(database: &Database) -> Result<()> {
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
        .execute(&database.pool)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_history_ends_in_the_oracles_tables() -> Result<()> {
    for seed in 0..6 {
        if let Some(difference) = run(seed, None).await? {
            bail!("seed {seed}:\n{difference}");
        }
    }
    Ok(())
}

async fn is_caught(mutant: Mutant) -> Result<()> {
    for seed in 100..130 {
        if run(seed, Some(mutant)).await?.is_some() {
            return Ok(());
        }
    }
    bail!("{mutant:?} was planted and no history noticed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fold_that_drops_older_snapshots_whole_is_caught() -> Result<()> {
    is_caught(Mutant::WholeSnapshotNewestWins).await
}

/// Two transactions change two ad accounts of one tenant's day; the second reaches the summary while the first has not
/// committed. Returns the difference from the oracle.
async fn two_ad_accounts_at_once(mutant: Option<Mutant>) -> Result<Option<String>> {
    let database = testkit::database().await?;
    let mut random = Random::new(1);
    let mut history = History::random(&mut random);
    history.insert_tenants(&database.pool).await?;
    let (account_id, ad_accounts) = history.tenants[0].clone();
    let mut answer = |ad_account_id, hour, spend_cents| {
        let mut answer = history.answers[0].clone();
        (answer.account_id, answer.ad_account_id, answer.date) = (account_id, ad_account_id, first_day());
        answer.event_id = random.uuid();
        answer.fetched_at =
            first_day().and_hms_opt(hour, 0, 0).unwrap_or_default().and_utc() + chrono::Duration::days(1);
        answer.ads = vec![testkit::history::Ad {
            ad_id: 1,
            spend_cents,
            impressions: 1,
            clicks: 1,
            actions: Vec::new(),
            values: Vec::new(),
        }];
        answer
    };
    history.answers = vec![
        answer(ad_accounts[0], 1, 100),
        answer(ad_accounts[1], 1, 100),
        answer(ad_accounts[0], 2, 200),
        answer(ad_accounts[1], 2, 200),
    ];
    let folds = Folds { mutant };
    let snapshots = history.answers.iter().map(snapshot).collect::<Result<Vec<_>>>()?;
    let mut first = database.pool.begin().await?;
    folds.fold(&mut first, &[&snapshots[0], &snapshots[1]]).await?;
    first.commit().await?;

    let mut first = database.pool.begin().await?;
    folds.fold(&mut first, &[&snapshots[2]]).await?;
    let mut second = database.pool.begin().await?;
    let folding = async {
        folds.fold(&mut second, &[&snapshots[3]]).await?;
        second.commit().await?;
        Ok::<_, anyhow::Error>(())
    };
    let committing = async {
        wait::until("the second transaction waits for the first", DEADLINE, async || {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
            )
            .fetch_one(&database.pool)
            .await?;
            Ok(waiting > 0)
        })
        .await?;
        first.commit().await?;
        Ok::<_, anyhow::Error>(())
    };
    tokio::try_join!(folding, committing)?;
    Ok(oracle::tables(&history.answers).difference(&oracle::read(&database.pool).await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_summary_without_its_lock_is_caught() -> Result<()> {
    assert_eq!(two_ad_accounts_at_once(None).await?, None);
    assert!(two_ad_accounts_at_once(Some(Mutant::NoSummaryLock)).await?.is_some(), "the lost update went unnoticed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_before_the_commit_is_caught() -> Result<()> {
    is_caught(Mutant::AckBeforeCommit).await
}

/// A range damaged by hand is restored, from either log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_restores_damaged_tables_from_either_log() -> Result<()> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let history = History::random(&mut Random::new(7));
    history.insert_tenants(&database.pool).await?;
    let folds = Folds::default();
    let append =
        async |cancel: &CancellationToken| raw::run(&database.pool, &nats.wire, BatchLimits::default(), cancel).await;
    testkit::record(&database.pool, &nats.wire, &history.answers, append).await?;
    let wanted = oracle::tables(&history.answers);
    let range = Range {
        account_id: None,
        ad_account_id: None,
        since: first_day(),
        until: first_day() + chrono::Duration::days(DAYS as i64 - 1),
    };
    let damages = [
        "truncate fact_meta_daily, observations, daily_meta_metrics, daily_summary",
        "update fact_meta_daily set spend = spend + 1, event_id = gen_random_uuid(); update daily_summary set meta_spend = 0",
        "delete from daily_meta_metrics; insert into fact_meta_daily (account_id, ad_account_id, date, ad_id, currency, spend, attribution_window, rule_version, event_id, fetched_at)
         select account_id, ad_account_id, date, 'bogus', 'USD', 1, 'unified', 1, gen_random_uuid(), now() from observations group by 1, 2, 3",
    ];
    for damage in damages {
        for from in [Source::stream(&nats.wire).await?, Source::Raw(database.pool.clone())] {
            sqlx::raw_sql(damage).execute(&database.pool).await?;
            let name = from.name();
            let report = replay(&database, &nats, folds, from).await?.run(&range, |_| {}).await?;
            assert!(report.left.is_empty() && report.not_folded.is_empty(), "{report:?}");
            if let Some(difference) = wanted.difference(&oracle::read(&database.pool).await?) {
                bail!("from {name} after {damage}:\n{difference}");
            }
        }
    }
    Ok(())
}
