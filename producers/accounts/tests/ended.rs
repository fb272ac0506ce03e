//! A connection that was ended stays so.

use anyhow::{Context, Result};
use testkit::{Tenant, database};

/// A worker that asked Meta before the end learns after it that the token is refused: that is no news any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_learns_late_changes_nothing_of_a_disconnected_integration() -> Result<()> {
    let db = database().await?;
    let tenant = Tenant::insert(&db.pool).await?;
    let integration = accounts::integration(&db.pool, tenant.integration_id).await?.context("it is there")?;
    let mut tx = db.pool.begin().await?;
    assert!(accounts::disconnect(&mut tx, tenant.account_id, tenant.integration_id).await?);
    assert!(!accounts::disconnect(&mut tx, tenant.account_id, tenant.integration_id).await?, "once");
    tx.commit().await?;
    let refused = Some("Meta refuses the token");
    assert!(!accounts::set_status(&db.pool, &integration, accounts::Status::NeedsReconnect, refused).await?);
    let after = accounts::integration(&db.pool, tenant.integration_id).await?.context("it is there")?;
    assert_eq!((after.status, after.status_reason), (accounts::Status::Disconnected, None));
    Ok(())
}
