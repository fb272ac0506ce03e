//! The observations of an ad account, as this room reads them.

use chrono::NaiveDate;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::Observation;

/// The observations of an ad account's days from `since` on, each day's in the order of their versions.
pub async fn observations(
    db: impl PgExecutor<'_>,
    account_id: Uuid,
    ad_account_id: Uuid,
    since: NaiveDate,
) -> sqlx::Result<Vec<Observation>> {
    sqlx::query_as!(
        Observation,
        "select date, event_id, fetched_at, age_days, spend, impressions, purchases, purchase_value
         from observations
         where account_id = $1 and ad_account_id = $2 and date >= $3
         order by date, fetched_at, event_id",
        account_id,
        ad_account_id,
        since,
    )
    .fetch_all(db)
    .await
}
