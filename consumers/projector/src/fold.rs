//! Decoded events folded in one transaction, as live traffic is; what PostgreSQL refuses is set aside with its reason.

use std::collections::HashSet;

use events::Cause;
use futures_util::future::BoxFuture;
use projections::{AdAccounts, Folded, Folds, Snapshot};
use sqlx::PgPool;
use uuid::Uuid;

use crate::announce_changes;
use crate::failure::{Class, TRIES, class, refusal};

/// What stops a batch: never the events.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    #[error("cannot fold now: {0}")]
    Database(#[from] sqlx::Error),
    #[error(
        "a purchase rule was changed between reading the events and folding them: they are read again by the new one"
    )]
    RuleChanged,
}

/// A snapshot that must not be folded: its place among those given, and the reason.
pub type Refused = (usize, String);

/// Folds snapshots in one transaction and commits it. Returns what was done, and the places of the snapshots that must
/// not be folded, with the reason. Nothing is folded where one was not read by the newest rule of its ad account.
///
/// A data error inside the transaction (a number PostgreSQL refuses, say) is bisected: the halves are folded by
/// themselves, down to the one event that cannot be.
pub fn fold_events(
    pool: &PgPool,
    folds: &Folds,
    snapshots: Vec<Snapshot>,
) -> BoxFuture<'static, Result<(Folded, Vec<Refused>), FoldError>> {
    let (pool, folds) = (pool.clone(), *folds);
    Box::pin(async move {
        let mut tries = 0;
        loop {
            let error = match fold_once(&pool, &folds, &snapshots).await {
                Err(FoldError::Database(error)) => error,
                outcome => return outcome,
            };
            tries += 1;
            match class(&error) {
                Class::Race if tries < TRIES => {}
                Class::Data if snapshots.len() == 1 => {
                    return Ok((Folded::default(), vec![(0, refusal(&error))]));
                }
                Class::Data => break,
                _ => return Err(error.into()),
            }
        }
        let mut left = snapshots;
        let right = left.split_off(left.len() / 2);
        let middle = left.len();
        let (folded, mut refused) = fold_events(&pool, &folds, left).await?;
        let (folded_right, refused_right) = fold_events(&pool, &folds, right).await?;
        refused.extend(refused_right.into_iter().map(|(at, reason)| (at + middle, reason)));
        let changes = [folded.changes, folded_right.changes].concat();
        let (events, rows) = (folded.events + folded_right.events, folded.rows + folded_right.rows);
        let folded = Folded { events, rows, changes };
        Ok((folded, refused))
    })
}

async fn fold_once(pool: &PgPool, folds: &Folds, snapshots: &[Snapshot]) -> Result<(Folded, Vec<Refused>), FoldError> {
    if snapshots.is_empty() {
        return Ok(Default::default());
    }
    let mut transaction = projections::begin(pool).await?;
    let ids: HashSet<Uuid> = snapshots.iter().map(|s| s.day.ad_account_id).collect();
    let ad_accounts = AdAccounts::load(&mut *transaction, Some(&ids.into_iter().collect::<Vec<_>>())).await?;
    if !snapshots.iter().all(|snapshot| ad_accounts.is_current(snapshot)) {
        return Err(FoldError::RuleChanged);
    }
    let mut refused = Vec::new();
    let mut admitted = Vec::with_capacity(snapshots.len());
    for (at, snapshot) in snapshots.iter().enumerate() {
        match ad_accounts.refusal(snapshot) {
            Some(refusal) => refused.push((at, refusal.to_string())),
            None => admitted.push(snapshot),
        }
    }
    let folded = folds.fold(&mut transaction, &admitted).await?;
    announce_changes(&mut transaction, &folded.changes, Cause::Live).await?;
    transaction.commit().await?;
    Ok((folded, refused))
}
