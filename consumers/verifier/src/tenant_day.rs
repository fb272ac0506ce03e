//! A tenant's day: each of its ad accounts from the log against the tables, and their sum against `daily_summary`, all at
//! one moment of the tables.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::NaiveDate;
use events::subject::AccountDay;
use logs::{Logged, Range, Unreadable};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::compare::{Compared, Comparison};
use crate::day::{Day, Metrics, number, time};
use crate::rule::{self, AdAccount};
use crate::snapshot::{Snapshot, Unusable, sum};
use crate::tables::{FACTS, METRICS, Moment, OBSERVATIONS, Rows, SUMMARY, Values};
use crate::{Difference, Refused, Verifier, VerifyError};

/// What is verified at once.
#[derive(Debug, Clone)]
pub struct TenantDay {
    pub account_id: Uuid,
    pub date: NaiveDate,
    pub ad_accounts: BTreeSet<Uuid>,
    /// Whether all ad accounts take part, so that `daily_summary` can be compared.
    pub whole: bool,
}

/// What was found of it.
#[derive(Debug, Default)]
pub struct Verified {
    pub account_days: u64,
    pub events: u64,
    /// Rows of `fact_meta_daily` by the log, and their spend by currency.
    pub rows: u64,
    pub spend: BTreeMap<String, Decimal>,
    pub differences: Vec<Difference>,
    pub refused: Vec<Refused>,
    /// Events that the log has and the tables have not.
    pub pending: HashSet<Uuid>,
    /// Events that the tables have and no log.
    pub lost: HashSet<Uuid>,
    /// An account-day could not be compared, so that nothing is known of the tenant's either.
    pub unproven: bool,
}

/// The events of a day, as a log has them.
struct Reading<'a> {
    observed: &'a Rows,
    ad_account: Option<&'a AdAccount>,
    limit_bytes: u64,
    day: Day,
    read: HashSet<Uuid>,
    pending: HashMap<Uuid, String>,
    /// Why events count for nothing.
    refused: HashMap<Uuid, Unusable>,
    illegible: Vec<String>,
}

impl Reading<'_> {
    /// Takes an event of a log; whether it is of use.
    fn take(&mut self, logged: Result<Logged, Unreadable>) -> bool {
        let logged = match logged {
            Ok(logged) => logged,
            Err(Unreadable { event_id: Some(event_id), reason }) => {
                if !self.read.contains(&event_id) && !self.pending.contains_key(&event_id) {
                    self.refused.insert(event_id, Unusable::Illegible(reason.to_string()));
                }
                return false;
            }
            Err(Unreadable { event_id: None, reason }) => {
                self.illegible.push(reason.to_string());
                return false;
            }
        };
        let event_id = logged.circumstances.event_id;
        if self.read.contains(&event_id) {
            return true;
        }
        let is_observed = self.observed.contains_key(&event_id.to_string());
        match Snapshot::read(&logged, self.ad_account, is_observed, self.limit_bytes) {
            Ok((snapshot, ads)) if is_observed => {
                self.day.push(snapshot, ads);
                self.read.insert(event_id);
            }
            Ok((snapshot, _)) => {
                self.pending.insert(event_id, time(snapshot.version.fetched_at));
            }
            Err(_) if self.pending.contains_key(&event_id) => {}
            Err(reason) => {
                self.refused.insert(event_id, reason);
                return false;
            }
        }
        self.refused.remove(&event_id);
        true
    }

    /// Observed events that were not read.
    fn unread(&self) -> HashSet<Uuid> {
        let observed = self.observed.keys().filter_map(|event_id| event_id.parse().ok());
        observed.filter(|event_id| !self.read.contains(event_id)).collect()
    }
}

