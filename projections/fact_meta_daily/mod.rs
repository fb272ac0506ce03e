//! `fact_meta_daily`: one row an ad and day, of the newest snapshot that contains the ad.

mod compare;

use std::collections::HashMap;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use events::subject::AccountDay;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Snapshot;
use crate::keys::Days;
use crate::timeline::{Standing, Timeline};

pub(crate) use compare::differing;

/// The columns in the order in which [`copy`] writes them: those of the day, those of the row, those of its standing.
const COPY: &str = "copy fact_meta_daily (account_id, ad_account_id, date, currency, attribution_window, rule_version, purchases_known, \
     ad_id, adset_id, campaign_id, ad_name, adset_name, campaign_name, spend, impressions, clicks, inline_link_clicks, \
     purchases, purchase_value, purchase_action_type, event_id, fetched_at, absent_since, absence) from stdin";

/// Bytes handed to the server at once: enough to keep it busy, little enough to be no matter of memory.
const CHUNK_BYTES: usize = 256 * 1024;

/// The rows that a transaction writes for one content of one day.
pub(crate) struct Staged<'a> {
    pub day: AccountDay,
    pub snapshot: &'a Snapshot,
    pub standing: Standing,
    /// `(ad id, COPY text)`.
    pub rows: Vec<(&'a str, &'a str)>,
}

/// Which event each existing row of these days names: `(day, ad id) -> event id`.
pub(crate) async fn events_of_rows(
    conn: &mut PgConnection,
    days: &Days,
) -> sqlx::Result<HashMap<(AccountDay, String), Uuid>> {
    let rows = sqlx::query!(
        "select f.account_id, f.ad_account_id, f.date, ad_id, event_id
         from unnest($1::uuid[], $2::uuid[], $3::date[]) as day (account_id, ad_account_id, date)
         join fact_meta_daily f using (account_id, ad_account_id, date)",
        &days.account_ids,
        &days.ad_account_ids,
        &days.dates,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| {
            let day = AccountDay { account_id: r.account_id, ad_account_id: r.ad_account_id, date: r.date };
            ((day, r.ad_id), r.event_id)
        })
        .collect())
}

/// Takes out the rows that staged ones will stand in for. Rows of other ads, absent ones among them, are not touched.
pub(crate) async fn delete_replaced<'s>(
    conn: &mut PgConnection,
    staged: impl Iterator<Item = &'s Staged<'s>>,
) -> sqlx::Result<()> {
    // A statement a day keeps the ads of a day together in one array, and the index scan within the day.
    for part in staged.filter(|part| !part.rows.is_empty()) {
        let ads: Vec<&str> = part.rows.iter().map(|(ad_id, _)| *ad_id).collect();
        sqlx::query!(
            "delete from fact_meta_daily
             where account_id = $1 and ad_account_id = $2 and date = $3 and ad_id = any($4::text[])",
            part.day.account_id,
            part.day.ad_account_id,
            part.day.date,
            &ads as &[&str],
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Writes staged rows with COPY; returns how many.
pub(crate) async fn copy<'s>(
    conn: &mut PgConnection,
    staged: impl IntoIterator<Item = &'s Staged<'s>>,
) -> sqlx::Result<u64> {
    let staged: Vec<&Staged<'_>> = staged.into_iter().collect();
    if staged.iter().all(|part| part.rows.is_empty()) {
        return Ok(0);
    }
    let mut copy = conn.copy_in_raw(COPY).await?;
    let mut chunk = String::with_capacity(CHUNK_BYTES + 4096);
    for part in staged {
        let (day, snapshot) = (&part.day, part.snapshot);
        let prefix = format!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t",
            day.account_id,
            day.ad_account_id,
            day.date,
            snapshot.currency,
            snapshot.rule.window(),
            snapshot.rule.version,
            snapshot.purchases_known
        );
        let mut suffix = format!("\t{}\t{}", part.standing.first.event_id, part.standing.first.fetched_at.to_rfc3339());
        // Writing into a String does not fail.
        let _ = match part.standing.absence {
            Some(absence) => writeln!(suffix, "\t{}\t{}", absence.since.to_rfc3339(), absence.word()),
            None => writeln!(suffix, "\t\\N\t\\N"),
        };
        for (_, row) in &part.rows {
            chunk.push_str(&prefix);
            chunk.push_str(row);
            chunk.push_str(&suffix);
            if chunk.len() >= CHUNK_BYTES {
                copy.send(chunk.as_bytes()).await?;
                chunk.clear();
            }
        }
    }
    copy.send(chunk.as_bytes()).await?;
    copy.finish().await
}

/// Gives the rows that stayed the standing they have now: a newer snapshot without them makes them absent, a late one
/// can make them absent earlier, prove them gone, or be the first that brought them.
pub(crate) async fn restate(conn: &mut PgConnection, timelines: &[(AccountDay, &Timeline)]) -> sqlx::Result<()> {
    for (day, timeline) in timelines {
        let (ids, standings): (Vec<Uuid>, Vec<Standing>) = timeline.events().unzip();
        sqlx::query_file!(
            "fact_meta_daily/restate.sql",
            day.account_id,
            day.ad_account_id,
            day.date,
            &ids,
            &standings.iter().map(|s| s.first.event_id).collect::<Vec<_>>(),
            &standings.iter().map(|s| s.first.fetched_at).collect::<Vec<_>>(),
            &standings.iter().map(|s| s.absence.map(|a| a.since)).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
            &standings.iter().map(|s| s.absence.map(|a| a.word().to_owned())).collect::<Vec<_>>()
                as &[Option<String>],
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Takes out every row of these days.
pub(crate) async fn delete(conn: &mut PgConnection, days: &Days) -> sqlx::Result<()> {
    // A statement a day is an index scan a day; joined with all days at once, it is a scan of the table.
    for day in days.iter() {
        sqlx::query!(
            "delete from fact_meta_daily where account_id = $1 and ad_account_id = $2 and date = $3",
            day.account_id,
            day.ad_account_id,
            day.date,
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}
