//! Several services on one machine: one has the address, and when it is gone another one takes it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use testkit::wait;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::service::{DEADLINE, Service, get};
use crate::shop::Shop;

const WAITS: &str = "another process serves HTTP at this address";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_services_one_answers_and_a_survivor_takes_over() -> Result<()> {
    let shop = Shop::open().await?;
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string();
    let mut services = Vec::new();
    for number in 0..3 {
        let mut command = shop.command(&["serve"]);
        command.env("HTTP_ADDR", &address);
        let mut service = Service::start(command)?;
        service.says(if number == 0 { "serving HTTP" } else { WAITS }).await?;
        services.push(service);
    }
    for _ in 0..2 {
        let at = services.iter().position(|service| service.log().contains("serving HTTP")).context("one serves")?;
        assert_eq!(get(&format!("http://{address}/healthz")).await?.status, 200);
        services.remove(at).kill().await?;
        wait::until("a survivor answers", DEADLINE, async || {
            let live = get(&format!("http://{address}/healthz")).await;
            Ok(live.is_ok_and(|live| live.status == 200))
        })
        .await?;
    }
    let mut last = services.pop().context("one is left")?;
    assert_eq!(last.log().matches(WAITS).count(), 1, "it is said once: {}", last.log());
    last.end().await
}

/// A probe that never ends its question must not hold up the end of the service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_connections_do_not_keep_a_service_from_ending() -> Result<()> {
    let shop = Shop::open().await?;
    let mut command = shop.command(&["serve", "--role", "web"]);
    command.env("HTTP_ADDR", "127.0.0.1:0");
    let mut service = Service::start(command)?;
    let url = service.url().await?;
    let address = url.trim_start_matches("http://");
    let idle = TcpStream::connect(address).await?;
    let mut half = TcpStream::connect(address).await?;
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n").await?;
    assert_eq!(get(&format!("{url}/healthz")).await?.status, 200);
    let asked_at = Instant::now();
    service.end().await?;
    assert!(asked_at.elapsed() < Duration::from_millis(1500), "{:?}", asked_at.elapsed());
    drop((idle, half));
    Ok(())
}

/// Who connects and asks nothing is sent away after a while, so that nobody can keep the others out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_do_not_keep_others_out_for_long() -> Result<()> {
    let shop = Shop::open().await?;
    let mut command = shop.command(&["serve", "--role", "web"]);
    command.env("HTTP_ADDR", "127.0.0.1:0");
    let mut service = Service::start(command)?;
    let url = service.url().await?;
    let health = format!("{url}/healthz");
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(url.trim_start_matches("http://")).await?);
    }
    wait::until("a question is answered", DEADLINE, async || {
        Ok(get(&health).await.is_ok_and(|live| live.status == 200))
    })
    .await?;
    let held = Path::new("/proc").join(service.pid.to_string()).join("fd").read_dir()?.count();
    assert!(held < 190, "{held} files are open");
    drop(silent);
    service.end().await
}
