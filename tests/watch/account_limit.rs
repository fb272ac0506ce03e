//! A log without a limit of its own is bounded by that of its NATS account, where that has one.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use events::{AdAccount, InsightsData, InsightsFetched, Request};
use insights::Clock;
use jetstream::{META_INSIGHTS, Wire};
use testkit::wait;
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::service::DEADLINE;
use crate::shop::{Shop, days_ago, run};

const MAX_FILE: u64 = 200_000;

/// A nats-server whose one account may store little. It is killed when it is dropped.
async fn start(program: &Path, folder: &Path) -> Result<(Child, String)> {
    let config = folder.join("nats.conf");
    let text = format!(
        "listen: \"127.0.0.1:-1\"\n\
         ports_file_dir: {folder:?}\n\
         jetstream {{ store_dir: {folder:?} }}\n\
         accounts {{ SMALL {{ jetstream {{ max_file: {MAX_FILE} }}, users [{{ user: small, password: small }}] }} }}\n"
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(program);
    command.arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = command.kill_on_drop(true).spawn()?;
    let ports = || {
        let files = folder.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        let file = files.filter(|path| path.extension() == Some("ports".as_ref())).last()?;
        let ports: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
        Some(ports["nats"][0].as_str()?.replace("nats://", "nats://small:small@"))
    };
    wait::until("the server says where it listens", DEADLINE, async || Ok(ports().is_some())).await?;
    Ok((server, ports().context("it was there")?))
}

/// Some event of 5 kB.
async fn publish(wire: &Wire) -> Result<()> {
    let data = InsightsData {
        account_id: Uuid::now_v7(),
        ad_account: AdAccount {
            id: Uuid::now_v7(),
            external_id: "act_1".into(),
            currency: "EUR".into(),
            timezone_name: "UTC".into(),
        },
        date: days_ago(9),
        request: Request {
            api_version: "v25.0".into(),
            fields: Vec::new(),
            effective_status: None,
            attribution_windows: Vec::new(),
        },
        control: None,
        rows: Vec::new(),
    };
    let event = InsightsFetched::new(Uuid::now_v7(), Clock::System.now(), None, 1, &data, data.row_bytes())?;
    wire.publish(&event.day.subject(), &event.attributes()?, vec![b'x'; 5000].into()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_accounts_limit_counts_where_the_log_has_none() -> Result<()> {
    let shop = Shop::open().await?;
    let folder = tempfile::tempdir()?;
    let (_server, url) = start(&shop.nats.program()?, folder.path()).await?;
    let adledger = async |arguments: &[&str]| {
        let mut command = shop.command(arguments);
        command.env("NATS_URL", &url);
        run(command, None).await
    };
    assert_eq!(adledger(&["streams", "apply"]).await?.code, 0);
    let wire = Wire::connect(&url, None, "test").await?;
    let log = wire.log(META_INSIGHTS).await?;
    while log.level().await?.bytes < MAX_FILE * 85 / 100 {
        publish(&wire).await?;
    }
    let status = adledger(&["status", "--json"]).await?;
    let report: serde_json::Value = serde_json::from_str(&status.stdout).with_context(|| format!("{status:?}"))?;
    let log = &report["log"];
    assert_eq!((log["max_bytes"].as_u64(), log["bounded_by"].as_str()), (Some(MAX_FILE), Some("nats_account")));
    ensure!(log["percent"].as_u64().is_some_and(|percent| (80..99).contains(&percent)), "{log}");
    let doctor = adledger(&["doctor"]).await?;
    assert!(doctor.code == 3 && doctor.stdout.contains("raise the NATS account's max_file"), "{doctor:?}");
    Ok(())
}
