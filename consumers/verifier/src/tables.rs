//! The tables as they are: each row as its key and the texts of its other columns, in an order that is said here and
//! nowhere else. Numbers are without zeros at their end, instants are in UTC.

use std::collections::{BTreeMap, HashSet};

use chrono::NaiveDate;
use events::subject::AccountDay;
use futures_util::TryStreamExt;
use logs::Range;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::day::{Metrics, number};

/// Where the tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// Schema `public`.
    Live,
    /// Schema `rebuild`, where a rebuild folds everything.
    Rebuild,
}

/// The texts of a row's columns; `None` is null.
pub type Values = Vec<Option<String>>;
/// Rows by their key within a day.
pub type Rows = BTreeMap<String, Values>;

/// A table: its name, what a row of it is, and its columns but those of the key.
#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    pub row: &'static str,
    pub columns: &'static [&'static str],
}

pub const OBSERVATIONS: Table = Table {
    name: "observations",
    row: "event",
    columns: &[
        "fetched_at",
        "age_days",
        "row_count",
        "content_sha256",
        "spend",
        "impressions",
        "purchases",
        "purchase_value",
        "control_spend",
        "control_impressions",
        "status_filter",
        "projection_version",
        "rule_version",
        "attribution_windows",
    ],
};

pub const FACTS: Table = Table {
    name: "fact_meta_daily",
    row: "ad",
    columns: &[
        "adset_id",
        "campaign_id",
        "ad_name",
        "adset_name",
        "campaign_name",
        "currency",
        "spend",
        "impressions",
        "clicks",
        "inline_link_clicks",
        "purchases",
        "purchase_value",
        "purchase_action_type",
        "attribution_window",
        "rule_version",
        "purchases_known",
        "event_id",
        "fetched_at",
        "absent_since",
        "absence",
    ],
};

pub const METRICS: Table = Table {
    name: "daily_meta_metrics",
    row: "day",
    columns: &[
        "currency",
        "ads",
        "spend",
        "impressions",
        "clicks",
        "inline_link_clicks",
        "purchases_known",
        "purchases",
        "purchase_value",
        "ctr",
        "cpc",
        "cpm",
        "cpa",
        "roas",
        "control_spend",
        "coverage",
        "provisional",
        "event_id",
        "fetched_at",
        "content_sha256",
        "projection_version",
    ],
};

pub const SUMMARY: Table = Table {
    name: "daily_summary",
    row: "day",
    columns: &[
        "meta_spend",
        "meta_impressions",
        "meta_clicks",
        "meta_purchases",
        "meta_purchase_value",
        "meta_roas",
        "updated_at",
    ],
};

