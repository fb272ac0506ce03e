//! Whether a day's hashes say that it need not be made anew.

use std::collections::BTreeMap;

use events::subject::AccountDay;
use projections::{AdAccounts, PROJECTION_VERSION};
use sqlx::PgPool;
use uuid::Uuid;

use super::{Replay, ReplayError};

impl Replay {
    /// Whether the day's observations have the content that the log has, were folded by this version and the newest
    /// rule, and its head is the newest of them. All of it is read in one statement, so that nothing has to be
    /// locked. The rows of facts and sums are not looked at: that is what is trusted.
    pub(super) async fn is_known(
        &self,
        ad_accounts: &AdAccounts,
        day: AccountDay,
        payload_bytes: &mut u64,
    ) -> Result<bool, ReplayError> {
        let mut logged: BTreeMap<Uuid, Vec<u8>> = BTreeMap::new();
        let mut readable = true;
        self.logs
            .first
            .each_event_until(day, self.end, |event| {
                let Ok(event) = event else { return readable = false };
                *payload_bytes += event.payload.len() as u64;
                match projections::content_sha256(&event.circumstances, &event.payload, self.max_event_bytes) {
                    Ok(hash) => drop(logged.entry(event.circumstances.event_id).or_insert_with(|| hash.to_vec())),
                    Err(_) => readable = false,
                }
            })
            .await?;
        // What cannot be read is said by who folds it.
        Ok(readable && !logged.is_empty() && is_on_record(&self.pool, ad_accounts, day, &logged).await?)
    }
}

async fn is_on_record(
    pool: &PgPool,
    ad_accounts: &AdAccounts,
    day: AccountDay,
    logged: &BTreeMap<Uuid, Vec<u8>>,
) -> sqlx::Result<bool> {
    let observed = sqlx::query!(
        r#"select o.event_id, o.content_sha256,
                  o.projection_version = $4 and o.rule_version = $5
                  and coalesce(head.projection_version = $4, false) as "current!",
                  coalesce((head.event_id, head.fetched_at, head.content_sha256)
                           = (o.event_id, o.fetched_at, o.content_sha256), false) as "is_head!"
           from observations o
           left join daily_meta_metrics head using (account_id, ad_account_id, date)
           where account_id = $1 and ad_account_id = $2 and date = $3
           order by o.fetched_at, o.event_id"#,
        day.account_id,
        day.ad_account_id,
        day.date,
        PROJECTION_VERSION,
        ad_accounts.rule(&day).version,
    )
    .fetch_all(pool)
    .await?;
    Ok(observed.len() == logged.len()
        && observed.last().is_some_and(|newest| newest.is_head)
        && observed.iter().all(|o| o.current && logged.get(&o.event_id) == Some(&o.content_sha256)))
}
