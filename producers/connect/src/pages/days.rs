//! The days of ad accounts, as the views `web_days` and `web_days_missing` say: what the tables have, and what is on
//! its way.

use std::collections::HashMap;

use chrono::NaiveDate;
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::problem::Problem;

/// A range of days, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) since: NaiveDate,
    pub(crate) until: NaiveDate,
}

impl Span {
    /// So many days up to this one.
    pub(crate) fn up_to(until: NaiveDate, days: u64) -> Span {
        Span { since: until - chrono::Days::new(days.saturating_sub(1)), until }
    }

    pub(crate) fn days(self) -> impl Iterator<Item = NaiveDate> {
        self.since.iter_days().take_while(move |day| *day <= self.until)
    }
}

/// A day of the tables. What is `None` is not known, which is not zero.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    pub(crate) spend: Option<Decimal>,
    pub(crate) purchases: Option<Decimal>,
    pub(crate) purchase_value: Option<Decimal>,
    pub(crate) roas: Option<Decimal>,
    /// Spend of the ads that count, as a part of what Meta counts for the whole ad account.
    pub(crate) coverage: Option<Decimal>,
    /// Meta may still restate it.
    pub(crate) provisional: bool,
    /// How old the day was when it was fetched last.
    pub(crate) age_days: Option<i32>,
}

/// Why the newest answer for a day is not in the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    Due,
    Failed {
        reason: String,
    },
    OnItsWay,
    /// Published a while ago, and not folded.
    Stuck,
}

/// What is known of a day; nothing of one that nobody asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Day {
    pub(crate) figures: Option<Figures>,
    pub(crate) missing: Option<Missing>,
}

/// By ad account and day.
pub(crate) type DaysKnown = HashMap<(Uuid, NaiveDate), Day>;

pub(crate) async fn read(conn: &mut PgConnection, ad_accounts: &[Uuid], span: Span) -> Result<DaysKnown, Problem> {
    let mut known = DaysKnown::new();
    let rows = sqlx::query!(
        r#"select ad_account_id as "ad_account_id!", date as "date!", spend, purchases, purchase_value, roas, coverage,
                  provisional as "provisional!", age_days
           from web_days
           where account_id = web_account() and ad_account_id = any ($1) and date between $2 and $3"#,
        ad_accounts,
        span.since,
        span.until,
    );
    for row in rows.fetch_all(&mut *conn).await? {
        let figures = Figures {
            spend: row.spend,
            purchases: row.purchases,
            purchase_value: row.purchase_value,
            roas: row.roas,
            coverage: row.coverage,
            provisional: row.provisional,
            age_days: row.age_days,
        };
        known.entry((row.ad_account_id, row.date)).or_default().figures = Some(figures);
    }
    let rows = sqlx::query!(
        r#"select ad_account_id as "ad_account_id!", date as "date!", state as "state!", last_error
           from web_days_missing
           where account_id = web_account() and ad_account_id = any ($1) and date between $2 and $3"#,
        ad_accounts,
        span.since,
        span.until,
    );
    for row in rows.fetch_all(&mut *conn).await? {
        let missing = match row.state.as_str() {
            "failed" => Missing::Failed { reason: row.last_error.unwrap_or_default() },
            "stuck" => Missing::Stuck,
            "on_its_way" => Missing::OnItsWay,
            _ => Missing::Due,
        };
        known.entry((row.ad_account_id, row.date)).or_default().missing = Some(missing);
    }
    Ok(known)
}
