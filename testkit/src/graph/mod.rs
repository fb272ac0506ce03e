//! A fake Graph API over HTTP, written from Meta's documents and not from `meta-api`, so that each can prove the other
//! wrong.
//!
//! A [`World`] says what is true of the ad accounts; [`Graph`] answers questions about it as Meta does, traps included:
//! ids that no float holds, names that no `jsonb` holds, bare numbers, overlapping action types, `paging.next` with the
//! token in it, error messages that quote the token, reports that call themselves completed too early. People grant access
//! in its dialog, and codes become tokens. A [`Failure`] makes it answer badly for a while, [`Faults`] by chance, a
//! [`Quota`] whoever asks too much; [`Limits`] say what is too large for one call. Every question is [`Recorded`], and
//! [`Counts`] say which of them were needed. What must not live here: anything that knows our tables or events.
//!
//! Reading order: `world.rs`, `access.rs` (who may ask), `respond.rs` (one question, what befalls it), `answer.rs` (a good
//! answer), `reports.rs`, `failure.rs`, `faults.rs`, `blocks.rs`, `counts.rs`.

mod access;
mod answer;
mod ask;
#[cfg(test)]
mod asking;
mod blocks;
mod counts;
mod curve;
mod delivery;
mod demo;
mod dialog;
mod failure;
mod faults;
mod limits;
mod long_names;
mod name;
mod oauth;
mod pages;
mod proof;
mod recorded;
mod refusal;
mod reports;
mod respond;
mod row_set;
mod rows;
mod usage;
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::extract::Query;
use axum::http::Uri;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use blocks::Blocks;
use counts::Ledger;
use row_set::Rendered;

pub use access::{App, CODE_LIVES, Code, LONG_LIVED_TOKEN_LIVES, TOKEN_LIVES, Token, User, code_challenge};
pub use ask::{Ask, Level, STATUSES, VERSIONS};
pub use blocks::Quota;
pub use counts::{Counts, DayTally, Tally};
pub use curve::Curve;
pub use delivery::{Delivery, Purchases, Sales};
pub use dialog::Decision;
pub use failure::Failure;
pub use faults::{Faults, Hint, Throttle};
pub use limits::{Limits, TooMuch};
pub use name::Name;
pub use proof::appsecret_proof;
pub use recorded::{Endpoint, Recorded};
pub use reports::{ReportFate, Reports};
pub use world::{Ad, AdAccount, RawRow, Totals, World};

/// A running fake. It stops when it is dropped.
#[derive(Debug)]
pub struct Graph {
    address: SocketAddr,
    inside: Arc<Inside>,
    _stop: DropGuard,
}

/// What the server shares with its [`Graph`].
#[derive(Debug)]
struct Inside {
    url: String,
    world: Mutex<World>,
    failures: Mutex<Vec<Failure>>,
    requests: Mutex<Vec<Recorded>>,
    rendered: Mutex<Rendered>,
    blocks: Mutex<Blocks>,
    ledger: Mutex<Ledger>,
    /// How many questions came that anything may befall.
    calls: AtomicU64,
    stop: CancellationToken,
}

impl Graph {
    /// Serves the world on a free port of 127.0.0.1, on the runtime of the caller.
    pub async fn start(world: World) -> Result<Graph> {
        Graph::start_on(0, world).await
    }

    /// Serves the world on a port of 127.0.0.1; 0 takes a free one.
    pub async fn start_on(port: u16, world: World) -> Result<Graph> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.with_context(|| format!("bind port {port}"))?;
        let address = listener.local_addr().context("read the bound port")?;
        let stop = CancellationToken::new();
        let inside = Arc::new(Inside {
            url: format!("http://{address}"),
            world: Mutex::new(world),
            failures: Mutex::default(),
            requests: Mutex::default(),
            rendered: Mutex::default(),
            blocks: Mutex::default(),
            ledger: Mutex::default(),
            calls: AtomicU64::default(),
            stop: stop.clone(),
        });
        let router = axum::Router::new().fallback(respond::respond).with_state(inside.clone());
        let serve = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(async move {
            if let Err(error) = serve.await {
                eprintln!("the fake Graph API ended: {error}");
            }
        });
        Ok(Graph { address, inside, _stop: stop.drop_guard() })
    }

    /// What stands for `https://graph.facebook.com`, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.inside.url
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the world, or reads it, between two answers.
    pub fn edit<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let mut world = lock(&self.inside.world);
        lock(&self.inside.rendered).clear();
        change(&mut world)
    }

    /// Renders the answer to a question, but for every day of every ad account, so that a
    /// [`cached`](World::cached) world answers it without work, also for windows of several days. The question is the
    /// query of a call, decoded or not; `time_range`, `limit` and whatever is missing do not matter. Returns how many
    /// rows that are.
    ///
    /// # Errors
    /// When Meta would refuse the question.
    pub fn warm(&self, query: &str) -> Result<usize> {
        let is_kept = |b: u8| b.is_ascii_alphanumeric() || b"-._~%&=+,".contains(&b);
        let encoded: String =
            query.bytes().map(|b| if is_kept(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect();
        let uri: Uri = format!("/?{encoded}").parse().context("the query")?;
        let Query(mut query) = Query::<Vec<(String, String)>>::try_from_uri(&uri).context("the query")?;
        query.retain(|(key, _)| !["level", "time_range", "time_increment"].contains(&key.as_str()));
        for (key, value) in
            [("level", "ad"), ("time_increment", "1"), ("time_range", r#"{"since":"2026-01-01","until":"2026-01-01"}"#)]
        {
            query.push((key.into(), value.into()));
        }
        let mut world = lock(&self.inside.world);
        // The day stands for every other one: how old it is does not matter.
        let today = world.today.take();
        let ask = ask::parse(query.iter(), &world);
        world.today = today;
        let (ask, _) = ask.map_err(|refusal| anyhow::anyhow!("the query is refused: {}", refusal.message))?;
        Ok(lock(&self.inside.rendered).warm(&world, &ask))
    }

    /// Answers the dialog at this address as a person would, without a browser: returns where that would be sent, which
    /// ends in `#_=_` as with Meta.
    ///
    /// # Errors
    /// What the dialog's page would say, when it refuses.
    pub fn decide(&self, dialog_url: &str, decision: Decision) -> Result<String> {
        let uri: Uri = dialog_url.parse().context("the dialog's address")?;
        let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(&uri).context("the dialog's query")?;
        self.edit(|world| Ok(dialog::Asked::read(world, &query).map_err(anyhow::Error::msg)?.decide(world, &decision)))
    }

    /// Answers badly from now on. Of the failures that fit a question, the one that was added first is spent first.
    pub fn fail(&self, failure: Failure) {
        lock(&self.inside.failures).push(failure);
    }

    /// Forgets every failure that is not spent yet.
    pub fn heal(&self) {
        lock(&self.inside.failures).clear();
    }

    /// Every question since the start or the last [`forget_requests`](Self::forget_requests), in the order of arrival.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.inside.requests).clone()
    }

    pub fn forget_requests(&self) {
        lock(&self.inside.requests).clear();
    }

    /// What was asked and answered since the start or the last [`forget_counts`](Self::forget_counts).
    pub fn counts(&self) -> Counts {
        lock(&self.inside.ledger).counts.clone()
    }

    /// Counts from nothing again; blocks, quotas and fetches that are under way stay.
    pub fn forget_counts(&self) {
        lock(&self.inside.ledger).counts = Counts::default();
    }
}

fn percent(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A test that panicked with the lock held has failed already; the others go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
