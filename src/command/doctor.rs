use anyhow::{Context, Result};
use clap::Args;
use jetstream::topology::{self, Durable};
use jetstream::{LogRoom, Verdict, Wire};
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

#[derive(Serialize)]
struct Check {
    what: String,
    ok: bool,
    /// What was found; where it is not ok, also what to do.
    found: String,
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, what: impl Into<String>, outcome: Result<String>) {
        let (ok, found) = match outcome {
            Ok(found) => (true, found),
            Err(error) => (false, exit::sentence(&error)),
        };
        self.0.push(Check { what: what.into(), ok, found });
    }
}

impl Doctor {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let mut checks = Checks::default();
        settings(boot, &mut checks);
        // One start for both where the servers are embedded: two would want the same folder.
        match boot.reach().await {
            Ok(reached) => {
                match &reached.pool {
                    Ok(pool) => database(boot, pool, &mut checks).await,
                    Err(error) => checks.add("PostgreSQL", Err(anyhow::anyhow!(exit::sentence(error)))),
                }
                match &reached.wire {
                    Ok(wire) => nats(boot, wire, &mut checks).await,
                    Err(error) => checks.add("NATS", Err(anyhow::anyhow!(exit::sentence(error)))),
                }
                reached.close().await;
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
        checks.add("tokens", tokens(pool).await);
        checks.add("days", days(pool).await);
        checks.add("purchase rules", rules(pool).await);
        checks.add("runs", waiting(pool).await);
        checks.add("outbox", outbox(pool).await);
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

/// Those that end soon, and those that Meta gave no answer about.
async fn tokens(pool: &PgPool) -> Result<String> {
    let now = sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(pool).await?;
    let (mut findings, mut asked) = (Vec::new(), 0);
    for integration in accounts::integrations(pool).await? {
        let is_asked =
            integration.origin == accounts::Origin::Meta && integration.status == accounts::Status::Connected;
        let standing = accounts::token_standing(pool, integration.account_id, integration.id).await?;
        let Some(standing) = standing.filter(|_| is_asked) else { continue };
        asked += 1;
        let external_id = &integration.external_id;
        if let Some(warning) = standing.known.end().and_then(|end| end.warning(now)) {
            findings.push(format!("{external_id}: {warning}"));
        }
        if let Some(problem) = standing.check_problem {
            findings.push(format!("{external_id}: its token could not be asked about: {problem}"));
        }
    }
    anyhow::ensure!(findings.is_empty(), "{}", findings.join("; "));
    Ok(format!("{asked} of Meta's, none ends within 14 days as far as Meta says"))
}

async fn days(pool: &PgPool) -> Result<String> {
    if let Some((count, reason)) = ::runs::failed_days(pool).await? {
        anyhow::bail!("{count} days failed and are tried again with the next meta_fresh; one of them: {reason}");
    }
    let unfolded = ::runs::unfolded_days(pool, 5).await?;
    anyhow::ensure!(
        unfolded.is_empty(),
        "days were published and are in no table: {}: look at `adledger dead-letters list`, and sync again",
        unfolded.iter().map(|(ad_account, date)| format!("{ad_account} on {date}")).collect::<Vec<_>>().join(", ")
    );
    Ok("none has failed, all are in the tables".to_owned())
}

async fn rules(pool: &PgPool) -> Result<String> {
    let behind: Vec<String> =
        projections::purchases::behind(pool).await?.iter().map(super::purchase_rule::behind).collect();
    anyhow::ensure!(behind.is_empty(), "{}", behind.join(" "));
    Ok("every day is folded by the newest rule".to_owned())
}

async fn waiting(pool: &PgPool) -> Result<String> {
    if let Some(waiting) = ::runs::waiting_for_log(pool).await? {
        anyhow::bail!("{waiting}");
    }
    Ok(format!("{} wait, none for the log", ::runs::waiting(pool, 1000).await?.len()))
}

async fn outbox(pool: &PgPool) -> Result<String> {
    let waiting = ::outbox::waiting(pool).await?;
    if let Some(error) = waiting.last_error {
        anyhow::bail!("{} events wait to be published, and one could not be: {error}", waiting.events);
    }
    Ok(format!("{} events wait to be published", waiting.events))
}

async fn nats(boot: &Boot, wire: &Wire, checks: &mut Checks) {
    let version = topology::check_server(wire).map(|()| {
        let mb = wire.max_payload_bytes() >> 20;
        let advice = if mb < 8 { "; larger ones travel beside their events" } else { "" };
        format!("nats-server {}, takes events of {mb} MB{advice}", wire.server_version())
    });
    checks.add("NATS", version.map_err(Into::into));
    let differences = topology::check(wire, &boot.settings.limits.or_default()).await.map_err(anyhow::Error::from);
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
    match topology::durables() {
        Ok(durables) => {
            for durable in durables {
                let gap = gap(wire, &durable).await;
                checks.add(durable.name, gap);
            }
        }
        Err(error) => checks.add("consumers", Err(error.into())),
    }
}

async fn log_level(wire: &Wire) -> Result<String> {
    let room = LogRoom::ask(wire).await?;
    anyhow::ensure!(room.verdict() == Verdict::Room, room.sentence());
    Ok(room.sentence())
}

async fn dead_letters(wire: &Wire) -> Result<String> {
    let letters = wire.dead_letters().await?.by_consumer().await?;
    let by_consumer = letters.iter().map(|((stream, consumer), count)| match stream.as_str() {
        "" => format!("{count} by something else"),
        _ => format!("{count} by {consumer} of {stream}"),
    });
    let by_consumer: Vec<String> = by_consumer.collect();
    anyhow::ensure!(
        letters.is_empty(),
        "{} messages are parked ({}): `adledger dead-letters list` says which and why, and `retry` publishes them again",
        letters.values().sum::<u64>(),
        output::printable(&by_consumer.join(", "))
    );
    Ok("none".to_owned())
}

async fn gap(wire: &Wire, durable: &Durable) -> Result<String> {
    let lag = wire.lag(&durable.stream, &durable.name).await?;
    Ok(format!("{} messages wait, {} are in flight", lag.gap, lag.in_flight))
}
