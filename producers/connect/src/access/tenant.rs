//! A transaction that sees one tenant.

use sqlx::postgres::PgConnectOptions;
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

/// How long one statement of a request may take.
const STATEMENT_WITHIN: &str = "5s";

/// Whose rows a request may see: those of a tenant, and those of a session.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scope {
    pub(crate) account_id: Option<Uuid>,
    pub(crate) session_sha256: Option<[u8; 32]>,
}

impl Scope {
    /// Begins the transaction that all SQL of a request runs in: as the role `adledger_web`, which the policies of
    /// every table hold, and for the length of the transaction only, so that a connection goes back to the pool as it
    /// came.
    pub(crate) async fn begin(self, pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
        let mut tx = pool.begin().await?;
        sqlx::query!(
            "select set_config('adledger.account_id', $1, true) as account, set_config('adledger.session', $2, true) as session,
                    set_config('statement_timeout', $3, true) as timeout, set_config('role', 'adledger_web', true) as role",
            self.account_id.map(|id| id.to_string()).unwrap_or_default(),
            self.session_sha256.map(hex).unwrap_or_default(),
            STATEMENT_WITHIN,
        )
        .fetch_one(&mut *tx)
        .await?;
        Ok(tx)
    }
}

/// How a whole session begins that sees one tenant, for what takes longer than a transaction: with the role and the tenant
/// that [`Scope::begin`] sets, from its first statement on. It is held to what the pool's sessions are held to.
pub fn session_of_tenant(owner: PgConnectOptions, account_id: Uuid) -> PgConnectOptions {
    owner.options([
        ("role", "adledger_web".to_owned()),
        ("adledger.account_id", account_id.to_string()),
        ("idle_in_transaction_session_timeout", "30s".to_owned()),
        ("client_connection_check_interval", "5s".to_owned()),
    ])
}

fn hex(bytes: [u8; 32]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
