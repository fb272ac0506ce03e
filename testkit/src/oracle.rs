//! The second fold: naive, in memory, from the invariants alone. It sorts a day's answers, and looks everything up.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::history::{Ad, Answer, Said};

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

/// What counts as a purchase of an ad account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub version: i32,
    /// In order of preference; the types of one alternative are added.
    pub alternatives: Vec<Vec<String>>,
    /// `None`: what Meta puts under `value`.
    pub window: Option<String>,
}

impl Rule {
    /// As the command line has it.
    pub fn new(version: i32, alternatives: &[&str], window: &str) -> Self {
        let types = |alternative: &&str| alternative.split('+').map(str::to_owned).collect();
        let window = (window != "unified").then(|| window.to_owned());
        Rule { version, alternatives: alternatives.iter().map(types).collect(), window }
    }

    /// The one of every ad account for which nobody set another.
    pub fn first() -> Self {
        let on_meta_and_app = "app_custom_event.fb_mobile_purchase+onsite_conversion.purchase";
        Rule::new(1, &["omni_purchase", "purchase", "offsite_conversion.fb_pixel_purchase", on_meta_and_app], "unified")
    }

    /// Writes it down for an integration whose id is that of its ad account; see [`History`](crate::history::History).
    pub async fn set(&self, pool: &PgPool, account_id: Uuid, ad_account_id: Uuid) -> Result<()> {
        let alternatives: Vec<String> = self.alternatives.iter().map(|types| types.join("+")).collect();
        sqlx::query(
            "insert into purchase_rules (account_id, integration_id, version, alternatives, attribution_window)
             values ($1, $2, $3, $4, $5)",
        )
        .bind(account_id)
        .bind(ad_account_id)
        .bind(self.version)
        .bind(alternatives)
        .bind(self.window.as_deref().unwrap_or("unified"))
        .execute(pool)
        .await?;
        Ok(())
    }

    fn is_known(&self, answer: &Answer) -> bool {
        self.window.as_ref().is_none_or(|window| answer.windows.contains(window))
    }

    /// What an ad sold, if that is known.
    fn sold(&self, answer: &Answer, ad: &Ad) -> Sold {
        if !self.is_known(answer) {
            return Sold::default();
        }
        let number = |said: &Said| match &self.window {
            None => said.number,
            Some(window) => said.windows.iter().find(|(name, _)| name == window).map_or(0, |(_, number)| *number),
        };
        let of = |list: &[Said], types: &[String]| {
            let all: Vec<i64> = list.iter().filter(|said| types.contains(&said.action_type)).map(number).collect();
            (!all.is_empty()).then(|| all.iter().sum())
        };
        for types in &self.alternatives {
            let (count, value_cents) = (of(&ad.actions, types), of(&ad.values, types));
            if count.is_some() || value_cents.is_some() {
                let sent = |name: &&String| ad.actions.iter().chain(&ad.values).any(|said| said.action_type == **name);
                let names: Vec<String> = types.iter().filter(sent).cloned().collect();
                return Sold { count, value_cents, action_type: Some(names.join("+")) };
            }
        }
        Sold::default()
    }
}

#[derive(Debug, Clone, Default)]
struct Sold {
    count: Option<i64>,
    value_cents: Option<i64>,
    action_type: Option<String>,
}

/// An ad that counts, with what it sold and whether that is known.
#[derive(Debug, Clone)]
struct Counted {
    ad: Ad,
    sold: Sold,
    known: bool,
}

/// The tables that these answers make, in whatever order they came, where nobody set a rule.
pub fn tables(answers: &[Answer]) -> Tables {
    tables_by(answers, |_| Rule::first())
}

