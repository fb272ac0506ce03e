//! A log that fills up is a warning from 80% on and a failure when it is full, wherever one looks.

use anyhow::Result;
use events::subject::AccountDay;
use jetstream::META_INSIGHTS;
use testkit::wait;
use uuid::Uuid;

use crate::service::{DEADLINE, Service, check, get};
use crate::shop::{Shop, days_ago, run};

const MAX_BYTES: u64 = 100_000;

/// Fills the log until it holds this many bytes, give or take a message.
async fn fill_to(shop: &Shop, bytes: u64) -> Result<()> {
    let log = shop.nats.wire.log(META_INSIGHTS).await?;
    let day = AccountDay { account_id: Uuid::now_v7(), ad_account_id: Uuid::now_v7(), date: days_ago(9) };
    loop {
        let held = log.level().await?.bytes;
        // What the stream adds to each message: its subject and its own 30 bytes, roughly.
        let room = bytes.saturating_sub(held).saturating_sub(200);
        if room == 0 {
            return Ok(());
        }
        let payload = vec![b'x'; usize::try_from(room.min(10_000))?];
        shop.nats.publish_foreign(&day.subject(), &[], &payload).await?;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_fills_up_is_said_everywhere() -> Result<()> {
    let shop = Shop::open().await?;
    let mut apply = shop.command(&["streams", "apply"]);
    apply.env("ADLEDGER_LOG_MAX_BYTES", MAX_BYTES.to_string());
    assert_eq!(run(apply, None).await?.code, 0);
    let mut command = shop.command(&["serve", "--role", "web"]);
    command.env("HTTP_ADDR", "127.0.0.1:0").env("ADLEDGER_LOG_MAX_BYTES", MAX_BYTES.to_string());
    let mut service = Service::start(command)?;
    let url = service.url().await?;
    for (bytes, code, status, said) in [
        (79_000, 200, "ok", "of 100000 bytes"),
        (85_000, 200, "warn", "full, "),
        (99_900, 503, "fail", "the log is full ("),
    ] {
        fill_to(&shop, bytes).await?;
        let held = shop.nats.wire.log(META_INSIGHTS).await?.level().await?.bytes;
        let percent = held * 100 / MAX_BYTES;
        let ready = get(&format!("{url}/readyz")).await?;
        let readiness = ready.json()?;
        assert_eq!((ready.status.as_u16(), &readiness["status"]), (code, &status.into()), "{held}: {readiness}");
        let (_, detail) = check(&readiness, "log_fill")?;
        assert!(detail.contains(said) && detail.contains(&format!("{percent}%")), "{held}: {detail}");
        assert_eq!(detail.contains("raise ADLEDGER_LOG_MAX_BYTES and run `adledger streams apply`"), status != "ok");

        let report: serde_json::Value = serde_json::from_str(&shop.done(&["status", "--json"]).await?.stdout)?;
        assert_eq!((report["log"]["bytes"].as_u64(), report["log"]["percent"].as_u64()), (Some(held), Some(percent)));
        let table = shop.done(&["status"]).await?.stdout;
        assert!(table.contains(&format!("{percent}%")), "{table}");
        assert_eq!(table.contains("raise ADLEDGER_LOG_MAX_BYTES"), status != "ok", "{table}");
        let mut doctor = shop.command(&["doctor"]);
        doctor.env("ADLEDGER_LOG_MAX_BYTES", MAX_BYTES.to_string());
        let doctor = run(doctor, None).await?.stdout;
        let line = doctor.lines().find(|line| line.contains(" log ")).unwrap_or_default();
        assert_eq!(line.starts_with('✓'), status == "ok", "{doctor}");
    }
    let metrics = crate::openmetrics::read(&get(&format!("{url}/metrics")).await?.body)?;
    assert_eq!(metrics.value("adledger_log_max_bytes", &[])?, 100_000.0);
    assert!(metrics.value("adledger_log_fill_ratio", &[])? >= 0.99);

    // A run that finds it full waits, and whoever asks is told so.
    let integration = shop.integration_id.to_string();
    shop.done(&["sync", "--integration", &integration, "--job", "meta_7d_fill"]).await?;
    let mut fetch = Service::start(shop.command(&["serve", "--role", "fetch"]))?;
    wait::until("the run waits", DEADLINE, async || Ok(shop.done(&["status"]).await?.stdout.contains("log_full")))
        .await?;
    fetch.end().await?;
    let (status, detail) = check(&get(&format!("{url}/readyz")).await?.json()?, "runs")?;
    assert!(
        status == "warn" && detail.contains("1 runs wait for the log") && detail.contains("(log_full)"),
        "{detail}"
    );
    let doctor = shop.run(&["doctor"]).await?;
    assert!(doctor.code == 3 && doctor.stdout.contains(&detail), "{doctor:?}");
    let metrics = crate::openmetrics::read(&get(&format!("{url}/metrics")).await?.body)?;
    assert_eq!(metrics.value("adledger_runs", &[("status", "waiting"), ("wait_reason", "log_full")])?, 1.0);
    service.end().await
}
