//! The second fold: naive, in memory, from the invariants alone. It sorts a day's answers, and looks everything up.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgPool, Row};

use crate::history::{Ad, Answer};

/// A table as lines of text, so that two of them can be compared and read.
pub type Lines = BTreeSet<String>;

/// What the folded tables must hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Tables {
    pub facts: Lines,
    pub metrics: Lines,
    pub summary: Lines,
    pub observations: Lines,
}

fn cents(n: i64) -> String {
    Decimal::new(n, 2).normalize().to_string()
}

fn sum(values: impl Iterator<Item = Option<i64>>, zero: bool) -> Option<i64> {
    values.flatten().reduce(|a, b| a + b).or(zero.then_some(0))
}

/// The tables that these answers make, in whatever order they came.
pub fn tables(answers: &[Answer]) -> Tables {
    let mut days: BTreeMap<_, Vec<&Answer>> = BTreeMap::new();
    for a in answers {
        days.entry((a.account_id, a.ad_account_id, a.date)).or_default().push(a);
    }
    let mut t =
        Tables { facts: Lines::new(), metrics: Lines::new(), summary: Lines::new(), observations: Lines::new() };
    let mut tenants: BTreeMap<_, Vec<(Vec<Ad>, bool)>> = BTreeMap::new();
    for ((account, ad_account, date), mut day) in days {
        day.sort_by_key(|a| (a.fetched_at, a.event_id));
        let proves = |a: &Answer| {
            a.control == Some((a.ads.iter().map(|x| x.spend_cents).sum(), a.ads.iter().map(|x| x.impressions).sum()))
        };
        let mut counted = Vec::new();
        for ad_id in day.iter().flat_map(|a| a.ads.iter().map(|x| x.ad_id)).collect::<BTreeSet<_>>() {
            let has = |a: &&Answer| a.ads.iter().any(|x| x.ad_id == ad_id);
            let Some(newest) = day.iter().rposition(has) else { continue };
            let Some(ad) = day[newest].ads.iter().find(|x| x.ad_id == ad_id) else { continue };
            let same = |a: &&&Answer| a.ads == day[newest].ads && a.control == day[newest].control;
            let first = day.iter().find(same).map(|a| a.event_id).unwrap_or_default();
            let since = day.get(newest + 1).map(|a| a.fetched_at.timestamp());
            let deleted = day[newest + 1..].iter().any(|a| proves(a));
            let absence = since.map(|_| if deleted { "deleted" } else { "not_returned" });
            t.facts.insert(format!(
                "{account} {ad_account} {date} {ad_id} spend={} imp={} clicks={} purchases={:?} value={:?} {first} {since:?} {absence:?}",
                cents(ad.spend_cents), ad.impressions, ad.clicks, ad.purchases, ad.value_cents.map(cents)
            ));
            if absence != Some("deleted") {
                counted.push(ad.clone());
            }
        }
        let head = day[day.len() - 1];
        t.metrics.insert(format!(
            "{account} {ad_account} {date} ads={} {} {}",
            counted.len(),
            totals(&counted, counted.is_empty()),
            head.event_id
        ));
        for a in &day {
            t.observations.insert(format!("{account} {ad_account} {date} {} rows={}", a.event_id, a.ads.len()));
        }
        tenants.entry((account, date)).or_default().push((counted.clone(), counted.is_empty()));
    }
    for ((account, date), parts) in tenants {
        let zero = parts.iter().any(|(_, empty)| *empty);
        let ads: Vec<Ad> = parts.into_iter().flat_map(|(ads, _)| ads).collect();
        t.summary.insert(format!("{account} {date} {}", totals(&ads, zero)));
    }
    t
}

fn totals(ads: &[Ad], zero: bool) -> String {
    format!(
        "spend={:?} imp={:?} clicks={:?} purchases={:?} value={:?}",
        sum(ads.iter().map(|a| Some(a.spend_cents)), zero).map(cents),
        sum(ads.iter().map(|a| Some(a.impressions)), zero),
        sum(ads.iter().map(|a| Some(a.clicks)), zero),
        sum(ads.iter().map(|a| a.purchases), zero),
        sum(ads.iter().map(|a| a.value_cents), zero).map(cents),
    )
}

/// The tables as they are, in the oracle's words.
pub async fn read(pool: &PgPool) -> Result<Tables> {
    read_from(&mut *pool.acquire().await?).await
}

/// The tables as this connection sees them.
pub async fn read_from(connection: &mut PgConnection) -> Result<Tables> {
    let facts = sqlx::query(
        "select format('%s %s %s %s spend=%s imp=%s clicks=%s purchases=%s value=%s %s %s %s', account_id, ad_account_id, date, ad_id,
             trim_scale(spend), impressions, clicks,
             coalesce('Some(' || trim_scale(purchases) || ')', 'None'), coalesce('Some(\"' || trim_scale(purchase_value) || '\")', 'None'),
             event_id, coalesce('Some(' || extract(epoch from absent_since)::bigint || ')', 'None'),
             coalesce('Some(\"' || absence || '\")', 'None'))
         from fact_meta_daily",
    );
    const TOTALS: &str = "format('spend=%s imp=%s clicks=%s purchases=%s value=%s',
             coalesce('Some(\"' || trim_scale(P_spend) || '\")', 'None'), coalesce('Some(' || P_impressions || ')', 'None'),
             coalesce('Some(' || P_clicks || ')', 'None'), coalesce('Some(' || trim_scale(P_purchases) || ')', 'None'),
             coalesce('Some(\"' || trim_scale(P_purchase_value) || '\")', 'None'))";
    let metrics = format!(
        "select format('%s %s %s ads=%s %s %s', account_id, ad_account_id, date, ads, {}, event_id) from daily_meta_metrics",
        TOTALS.replace("P_", "")
    );
    let summary =
        format!("select format('%s %s %s', account_id, date, {}) from daily_summary", TOTALS.replace("P_", "meta_"));
    let observations = sqlx::query(
        "select format('%s %s %s %s rows=%s', account_id, ad_account_id, date, event_id, row_count) from observations",
    );
    let lines = |rows: Vec<sqlx::postgres::PgRow>| {
        rows.iter().map(|row| row.try_get::<String, _>(0)).collect::<Result<Lines, _>>()
    };
    Ok(Tables {
        facts: lines(facts.fetch_all(&mut *connection).await?)?,
        metrics: lines(sqlx::query(sqlx::AssertSqlSafe(metrics)).fetch_all(&mut *connection).await?)?,
        summary: lines(sqlx::query(sqlx::AssertSqlSafe(summary)).fetch_all(&mut *connection).await?)?,
        observations: lines(observations.fetch_all(&mut *connection).await?)?,
    })
}

impl Tables {
    /// The first lines that only one side has; `None` when both are equal.
    pub fn difference(&self, found: &Tables) -> Option<String> {
        let mut text = String::new();
        for (name, wanted, found) in [
            ("facts", &self.facts, &found.facts),
            ("metrics", &self.metrics, &found.metrics),
            ("summary", &self.summary, &found.summary),
            ("observations", &self.observations, &found.observations),
        ] {
            for line in wanted.difference(found).take(3) {
                text.push_str(&format!("{name} lacks  {line}\n"));
            }
            for line in found.difference(wanted).take(3) {
                text.push_str(&format!("{name} has    {line}\n"));
            }
        }
        (!text.is_empty()).then_some(text)
    }
}