/// The tables that these answers make by the rule of each ad account.
pub fn tables_by(answers: &[Answer], rule_of: impl Fn(Uuid) -> Rule) -> Tables {
    let mut days: BTreeMap<_, Vec<&Answer>> = BTreeMap::new();
    for a in answers {
        days.entry((a.account_id, a.ad_account_id, a.date)).or_default().push(a);
    }
    let mut t =
        Tables { facts: Lines::new(), metrics: Lines::new(), summary: Lines::new(), observations: Lines::new() };
    let mut tenants: BTreeMap<_, Vec<(Vec<Counted>, bool, bool)>> = BTreeMap::new();
    for ((account, ad_account, date), mut day) in days {
        day.sort_by_key(|a| (a.fetched_at, a.event_id));
        let rule = rule_of(ad_account);
        let (version, window) = (rule.version, rule.window.as_deref().unwrap_or("unified"));
        let proves = |a: &Answer| {
            a.control == Some((a.ads.iter().map(|x| x.spend_cents).sum(), a.ads.iter().map(|x| x.impressions).sum()))
        };
        let mut counted = Vec::new();
        for ad_id in day.iter().flat_map(|a| a.ads.iter().map(|x| x.ad_id)).collect::<BTreeSet<_>>() {
            let has = |a: &&Answer| a.ads.iter().any(|x| x.ad_id == ad_id);
            let Some(newest) = day.iter().rposition(has) else { continue };
            let Some(ad) = day[newest].ads.iter().find(|x| x.ad_id == ad_id) else { continue };
            let same = |a: &&&Answer| {
                a.ads == day[newest].ads && a.control == day[newest].control && a.windows == day[newest].windows
            };
            let first = day.iter().find(same).map(|a| a.event_id).unwrap_or_default();
            let since = day.get(newest + 1).map(|a| a.fetched_at.timestamp());
            let deleted = day[newest + 1..].iter().any(|a| proves(a));
            let absence = since.map(|_| if deleted { "deleted" } else { "not_returned" });
            let (sold, known) = (rule.sold(day[newest], ad), rule.is_known(day[newest]));
            t.facts.insert(format!(
                "{account} {ad_account} {date} {ad_id} spend={} imp={} clicks={} purchases={:?} value={:?} type={:?} rule={version} {window} {known} {first} {since:?} {absence:?}",
                cents(ad.spend_cents), ad.impressions, ad.clicks, sold.count, sold.value_cents.map(cents), sold.action_type
            ));
            if absence != Some("deleted") {
                counted.push(Counted { ad: ad.clone(), sold, known });
            }
        }
        let head = day[day.len() - 1];
        let known = if counted.is_empty() { rule.is_known(head) } else { counted.iter().all(|c| c.known) };
        t.metrics.insert(format!(
            "{account} {ad_account} {date} ads={} {} known={known} {}",
            counted.len(),
            totals(&counted, counted.is_empty(), known),
            head.event_id
        ));
        for a in &day {
            let sold: Vec<Sold> = a.ads.iter().map(|ad| rule.sold(a, ad)).collect();
            let zero = a.ads.is_empty() && rule.is_known(a);
            t.observations.insert(format!(
                "{account} {ad_account} {date} {} rows={} purchases={:?} value={:?} rule={version} windows={}",
                a.event_id,
                a.ads.len(),
                sum(sold.iter().map(|s| s.count), zero),
                sum(sold.iter().map(|s| s.value_cents), zero).map(cents),
                a.windows.join(",")
            ));
        }
        let zero = counted.is_empty();
        tenants.entry((account, date)).or_default().push((counted, zero, known));
    }
    for ((account, date), parts) in tenants {
        let zero = parts.iter().any(|(_, empty, _)| *empty);
        let known = parts.iter().all(|(_, _, known)| *known);
        let all: Vec<Counted> = parts.into_iter().flat_map(|(counted, ..)| counted).collect();
        t.summary.insert(format!("{account} {date} {}", totals(&all, zero, known)));
    }
    t
}

fn totals(all: &[Counted], zero: bool, known: bool) -> String {
    let sold = |of: fn(&Sold) -> Option<i64>| if known { sum(all.iter().map(|c| of(&c.sold)), zero) } else { None };
    format!(
        "spend={:?} imp={:?} clicks={:?} purchases={:?} value={:?}",
        sum(all.iter().map(|c| Some(c.ad.spend_cents)), zero).map(cents),
        sum(all.iter().map(|c| Some(c.ad.impressions)), zero),
        sum(all.iter().map(|c| Some(c.ad.clicks)), zero),
        sold(|s| s.count),
        sold(|s| s.value_cents).map(cents),
    )
}

/// The tables as they are, in the oracle's words.
pub async fn read(pool: &PgPool) -> Result<Tables> {
    read_from(&mut *pool.acquire().await?).await
}

/// The tables as this connection sees them.
pub async fn read_from(connection: &mut PgConnection) -> Result<Tables> {
    let facts = sqlx::query(
        "select format('%s %s %s %s spend=%s imp=%s clicks=%s purchases=%s value=%s type=%s rule=%s %s %s %s %s %s', account_id, ad_account_id, date, ad_id,
             trim_scale(spend), impressions, clicks,
             coalesce('Some(' || trim_scale(purchases) || ')', 'None'), coalesce('Some(\"' || trim_scale(purchase_value) || '\")', 'None'),
             coalesce('Some(\"' || purchase_action_type || '\")', 'None'), rule_version, attribution_window,
             case when purchases_known then 'true' else 'false' end, event_id, coalesce('Some(' || extract(epoch from absent_since)::bigint || ')', 'None'),
             coalesce('Some(\"' || absence || '\")', 'None'))
         from fact_meta_daily",
    );
    const TOTALS: &str = "format('spend=%s imp=%s clicks=%s purchases=%s value=%s',
             coalesce('Some(\"' || trim_scale(P_spend) || '\")', 'None'), coalesce('Some(' || P_impressions || ')', 'None'),
             coalesce('Some(' || P_clicks || ')', 'None'), coalesce('Some(' || trim_scale(P_purchases) || ')', 'None'),
             coalesce('Some(\"' || trim_scale(P_purchase_value) || '\")', 'None'))";
    let metrics = format!(
        "select format('%s %s %s ads=%s %s known=%s %s', account_id, ad_account_id, date, ads, {},
             case when purchases_known then 'true' else 'false' end, event_id) from daily_meta_metrics",
        TOTALS.replace("P_", "")
    );
    let summary =
        format!("select format('%s %s %s', account_id, date, {}) from daily_summary", TOTALS.replace("P_", "meta_"));
    let observations = sqlx::query(
        "select format('%s %s %s %s rows=%s purchases=%s value=%s rule=%s windows=%s', account_id, ad_account_id, date, event_id, row_count,
             coalesce('Some(' || trim_scale(purchases) || ')', 'None'), coalesce('Some(\"' || trim_scale(purchase_value) || '\")', 'None'),
             rule_version, attribution_windows)
         from observations",
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