impl Verifier {
    /// Verifies a tenant's day. `known` are events that were missing in the tables a moment ago: those that are missing
    /// still are findings, while others are on their way.
    pub(crate) async fn tenant_day(&self, unit: &TenantDay, known: &HashSet<Uuid>) -> Result<Verified, VerifyError> {
        let mut moment = Moment::begin(&self.pool, self.tables).await?;
        let ad_accounts = rule::ad_accounts(moment.connection(), unit.account_id).await?;
        let mut ids = unit.ad_accounts.clone();
        if unit.whole {
            // Of what came since the days were listed, too, the summary of this moment is the sum.
            let TenantDay { account_id, date, .. } = *unit;
            let today = Range { account_id: Some(account_id), ad_account_id: None, since: date, until: date };
            ids.extend(moment.days(&today).await?.into_iter().map(|day| day.ad_account_id));
        }
        let mut verified = Verified::default();
        let mut all = Vec::new();
        for ad_account_id in ids {
            let day = AccountDay { account_id: unit.account_id, ad_account_id, date: unit.date };
            let metrics = self.account_day(&mut moment, day, ad_accounts.get(&ad_account_id), known, &mut verified);
            all.extend(metrics.await?);
        }
        if unit.whole && !verified.unproven {
            self.summary(&mut moment, unit, &all, &mut verified).await?;
        }
        Ok(verified)
    }

    async fn account_day(
        &self,
        moment: &mut Moment,
        day: AccountDay,
        ad_account: Option<&AdAccount>,
        known: &HashSet<Uuid>,
        verified: &mut Verified,
    ) -> Result<Option<Metrics>, VerifyError> {
        let observed = moment.observations(&day).await?;
        // The log is read after the moment of the tables, so whatever they hold it has.
        let reading = self.read(day, &observed, ad_account).await?;
        let (lost, mut comparison) = (reading.unread(), Comparison::default());
        for event_id in &lost {
            let why = match (reading.refused.get(event_id), &self.logs.other) {
                (Some(Unusable::Refused(reason)), _) => format!("must not be: {reason}"),
                (Some(Unusable::Illegible(reason)), _) => format!(
                    "cannot be read in the log any more: {reason}; `adledger audit --heal` mends what was damaged there"
                ),
                (None, Some(_)) => "in neither log".to_owned(),
                (None, None) => "not in the log".to_owned(),
            };
            comparison.say(format!("event {event_id} is in the tables, and {why}; the day was not compared"));
        }
        for (event_id, fetched_at) in reading.pending.iter().filter(|(event_id, _)| known.contains(*event_id)) {
            comparison.say(format!("event {event_id} of {fetched_at} is in the log, and not folded yet"));
        }
        let lacks = !lost.is_empty();
        let Reading { day: by_the_log, read, pending, refused, illegible, .. } = reading;
        let refused = refused.into_iter().filter(|(event_id, _)| !lost.contains(event_id));
        let refused = refused.map(|(event_id, unusable)| (Some(event_id), unusable.reason().to_owned()));
        let illegible = illegible.into_iter().map(|reason| (None, reason));
        verified.refused.extend(refused.chain(illegible).map(|(event_id, reason)| Refused::new(day, event_id, reason)));
        verified.account_days += 1;
        verified.events += read.len() as u64;
        verified.pending.extend(pending.into_keys());
        verified.lost.extend(lost);

        if lacks {
            // Every number of the day would differ, and none of them be wrong.
            verified.unproven = true;
            verified.note(Some(day.ad_account_id), day.account_id, day.date, comparison.finish());
            return Ok(None);
        }
        let first = AdAccount::unknown();
        let rule = &ad_account.unwrap_or(&first).rule;
        compare_observations(&mut comparison, by_the_log.observations(rule), observed);
        let mut open = comparison.open(&FACTS, by_the_log.facts(rule));
        moment.facts(&day, |key, values| open.found(&key, &values)).await?;
        open.close();
        let metrics = by_the_log.metrics(rule);
        let mut wanted = Rows::new();
        if let Some(metrics) = &metrics {
            wanted.insert(String::new(), metrics.row(moment.ratios(metrics).await?));
        }
        let mut open = comparison.open(&METRICS, wanted);
        if let Some(values) = moment.metrics(&day).await? {
            open.found("", &values);
        }
        open.close();

        let compared = comparison.finish();
        verified.rows += compared.by_the_log.ads;
        if let Some(metrics) = &metrics {
            *verified.spend.entry(metrics.currency.clone()).or_default() += metrics.spend.unwrap_or_default();
        }
        verified.note(Some(day.ad_account_id), day.account_id, day.date, compared);
        Ok(metrics)
    }

