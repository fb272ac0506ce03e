//! The harness: runs scenarios as `cargo test` runs tests, on one browser.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use testkit::browser::Browser;
use tokio::sync::Mutex;

/// How long a scenario may take.
const LIMIT: Duration = Duration::from_secs(180);

pub struct Scenario {
    pub name: &'static str,
    pub play: fn(&Browser) -> Played<'_>,
}

pub type Played<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// Scenarios by the paths of their functions: `async fn(&Browser) -> Result<()>`.
macro_rules! scenarios {
    ($($path:path),* $(,)?) => {
        vec![$($crate::run::Scenario { name: stringify!($path), play: |browser| Box::pin($path(browser)) }),*]
    };
}
pub(crate) use scenarios;

/// One process for all: starting one takes about as long as a whole scenario. One that has ended is started again, so
/// that it takes a single scenario with it.
type Shared = Arc<Mutex<Option<Arc<Browser>>>>;

pub fn all(scenarios: Vec<Scenario>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A browser has several processes busy for each page.
    arguments.test_threads.get_or_insert(2);
    let shared = Shared::default();
    let trials = scenarios.into_iter().map(|scenario| {
        let shared = Arc::clone(&shared);
        Trial::ignorable_test(scenario.name, move || play(&shared, &scenario))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn play(shared: &Shared, scenario: &Scenario) -> Result<Completion, Failed> {
    #[expect(clippy::disallowed_methods, reason = "tests have no boot.rs: whether a browser has to be here")]
    let must_be_here = std::env::var_os("ADLEDGER_CI").is_some();
    if Browser::installed().is_none() && !must_be_here {
        return Ok(Completion::ignored_with("no browser here: install Debian's package chromium"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let played = runtime.block_on(async {
        let browser = running(shared).await?;
        let played = tokio::time::timeout(LIMIT, (scenario.play)(&browser)).await;
        played.with_context(|| format!("the scenario took more than {} s", LIMIT.as_secs()))?
    });
    // Servers that a scenario left running do not hold the next one up.
    runtime.shutdown_background();
    played.map_err(|error| Failed::from(format!("{error:?}")))?;
    Ok(Completion::Completed)
}

async fn running(shared: &Shared) -> Result<Arc<Browser>> {
    let mut shared = shared.lock().await;
    if let Some(browser) = shared.as_ref().filter(|browser| browser.runs()) {
        return Ok(Arc::clone(browser));
    }
    let browser = Arc::new(Browser::start().await?);
    *shared = Some(Arc::clone(&browser));
    Ok(browser)
}
