//! Who an id is: Meta's id of an ad account and the name of its tenant, for sentences that people read. Programs get the
//! ids, which do not change.

use std::collections::HashMap;

use anyhow::{Context, Result};
use events::subject::AccountDay;
use sqlx::PgPool;
use uuid::Uuid;

use crate::output;

pub struct Names {
    tenants: HashMap<Uuid, String>,
    ad_accounts: HashMap<Uuid, String>,
}

impl Names {
    pub async fn load(pool: &PgPool) -> Result<Self> {
        let names = accounts::names(pool).await.context("the names of tenants cannot be read")?;
        Ok(Names { tenants: names.tenants.into_iter().collect(), ad_accounts: names.ad_accounts.into_iter().collect() })
    }

    /// `act_…`, or our id where no table knows it.
    pub fn ad_account(&self, id: Uuid) -> String {
        known(&self.ad_accounts, id)
    }

    pub fn tenant(&self, id: Uuid) -> String {
        known(&self.tenants, id)
    }

    /// A day. A summary is of no ad account.
    pub fn day(&self, day: &AccountDay) -> String {
        let (tenant, date) = (self.tenant(day.account_id), day.date);
        if day.ad_account_id.is_nil() {
            format!("{date} of tenant {tenant}")
        } else {
            format!("{date} of {}, tenant {tenant}", self.ad_account(day.ad_account_id))
        }
    }
}

fn known(names: &HashMap<Uuid, String>, id: Uuid) -> String {
    names.get(&id).map_or_else(|| id.to_string(), |name| output::printable(name))
}
