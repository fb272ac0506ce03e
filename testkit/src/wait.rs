//! Waiting for a level, with a deadline: nothing here or in a test sleeps for a fixed time and hopes.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};

/// Asks until the answer is yes, or fails after `deadline` naming `what`.
pub async fn until<F: Future<Output = Result<bool>>>(
    what: &str,
    deadline: Duration,
    mut ask: impl FnMut() -> F,
) -> Result<()> {
    let end = tokio::time::Instant::now() + deadline;
    while !ask().await? {
        if tokio::time::Instant::now() > end {
            bail!("waited {} s in vain for: {what}", deadline.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
