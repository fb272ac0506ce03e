//! Whether a history ended as it had to: nothing lost, nothing doubled, no wrong row, nothing stuck.
//!
//! Three witnesses: the fake world (what each ad did), the second fold ([`crate::oracle`]) over the events that are really
//! in the stream, and the stream against the raw log, byte for byte.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::reading::{Event, Streams};
use super::{changes, work};
use crate::graph::World;
use crate::oracle;

/// An ad account of the history, and the days that it must have in the end.
#[derive(Debug, Clone)]
pub struct AdAccount {
    pub external_id: String,
    pub ad_account_id: Uuid,
    pub integration_id: Uuid,
    pub days: BTreeSet<NaiveDate>,
    pub yesterday: NaiveDate,
    /// How often its backfill was asked for: a command that was killed is repeated.
    pub backfills_asked: i64,
}

/// What has to be true.
#[derive(Debug)]
pub struct Judge {
    pub account_id: Uuid,
    pub ad_accounts: Vec<AdAccount>,
    /// The world, and the one after Meta had changed its mind, within these two instants.
    pub worlds: (World, World),
    pub restated: (DateTime<Utc>, DateTime<Utc>),
    pub streams: Streams,
}

/// The statuses that are asked for by default.
const STATUSES: [&str; 2] = ["ACTIVE", "PAUSED"];

/// A day in figures: of the rows (ads, spend, impressions, clicks, link clicks, purchases, value), and the spend of the control
/// total.
type Figures = ((i64, Decimal, i64, i64, i64, Decimal, Decimal), Decimal);

impl Judge {
    /// Everything that is not as it must be, in sentences. Reads through one connection, so that a test can damage the tables
    /// in a transaction that it takes back.
    pub async fn findings(&self, connection: &mut PgConnection) -> Result<Vec<String>> {
        let mut findings = self.sums(connection).await?;
        findings.extend(self.summary(connection).await?);
        findings.extend(changes::findings(&self.streams.changes, connection).await?);
        findings.extend(self.facts(connection).await?);
        let answers: Vec<_> = self.unique().map(|event| event.answer.clone()).collect();
        let folded = oracle::tables(&answers).difference(&oracle::read_from(connection).await?);
        findings.extend(folded.map(|difference| format!("wrong: the second fold differs:\n{difference}")));
        findings.extend(self.raw(connection).await?);
        findings.extend(work::findings(self, connection).await?);
        findings.extend(self.streams.dead_letters.iter().map(|letter| format!("wrong: parked: {letter}")));
        Ok(findings)
    }

    /// The events, each once.
    fn unique(&self) -> impl Iterator<Item = &Event> {
        let mut seen = BTreeSet::new();
        self.streams.insights.iter().filter(move |event| seen.insert(event.event_id))
    }

    /// How many messages the stream has of events that it had already.
    pub fn doubled_messages(&self) -> usize {
        self.streams.insights.len() - self.unique().count()
    }

    /// Each expected day of each ad account against the world, to the cent; and no other day.
    async fn sums(&self, connection: &mut PgConnection) -> Result<Vec<String>> {
        let mut findings = Vec::new();
        for wanted in &self.ad_accounts {
            let name = &wanted.external_id;
            let rows = sqlx::query(
                "select date, ads::bigint, spend, impressions, clicks, inline_link_clicks, coalesce(purchases, 0),
                        coalesce(purchase_value, 0), control_spend, fetched_at
                 from daily_meta_metrics where account_id = $1 and ad_account_id = $2",
            );
            let rows = rows.bind(self.account_id).bind(wanted.ad_account_id).fetch_all(&mut *connection).await?;
            let mut found = BTreeMap::new();
            for row in rows {
                let optional = |at: usize| row.try_get::<Option<i64>, _>(at).map(Option::unwrap_or_default);
                let amount = |at: usize| row.try_get::<Option<Decimal>, _>(at).map(Option::unwrap_or_default);
                let counts = (optional(3)?, optional(4)?, optional(5)?);
                let rows = (row.try_get(1)?, amount(2)?, counts.0, counts.1, counts.2, amount(6)?, amount(7)?);
                let figures: Figures = (rows, amount(8)?);
                found.insert(row.try_get::<NaiveDate, _>(0)?, (figures, row.try_get::<DateTime<Utc>, _>(9)?));
            }
            for date in &wanted.days {
                let Some((figures, fetched_at)) = found.remove(date) else {
                    findings.push(format!("lost: {name} has no row of {date}"));
                    continue;
                };
                let (old, new) = (of_world(&self.worlds.0, name, *date), of_world(&self.worlds.1, name, *date));
                // A version is taken before the first question. Where the change came after that, each of the two (the rows, and
                // the control total) may be of before or after it; otherwise both are of after.
                let may_be_old = fetched_at < self.restated.1;
                let is_either = |is_new: bool, is_old: bool| is_new || (may_be_old && is_old);
                let (rows, control) = figures;
                let is_right = is_either(rows == new.0, rows == old.0) && is_either(control == new.1, control == old.1);
                if !is_right {
                    findings.push(format!(
                        "wrong: {name} on {date}: {figures:?}, where the world has {new:?} ({old:?} before)"
                    ));
                }
            }
            findings
                .extend(found.keys().map(|date| format!("wrong: {name} has a row of {date}, which nobody asked for")));
        }
        Ok(findings)
    }

