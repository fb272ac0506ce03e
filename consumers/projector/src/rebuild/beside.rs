//! The tables beside the live ones: connections that find them first, and folding into them.
//!
//! A name that is not found in `rebuild` would be found in `public`, and the rebuild would write what everybody reads. So
//! every transaction begins by reading which rebuild the schema belongs to, and holds on to it: where the schema was
//! dropped, made anew by another rebuild, or emptied by a crash of the server (its tables are not logged), there is no such
//! row, and the transaction fails before it writes.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use projections::{AdAccounts, Folded, Folds, SummaryKey};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::{RebuildError, SCHEMA};
use crate::failure::{Class, TRIES, class, refused_of};
use crate::reading::{DayBatch, Reader};
use crate::session;

/// Connections whose search path finds the rebuilt tables before the live ones.
pub(super) struct Beside {
    pool: PgPool,
    run: Uuid,
}

impl Beside {
    /// Makes the schema anew, through the session that holds the lock of all rebuilds.
    pub async fn new(lock: &mut PgConnection, owner: &PgConnectOptions, connections: usize) -> sqlx::Result<Beside> {
        projections::recreate_tables(lock, SCHEMA).await?;
        let begin = format!(
            "drop table if exists {SCHEMA}.run;
             create unlogged table {SCHEMA}.run (id uuid not null, began_at timestamptz not null default now());
             insert into {SCHEMA}.run values (gen_random_uuid())"
        );
        sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut *lock).await?;
        let run = sqlx::query_scalar(AssertSqlSafe(format!("select id from {SCHEMA}.run"))).fetch_one(lock).await?;
        let (path, port) = (format!("{SCHEMA},public"), owner.get_port());
        let along = session::held(owner.clone()).options([("search_path", path.as_str()), ("statement_timeout", "0")]);
        let connections = u32::try_from(connections).unwrap_or(u32::MAX).saturating_add(1);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .after_connect(move |_, _| {
                Box::pin(async move {
                    session::send_at_once(port);
                    Ok(())
                })
            })
            .connect_with(along)
            .await?;
        Ok(Beside { pool, run })
    }

    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Begins a transaction that folds beside.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, RebuildError> {
        let mut transaction = projections::begin(&self.pool).await?;
        self.check(&mut transaction).await?;
        Ok(transaction)
    }

    /// Fails unless the schema is still that of this rebuild; until the transaction ends it stays so.
    pub async fn check(&self, conn: &mut PgConnection) -> Result<(), RebuildError> {
        let run = format!("select id from {SCHEMA}.run for share");
        let found: Result<Option<Uuid>, _> = sqlx::query_scalar(AssertSqlSafe(run)).fetch_optional(conn).await;
        match found {
            Ok(Some(run)) if run == self.run => Ok(()),
            Ok(_) => Err(RebuildError::Gone),
            Err(error) if error.as_database_error().is_some_and(|e| e.code().as_deref() == Some("42P01")) => {
                Err(RebuildError::Gone)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Folds a batch in one transaction, without the summaries. It is read again where a purchase rule was changed since, or
    /// where PostgreSQL refuses an event's numbers: live traffic has parked that one, and its day is made of the others.
    pub async fn fold(&self, reader: &Reader, mut batch: DayBatch) -> Result<(DayBatch, Folded), RebuildError> {
        let mut reader = reader.clone();
        for _ in 0..TRIES {
            let mut transaction = self.begin().await?;
            let ids: HashSet<Uuid> = batch.days.iter().map(|day| day.ad_account_id).collect();
            let ad_accounts = AdAccounts::load(&mut *transaction, Some(&ids.into_iter().collect::<Vec<_>>())).await?;
            let mut refused = Vec::new();
            if batch.snapshots.iter().all(|snapshot| ad_accounts.is_current(snapshot)) {
                let snapshots: Vec<_> = batch.snapshots.iter().collect();
                match Folds::default().fold_days(&mut transaction, &snapshots).await {
                    Ok((folded, _)) => {
                        transaction.commit().await?;
                        return Ok((batch, folded));
                    }
                    Err(error) => match class(&error) {
                        Class::Race => continue,
                        Class::Data => {
                            drop(transaction);
                            let mut trial = self.begin().await?;
                            refused = refused_of(&mut trial, &batch.snapshots).await?;
                            if refused.is_empty() {
                                return Err(error.into());
                            }
                        }
                        Class::Infrastructure => return Err(error.into()),
                    },
                }
            } else {
                drop(transaction);
                reader.ad_accounts = Arc::new(ad_accounts);
            }
            batch = reader.again(&batch.days, refused).await?;
        }
        Err(RebuildError::RuleChanged)
    }

    /// Makes these summaries, a thousand a transaction.
    pub async fn sum_up(&self, keys: &BTreeSet<SummaryKey>) -> Result<(), RebuildError> {
        let keys: Vec<SummaryKey> = keys.iter().copied().collect();
        for some in keys.chunks(1_000) {
            let mut transaction = self.begin().await?;
            Folds::default().sum_up(&mut transaction, &some.iter().copied().collect()).await?;
            transaction.commit().await?;
        }
        Ok(())
    }
}
