//! How an integration stands, as the view `web_freshness` says, and in words.

use accounts::{EndOf, Expiry, KnownToken, Origin, THRESHOLDS_DAYS};
use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::words::{Level, Now, count, day};
use crate::problem::Problem;

/// The most integrations of a tenant that a page asks about.
const MOST_INTEGRATIONS: i64 = 500;
/// From here on a token's end is somebody's business.
const EXPIRES_SOON_DAYS: i64 = THRESHOLDS_DAYS[0] as i64;

/// One integration.
#[derive(Debug, Clone)]
pub(crate) struct Freshness {
    pub(crate) integration_id: Uuid,
    pub(crate) ad_account_id: Uuid,
    pub(crate) source: String,
    pub(crate) status: String,
    pub(crate) status_reason: Option<String>,
    pub(crate) external_id: String,
    pub(crate) name: String,
    pub(crate) currency: String,
    pub(crate) timezone_name: String,
    pub(crate) sync_cursor: Option<NaiveDate>,
    pub(crate) newest_day: Option<NaiveDate>,
    pub(crate) newest_fetched_at: Option<DateTime<Utc>>,
    pub(crate) days_owed: i64,
    pub(crate) days_failed: i64,
    /// One of the reasons why days failed.
    pub(crate) last_error: Option<String>,
    /// Days that were published a while ago and are in no table.
    pub(crate) days_unfolded: i64,
    pub(crate) has_token: bool,
    pub(crate) token_expires_at: Option<DateTime<Utc>>,
    pub(crate) token_never_expires: bool,
    /// From when on Meta gives no data to the token.
    pub(crate) data_access_expires_at: Option<DateTime<Utc>>,
    pub(crate) runs_waiting_for_log: i64,
    pub(crate) log_wait_reason: Option<String>,
}

/// Every integration of the tenant that `db` sees, or the one of that id; those of the most urgent status first, then
/// by name.
pub(crate) async fn read(db: impl PgExecutor<'_>, id: Option<Uuid>) -> Result<Vec<Freshness>, Problem> {
    let rows = sqlx::query_as!(
        Freshness,
        r#"select integration_id as "integration_id!", ad_account_id as "ad_account_id!", source as "source!",
                  status as "status!", status_reason, external_id as "external_id!", name as "name!",
                  currency as "currency!", timezone_name as "timezone_name!", sync_cursor, newest_day, newest_fetched_at,
                  days_owed as "days_owed!", days_failed as "days_failed!", last_error,
                  days_unfolded as "days_unfolded!", has_token as "has_token!", token_expires_at,
                  coalesce(t.never_expires, false) as "token_never_expires!", t.data_access_expires_at,
                  runs_waiting_for_log as "runs_waiting_for_log!", log_wait_reason
           from web_freshness left join web_tokens t using (account_id, integration_id)
           where $1::uuid is null or integration_id = $1
           order by status = 'disconnected', status = 'connected', name, integration_id limit $2"#,
        id,
        MOST_INTEGRATIONS,
    )
    .fetch_all(db)
    .await?;
    Ok(rows)
}

/// PostgreSQL's time, and the zone in which the tenant reads it.
pub(crate) async fn now(conn: &mut PgConnection, timezone: &str) -> Result<Now, Problem> {
    let at = sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(conn).await?;
    Ok(Now { at, zone: timezone.parse().unwrap_or(chrono_tz::Tz::UTC) })
}

/// How good something is, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) level: Level,
    pub(crate) words: String,
}

fn say(level: Level, words: impl Into<String>) -> Said {
    Said { level, words: words.into() }
}

impl Freshness {
    pub(crate) fn origin(&self) -> Origin {
        Origin::of_column(&self.source)
    }

    /// The stub answers for it, and nobody else.
    pub(crate) fn is_made_up(&self) -> bool {
        self.origin() == Origin::Stub
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.status == "connected"
    }

    pub(crate) fn status_words(&self) -> Said {
        match self.status.as_str() {
            "connected" => say(Level::Good, "Connected"),
            "needs_reconnect" => say(Level::Bad, "Needs a reconnect"),
            "blocked" => say(Level::Bad, "Blocked"),
            _ => say(Level::Calm, "Disconnected"),
        }
    }

    /// How far the tables are.
    pub(crate) fn days(&self, now: &Now) -> Said {
        let yesterday = now.yesterday(&self.timezone_name);
        match self.newest_day {
            // Of an integration that nobody fetches, nobody expects yesterday.
            Some(newest) if self.status == "disconnected" => say(Level::Calm, format!("Ends with {}", day(newest))),
            newest => fresh(newest, yesterday),
        }
    }

    pub(crate) fn token(&self, now: &Now) -> Said {
        if self.status == "needs_reconnect" {
            return say(Level::Bad, "Cannot be used any more");
        }
        token(self.has_token, &self.source, &self.known_token(), now)
    }

