//! Answers in both logs: published to the stream, and appended to `meta_insights_raw` by the consumer that does it always.
//! It is handed in, because this crate is built before there is a database to check its queries against.

use std::time::Duration;

use anyhow::Result;
use jetstream::Wire;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::history::Answer;
use crate::wait;

const DEADLINE: Duration = Duration::from_secs(60);

/// Publishes answers, has `append` (which is `raw::run`) work until the raw log has them, and cancels it.
pub async fn record(
    pool: &PgPool,
    wire: &Wire,
    answers: &[Answer],
    append: impl AsyncFnOnce(&CancellationToken),
) -> Result<()> {
    for answer in answers {
        answer.publish(wire).await?;
    }
    let cancel = CancellationToken::new();
    let until_it_is_there = async {
        // A consumer that has not heard of a message yet is behind by none: the table is asked.
        let ids: Vec<Uuid> = answers.iter().map(|answer| answer.event_id).collect();
        let waited = wait::until("raw has the events", DEADLINE, async || {
            let there = sqlx::query_scalar("select count(*) from meta_insights_raw where event_id = any($1)");
            let there: i64 = there.bind(&ids).fetch_one(pool).await?;
            Ok(there == i64::try_from(ids.len())?)
        });
        let waited = waited.await;
        cancel.cancel();
        waited
    };
    tokio::join!(append(&cancel), until_it_is_there).1
}
