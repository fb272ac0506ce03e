//! Subjects: built here and parsed here, nowhere else.

use chrono::NaiveDate;
use uuid::Uuid;

/// Subject of one ad account's day: `meta.insights.<account>.<ad account>.<yyyy-mm-dd>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountDay {
    /// The tenant.
    pub account_id: Uuid,
    /// The ad account's id in our tables (not Meta's `act_…`).
    pub ad_account_id: Uuid,
    /// The day, in the ad account's time zone.
    pub date: NaiveDate,
}

/// Subject of what happens to one integration: `meta.connect.<account>.<integration>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    /// The tenant.
    pub account_id: Uuid,
    pub integration_id: Uuid,
}

/// Subject of one tenant's day of `daily_summary`: `warehouse.daily_summary.<account>.<yyyy-mm-dd>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SummaryDay {
    /// The tenant.
    pub account_id: Uuid,
    pub date: NaiveDate,
}

/// How urgent a sync run is, as its subject says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    High,
    Normal,
    Low,
}

/// What every insights subject begins with.
const INSIGHTS: &str = "meta.insights";
const CONNECT: &str = "meta.connect";
const SYNC: &str = "meta.sync";
const DAILY_SUMMARY: &str = "warehouse.daily_summary";
const DEAD: &str = "dead";

/// A subject longer than this is left out of its letter's: servers end a connection at a subject of some 4,000 bytes.
/// None of ours is that long, so no tenant's letter is lost to a filter.
const LONGEST_PARKED_BYTES: usize = 1000;
/// What stands in its place, so that every letter is found by the same filters.
const LONG: &str = "long";

/// A subject that is none of ours, or not in the form its family has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("subject {subject:?} is not {form}")]
pub struct SubjectError {
    pub subject: String,
    pub form: &'static str,
}

impl AccountDay {
    /// The subject this day is published under.
    pub fn subject(&self) -> String {
        format!("{INSIGHTS}.{}.{}.{}", self.account_id, self.ad_account_id, self.date)
    }

    /// The inverse of [`AccountDay::subject`].
    pub fn parse(subject: &str) -> Result<Self, SubjectError> {
        let parse = || {
            let mut tokens = subject.strip_prefix(INSIGHTS)?.strip_prefix('.')?.split('.');
            let day = AccountDay {
                account_id: tokens.next()?.parse().ok()?,
                ad_account_id: tokens.next()?.parse().ok()?,
                date: tokens.next()?.parse().ok()?,
            };
            // Only the canonical spelling is accepted, so that one day has one subject.
            (tokens.next().is_none() && day.subject() == subject).then_some(day)
        };
        let form = "meta.insights.<account uuid>.<ad account uuid>.<yyyy-mm-dd>";
        parse().ok_or_else(|| SubjectError { subject: subject.to_owned(), form })
    }
}

impl Connection {
    /// The subject that this connection's events are published under.
    pub fn subject(&self) -> String {
        format!("{CONNECT}.{}.{}", self.account_id, self.integration_id)
    }

    /// The inverse of [`Connection::subject`].
    pub fn parse(subject: &str) -> Result<Self, SubjectError> {
        let parse = || {
            let (account_id, integration_id) = subject.strip_prefix(CONNECT)?.strip_prefix('.')?.split_once('.')?;
            Some(Connection { account_id: account_id.parse().ok()?, integration_id: integration_id.parse().ok()? })
        };
        let form = "meta.connect.<account uuid>.<integration uuid>";
        parse().ok_or_else(|| SubjectError { subject: subject.to_owned(), form })
    }
}

impl SummaryDay {
    /// The subject that this day's changes are published under.
    pub fn subject(&self) -> String {
        format!("{DAILY_SUMMARY}.{}.{}", self.account_id, self.date)
    }

    /// The inverse of [`SummaryDay::subject`].
    pub fn parse(subject: &str) -> Result<Self, SubjectError> {
        let parse = || {
            let (account_id, date) = subject.strip_prefix(DAILY_SUMMARY)?.strip_prefix('.')?.split_once('.')?;
            let day = SummaryDay { account_id: account_id.parse().ok()?, date: date.parse().ok()? };
            (day.subject() == subject).then_some(day)
        };
        let form = "warehouse.daily_summary.<account uuid>.<yyyy-mm-dd>";
        parse().ok_or_else(|| SubjectError { subject: subject.to_owned(), form })
    }
}

/// Where the bell rings for a run: `meta.sync.<priority>.<integration>`.
pub fn sync_request(priority: Priority, integration_id: Uuid) -> String {
    let priority = match priority {
        Priority::High => "high",
        Priority::Normal => "normal",
        Priority::Low => "low",
    };
    format!("{SYNC}.{priority}.{integration_id}")
}

/// The filter that matches a tenant's, an ad account's or everybody's insights subjects.
pub fn insights_filter(account_id: Option<Uuid>, ad_account_id: Option<Uuid>) -> String {
    let token = |id: Option<Uuid>| id.map_or_else(|| "*".to_owned(), |id| id.to_string());
    format!("{INSIGHTS}.{}.{}.*", token(account_id), token(ad_account_id))
}

/// The filter that matches everybody's insights subjects of one day.
pub fn day_filter(date: NaiveDate) -> String {
    format!("{INSIGHTS}.*.*.{date}")
}

/// Where a message is parked that `consumer` of `stream` could not use: `dead.<stream>.<consumer>.<its subject>`, so
/// that a filter finds a tenant's or a day's.
pub fn dead_letter(stream: &str, consumer: &str, subject: &str) -> String {
    let subject = if subject.len() > LONGEST_PARKED_BYTES { LONG } else { subject };
    format!("{DEAD}.{stream}.{consumer}.{subject}")
}