    /// What is known of the token's end.
    pub(crate) fn known_token(&self) -> KnownToken {
        let expiry = match self.token_expires_at {
            Some(at) => Expiry::At(at),
            None if self.token_never_expires => Expiry::Never,
            None => Expiry::Unknown,
        };
        KnownToken { app_id: None, expiry, data_access_expires_at: self.data_access_expires_at }
    }
}

/// The newest day of the tables beside the last complete one.
pub(crate) fn fresh(newest: Option<NaiveDate>, yesterday: NaiveDate) -> Said {
    let Some(newest) = newest else { return say(Level::Warn, "No day is in yet") };
    match (yesterday - newest).num_days() {
        ..=0 => say(Level::Good, "Yesterday is in"),
        behind @ 1 => say(Level::Warn, format!("{} behind: newest is {}", count(behind, "day", "days"), day(newest))),
        behind => say(Level::Bad, format!("{} behind: newest is {}", count(behind, "day", "days"), day(newest))),
    }
}

fn token(has_token: bool, source: &str, known: &KnownToken, now: &Now) -> Said {
    let Some(end) = known.end().filter(|_| has_token) else {
        return match (has_token, source, known.expiry) {
            (_, "stub", _) => say(Level::Calm, "Made-up data: the stub takes any token"),
            (true, _, Expiry::Never) => say(Level::Good, "Never expires, as Meta says"),
            (true, ..) => say(Level::Calm, "Good; nobody here is told when it expires"),
            (false, ..) => say(Level::Calm, "No token is kept"),
        };
    };
    let (left, when) = (end.at - now.at, now.moment(end.at).text);
    let of = match end.of {
        EndOf::Token => "",
        EndOf::DataAccess => ", then Meta gives it no more data",
    };
    let (level, words) = match left.num_days() {
        _ if left.num_seconds() <= 0 => (Level::Bad, format!("Expired {when}")),
        0 => (Level::Bad, format!("Expires today or tomorrow ({when})")),
        days @ ..=EXPIRES_SOON_DAYS => (Level::Warn, format!("{} left ({when})", count(days, "day", "days"))),
        days => (Level::Good, format!("{} left ({when})", count(days, "day", "days"))),
    };
    say(level, words + of)
}

#[cfg(test)]
pub(super) mod tests {
    use chrono_tz::Tz;

    use super::*;

    pub(in crate::pages) fn now() -> Now {
        Now { at: "2026-11-25T13:00:00Z".parse().unwrap(), zone: Tz::UTC }
    }

    #[test]
    fn freshness_is_told_in_days_behind_yesterday() {
        let yesterday: NaiveDate = "2026-11-24".parse().unwrap();
        for (newest, level, words) in [
            (Some("2026-11-24"), Level::Good, "Yesterday is in"),
            // Fetched before the account's midnight, looked at from a zone behind.
            (Some("2026-11-25"), Level::Good, "Yesterday is in"),
            (Some("2026-11-23"), Level::Warn, "1 day behind: newest is 23 Nov"),
            (Some("2026-11-22"), Level::Bad, "2 days behind: newest is 22 Nov"),
            (None, Level::Warn, "No day is in yet"),
        ] {
            let newest = newest.map(|text| text.parse().unwrap());
            assert_eq!(fresh(newest, yesterday), say(level, words));
        }
    }

    #[test]
    fn a_token_says_how_long_it_lasts() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let until = |text: &str| Expiry::At(at(text));
        let known =
            |expiry, data: Option<&str>| KnownToken { app_id: None, expiry, data_access_expires_at: data.map(at) };
        let unknown = || known(Expiry::Unknown, None);
        for (has_token, source, known, level, words) in [
            (true, "meta", known(Expiry::Never, None), Level::Good, "Never expires, as Meta says"),
            (true, "meta", unknown(), Level::Calm, "Good; nobody here is told when it expires"),
            (false, "meta", unknown(), Level::Calm, "No token is kept"),
            (true, "stub", unknown(), Level::Calm, "Made-up data: the stub takes any token"),
            (true, "meta", known(until("2026-11-25T12:00:00Z"), None), Level::Bad, "Expired 12:00 UTC"),
            (
                true,
                "meta",
                known(until("2026-11-26T01:00:00Z"), None),
                Level::Bad,
                "Expires today or tomorrow (26 Nov, 01:00 UTC)",
            ),
            (true, "meta", known(until("2026-12-09T14:00:00Z"), None), Level::Warn, "14 days left (9 Dec, 14:00 UTC)"),
            (
                true,
                "meta",
                known(until("2026-12-10T14:00:00Z"), Some("2027-01-10T14:00:00Z")),
                Level::Good,
                "15 days left (10 Dec, 14:00 UTC)",
            ),
            (
                true,
                "meta",
                known(Expiry::Never, Some("2026-12-01T14:00:00Z")),
                Level::Warn,
                "6 days left (1 Dec, 14:00 UTC), then Meta gives it no more data",
            ),
        ] {
            assert_eq!(token(has_token, source, &known, &now()), say(level, words));
        }
    }
}
