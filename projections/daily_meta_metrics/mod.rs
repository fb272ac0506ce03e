//! `daily_meta_metrics`: one row an ad account and day. It is the day's head as well: who changes anything of the day
//! holds this row's lock, and it names the newest version, its content and the projection's version.

use std::collections::HashMap;

use chrono::NaiveDate;
use events::Version;
use events::subject::AccountDay;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::keys::Days;
use crate::purchases::PurchaseRule;
use crate::snapshot::ContentHash;
use crate::timeline::Observed;
use crate::{PROJECTION_VERSION, Snapshot};

/// Meta restates a day until it is this many days old; a snapshot taken until then is provisional.
pub const RESTATED_FOR_DAYS: i32 = 28;

/// What a day's head said before this transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub version: Version,
    pub content: ContentHash,
}

/// Locks the heads of these days in key order, making those that are missing. Another transaction may delete a head
/// while this one waits for it (a replay that found no event for the day), so it is made again until all are held.
///
/// Returns what the heads said; a day without one before is not in the answer.
pub(crate) async fn lock(conn: &mut PgConnection, days: &Days) -> sqlx::Result<HashMap<AccountDay, Head>> {
    loop {
        sqlx::query!(
            "insert into daily_meta_metrics
                 (account_id, ad_account_id, date, currency, ads, provisional, event_id, fetched_at, content_sha256, projection_version)
             select account_id, ad_account_id, date, '', 0, true, '00000000-0000-0000-0000-000000000000', 'epoch', '', 0
             from unnest($1::uuid[], $2::uuid[], $3::date[]) as day (account_id, ad_account_id, date)
             order by account_id, ad_account_id, date
             on conflict do nothing",
            &days.account_ids,
            &days.ad_account_ids,
            &days.dates,
        )
        .execute(&mut *conn)
        .await?;
        let rows = sqlx::query!(
            "select m.account_id, m.ad_account_id, m.date, event_id, fetched_at, content_sha256
             from unnest($1::uuid[], $2::uuid[], $3::date[]) as day (account_id, ad_account_id, date)
             join daily_meta_metrics m using (account_id, ad_account_id, date)
             order by m.account_id, m.ad_account_id, m.date
             for update of m",
            &days.account_ids,
            &days.ad_account_ids,
            &days.dates,
        )
        .fetch_all(&mut *conn)
        .await?;
        if rows.len() == days.len() {
            return Ok(rows
                .into_iter()
                .filter_map(|r| {
                    let day = AccountDay { account_id: r.account_id, ad_account_id: r.ad_account_id, date: r.date };
                    let version = Version { fetched_at: r.fetched_at, event_id: r.event_id };
                    Some((day, Head { version, content: r.content_sha256.try_into().ok()? }))
                })
                .collect());
        }
    }
}

/// Takes back the rows that [`lock`] made for days without one, of which nothing was folded after all: a placeholder is
/// no day.
pub(crate) async fn remove_placeholders(conn: &mut PgConnection, days: &Days) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from daily_meta_metrics m
         using unnest($1::uuid[], $2::uuid[], $3::date[]) as day (account_id, ad_account_id, date)
         where (m.account_id, m.ad_account_id, m.date) = (day.account_id, day.ad_account_id, day.date)
           and m.projection_version = 0 and m.content_sha256 = ''",
        &days.account_ids,
        &days.ad_account_ids,
        &days.dates,
    )
    .execute(conn)
    .await
    .map(drop)
}

/// Points heads at their newest observation. A head that says so already is not written.
pub(crate) async fn point(conn: &mut PgConnection, heads: &[(&Snapshot, Observed)]) -> sqlx::Result<()> {
    sqlx::query_file!(
        "daily_meta_metrics/point.sql",
        &heads.iter().map(|(s, _)| s.day.account_id).collect::<Vec<_>>(),
        &heads.iter().map(|(s, _)| s.day.ad_account_id).collect::<Vec<_>>(),
        &heads.iter().map(|(s, _)| s.day.date).collect::<Vec<_>>(),
        &heads.iter().map(|(s, _)| s.currency.clone()).collect::<Vec<_>>(),
        &heads.iter().map(|(s, _)| s.control.map(|c| c.0)).collect::<Vec<_>>() as &[Option<rust_decimal::Decimal>],
        &heads.iter().map(|(s, _)| s.age_days <= RESTATED_FOR_DAYS).collect::<Vec<_>>(),
        &heads.iter().map(|(_, o)| o.version.event_id).collect::<Vec<_>>(),
        &heads.iter().map(|(_, o)| o.version.fetched_at).collect::<Vec<_>>(),
        &heads.iter().map(|(_, o)| o.content.to_vec()).collect::<Vec<_>>(),
        PROJECTION_VERSION,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Sums these days anew from `fact_meta_daily`; `rules` are those of the days, in their order. A row that says so already
/// is not written.
pub(crate) async fn recompute(conn: &mut PgConnection, days: &Days, rules: &[&PurchaseRule]) -> sqlx::Result<()> {
    sqlx::query_file!(
        "daily_meta_metrics/recompute.sql",
        &days.account_ids,
        &days.ad_account_ids,
        &days.dates,
        &rules.iter().map(|rule| rule.version).collect::<Vec<_>>(),
        &rules.iter().map(|rule| rule.window().to_owned()).collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn delete(conn: &mut PgConnection, days: &Days) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from daily_meta_metrics m
         using unnest($1::uuid[], $2::uuid[], $3::date[]) as day (account_id, ad_account_id, date)
         where (m.account_id, m.ad_account_id, m.date) = (day.account_id, day.ad_account_id, day.date)",
        &days.account_ids,
        &days.ad_account_ids,
        &days.dates,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Every account-day of which any folded table holds something, within a range: what a replay has to visit besides the
/// days its log knows, since a damaged table can hold days that never were.
pub async fn days_on_record(
    conn: &mut PgConnection,
    account_id: Option<Uuid>,
    ad_account_id: Option<Uuid>,
    since: NaiveDate,
    until: NaiveDate,
) -> sqlx::Result<Vec<AccountDay>> {
    let rows = sqlx::query_file!("daily_meta_metrics/days_on_record.sql", account_id, ad_account_id, since, until)
        .fetch_all(conn)
        .await?;
    Ok(rows
        .into_iter()
        .filter_map(|r| Some(AccountDay { account_id: r.account_id?, ad_account_id: r.ad_account_id?, date: r.date? }))
        .collect())
}

/// How many account-days each version of the fold has made; those of another version than [`PROJECTION_VERSION`] are what
/// a replay or a rebuild has to fold again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfVersion {
    pub version: i32,
    pub account_days: i64,
}

/// The versions in the table, the newest first.
pub async fn versions(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<OfVersion>> {
    sqlx::query_as!(
        OfVersion,
        r#"select projection_version as version, count(*) as "account_days!" from daily_meta_metrics
           group by projection_version order by projection_version desc"#,
    )
    .fetch_all(db)
    .await
}