    /// Reads a day's events.
    async fn read<'a>(
        &self,
        day: AccountDay,
        observed: &'a Rows,
        ad_account: Option<&'a AdAccount>,
    ) -> Result<Reading<'a>, VerifyError> {
        let mut reading = Reading {
            observed,
            ad_account,
            limit_bytes: self.max_event_bytes,
            day: Day::default(),
            read: HashSet::new(),
            pending: HashMap::new(),
            refused: HashMap::new(),
            illegible: Vec::new(),
        };
        self.logs.each_event(day, None, |logged| reading.take(logged)).await?;
        if self.end.is_some() && !reading.pending.is_empty() {
            let mut due: HashSet<Uuid> = HashSet::new();
            let take = |logged: Result<Logged, Unreadable>| {
                due.extend(logged.ok().map(|logged| logged.circumstances.event_id));
                true
            };
            self.logs.each_event(day, self.end, take).await?;
            reading.pending.retain(|event_id, _| due.contains(event_id));
        }
        Ok(reading)
    }

    async fn summary(
        &self,
        moment: &mut Moment,
        unit: &TenantDay,
        all: &[Metrics],
        verified: &mut Verified,
    ) -> Result<(), VerifyError> {
        let found = moment.summary(unit.account_id, unit.date).await?;
        let others = found.as_ref().is_some_and(|(_, others)| *others);
        let mut wanted = Rows::new();
        if !all.is_empty() || others {
            let known = all.iter().all(|m| m.known);
            let spend = sum(all.iter().map(|m| m.spend), false, Decimal::ZERO);
            let sold = |of: fn(&Metrics) -> Option<Decimal>| {
                if known { sum(all.iter().map(of), false, Decimal::ZERO) } else { None }
            };
            let value = sold(|m| m.purchase_value);
            let roas = moment.quotients(&[number(value)], &[number(spend)]).await?.pop().flatten();
            let whole = |of: fn(&Metrics) -> Option<i64>| sum(all.iter().map(of), false, 0).map(|n| n.to_string());
            let updated_at = all.iter().map(|m| m.version.fetched_at).max().map(time);
            let values: Values = vec![
                number(spend),
                whole(|m| m.impressions),
                whole(|m| m.clicks),
                number(sold(|m| m.purchases)),
                number(value),
                roas,
                // Where another source has a part in the row, it may have been there later.
                if others { found.as_ref().and_then(|(values, _)| values.last()?.clone()) } else { updated_at },
            ];
            wanted.insert(String::new(), values);
        }
        let mut comparison = Comparison::default();
        let mut open = comparison.open(&SUMMARY, wanted);
        if let Some((values, _)) = &found {
            open.found("", values);
        }
        open.close();
        verified.note(None, unit.account_id, unit.date, comparison.finish());
        Ok(())
    }
}

/// The windows that were asked for are not on record of an event that was folded before the column was there.
fn compare_observations(comparison: &mut Comparison, wanted: Rows, mut found: Rows) {
    for (key, values) in &mut found {
        let by_the_log = wanted.get(key).and_then(|values| values.last());
        if let (Some(windows @ None), Some(by_the_log)) = (values.last_mut(), by_the_log) {
            windows.clone_from(by_the_log);
        }
    }
    let mut open = comparison.open(&OBSERVATIONS, wanted);
    found.iter().for_each(|(key, values)| open.found(key, values));
    open.close();
}

impl Verified {
    fn note(&mut self, ad_account_id: Option<Uuid>, account_id: Uuid, date: NaiveDate, compared: Compared) {
        let Compared { by_the_log, in_the_tables, sentences, differences } = compared;
        if differences > 0 || by_the_log.sha256 != in_the_tables.sha256 {
            let difference =
                Difference { account_id, ad_account_id, date, sentences, differences, by_the_log, in_the_tables };
            self.differences.push(difference);
        }
    }
}
