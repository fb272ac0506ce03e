//! Days laid down as rows in a real PostgreSQL, and what is said of each.

use anyhow::Result;
use chrono::{DateTime, Days, NaiveDate, Utc};
use rust_decimal::Decimal;
use sqlx::PgPool;
use testkit::Tenant;

use super::day::Kind::{self, *};
use super::{Day, compare, read};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_775_000_000, 0).unwrap_or_default()
}

/// What the tables have of a day.
#[derive(Default)]
struct Laid {
    /// `(spend of the newest answer, control total)`.
    answer: Option<(Option<&'static str>, Option<&'static str>)>,
    /// `None` is every status.
    filter: Option<&'static str>,
    /// The day's age at the newest answer.
    age: i32,
    kept: &'static [&'static str],
    gone: &'static [&'static str],
    /// State and last error of `sync_days`.
    sync: Option<(&'static str, Option<&'static str>)>,
    /// Minutes since an event was published that is not folded.
    unfolded: Option<i64>,
    /// Status, wait reason and error of a run whose window is the day.
    run: Option<(&'static str, Option<&'static str>, Option<&'static str>)>,
    purchases_unknown: bool,
    not_by_the_newest_rule: bool,
}

fn money(text: &str) -> Decimal {
    text.parse().unwrap_or_default()
}

async fn lay(pool: &PgPool, tenant: &Tenant, date: NaiveDate, laid: &Laid) -> Result<()> {
    let Tenant { account_id, ad_account_id, integration_id } = *tenant;
    let event_id = uuid::Uuid::now_v7();
    if let Some((spend, control)) = laid.answer {
        let (spend, control) = (spend.map(money), control.map(money));
        let kept: Decimal = laid.kept.iter().map(|n| money(n)).sum();
        sqlx::query(
            "insert into daily_meta_metrics (account_id, ad_account_id, date, currency, ads, spend, control_spend, coverage,
                 provisional, event_id, fetched_at, content_sha256, projection_version, purchases_known)
             values ($1, $2, $3, 'USD', 1, $4, $5, round($4 / nullif($5, 0), 6), $6 <= 28, $7, now(), '', 1, $8)",
        )
        .bind(account_id)
        .bind(ad_account_id)
        .bind(date)
        .bind(spend.map(|spend| spend + kept))
        .bind(control)
        .bind(laid.age)
        .bind(event_id)
        .bind(!laid.purchases_unknown)
        .execute(pool)
        .await?;
        sqlx::query(
            "insert into observations (account_id, ad_account_id, date, event_id, fetched_at, age_days, row_count, content_sha256,
                 spend, control_spend, status_filter, projection_version, rule_version)
             values ($1, $2, $3, $4, now(), $5, 1, '', $6, $7, $8, 1, $9)",
        )
        .bind(account_id)
        .bind(ad_account_id)
        .bind(date)
        .bind(event_id)
        .bind(laid.age)
        .bind(spend)
        .bind(control)
        .bind(laid.filter)
        .bind(if laid.not_by_the_newest_rule { 1 } else { 2 })
        .execute(pool)
        .await?;
    }
    for (absence, spends) in [("not_returned", laid.kept), ("deleted", laid.gone)] {
        for (number, spend) in spends.iter().enumerate() {
            sqlx::query(
                "insert into fact_meta_daily (account_id, ad_account_id, date, ad_id, currency, spend, attribution_window,
                     rule_version, event_id, fetched_at, absent_since, absence)
                 values ($1, $2, $3, $4, 'USD', $5, 'unified', 2, $6, now(), now(), $7)",
            )
            .bind(account_id)
            .bind(ad_account_id)
            .bind(date)
            .bind(format!("{absence}{number}"))
            .bind(money(spend))
            .bind(event_id)
            .bind(absence)
            .execute(pool)
            .await?;
        }
    }
    if laid.sync.is_some() || laid.unfolded.is_some() {
        let (state, error) = laid.sync.unwrap_or(("published", None));
        sqlx::query(
            "insert into sync_days (account_id, integration_id, date, state, last_error, last_event_id, last_fetched_at)
             values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(account_id)
        .bind(integration_id)
        .bind(date)
        .bind(state)
        .bind(error)
        .bind(laid.unfolded.map(|_| uuid::Uuid::now_v7()))
        .bind(laid.unfolded.map(|minutes| now() - chrono::Duration::minutes(minutes)))
        .execute(pool)
        .await?;
    }
    if let Some((status, wait_reason, error)) = laid.run {
        sqlx::query(
            "insert into sync_runs (account_id, id, integration_id, job_type, trigger, status, wait_reason, error_message,
                 window_since, window_until)
             values ($1, gen_random_uuid(), $2, $7, 'manual', $3, $4, $5, $6, $6)",
        )
        .bind(account_id)
        .bind(integration_id)
        .bind(status)
        .bind(wait_reason)
        .bind(error)
        .bind(date)
        // One unfinished run a job: these are of two.
        .bind(if status == "queued" { "meta_settle" } else { "meta_backfill" })
        .execute(pool)
        .await?;
    }
    Ok(())
}

