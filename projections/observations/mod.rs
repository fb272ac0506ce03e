//! `observations`: one row an event that was folded, and by it the checkpoint of the event. A second delivery finds the
//! row and changes nothing.

use std::collections::HashMap;

use events::Version;
use events::subject::AccountDay;
use sqlx::PgConnection;

use crate::keys::Days;
use crate::timeline::Observed;
use crate::{PROJECTION_VERSION, Snapshot};

/// A statement over observations as they would be inserted: $1 to $18 are their columns, whatever else it takes follows.
macro_rules! of_snapshots {
    ($file:literal, $snapshots:expr $(, $more:expr)*) => {{
        let snapshots: &[&Snapshot] = $snapshots;
        let column = |f: fn(&Snapshot) -> _| snapshots.iter().map(|s| f(s)).collect::<Vec<_>>();
        sqlx::query_file!(
            $file,
            &column(|s| s.day.account_id),
            &column(|s| s.day.ad_account_id),
            &snapshots.iter().map(|s| s.day.date).collect::<Vec<_>>(),
            &column(|s| s.version.event_id),
            &snapshots.iter().map(|s| s.version.fetched_at).collect::<Vec<_>>(),
            &snapshots.iter().map(|s| s.age_days).collect::<Vec<_>>(),
            &snapshots.iter().map(|s| i32::try_from(s.row_count).unwrap_or(i32::MAX)).collect::<Vec<_>>(),
            &snapshots.iter().map(|s| s.content.to_vec()).collect::<Vec<_>>(),
            &snapshots.iter().map(|s| s.sums.spend).collect::<Vec<_>>() as &[Option<rust_decimal::Decimal>],
            &snapshots.iter().map(|s| s.sums.impressions).collect::<Vec<_>>() as &[Option<i64>],
            &snapshots.iter().map(|s| s.sums.purchases).collect::<Vec<_>>() as &[Option<rust_decimal::Decimal>],
            &snapshots.iter().map(|s| s.sums.purchase_value).collect::<Vec<_>>() as &[Option<rust_decimal::Decimal>],
            &snapshots.iter().map(|s| s.control.map(|c| c.0)).collect::<Vec<_>>() as &[Option<rust_decimal::Decimal>],
            &snapshots.iter().map(|s| s.control.map(|c| c.1)).collect::<Vec<_>>() as &[Option<i64>],
            &snapshots.iter().map(|s| s.status_filter.clone()).collect::<Vec<_>>() as &[Option<String>],
            PROJECTION_VERSION,
            &snapshots.iter().map(|s| s.rule.version).collect::<Vec<_>>(),
            &snapshots.iter().map(|s| s.attribution_windows.clone()).collect::<Vec<_>>(),
            $($more),*
        )
    }};
}

/// Adds the snapshots that are not there yet; tells, for each, whether it was added.
pub(crate) async fn insert(conn: &mut PgConnection, snapshots: &[&Snapshot]) -> sqlx::Result<Vec<bool>> {
    let inserted = of_snapshots!("observations/insert.sql", snapshots).fetch_all(conn).await?;
    // One event may stand twice in a batch: the first of the two is the one that was added.
    let mut added: std::collections::HashSet<_> =
        inserted.into_iter().map(|r| (r.account_id, r.ad_account_id, r.date, r.event_id)).collect();
    Ok(snapshots
        .iter()
        .map(|s| added.remove(&(s.day.account_id, s.day.ad_account_id, s.day.date, s.version.event_id)))
        .collect())
}

/// How many observations of each day are not what `snapshots`, all there are of these days, say; a day of which every
/// one is right is not in the answer.
pub(crate) async fn differing(
    conn: &mut PgConnection,
    days: &Days,
    snapshots: &[&Snapshot],
) -> sqlx::Result<HashMap<AccountDay, u64>> {
    let rows =
        of_snapshots!("observations/differing.sql", snapshots, &days.account_ids, &days.ad_account_ids, &days.dates)
            .fetch_all(conn)
            .await?;
    let day = |account_id, ad_account_id, date| AccountDay { account_id, ad_account_id, date };
    Ok(rows.into_iter().map(|r| (day(r.account_id, r.ad_account_id, r.date), r.differing.unsigned_abs())).collect())
}

/// Every observation of these days, in no order.
pub async fn of_days(conn: &mut PgConnection, days: &Days) -> sqlx::Result<HashMap<AccountDay, Vec<Observed>>> {
    let rows = sqlx::query!(
        r#"select o.account_id, o.ad_account_id, o.date, event_id, fetched_at, content_sha256, rule_version,
                  coalesce(spend = control_spend and impressions = control_impressions, false) as "proves!"
           from unnest($1::uuid[], $2::uuid[], $3::date[]) as day (account_id, ad_account_id, date)
           join observations o using (account_id, ad_account_id, date)"#,
        &days.account_ids,
        &days.ad_account_ids,
        &days.dates,
    )
    .fetch_all(conn)
    .await?;
    let mut observed: HashMap<AccountDay, Vec<Observed>> = HashMap::new();
    for r in rows {
        let day = AccountDay { account_id: r.account_id, ad_account_id: r.ad_account_id, date: r.date };
        observed.entry(day).or_default().push(Observed {
            version: Version { fetched_at: r.fetched_at, event_id: r.event_id },
            // A hash of another length is damage; it equals no content, and a replay of the day writes it anew.
            content: r.content_sha256.try_into().unwrap_or_default(),
            proves: r.proves,
            rule_version: r.rule_version,
        });
    }
    Ok(observed)
}

pub(crate) async fn delete(conn: &mut PgConnection, days: &Days) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from observations o
         using unnest($1::uuid[], $2::uuid[], $3::date[]) as day (account_id, ad_account_id, date)
         where (o.account_id, o.ad_account_id, o.date) = (day.account_id, day.ad_account_id, day.date)",
        &days.account_ids,
        &days.ad_account_ids,
        &days.dates,
    )
    .execute(conn)
    .await?;
    Ok(())
}
