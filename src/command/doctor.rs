use anyhow::{Context, Result};
use clap::Args;
use jetstream::{DEAD_LETTERS, META_INSIGHTS, Wire, topology};
use serde::Serialize;
use sqlx::PgPool;

use crate::boot::Boot;
use crate::exit::{self, Outcome};
use crate::output;

/// Look at settings, servers, tables and streams, and say what is wrong; exit code 3 when something is
#[derive(Args)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The oldest PostgreSQL that is supported, as the server numbers its versions.
const OLDEST_POSTGRES: i32 = 150_000;
/// A log this full, in percent, is about to stop the fetch.
const FULL_PERCENT: u64 = 80;

#[derive(Serialize)]
struct Check {
    what: &'static str,
    ok: bool,
    /// What was found; where it is not ok, also what to do.
    found: String,
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, what: &'static str, outcome: Result<String>) {
        let (ok, found) = match outcome {
            Ok(found) => (true, found),
            Err(error) => (false, exit::sentence(&error)),
        };
        self.0.push(Check { what, ok, found });
    }
}

impl Doctor {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let mut checks = Checks::default();
        settings(boot, &mut checks);
        // One start for both where the servers are embedded: two would want the same folder.
        match boot.servers_as_they_are().await {
            Ok(servers) => {
                database(boot, &servers.pool, &mut checks).await;
                wire(boot, &servers.wire, &mut checks).await;
                servers.close().await;
            }
            Err(error) => checks.add("servers", Err(error)),
        }
        let findings = checks.0.iter().any(|check| !check.ok);
        if self.json {
            output::json(&checks.0)?;
        } else {
            for check in &checks.0 {
                output::line(&format!("{} {:<14} {}", if check.ok { "✓" } else { "✗" }, check.what, check.found))?;
            }
        }
        Ok(if findings { Outcome::Findings } else { Outcome::Done })
    }
}

fn settings(boot: &Boot, checks: &mut Checks) {
    let keys = boot.settings.key_ring(boot.place());
    checks.add("keys", keys.map(|_| "the key ring can be read".to_owned()).map_err(Into::into));
    let sources = boot.settings.sources().map_err(anyhow::Error::from);
    checks.add(
        "Meta",
        sources.map(|sources| match sources.meta {
            None => "stub mode: no request leaves this machine".to_owned(),
            Some(_) => format!("API {}, statuses {}", boot.settings.asked.api_version, statuses(boot)),
        }),
    );
}

fn statuses(boot: &Boot) -> String {
    let filter = boot.settings.asked.query.effective_status.as_ref();
    filter.map_or_else(
        || "all".to_owned(),
        |list| format!("{} (spend of ads in other states is not counted)", list.join(",")),
    )
}

async fn database(boot: &Boot, pool: &PgPool, checks: &mut Checks) {
    checks.add("PostgreSQL", postgres_version(pool).await);
    let tables = crate::boot::check_tables(pool).await;
    let ready = tables.is_ok();
    checks.add("tables", tables.map(|()| "every migration is applied".to_owned()));
    if ready {
        checks.add("sealed tokens", sealed(boot, pool).await);
        checks.add("integrations", integrations(pool).await);
        checks.add("days", days(pool).await);
    }
}

async fn postgres_version(pool: &PgPool) -> Result<String> {
    let (number, version): (i32, String) =
        sqlx::query_as("select current_setting('server_version_num')::int, current_setting('server_version')")
            .fetch_one(pool)
            .await
            .context("cannot ask PostgreSQL for its version")?;
    anyhow::ensure!(number >= OLDEST_POSTGRES, "PostgreSQL {version} is too old: 15 or newer is needed");
    Ok(format!("version {version}"))
}

async fn sealed(boot: &Boot, pool: &PgPool) -> Result<String> {
    let in_use = accounts::keys_in_use(pool).await?;
    if let Ok(ring) = boot.settings.key_ring(boot.place()) {
        let missing: Vec<&String> = in_use.iter().filter(|kid| !ring.holds(kid)).collect();
        anyhow::ensure!(
            missing.is_empty(),
            "ADLEDGER_SECRET_KEYS lacks the keys {missing:?}, with which tokens are sealed: add them, or connect anew"
        );
    }
    Ok(format!("{} keys in use, all at hand", in_use.len()))
}

