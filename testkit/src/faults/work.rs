use anyhow::Result;
use chrono::NaiveDate;
use sqlx::PgConnection;

use super::judge::Judge;

/// How many runs there are that no worker is done with, events that wait for the relay, and days that are not folded.
pub async fn left(connection: &mut PgConnection) -> Result<i64> {
    let left = "select (select count(*) from sync_runs where status not in ('succeeded', 'partial', 'failed'))
                     + (select count(*) from outbox) + (select count(*) from sync_days_unfolded)";
    Ok(sqlx::query_scalar(left).fetch_one(connection).await?)
}

/// How many runs there are of this job.
pub async fn runs(connection: &mut PgConnection, job: &str) -> Result<i64> {
    let query = "select count(*) from sync_runs where job_type = $1";
    Ok(sqlx::query_scalar(query).bind(job).fetch_one(connection).await?)
}

/// What the rows of the work say that they must not.
pub(super) async fn findings(judge: &Judge, connection: &mut PgConnection) -> Result<Vec<String>> {
    let mut findings: Vec<String> = sqlx::query_scalar(
        "select format('%s: run %s %s is %s, %s of %s days: %s',
                       case when status in ('partial', 'failed') then 'wrong' else 'stuck' end,
                       job_type, id, status, days_done, days_total, coalesce(error_message, wait_reason, 'no reason'))
         from sync_runs where status <> 'succeeded' or days_done <> days_total
         union all
         select format('stuck: %s of %s is %s: %s', date, integration_id, state, last_error)
         from sync_days where state <> 'published'
         union all
         select format('stuck: %s of %s was published and not folded', date, integration_id) from sync_days_unfolded
         union all
         select format('stuck: an event waits in the outbox for %s: %s', subject, last_error) from outbox
         union all
         select format('wrong: integration %s is %s: %s', id, status, status_reason) from integrations where status <> 'connected'",
    )
    .fetch_all(&mut *connection)
    .await?;
    for wanted in &judge.ad_accounts {
        let name = &wanted.external_id;
        let (fills, settles, backfills): (i64, i64, i64) = sqlx::query_as(
            "select count(*) filter (where job_type = 'meta_7d_fill'), count(*) filter (where job_type = 'meta_settle'),
                    count(*) filter (where job_type = 'meta_backfill')
             from sync_runs where integration_id = $1",
        )
        .bind(wanted.integration_id)
        .fetch_one(&mut *connection)
        .await?;
        let connections: i64 = sqlx::query_scalar("select count(*) from initial_fills where integration_id = $1")
            .bind(wanted.integration_id)
            .fetch_one(&mut *connection)
            .await?;
        // A connection that is renewed while its fill waits or works is answered by that fill.
        for (job, found, least, most) in [
            ("fill", fills, 1, connections),
            ("settle", settles, 1, 1),
            ("backfill", backfills, 1, wanted.backfills_asked),
        ] {
            if found < least {
                findings.push(format!("lost: {name} has {found} {job} runs"));
            }
            if found > most {
                findings.push(format!("doubled: {name} has {found} {job} runs, {most} at most"));
            }
        }
        let cursor: Option<NaiveDate> =
            sqlx::query_scalar("select max(value) from sync_cursors where integration_id = $1")
                .bind(wanted.integration_id)
                .fetch_one(&mut *connection)
                .await?;
        if cursor != Some(wanted.yesterday) {
            findings.push(format!("wrong: the cursor of {name} is at {cursor:?}, not at {}", wanted.yesterday));
        }
    }
    let filled: Vec<(String, String)> =
        sqlx::query_as("select event_source, event_id from initial_fills order by 1, 2")
            .fetch_all(&mut *connection)
            .await?;
    let mut announced = judge.streams.connections.clone();
    announced.sort();
    announced.dedup();
    if filled != announced {
        findings.push(format!("lost: fills were made for {filled:?}, and {announced:?} were announced"));
    }
    Ok(findings)
}
