//! Sessions that fold outside the pool: they are held to what every session of the pool is held to.

use sqlx::postgres::PgConnectOptions;

/// A session whose process is stopped in the middle of a transaction is ended by the server, so that its locks are free
/// (a purchase rule that waits for them would hold up every fold); one whose client is gone does not work on.
pub(crate) fn held(options: PgConnectOptions) -> PgConnectOptions {
    options.options([("idle_in_transaction_session_timeout", "30s"), ("client_connection_check_interval", "5s")])
}