/// A day of an answer with the default filter, fetched when Meta restates it no more.
fn answer(spend: &'static str, control: &'static str) -> Laid {
    Laid { answer: Some((Some(spend), Some(control))), filter: Some("ACTIVE,PAUSED"), age: 29, ..Laid::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cause_is_told_with_its_figures() -> Result<()> {
    type Wanted<'a> = &'a [(Kind, Option<&'a str>, &'a str)];
    let cases: Vec<(&str, Laid, Option<&str>, bool, Wanted<'_>)> = vec![
        // (what it is, the day, gap, within 0.5 percent, causes with amount and words)
        ("equal", answer("100", "100"), Some("0"), true, &[]),
        ("no delivery", answer("0", "0"), Some("0"), true, &[]),
        ("in the tolerance", answer("99.5", "100"), Some("0.5"), true, &[(StatusFilter, Some("0.5"), "ACTIVE,PAUSED")]),
        (
            "beyond it by a cent",
            answer("99.49", "100"),
            Some("0.51"),
            false,
            &[(StatusFilter, Some("0.51"), "META_EFFECTIVE_STATUS=all")],
        ),
        (
            "kept rows close a part of what the filter hides",
            Laid { kept: &["20", "5.5"], ..answer("60", "100") },
            Some("14.5"),
            false,
            &[(NotReturned, Some("25.5"), "2 ads count 25.5 USD"), (StatusFilter, Some("40"), "40 USD of the control")],
        ),
        (
            "kept rows alone count too much",
            Laid { kept: &["3"], ..answer("100", "100") },
            Some("-3"),
            false,
            &[(NotReturned, Some("3"), "1 ad count")],
        ),
        (
            "moved between the two questions",
            Laid { filter: None, age: 3, ..answer("90", "100") },
            Some("10"),
            false,
            &[(LateData, Some("10"), "moved between"), (LateData, None, "fetched 3 days after")],
        ),
        (
            "more than the control total, with a filter",
            answer("101", "100"),
            Some("-1"),
            false,
            &[(LateData, Some("1"), "differ by 1 USD")],
        ),
        (
            "nothing to compare with",
            Laid { answer: Some((Some("5"), None)), age: 29, ..Laid::default() },
            None,
            false,
            &[(NoControlTotal, None, "nothing can be proven")],
        ),
        (
            "no spend",
            Laid { answer: Some((None, Some("5"))), age: 29, ..Laid::default() },
            None,
            false,
            &[(NoSpend, None, "Meta sent none")],
        ),
        (
            "spend without a control total's",
            answer("1", "0"),
            Some("-1"),
            false,
            &[(LateData, Some("1"), "moved between")],
        ),
        (
            "proven gone",
            Laid { gone: &["7"], ..answer("100", "100") },
            Some("0"),
            true,
            &[(Deleted, Some("7"), "had spent 7 USD")],
        ),
        (
            "failed, with an older answer",
            Laid { sync: Some(("failed", Some("Meta said no"))), ..answer("100", "100") },
            Some("0"),
            false,
            &[(Failed, None, "could not be fetched: Meta said no")],
        ),
        (
            "failed",
            Laid { sync: Some(("failed", None)), ..Laid::default() },
            None,
            false,
            &[(Failed, None, "no reason was written down")],
        ),
        (
            "due, and its run waits",
            Laid { sync: Some(("due", None)), run: Some(("waiting", Some("log_full"), None)), ..Laid::default() },
            None,
            false,
            &[(Waiting, None, "waits for log_full")],
        ),
        (
            "due again, with an older answer",
            Laid { sync: Some(("due", None)), ..answer("100", "100") },
            Some("0"),
            true,
            &[(Waiting, None, "due and not fetched yet.")],
        ),
        (
            "a run that did not come to it yet",
            Laid { run: Some(("queued", None, None)), ..Laid::default() },
            None,
            false,
            &[(Waiting, None, "not done")],
        ),
        (
            "a run that failed before it",
            Laid { run: Some(("failed", None, Some("token expired"))), ..Laid::default() },
            None,
            false,
            &[(Failed, None, "token expired")],
        ),
        (
            "on its way",
            Laid { unfolded: Some(1), ..answer("100", "100") },
            Some("0"),
            true,
            &[(NotFolded, None, "on its way")],
        ),
        (
            "stuck",
            Laid { unfolded: Some(11), ..answer("100", "100") },
            Some("0"),
            false,
            &[(NotFolded, None, "dead-letters list")],
        ),
        ("never asked", Laid::default(), None, false, &[(NeverAsked, None, "`adledger backfill`")]),
        (
            "purchases of a window that was not asked for",
            Laid { purchases_unknown: true, ..answer("100", "100") },
            Some("0"),
            true,
            &[(WindowNotAsked, None, "28d_click, the window of version 2")],
        ),
        (
            "by an older rule",
            Laid { not_by_the_newest_rule: true, purchases_unknown: true, ..answer("100", "100") },
            Some("0"),
            true,
            &[(RuleBehind, None, "adledger purchase-rule refold")],
        ),
        (
            "all at once",
            Laid {
                kept: &["10"],
                gone: &["1"],
                age: 0,
                sync: Some(("failed", Some("500"))),
                purchases_unknown: true,
                ..answer("50", "100")
            },
            Some("40"),
            false,
            &[
                (NotReturned, Some("10"), "1 ad"),
                (StatusFilter, Some("50"), "50 USD"),
                (LateData, None, "fetched 0 days after"),
                (Failed, None, "500"),
                (WindowNotAsked, None, "unknown"),
                (Deleted, Some("1"), "gone"),
            ],
        ),
    ];
    let database = testkit::database().await?;
    let pool = &database.pool;
    let tenant = Tenant::insert(pool).await?;
    sqlx::query(
        "insert into purchase_rules (account_id, integration_id, version, alternatives, attribution_window)
         values ($1, $2, 2, '{purchase}', '28d_click')",
    )
    .bind(tenant.account_id)
    .bind(tenant.integration_id)
    .execute(pool)
    .await?;
    let first = now().date_naive() - Days::new(200);
    let last = first + Days::new(cases.len() as u64 - 1);
    for (date, (_, laid, ..)) in first.iter_days().zip(&cases) {
        lay(pool, &tenant, date, laid).await?;
    }
    let found = read(pool, Some(tenant.account_id), None, first, last, now()).await?;
    assert_eq!(found.len(), cases.len());
    for (day, (what, _, gap, within, wanted)) in found.iter().zip(&cases) {
        assert_eq!(day.gap(), gap.map(money), "{what}");
        assert_eq!(day.is_within(money("0.5")), *within, "{what}");
        let causes = day.causes();
        let told: Vec<_> = causes.iter().map(|c| (c.cause, c.amount)).collect();
        let expected: Vec<_> = wanted.iter().map(|(kind, amount, _)| (*kind, amount.map(money))).collect();
        assert_eq!(told, expected, "{what}: {causes:?}");
        for (cause, (_, _, words)) in causes.iter().zip(*wanted) {
            assert!(cause.sentence.contains(words), "{what}: {:?}, not {words}", cause.sentence);
        }
    }
    // Sums are of the days that can be compared.
    let report = compare(found, money("0.5"));
    let compared: Vec<_> = cases.iter().filter(|(_, _, gap, ..)| gap.is_some()).collect();
    let gap: Decimal = compared.iter().filter_map(|(_, _, gap, ..)| gap.map(money)).sum();
    let [total] = report.summary.totals.as_slice() else { panic!("one currency has one total") };
    assert_eq!((total.days, total.days_compared), (cases.len() as u64, compared.len() as u64));
    assert_eq!((total.gap, total.control_spend - total.counted_spend), (gap, gap));
    assert_eq!(total.findings, cases.iter().filter(|case| !case.3).count() as u64);
    assert_eq!(report.summary.ad_accounts[0].gap, total.gap);

    // Another tenant's days are none of it; and the day that is today is not over.
    let other = Tenant::insert(pool).await?;
    lay(pool, &other, first, &answer("1", "2")).await?;
    let theirs: Vec<Day> = read(pool, None, Some(other.ad_account_id), first, first, now()).await?;
    assert_eq!((theirs.len(), theirs[0].gap()), (1, Some(money("1"))));
    let today = now().date_naive();
    let days = read(pool, None, Some(other.ad_account_id), today, today, now()).await?;
    let kinds: Vec<Kind> = days[0].causes().iter().map(|cause| cause.cause).collect();
    assert_eq!((kinds, days[0].is_within(money("100"))), (vec![NotOver], false));
    Ok(())
}
