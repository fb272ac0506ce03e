//! Ending in order: the first signal asks, the second insists; every task has a name, and a time to be done by.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long tasks may take to end once they are asked to. With what comes after it, an orderly end takes less than the
/// 10 s that whoever stops services gives them.
const DRAIN: Duration = Duration::from_secs(7);

/// The tasks of this process, and the wish that they end.
pub struct Tasks {
    cancel: CancellationToken,
    set: JoinSet<&'static str>,
}

impl Tasks {
    pub fn new() -> Self {
        Tasks { cancel: CancellationToken::new(), set: JoinSet::new() }
    }

    /// Cancelled when the tasks are to end.
    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Starts a task under a name.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            task.await;
            name
        });
    }

    /// Waits for a signal, for something that makes it pointless to go on, or for a task that ended by itself (which
    /// none should), and then ends all of them.
    pub async fn until_signal(mut self, pointless: impl Future<Output = String>) -> Result<()> {
        let mut signals = Signals::new()?;
        let ended = tokio::select! {
            signal = signals.next() => {
                tracing::info!(signal, "ending; once more to end at once");
                None
            }
            ended = self.set.join_next() => ended,
            reason = pointless => {
                // What is in hand cannot be finished any more; it is taken up again by whoever starts next.
                self.set.abort_all();
                anyhow::bail!(reason)
            }
        };
        let drained = tokio::select! {
            drained = self.end() => drained,
            signal = signals.next() => {
                // Nothing is waited for, not even our own servers, which end with this process.
                eprintln!("adledger: ended at once by a second {signal}; what was in hand is taken up again at the next start");
                std::process::exit(1)
            }
        };
        match ended {
            Some(Ok(name)) => anyhow::bail!("the task {name} ended by itself"),
            Some(Err(error)) => Err(error).context("a task failed"),
            None => drained,
        }
    }

    /// Asks every task to end, and waits.
    pub async fn end(&mut self) -> Result<()> {
        self.cancel.cancel();
        let all = async {
            while let Some(ended) = self.set.join_next().await {
                let name = ended.context("a task failed")?;
                tracing::debug!(name, "ended");
            }
            Ok(())
        };
        tokio::time::timeout(DRAIN, all).await.context("some work did not end in time; it will be done again")?
    }
}

/// Works until `work` is done, which ends in order when it is cancelled: a first signal cancels it, a second one ends
/// the process at once.
pub async fn until_done<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Result<T> {
    let mut signals = Signals::new()?;
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            signal = signals.next() => {
                if cancel.is_cancelled() {
                    eprintln!("adledger: ended at once by a second {signal}");
                    std::process::exit(1)
                }
                cancel.cancel();
            }
        }
    }
}

/// Works until `work` is done, or until a signal breaks it off where it stands, which `left` says in words.
pub async fn unless_signalled<T>(left: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut signals = Signals::new()?;
    tokio::select! {
        done = work => done,
        signal = signals.next() => anyhow::bail!("ended by {signal}; {left}"),
    }
}

/// SIGINT and SIGTERM.
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    pub fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Signals { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
