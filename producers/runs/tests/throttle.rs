//! Throttles that many fetchers share: who waits how long, and who asks first when one is over.

use std::time::Duration;

use anyhow::{Context, Result};
use runs::{ThrottleKey, ThrottleScope, throttle};
use sqlx::PgPool;

const CAP: Duration = Duration::from_secs(60);

fn keys() -> [ThrottleKey; 2] {
    [
        ThrottleKey { scope: ThrottleScope::AdAccount, key: "act_1".into() },
        ThrottleKey { scope: ThrottleScope::App, key: "42".into() },
    ]
}

async fn end(pool: &PgPool) -> Result<()> {
    sqlx::query("update throttles set blocked_until = clock_timestamp() - interval '1 second'").execute(pool).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_meta_asks_for_is_the_time_and_else_it_doubles() -> Result<()> {
    let db = testkit::database().await?;
    let (pool, [ad_account, app]) = (&db.pool, keys());
    let asked = Some(Duration::from_secs(420));
    let block = throttle::block_until(pool, &app, asked, CAP, "too many", false).await?;
    assert!(block.remaining > Duration::from_secs(419) && block.in_a_row == 1, "{block:?}");
    let found = throttle::blocked(pool, &keys()).await?.context("it is written down")?;
    assert_eq!((found.reason.as_str(), found.until), ("too many", block.until));
    assert_eq!(throttle::blocked(pool, std::slice::from_ref(&ad_account)).await?, None);
    // Whoever learns of it while it lasts has not learned of another.
    let again = throttle::block_until(pool, &app, None, CAP, "too many", false).await?;
    assert_eq!((again.in_a_row, again.until), (1, block.until));

    for (in_a_row, longest) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (8, 60)] {
        let block = throttle::block_until(pool, &ad_account, None, CAP, "", false).await?;
        let longest = Duration::from_secs(longest);
        assert_eq!(block.in_a_row, in_a_row);
        assert!(block.remaining <= longest && block.remaining > longest / 2 - Duration::from_millis(500), "{block:?}");
        end(pool).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_it_is_over_one_of_many_asks_and_the_others_wait_for_the_answer() -> Result<()> {
    let db = testkit::database().await?;
    let (pool, keys) = (&db.pool, keys());
    for key in &keys {
        throttle::block_until(pool, key, Some(CAP), CAP, "too many", false).await?;
    }
    assert_eq!(throttle::try_again(pool, &keys).await?, None, "it lasts");
    end(pool).await?;
    let mut trying = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (pool, keys) = (pool.clone(), keys.clone());
        trying.spawn(async move { throttle::try_again(&pool, &keys).await });
    }
    let tries = trying.join_all().await.into_iter().collect::<sqlx::Result<Vec<_>>>()?;
    let [trial] = tries.into_iter().flatten().collect::<Vec<_>>()[..] else { anyhow::bail!("not one alone asks") };
    assert!(throttle::blocked(pool, &keys).await?.is_some_and(|block| !block.remaining.is_zero()));

    // It is told so again: one more in a row, and what it knew of its own trial ends nothing.
    let block = throttle::block_until(pool, &keys[0], None, CAP, "still", true).await?;
    assert_eq!(block.in_a_row, 2);
    end(pool).await?;
    let second = throttle::try_again(pool, &keys).await?.context("one asks")?;
    let renewed = throttle::block_until(pool, &keys[0], Some(CAP), CAP, "by another", false).await?;
    throttle::answered(pool, &keys, second.max(trial)).await?;
    let left = throttle::blocked(pool, &keys).await?.context("the newer one stays")?;
    assert_eq!((left.until, left.reason.as_str()), (renewed.until, "by another"));

    end(pool).await?;
    let third = throttle::try_again(pool, &keys).await?.context("one asks")?;
    throttle::answered(pool, &keys, third).await?;
    assert_eq!(throttle::blocked(pool, &keys).await?, None, "Meta answers: everybody may ask");
    Ok(())
}
