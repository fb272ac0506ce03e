//! Each role as a process of its own, with a NATS user of its own that may do what `nats/topology/permissions` says:
//! the days go their whole way, what cannot be used is parked, commands do what a person needs, and nothing of it is
//! refused.

use anyhow::{Result, ensure};
use jetstream::META_INSIGHTS;
use serde_json::Value;
use testkit::{nats_with_roles, wait};
use tokio::process::Command;
use uuid::Uuid;

use crate::service::{DEADLINE, Service, get};
use crate::shop::{Ran, Shop, days_ago, run};

const REFUSED: &str = "Permissions Violation";

/// The binary with a role's user.
fn command(shop: &Shop, user: &str, arguments: &[&str]) -> Result<Command> {
    let mut command = shop.command(arguments);
    command.env("NATS_URL", shop.nats.url_of(user)?);
    Ok(command)
}

/// Somebody with the operator's user, who is refused nothing.
struct Operator<'s>(&'s Shop);

impl Operator<'_> {
    async fn runs(&self, arguments: &[&str]) -> Result<Ran> {
        let ran = run(command(self.0, "operator", arguments)?, None).await?;
        ensure!(!ran.stderr.contains(REFUSED), "adledger {arguments:?}: {ran:?}");
        Ok(ran)
    }

    async fn ends_with(&self, code: i32, arguments: &[&str]) -> Result<String> {
        let ran = self.runs(arguments).await?;
        ensure!(ran.code == code, "adledger {arguments:?}: {ran:?}");
        Ok(ran.stdout)
    }

    async fn letters(&self) -> Result<Vec<Value>> {
        let listed: Value = serde_json::from_str(&self.ends_with(0, &["dead-letters", "list", "--json"]).await?)?;
        Ok(listed["letters"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until the letters of so many messages are there.
    async fn has_letters(&self, count: usize) -> Result<()> {
        wait::until("each letter is there", DEADLINE, async || Ok(self.letters().await?.len() == count)).await
    }
}

/// Messages that nobody can use: one for raw and projector, one for initial-fill.
async fn publish_poison(shop: &Shop) -> Result<()> {
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for subject in [format!("meta.insights.{one}.{other}.{}", days_ago(2)), format!("meta.connect.{one}.{other}")] {
        shop.nats.publish_foreign(&subject, &[], b"hello").await?;
    }
    Ok(())
}

async fn days_are_in_the_tables(shop: &Shop, days: u64) -> Result<()> {
    wait::until("every day is in the tables", 2 * DEADLINE, async || {
        Ok(shop.check_sums(days_ago(days), days_ago(1)).await.is_ok())
    })
    .await
}

/// Ends it in order. It was refused nothing, and its password is in no line.
async fn ends_well(mut service: Service, role: &str) -> Result<()> {
    service.end().await?;
    let log = service.log();
    ensure!(!log.contains(REFUSED) && !log.contains("p/ä") && !log.contains("p%2F"), "{role}: {log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_goes_its_whole_way_through_processes_that_may_do_nothing_else() -> Result<()> {
    let shop = Shop::open_on(nats_with_roles("").await?).await?;
    let operator = Operator(&shop);
    operator.ends_with(3, &["streams", "check"]).await?;
    operator.ends_with(0, &["streams", "apply"]).await?;
    let roles = ["fetch", "raw", "project", "fill", "relay", "schedule", "web"];
    let mut services = Vec::new();
    for role in roles {
        services.push((role, Service::start(command(&shop, role, &["serve", "--role", role])?)?));
    }
    // The fill's days, which follow from the connection, and those of the daily settle run.
    days_are_in_the_tables(&shop, 29).await?;
    publish_poison(&shop).await?;
    operator.has_letters(3).await?;

    let Some((_, web)) = services.last_mut() else { anyhow::bail!("web was started") };
    let url = web.url().await?;
    let ready = get(&format!("{url}/readyz")).await?;
    assert_eq!((ready.status.as_u16(), &ready.json()?["status"]), (200, &"ok".into()), "{}", ready.body);
    wait::until("the metrics tell of each consumer and its letters", DEADLINE, async || {
        let metrics = get(&format!("{url}/metrics")).await?.body;
        let lags = metrics.lines().filter(|line| line.starts_with("adledger_consumer_lag_seconds{")).count();
        let letters =
            metrics.lines().filter(|line| line.starts_with("adledger_parked_messages{") && line.ends_with(" 1"));
        Ok((lags, letters.count()) == (4, 3))
    })
    .await?;

    // They are published again, the one that two consumers parked once, and parked again.
    let ids = async || {
        let letters = operator.letters().await?;
        Ok::<_, anyhow::Error>(letters.iter().filter_map(|letter| letter["id"].as_u64()).collect::<Vec<_>>())
    };
    let before = ids().await?;
    operator.ends_with(0, &["dead-letters", "retry", "--all"]).await?;
    wait::until("they are parked anew", DEADLINE, async || {
        let after = ids().await?;
        Ok(after.len() == 3 && after.iter().all(|id| !before.contains(id)))
    })
    .await?;
    for (role, service) in services {
        ends_well(service, role).await?;
    }

    let doctor = operator.ends_with(3, &["doctor"]).await?;
    assert_eq!(doctor.matches('✗').count(), 1, "{doctor}");
    assert!(doctor.contains("3 messages are parked"), "{doctor}");
    operator.ends_with(0, &["dead-letters", "drop", "--all"]).await?;
    let doctor = operator.ends_with(0, &["doctor"]).await?;
    assert!(doctor.contains("as the topology files say"), "{doctor}");
    let status: Value = serde_json::from_str(&operator.ends_with(0, &["status", "--json"]).await?)?;
    let consumers = status["consumers"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(consumers.len() == 4 && consumers.iter().all(|consumer| consumer["lag_seconds"] == 0), "{status}");

    // A person does without the services: fetches, folds again, proves, makes room, and brings a lost stream back.
    let integration = shop.integration_id.to_string();
    operator.ends_with(0, &["sync", "--integration", &integration, "--job", "meta_fresh", "--wait"]).await?;
    let (since, until) = (days_ago(29).to_string(), days_ago(3).to_string());
    operator.ends_with(0, &["replay", "--since", &since, "--until", &until]).await?;
    operator.ends_with(0, &["streams", "trim", "--before", &days_ago(20).to_string()]).await?;
    shop.nats.delete_stream(META_INSIGHTS).await?;
    operator.ends_with(3, &["streams", "check"]).await?;
    operator.ends_with(0, &["streams", "apply"]).await?;
    operator.ends_with(3, &["audit"]).await?;
    operator.ends_with(0, &["audit", "--heal"]).await?;
    operator.ends_with(0, &["audit"]).await?;
    let mut limited = command(&shop, "operator", &["streams", "apply"])?;
    limited.env("ADLEDGER_LOG_MAX_BYTES", "1000000000");
    let ran = run(limited, None).await?;
    assert!(ran.code == 0 && ran.stdout.contains("stream META_INSIGHTS max_bytes: -1 → 1000000000"), "{ran:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_plays_every_role_with_one_user() -> Result<()> {
    let shop = Shop::open_on(nats_with_roles("").await?).await?;
    let operator = Operator(&shop);
    operator.ends_with(0, &["streams", "apply"]).await?;
    let mut service = Service::start(command(&shop, "all", &["serve"])?)?;
    days_are_in_the_tables(&shop, 7).await?;
    publish_poison(&shop).await?;
    operator.has_letters(3).await?;
    let ready = get(&format!("{}/readyz", service.url().await?)).await?;
    assert_eq!(ready.status.as_u16(), 200, "{}", ready.body);
    ends_well(service, "all").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_allowed_to_is_told_what_was_refused() -> Result<()> {
    let shop = Shop::open_on(nats_with_roles("").await?).await?;
    Operator(&shop).ends_with(0, &["streams", "apply"]).await?;
    for (user, arguments, refused) in [
        ("raw", vec!["serve", "--role", "fetch"], "Subscription to \\\"_INBOX_fetch."),
        ("web", vec!["streams", "apply"], "Subscription to \\\"_INBOX_operator."),
    ] {
        let ran = run(command(&shop, user, &arguments)?, None).await?;
        let says = format!("{REFUSED} for {refused}");
        ensure!(ran.code == 1 && ran.stderr.contains(&says), "{user} {arguments:?}: {ran:?}");
        ensure!(ran.stderr.contains("nats/topology/permissions"), "{ran:?}");
        ensure!(!ran.stderr.contains("p/ä") && !ran.stderr.contains("p%2F"), "{ran:?}");
    }
    Ok(())
}