    /// The summary of each day is the sum of its ad accounts.
    async fn summary(&self, connection: &mut PgConnection) -> Result<Vec<String>> {
        let differing: Vec<NaiveDate> = sqlx::query_scalar(
            "select date from daily_summary s full join (
                 select account_id, date, sum(spend) as spend, sum(impressions) as impressions, sum(clicks) as clicks,
                        sum(purchases) as purchases, sum(purchase_value) as value
                 from daily_meta_metrics group by 1, 2
             ) m using (account_id, date)
             where (meta_spend, meta_impressions, meta_clicks, meta_purchases, meta_purchase_value)
                 is distinct from (m.spend, m.impressions, m.clicks, m.purchases, m.value)",
        )
        .fetch_all(connection)
        .await?;
        Ok(differing
            .iter()
            .map(|date| format!("wrong: the summary of {date} is not the sum of its ad accounts"))
            .collect())
    }

    /// A row for each ad that delivered on a day, and no other.
    async fn facts(&self, connection: &mut PgConnection) -> Result<Vec<String>> {
        let mut findings = Vec::new();
        let rows: Vec<(Uuid, NaiveDate, i64)> =
            sqlx::query_as("select ad_account_id, date, count(*) from fact_meta_daily group by 1, 2")
                .fetch_all(connection)
                .await?;
        let mut found: BTreeMap<(Uuid, NaiveDate), i64> =
            rows.into_iter().map(|(id, date, n)| ((id, date), n)).collect();
        for wanted in &self.ad_accounts {
            for date in &wanted.days {
                let ads = of_world(&self.worlds.1, &wanted.external_id, *date).0.0;
                let rows = found.remove(&(wanted.ad_account_id, *date)).unwrap_or_default();
                let class = if rows > ads { "doubled" } else { "lost" };
                if rows != ads {
                    findings.push(format!("{class}: {} on {date}: {rows} fact rows of {ads} ads", wanted.external_id));
                }
            }
        }
        findings.extend(
            found
                .iter()
                .map(|((id, date), n)| format!("doubled: {n} fact rows of {id} on {date}, which nobody asked for")),
        );
        Ok(findings)
    }

    /// The raw log has each event of the stream once with the same bytes, and no other; and so have the observations.
    async fn raw(&self, connection: &mut PgConnection) -> Result<Vec<String>> {
        let mut findings = Vec::new();
        let wanted: BTreeMap<Uuid, (Uuid, NaiveDate, &[u8])> = self
            .unique()
            .map(|e| (e.event_id, (e.day.ad_account_id, e.day.date, e.payload_sha256.as_slice())))
            .collect();
        let rows = sqlx::query(
            "select event_id, ad_account_id, date, payload_sha256, sha256(payload)
             from meta_insights_raw left join meta_payloads using (account_id, payload_sha256)",
        );
        let mut raw = BTreeSet::new();
        for row in rows.fetch_all(&mut *connection).await? {
            let event_id: Uuid = row.try_get(0)?;
            let (ad_account_id, date): (Uuid, NaiveDate) = (row.try_get(1)?, row.try_get(2)?);
            let (said, real): (Vec<u8>, Option<Vec<u8>>) = (row.try_get(3)?, row.try_get(4)?);
            if !raw.insert(event_id) {
                findings.push(format!("doubled: event {event_id} is in the raw log more than once"));
            }
            match wanted.get(&event_id) {
                None => {
                    findings.push(format!("lost: event {event_id} of {date} is in the raw log and not in the stream"))
                }
                Some(event) if *event != (ad_account_id, date, said.as_slice()) || real.as_ref() != Some(&said) => {
                    findings.push(format!("wrong: event {event_id} of {date} has other bytes in the raw log"));
                }
                Some(_) => {}
            }
        }
        let missing = wanted.keys().filter(|id| !raw.contains(*id));
        findings.extend(missing.map(|id| format!("lost: event {id} is in the stream and not in the raw log")));

        let observed: Vec<Uuid> = sqlx::query_scalar("select event_id from observations").fetch_all(connection).await?;
        let once: BTreeSet<Uuid> = observed.iter().copied().collect();
        if once.len() != observed.len() {
            findings.push("doubled: an event was observed more than once".to_owned());
        }
        findings
            .extend(raw.difference(&once).map(|id| format!("lost: event {id} is in the raw log and was not observed")));
        findings.extend(once.difference(&raw).map(|id| format!("doubled: an observation of {id}, which is no event")));
        Ok(findings)
    }
}

fn of_world(world: &World, external_id: &str, date: NaiveDate) -> Figures {
    let ours = world.totals(external_id, date, Some(&STATUSES));
    let all = world.totals(external_id, date, None);
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let counts = (count(ours.impressions), count(ours.clicks), count(ours.link_clicks));
    let sales = (ours.purchases.into(), ours.purchase_value);
    ((count(ours.ads as u64), ours.spend, counts.0, counts.1, counts.2, sales.0, sales.1), all.spend)
}
