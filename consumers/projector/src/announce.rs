//! Tells others what changed in `daily_summary`: rows of the outbox, written in the transaction that changed it.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use events::{Cause, DailySummaryChanged};
use projections::SummaryChange;
use sqlx::PgConnection;
use uuid::Uuid;

/// Announces these changes, and nothing where there are none. The caller's transaction made them, and commits: so a
/// change and its announcement stand or fall together, and a dry run, which takes its changes back, tells nobody.
pub async fn announce_changes(conn: &mut PgConnection, changes: &[SummaryChange], cause: Cause) -> sqlx::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let tenants: BTreeSet<Uuid> = changes.iter().map(|change| change.account_id).collect();
    let tenants: HashMap<Uuid, (Option<String>, DateTime<Utc>)> = sqlx::query!(
        r#"select tenant.id as "id!", a.currency::text as "currency?", now() as "now!"
           from unnest($1::uuid[]) as tenant (id) left join accounts a on a.id = tenant.id"#,
        &tenants.into_iter().collect::<Vec<_>>(),
    )
    .fetch_all(&mut *conn)
    .await?
    .into_iter()
    .map(|r| (r.id, (r.currency, r.now)))
    .collect();
    let mut events = Vec::with_capacity(changes.len());
    for change in changes {
        let Some((currency, now)) = tenants.get(&change.account_id) else { return Err(sqlx::Error::RowNotFound) };
        let event = DailySummaryChanged {
            account_id: change.account_id,
            date: change.date,
            version: change.version,
            cause,
            currency: currency.clone(),
            old: change.old.clone(),
            new: change.new.clone(),
        };
        let event = event.announce(*now).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        events.push((change.account_id, event));
    }
    outbox::announce_all(conn, &events).await
}
