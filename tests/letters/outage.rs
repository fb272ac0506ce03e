//! PostgreSQL and NATS go away while there is work: nothing is parked that could be used, nothing is lost, and work
//! goes on by itself. Ten minutes are the same as these seconds: nothing here counts how often it was tried.

use anyhow::{Context, Result};
use jetstream::{META_INSIGHTS, Which};
use testkit::history::{History, Random};
use testkit::{Database, Nats, wait};

use crate::line::Line;
use crate::service::{DEADLINE, Service};
use crate::shop::{KEYS, adledger};

fn through(url: &str, line: &Line) -> Result<String> {
    let (server, rest) = url.rsplit_once(':').context("a port")?;
    Ok(format!("{server}:{}{}", line.port, rest.trim_start_matches(|c: char| c.is_ascii_digit())))
}

fn port_of(url: &str) -> Result<u16> {
    let (_, rest) = url.rsplit_once(':').context("a port")?;
    Ok(rest.split('/').next().unwrap_or_default().parse()?)
}

async fn counts(database: &Database) -> Result<(i64, i64)> {
    let query = "select (select count(*) from meta_insights_raw), (select count(*) from observations)";
    Ok(sqlx::query_as(query).fetch_one(&database.pool).await?)
}

/// Whoever had messages while a server was away has others get them, too: the time to acknowledge is over at once.
async fn redeliver(nats: &Nats) -> Result<()> {
    for durable in [raw::DURABLE, projector::DURABLE] {
        nats.redeliver(META_INSIGHTS, durable).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_away_park_nothing_and_lose_nothing() -> Result<()> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let history = History::random(&mut Random::new(11));
    history.insert_tenants(&database.pool).await?;
    let (postgres_line, nats_line) = (Line::to(port_of(&database.url)?).await?, Line::to(port_of(&nats.url)?).await?);
    let serve = |role: &str| {
        let mut command = adledger(&["serve", "--role", role]);
        command
            .env("DATABASE_URL", through(&database.url, &postgres_line)?)
            .env("NATS_URL", through(&nats.url, &nats_line)?)
            .env("ADLEDGER_SECRET_KEYS", KEYS);
        Service::start(command)
    };
    // Two of each: what one holds when its time is over, the other gets.
    let mut services = Vec::new();
    for role in ["raw", "project", "raw", "project"] {
        services.push(serve(role)?);
    }
    let answers = history.answers;
    anyhow::ensure!(answers.len() > 20, "{} answers", answers.len());
    let (before, during) = answers.split_at(5);
    for answer in before {
        answer.publish(&nats.wire).await?;
    }
    wait::until("what came before is in the tables", DEADLINE, async || Ok(counts(&database).await? == (5, 5))).await?;

    postgres_line.set_up(false);
    for answer in during {
        answer.publish(&nats.wire).await?;
    }
    // And one that nobody can ever use. Both consumers will say so, each once.
    nats.publish_foreign(&during[0].event()?.day.subject(), &[], b"hello").await?;
    for service in &mut services[..2] {
        service.says("cannot handle a batch now").await?;
    }
    redeliver(&nats).await?;
    nats_line.set_up(false);
    for service in &mut services[..2] {
        service.says("expected INFO, got nothing").await?;
    }
    assert_eq!(counts(&database).await?, (5, 5));

    // The one is back and the other is not: what is folded cannot be acknowledged, and comes again.
    postgres_line.set_up(true);
    wait::until("a batch is in the tables", DEADLINE, async || Ok(counts(&database).await?.1 > 5)).await?;
    nats_line.set_up(true);
    let all = i64::try_from(answers.len())?;
    wait::until("everything is in the tables", DEADLINE, async || Ok(counts(&database).await? == (all, all))).await?;
    for durable in [raw::DURABLE, projector::DURABLE] {
        wait::until("everything is acknowledged", DEADLINE, async || nats.is_settled(META_INSIGHTS, durable).await)
            .await?;
        let of = Which { consumer: Some(durable.to_owned()), ..Which::default() };
        let letters = nats.wire.dead_letters().await?;
        let letter = letters.next(&of, 1).await?.context("the one is parked")?;
        assert_eq!((letter.bytes, letters.count(&of).await?), (Some(5), 1), "{letter:?}");
    }
    for service in &mut services {
        service.end().await?;
    }
    Ok(())
}
