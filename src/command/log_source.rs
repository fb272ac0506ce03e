//! The log that a command reads, and what reading it takes.

use anyhow::Result;
use clap::ValueEnum;
use logs::{Logs, Source};
use sqlx::PgPool;

use crate::boot::Boot;
use crate::exit::Outcome;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogChoice {
    /// The JetStream log
    Stream,
    /// meta_insights_raw, without the stream
    Raw,
}

/// Starts what reading this log takes, and ends it after `work`.
pub(super) async fn with_log(
    boot: &Boot,
    from: LogChoice,
    work: impl AsyncFnOnce(&PgPool, Logs) -> Result<Outcome>,
) -> Result<Outcome> {
    match from {
        LogChoice::Stream => {
            let servers = boot.servers().await?;
            let outcome = match Source::stream(&servers.wire).await {
                Ok(first) => {
                    let other = Some(Source::Raw(servers.pool.clone()));
                    work(&servers.pool, Logs { first, other }).await
                }
                Err(error) => Err(error.into()),
            };
            servers.close().await;
            outcome
        }
        // Works where the stream is gone: that is what the second log is for.
        LogChoice::Raw => {
            let (pool, embedded) = boot.tables().await?;
            let outcome = work(&pool, Source::Raw(pool.clone()).into()).await;
            pool.close().await;
            if let Some(embedded) = embedded {
                embedded.stop().await;
            }
            outcome
        }
    }
}
