use std::collections::BTreeMap;

use sqlx::PgConnection;

/// Upper bounds of the classes that durations are counted in.
pub const DURATION_BOUNDS_SECONDS: [f64; 10] =
    [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0];

/// What all runs and days come to, for whoever watches.
#[derive(Debug, Default)]
pub struct Figures {
    /// Runs by status and, where they wait, by the reason.
    pub runs: BTreeMap<(String, Option<String>), u64>,
    /// Finished runs by job type and status.
    pub durations: BTreeMap<(String, String), Durations>,
    pub throttles: u64,
    pub throttle_wait_ms: u64,
    /// Days that integrations owe, as the view `sync_days_owed` says.
    pub days_owed: u64,
    /// Days whose last attempt failed.
    pub days_failed: u64,
}

/// From the first start of a run to its end.
#[derive(Debug, Default)]
pub struct Durations {
    /// Runs in each class: `counts[i]` took at most `DURATION_BOUNDS_SECONDS[i]` and longer than the bound before; the
    /// last ones took longer than any.
    pub counts: [u64; DURATION_BOUNDS_SECONDS.len() + 1],
    pub sum_seconds: f64,
}

/// Counts all runs and days. The answer is small, however many there are.
pub async fn figures(conn: &mut PgConnection) -> sqlx::Result<Figures> {
    // A class of `width_bucket` holds its lower bound and ours the upper one; half a microsecond is less than two
    // instants of PostgreSQL's can differ by.
    let groups = sqlx::query!(
        r#"select job_type, status, case when status = 'waiting' then wait_reason end as wait_reason,
                  width_bucket(seconds - 0.0000005, $1::float8[]) as class,
                  count(*) as "runs!", coalesce(sum(seconds), 0) as "seconds!",
                  sum(throttle_count) as "throttles!", sum(throttle_wait_ms)::bigint as "throttle_wait_ms!"
           from (select *, extract(epoch from finished_at - started_at)::float8 as seconds from sync_runs) as timed
           group by 1, 2, 3, 4"#,
        &DURATION_BOUNDS_SECONDS[..],
    )
    .fetch_all(&mut *conn)
    .await?;
    let days = sqlx::query!(
        r#"select (select count(*) from sync_days_owed) as "owed!",
                  (select count(*) from sync_days where state = 'failed') as "failed!""#
    )
    .fetch_one(conn)
    .await?;
    let mut figures = Figures { days_owed: count(days.owed), days_failed: count(days.failed), ..Figures::default() };
    for group in groups {
        let runs = count(group.runs);
        figures.throttles += count(group.throttles);
        figures.throttle_wait_ms += count(group.throttle_wait_ms);
        *figures.runs.entry((group.status.clone(), group.wait_reason)).or_default() += runs;
        if let Some(class) = group.class.and_then(|class| usize::try_from(class).ok()) {
            let durations = figures.durations.entry((group.job_type, group.status)).or_default();
            durations.counts[class.min(DURATION_BOUNDS_SECONDS.len())] += runs;
            durations.sum_seconds += group.seconds;
        }
    }
    Ok(figures)
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