/// A moment of the tables: whatever is folded meanwhile, the reader sees none of it.
pub struct Moment(Transaction<'static, Postgres>);

impl Moment {
    pub async fn begin(pool: &PgPool, tables: Tables) -> sqlx::Result<Self> {
        let mut transaction = pool.begin().await?;
        sqlx::raw_sql("set transaction isolation level repeatable read, read only").execute(&mut *transaction).await?;
        // Between two questions a day is read from the log, and one of many large answers takes its time. What the log is asked
        // has deadlines of its own.
        sqlx::raw_sql("set local idle_in_transaction_session_timeout = '10min'").execute(&mut *transaction).await?;
        if tables == Tables::Rebuild {
            sqlx::raw_sql("set local search_path = rebuild, public").execute(&mut *transaction).await?;
        }
        Ok(Moment(transaction))
    }

    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.0
    }

    /// Every account-day that any of the three tables of an ad account speaks of.
    pub async fn days(&mut self, range: &Range) -> sqlx::Result<HashSet<AccountDay>> {
        let rows = sqlx::query!(
            r#"select account_id as "account_id!", ad_account_id as "ad_account_id!", date as "date!"
               from (
                   select account_id, ad_account_id, date from observations
                   union select account_id, ad_account_id, date from fact_meta_daily
                   union select account_id, ad_account_id, date from daily_meta_metrics) as any_table
               where ($1::uuid is null or account_id = $1) and ($2::uuid is null or ad_account_id = $2)
                 and date between $3 and $4"#,
            range.account_id,
            range.ad_account_id,
            range.since,
            range.until,
        )
        .fetch_all(&mut *self.0)
        .await?;
        let day = |r: (Uuid, Uuid, NaiveDate)| AccountDay { account_id: r.0, ad_account_id: r.1, date: r.2 };
        Ok(rows.into_iter().map(|r| day((r.account_id, r.ad_account_id, r.date))).collect())
    }

    /// Every day of a tenant that `daily_summary` speaks of.
    pub async fn summaries(&mut self, range: &Range) -> sqlx::Result<Vec<(Uuid, NaiveDate)>> {
        let rows = sqlx::query!(
            "select account_id, date from daily_summary
             where ($1::uuid is null or account_id = $1) and date between $2 and $3",
            range.account_id,
            range.since,
            range.until,
        )
        .fetch_all(&mut *self.0)
        .await?;
        Ok(rows.into_iter().map(|r| (r.account_id, r.date)).collect())
    }

    /// The rows of `observations`; there is one an event, so they are few.
    pub async fn observations(&mut self, day: &AccountDay) -> sqlx::Result<Rows> {
        let rows = sqlx::query!(
            r#"select event_id::text as "key!", array[
                   to_char(fetched_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), age_days::text, row_count::text,
                   encode(content_sha256, 'hex'), trim_scale(spend)::text, impressions::text, trim_scale(purchases)::text,
                   trim_scale(purchase_value)::text, trim_scale(control_spend)::text, control_impressions::text,
                   status_filter, projection_version::text, rule_version::text, attribution_windows
               ] as "values!: Values"
               from observations where account_id = $1 and ad_account_id = $2 and date = $3"#,
            day.account_id,
            day.ad_account_id,
            day.date,
        )
        .fetch_all(&mut *self.0)
        .await?;
        Ok(rows.into_iter().map(|r| (r.key, r.values)).collect())
    }

    /// Hands out each row of `fact_meta_daily`, in the order of their keys.
    pub async fn facts(&mut self, day: &AccountDay, mut take: impl FnMut(String, Values)) -> sqlx::Result<()> {
        let mut rows = sqlx::query!(
            r#"select ad_id as "key!", array[
                   adset_id, campaign_id, ad_name, adset_name, campaign_name, currency::text, trim_scale(spend)::text,
                   impressions::text, clicks::text, inline_link_clicks::text, trim_scale(purchases)::text,
                   trim_scale(purchase_value)::text, purchase_action_type, attribution_window, rule_version::text,
                   purchases_known::text, event_id::text,
                   to_char(fetched_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                   to_char(absent_since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), absence
               ] as "values!: Values"
               from fact_meta_daily where account_id = $1 and ad_account_id = $2 and date = $3
               order by ad_id collate "C""#,
            day.account_id,
            day.ad_account_id,
            day.date,
        )
        .fetch(&mut *self.0);
        while let Some(r) = rows.try_next().await? {
            take(r.key, r.values);
        }
        Ok(())
    }

    /// The row of `daily_meta_metrics`, if there is one.
    pub async fn metrics(&mut self, day: &AccountDay) -> sqlx::Result<Option<Values>> {
        sqlx::query_scalar!(
            r#"select array[
                   currency::text, ads::text, trim_scale(spend)::text, impressions::text, clicks::text,
                   inline_link_clicks::text, purchases_known::text, trim_scale(purchases)::text,
                   trim_scale(purchase_value)::text, trim_scale(ctr)::text, trim_scale(cpc)::text, trim_scale(cpm)::text,
                   trim_scale(cpa)::text, trim_scale(roas)::text, trim_scale(control_spend)::text,
                   trim_scale(coverage)::text, provisional::text, event_id::text,
                   to_char(fetched_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), encode(content_sha256, 'hex'),
                   projection_version::text
               ] as "values!: Values"
               from daily_meta_metrics where account_id = $1 and ad_account_id = $2 and date = $3"#,
            day.account_id,
            day.ad_account_id,
            day.date,
        )
        .fetch_optional(&mut *self.0)
        .await
    }

    /// The row of `daily_summary`, if there is one, and whether another source than Meta has a part in it.
    pub async fn summary(&mut self, account_id: Uuid, date: NaiveDate) -> sqlx::Result<Option<(Values, bool)>> {
        let row = sqlx::query!(
            r#"select array[
                   trim_scale(meta_spend)::text, meta_impressions::text, meta_clicks::text, trim_scale(meta_purchases)::text,
                   trim_scale(meta_purchase_value)::text, trim_scale(meta_roas)::text,
                   to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
               ] as "values!: Values", jsonb_strip_nulls(to_jsonb(s) - array[
                   'account_id', 'date', 'updated_at', 'meta_spend', 'meta_impressions', 'meta_clicks', 'meta_purchases',
                   'meta_purchase_value', 'meta_roas']) <> '{}' as "others!"
               from daily_summary s where account_id = $1 and date = $2"#,
            account_id,
            date,
        )
        .fetch_optional(&mut *self.0)
        .await?;
        Ok(row.map(|r| (r.values, r.others)))
    }

    /// The six ratios of a day. PostgreSQL divides: to how many digits it works out a quotient before it rounds is its
    /// own business.
    pub async fn ratios(&mut self, m: &Metrics) -> sqlx::Result<[Option<String>; 6]> {
        let pairs = [
            (m.clicks.map(|n| n.to_string()), m.impressions.map(|n| n.to_string())),
            (number(m.spend), m.clicks.map(|n| n.to_string())),
            (
                number(m.spend.map(|spend| spend * rust_decimal::Decimal::ONE_THOUSAND)),
                m.impressions.map(|n| n.to_string()),
            ),
            (number(m.spend), number(m.purchases)),
            (number(m.purchase_value), number(m.spend)),
            (number(m.spend), number(m.control_spend)),
        ];
        let (above, below): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let ratios = self.quotients(&above, &below).await?;
        Ok(ratios.try_into().unwrap_or_default())
    }

    /// Quotients to six digits; one to zero or to the unknown is unknown.
    pub async fn quotients(
        &mut self,
        above: &[Option<String>],
        below: &[Option<String>],
    ) -> sqlx::Result<Vec<Option<String>>> {
        sqlx::query_scalar!(
            "select trim_scale(round(above::numeric / nullif(below::numeric, 0), 6))::text
             from unnest($1::text[], $2::text[]) with ordinality as pair (above, below, place) order by place",
            above as &[Option<String>],
            below as &[Option<String>],
        )
        .fetch_all(&mut *self.0)
        .await
    }
}