/// The stream and the consumer that a dead letter's subject names.
pub fn of_dead_letter(subject: &str) -> Option<(&str, &str)> {
    let (stream, rest) = subject.strip_prefix(DEAD)?.strip_prefix('.')?.split_once('.')?;
    let (consumer, _of_the_message) = rest.split_once('.')?;
    Some((stream, consumer))
}

/// The filter that matches the dead letters of a stream, a consumer, a tenant, or all.
pub fn dead_letter_filter(stream: Option<&str>, consumer: Option<&str>, account_id: Option<Uuid>) -> String {
    // Insights and connections name the tenant in the same place; a bell names none.
    let messages = account_id.map_or_else(|| ">".to_owned(), |id| format!("*.*.{id}.>"));
    match (stream, consumer, account_id) {
        // What something else wrote there, too.
        (None, None, None) => format!("{DEAD}.>"),
        _ => format!("{DEAD}.{}.{}.{messages}", stream.unwrap_or("*"), consumer.unwrap_or("*")),
    }
}

/// The tenant that a subject of ours names.
pub fn account_of(subject: &str) -> Option<Uuid> {
    let day = AccountDay::parse(subject).map(|day| day.account_id);
    day.or_else(|_| Connection::parse(subject).map(|connection| connection.account_id))
        .or_else(|_| SummaryDay::parse(subject).map(|day| day.account_id))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_says_who_could_not_use_what() {
        let subject = dead_letter("META_INSIGHTS", "raw", "meta.insights.a.b.c");
        assert_eq!(subject, "dead.META_INSIGHTS.raw.meta.insights.a.b.c");
        assert_eq!(of_dead_letter(&subject), Some(("META_INSIGHTS", "raw")));
        // A subject that is too long to be repeated.
        let subject = dead_letter("META_INSIGHTS", "raw", &"x".repeat(4000));
        assert_eq!(subject, "dead.META_INSIGHTS.raw.long");
        assert_eq!(of_dead_letter(&subject), Some(("META_INSIGHTS", "raw")));
        for none in ["dead.S", "dead.S.c", "meta.S.c.x", "deadly.S.c.x", "dead"] {
            assert_eq!(of_dead_letter(none), None, "{none}");
        }
    }

    #[test]
    fn dead_letters_are_found_by_filter() {
        let id = Uuid::from_u128(1);
        for (stream, consumer, account_id, filter) in [
            (None, None, None, "dead.>".to_owned()),
            (Some("S"), None, None, "dead.S.*.>".to_owned()),
            (None, Some("c"), None, "dead.*.c.>".to_owned()),
            (Some("S"), Some("c"), Some(id), format!("dead.S.c.*.*.{id}.>")),
        ] {
            assert_eq!(dead_letter_filter(stream, consumer, account_id), filter);
        }
    }

    #[test]
    fn a_subject_names_its_tenant() {
        let (id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for (subject, account_id) in [
            (format!("meta.insights.{id}.{other}.2026-02-03"), Some(id)),
            (format!("meta.connect.{id}.{other}"), Some(id)),
            (sync_request(Priority::Low, other), None),
            (format!("warehouse.daily_summary.{id}.2026-02-03"), Some(id)),
            (format!("meta.insights.{id}"), None),
        ] {
            assert_eq!(account_of(&subject), account_id, "{subject}");
        }
    }

    #[test]
    fn parse_is_the_inverse_of_build() {
        let day = AccountDay {
            account_id: Uuid::from_u128(1),
            ad_account_id: Uuid::from_u128(2),
            date: NaiveDate::from_ymd_opt(2026, 2, 28).expect("a day"),
        };
        assert_eq!(AccountDay::parse(&day.subject()), Ok(day));
        let connection = Connection { account_id: Uuid::from_u128(1), integration_id: Uuid::from_u128(2) };
        assert_eq!(Connection::parse(&connection.subject()), Ok(connection));
        let summary = SummaryDay { account_id: day.account_id, date: day.date };
        assert_eq!(SummaryDay::parse(&summary.subject()), Ok(summary));
    }

    #[test]
    fn anything_else_is_refused() {
        let id = Uuid::from_u128(1);
        for subject in [
            "meta.insights".to_owned(),
            format!("meta.insights.{id}.{id}"),
            format!("meta.insights.{id}.{id}.2026-02-30"),
            format!("meta.insights.{id}.{id}.2026-2-3"),
            format!("meta.insights.{id}.{id}.2026-02-03.x"),
            format!("meta.insightsx.{id}.{id}.2026-02-03"),
            format!("meta.insights.{}.{id}.2026-02-03", id.simple()),
        ] {
            assert!(AccountDay::parse(&subject).is_err(), "{subject}");
        }
        for subject in
            ["meta.connect.1.2".to_owned(), format!("meta.connect.{id}"), format!("meta.connect.{id}.{id}.x")]
        {
            assert!(Connection::parse(&subject).is_err(), "{subject}");
        }
        for subject in [
            format!("warehouse.daily_summary.{id}"),
            format!("warehouse.daily_summary.{id}.2026-2-3"),
            format!("warehouse.daily_summary.{id}.2026-02-03.x"),
            format!("warehouse.daily_summary.{}.2026-02-03", id.simple()),
        ] {
            assert!(SummaryDay::parse(&subject).is_err(), "{subject}");
        }
    }
}