async fn integrations(pool: &PgPool) -> Result<String> {
    let all = accounts::integrations(pool).await?;
    let ill: Vec<String> = all
        .iter()
        .filter(|i| !matches!(i.status, accounts::Status::Connected | accounts::Status::Disconnected))
        .map(|i| {
            format!("{} is {}: {}", i.external_id, i.status, i.status_reason.as_deref().unwrap_or("connect it again"))
        })
        .collect();
    anyhow::ensure!(ill.is_empty(), "{}", ill.join("; "));
    Ok(format!("{} in all, none needs anybody", all.len()))
}

async fn days(pool: &PgPool) -> Result<String> {
    if let Some((count, reason)) = ::runs::failed_days(pool).await? {
        anyhow::bail!("{count} days failed and are tried again with the next meta_fresh; one of them: {reason}");
    }
    let unfolded = ::runs::unfolded_days(pool, 5).await?;
    anyhow::ensure!(
        unfolded.is_empty(),
        "days were published and are in no table: {}: look into the dead letters, and sync again",
        unfolded.iter().map(|(ad_account, date)| format!("{ad_account} on {date}")).collect::<Vec<_>>().join(", ")
    );
    Ok("none has failed, all are in the tables".to_owned())
}

async fn wire(boot: &Boot, wire: &Wire, checks: &mut Checks) {
    let version = topology::check_server(wire).map(|()| {
        let mb = wire.max_payload_bytes() >> 20;
        let advice = if mb < 8 { "; days of many ads need more, set max_payload: 8MB" } else { "" };
        format!("nats-server {}, takes events of {mb} MB{advice}", wire.server_version())
    });
    checks.add("NATS", version.map_err(Into::into));
    let differences = topology::check(wire, &boot.settings.limits).await.map_err(anyhow::Error::from);
    checks.add(
        "streams",
        differences.and_then(|found| match found.first() {
            None => Ok("as the topology files say".to_owned()),
            Some(d) => anyhow::bail!(
                "{} differences, {} {} first: run `adledger streams check`, then `adledger streams apply`",
                found.len(),
                d.object,
                d.field
            ),
        }),
    );
    checks.add("log", log_level(wire).await);
    checks.add("dead letters", dead_letters(wire).await);
    for (what, durable) in [("raw", raw::DURABLE), ("projector", projector::DURABLE)] {
        checks.add(what, gap(wire, durable).await);
    }
}

async fn log_level(wire: &Wire) -> Result<String> {
    let level = wire.log(META_INSIGHTS).await?.level().await?;
    let Some(max) = level.max_bytes.filter(|max| *max > 0) else {
        return Ok(format!("{} events, {} bytes, without a limit of its own", level.messages, level.bytes));
    };
    let percent = level.bytes.saturating_mul(100) / max;
    anyhow::ensure!(
        percent < FULL_PERCENT,
        "the log is {percent}% full ({} of {max} bytes): raise ADLEDGER_LOG_MAX_BYTES and run `adledger streams apply`",
        level.bytes
    );
    Ok(format!("{} events, {percent}% of {max} bytes", level.messages))
}

async fn dead_letters(wire: &Wire) -> Result<String> {
    let level = wire.log(DEAD_LETTERS).await?.level().await?;
    anyhow::ensure!(
        level.messages == 0,
        "{} messages are parked in the stream {DEAD_LETTERS}: the header adledger-parked-reason says why; mend the cause, and \
         fetch or replay their days",
        level.messages
    );
    Ok("none".to_owned())
}

async fn gap(wire: &Wire, durable: &str) -> Result<String> {
    let progress = wire.puller(META_INSIGHTS, durable).await?.progress().await?;
    Ok(format!("{} messages wait, {} are in flight", progress.gap, progress.in_flight))
}
