use anyhow::{Result, ensure};
use chrono::{DateTime, Duration, Utc};
use logs::{Range, Source};
use projector::as_of::{AsOf, Past, Rule};
use testkit::history::{Answer, DAYS, first_day};
use testkit::oracle;
use uuid::Uuid;

use crate::stage::{MAX_EVENT_BYTES, Stage};

async fn past(stage: &Stage, from: Source, at: DateTime<Utc>, rule: Rule, account_id: Option<Uuid>) -> Result<Past> {
    let until = first_day() + Duration::days(DAYS as i64 - 1);
    let range = Range { account_id, ad_account_id: None, since: first_day(), until };
    let session = (*stage.database.pool.connect_options()).clone();
    let as_of = AsOf { at: Some(at), rule, range, logs: from.into(), session, max_event_bytes: MAX_EVENT_BYTES };
    Ok(as_of.fold(|_, _| {}).await?)
}

/// At every instant at which something was fetched, and just before it: what the events until then make, in every table,
/// absent rows included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_a_fold_of_what_was_fetched_by_then() -> Result<()> {
    for seed in 20..23 {
        let stage = Stage::folded(seed).await?;
        let mut instants: Vec<DateTime<Utc>> = stage.history.answers.iter().map(|a| a.fetched_at).collect();
        instants.sort_unstable();
        instants.dedup();
        let instants = instants.iter().step_by(7).flat_map(|at| [*at - Duration::microseconds(1), *at]);
        for at in instants.chain([stage.now().await?]) {
            let known: Vec<Answer> =
                stage.history.answers.iter().filter(|answer| answer.fetched_at <= at).cloned().collect();
            let wanted = oracle::tables(&known);
            for from in [stage.stream().await?, stage.raw()] {
                let mut past = past(&stage, from, at, Rule::Today, None).await?;
                let difference = wanted.difference(&oracle::read_from(past.session()).await?);
                ensure!(difference.is_none(), "seed {seed} at {at}: {}", difference.unwrap_or_default());
                ensure!(past.summary().await?.len() == wanted.summary.len());
            }
        }
        // And nobody else has seen any of it.
        stage.check(&stage.wanted()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_read_by_the_rule_of_today_or_of_then() -> Result<()> {
    let stage = Stage::folded(24).await?;
    let before = stage.now().await?;
    let rule = stage.set_rule(2).await?;
    let ruled = stage.history.tenants[0].1[0];
    let first = |_| oracle::Rule::first();
    let newest = |id| if id == ruled { rule.clone() } else { oracle::Rule::first() };
    for (at, by, wanted) in [
        (before, Rule::Then, oracle::tables_by(&stage.history.answers, first)),
        (before, Rule::Today, oracle::tables_by(&stage.history.answers, newest)),
        (stage.now().await?, Rule::Then, oracle::tables_by(&stage.history.answers, newest)),
    ] {
        let mut past = past(&stage, stage.raw(), at, by, None).await?;
        let difference = wanted.difference(&oracle::read_from(past.session()).await?);
        ensure!(difference.is_none(), "{by:?}: {}", difference.unwrap_or_default());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_of_one_tenant_is_its_own() -> Result<()> {
    let stage = Stage::folded(25).await?;
    let one = stage.history.tenants[1].0;
    let mut past = past(&stage, stage.raw(), stage.now().await?, Rule::Today, Some(one)).await?;
    let days = past.summary().await?;
    ensure!(!days.is_empty() && days.iter().all(|day| day.account_id == one), "{days:?}");
    Ok(())
}
