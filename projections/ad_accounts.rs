//! What the folds have to know of ad accounts: the currency their events must have, and their newest purchase rule.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::subject::AccountDay;
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::Snapshot;
use crate::purchases::PurchaseRule;

/// Why an event that can be read must not be folded: it would be summed with what it does not belong to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("ad account {ad_account_id} of account {account_id} is not known here")]
    UnknownAdAccount { account_id: Uuid, ad_account_id: Uuid },
    #[error("the event is in {found}, account {account_id} in {wanted}: two currencies are never summed")]
    Currency { account_id: Uuid, wanted: String, found: String },
}

/// Ad accounts as they are at one moment. A currency is its tenant's and cannot change once the tenant has an ad
/// account, so what is refused once is refused at every replay. A rule can change at any time: within a transaction
/// that [`begin`](crate::begin) began it stays.
#[derive(Debug, Default)]
pub struct AdAccounts {
    known: HashMap<(Uuid, Uuid), AdAccount>,
    /// The rule of an ad account that has no other, or is not known.
    first: Arc<PurchaseRule>,
}

#[derive(Debug)]
struct AdAccount {
    currency: String,
    rule: Option<Arc<PurchaseRule>>,
}

impl AdAccounts {
    /// The given ones, or all.
    pub async fn load(db: impl PgExecutor<'_>, ad_account_ids: Option<&[Uuid]>) -> sqlx::Result<Self> {
        Self::load_ruled_until(db, ad_account_ids, None).await
    }

    /// The same with each one's newest rule of those that were there at an instant, where one is given.
    pub async fn load_ruled_until(
        db: impl PgExecutor<'_>,
        ad_account_ids: Option<&[Uuid]>,
        ruled_until: Option<DateTime<Utc>>,
    ) -> sqlx::Result<Self> {
        let rows = sqlx::query!(
            r#"select a.id as account_id, ad.id as ad_account_id, a.currency, r.version as "version?",
                      r.alternatives as "alternatives?", r.attribution_window as "attribution_window?"
               from ad_accounts ad
               join accounts a on a.id = ad.account_id
               left join integrations i on i.account_id = ad.account_id and i.ad_account_id = ad.id and i.type = 'meta'
               left join lateral (
                   select version, alternatives, attribution_window from purchase_rules r
                   where r.account_id = i.account_id and r.integration_id = i.id
                     and ($2::timestamptz is null or r.created_at <= $2)
                   order by version desc limit 1) r on true
               where $1::uuid[] is null or ad.id = any($1)"#,
            ad_account_ids,
            ruled_until,
        )
        .fetch_all(db)
        .await?;
        let known = rows.into_iter().map(|r| {
            let rule = r
                .version
                .zip(r.alternatives)
                .zip(r.attribution_window)
                .map(|((version, alternatives), window)| PurchaseRule::new(version, alternatives, &window).into());
            ((r.account_id, r.ad_account_id), AdAccount { currency: r.currency, rule })
        });
        Ok(AdAccounts { known: known.collect(), first: Arc::default() })
    }

    /// The newest rule of the ad account of that day.
    pub fn rule(&self, day: &AccountDay) -> &Arc<PurchaseRule> {
        let ad_account = self.known.get(&(day.account_id, day.ad_account_id));
        ad_account.and_then(|ad_account| ad_account.rule.as_ref()).unwrap_or(&self.first)
    }

    /// Whether a snapshot was read by the newest rule of its ad account.
    pub fn is_current(&self, snapshot: &Snapshot) -> bool {
        self.rule(&snapshot.day).version == snapshot.rule.version
    }

    /// Why a snapshot must not be folded, if so.
    pub fn refusal(&self, snapshot: &Snapshot) -> Option<Refusal> {
        let AccountDay { account_id, ad_account_id, .. } = snapshot.day;
        match self.known.get(&(account_id, ad_account_id)) {
            None => Some(Refusal::UnknownAdAccount { account_id, ad_account_id }),
            Some(AdAccount { currency, .. }) if *currency != snapshot.currency => {
                Some(Refusal::Currency { account_id, wanted: currency.clone(), found: snapshot.currency.clone() })
            }
            Some(_) => None,
        }
    }
}
