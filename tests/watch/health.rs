//! Live is one thing and ready another: a server that is gone, or half gone, is said within seconds.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sqlx::Connection;
use testkit::wait;

use crate::service::{DEADLINE, Service, check, get, get_as};
use crate::shop::{Shop, run};
use testkit::faults::{Proxy, port_of, with_port};

async fn serve(shop: &Shop, settings: &[(&str, &str)]) -> Result<(Service, String)> {
    let mut command = shop.command(&["serve", "--role", "web"]);
    command.env("HTTP_ADDR", "127.0.0.1:0").envs(settings.iter().copied());
    let mut service = Service::start(command)?;
    let url = service.url().await?;
    Ok((service, url))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_live_and_ready_and_has_nothing_else() -> Result<()> {
    let shop = Shop::open().await?;
    let (mut service, url) = serve(&shop, &[]).await?;
    let live = get(&format!("{url}/healthz")).await?;
    assert_eq!((live.status.as_u16(), live.body.as_str()), (200, "ok\n"));
    assert!(live.content_type.starts_with("text/plain"), "{}", live.content_type);
    let ready = get(&format!("{url}/readyz")).await?;
    assert_eq!((ready.status.as_u16(), ready.content_type.as_str()), (200, "application/json"));
    let readiness = ready.json()?;
    assert_eq!(readiness["status"], "ok", "{readiness}");
    for name in ["database", "stream", "log_fill", "runs"] {
        assert_eq!(check(&readiness, name)?.0, "ok", "{readiness}");
    }
    let nothing = get(&format!("{url}/healthz/x")).await?;
    assert_eq!((nothing.status.as_u16(), nothing.content_type.as_str()), (404, "application/problem+json"));
    let problem = nothing.json()?;
    assert_eq!((&problem["status"], &problem["title"]), (&404.into(), &"Not Found".into()), "{problem}");
    service.end().await
}

/// Probes ask under whatever address they know, and no browser or cache may make more of the answer than it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_are_answered_under_any_name_and_nobody_keeps_the_answer() -> Result<()> {
    let shop = Shop::open().await?;
    let (mut service, url) = serve(&shop, &[]).await?;
    for path in ["/healthz", "/readyz", "/metrics"] {
        for host in ["10.1.2.3:8080", "adledger.example"] {
            let answer = get_as(host, &format!("{url}{path}")).await?;
            assert_eq!(answer.status, 200, "{path} as {host}");
            for (name, value) in [("cache-control", "no-store"), ("x-content-type-options", "nosniff")] {
                assert_eq!(
                    answer.headers.get(name).map(|said| said.as_bytes()),
                    Some(value.as_bytes()),
                    "{path}: {name}"
                );
            }
        }
    }
    service.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_migration_and_a_missing_stream_are_not_ready() -> Result<()> {
    let shop = Shop::open().await?;
    let (_service, url) = serve(&shop, &[]).await?;
    sqlx::query("delete from _sqlx_migrations where version = 1").execute(&shop.database.pool).await?;
    shop.nats.delete_stream(jetstream::META_INSIGHTS).await?;
    let ready = get(&format!("{url}/readyz")).await?;
    assert_eq!(ready.status, 503);
    let readiness = ready.json()?;
    let (status, detail) = check(&readiness, "database")?;
    assert!(status == "fail" && detail.contains("lacks migration 0001: run `adledger migrate`"), "{detail}");
    let (status, detail) = check(&readiness, "stream")?;
    assert!(status == "fail" && detail.contains("run `adledger streams apply`"), "{detail}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nats_server_that_is_gone_is_said_and_the_process_lives() -> Result<()> {
    let shop = Shop::open().await?;
    let (mut service, url) = serve(&shop, &[]).await?;
    let Shop { nats, .. } = shop;
    drop(nats);
    wait::until("readiness fails", DEADLINE, async || Ok(get(&format!("{url}/readyz")).await?.status == 503)).await?;
    let readiness = get(&format!("{url}/readyz")).await?.json()?;
    assert_eq!(check(&readiness, "stream")?.0, "fail", "{readiness}");
    assert_eq!(check(&readiness, "database")?.0, "ok", "{readiness}");
    assert_eq!(get(&format!("{url}/healthz")).await?.status, 200);
    let metrics = get(&format!("{url}/metrics")).await?.body;
    assert!(metrics.contains("adledger_up{part=\"stream\"} 0\n"), "{metrics}");
    assert!(metrics.contains("adledger_up{part=\"database\"} 1\n") && metrics.contains("adledger_runs{"), "{metrics}");
    assert!(!metrics.contains("adledger_consumer_gap"), "{metrics}");
    service.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_refuses_is_said_until_it_takes_connections_again() -> Result<()> {
    let shop = Shop::open().await?;
    let (mut service, url) = serve(&shop, &[]).await?;
    let name: String = sqlx::query_scalar("select current_database()").fetch_one(&shop.database.pool).await?;
    // From beside it: nobody changes this of the database that they are connected to, once nobody may connect.
    let beside = shop.database.url.replace(&format!("/{name}"), "/postgres");
    let mut beside = sqlx::PgConnection::connect(&beside).await?;
    let allow = async |beside: &mut sqlx::PgConnection, allowed: bool| {
        let statements = format!(
            "alter database {name} with allow_connections {allowed};
             select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(beside).await
    };
    allow(&mut beside, false).await?;
    let ready = get(&format!("{url}/readyz")).await?;
    let readiness = ready.json()?;
    assert_eq!((ready.status.as_u16(), &readiness["status"]), (503, &"fail".into()));
    let (status, detail) = check(&readiness, "database")?;
    assert!(status == "fail" && !detail.is_empty() && !detail.contains("password"), "{detail}");
    assert_eq!(check(&readiness, "stream")?.0, "ok");
    let metrics = get(&format!("{url}/metrics")).await?.body;
    crate::openmetrics::read(&metrics)?;
    assert!(metrics.contains("adledger_up{part=\"database\"} 0\n") && !metrics.contains("adledger_runs"), "{metrics}");
    assert!(metrics.contains("adledger_consumer_gap_messages{"), "{metrics}");
    allow(&mut beside, true).await?;
    wait::until("it is ready again", DEADLINE, async || Ok(get(&format!("{url}/readyz")).await?.status == 200)).await?;
    service.end().await
}

/// The worst that a server can do: it keeps the connections, and says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_servers_hang_no_probe_and_come_back() -> Result<()> {
    let shop = Shop::open().await?;
    let database = Proxy::to(port_of(&shop.database.url)?).await?;
    let nats = Proxy::to(port_of(&shop.nats.url)?).await?;
    let database_url = with_port(&shop.database.url, database.port);
    let nats_url = with_port(&shop.nats.url, nats.port);
    let (mut service, url) = serve(&shop, &[("DATABASE_URL", &database_url), ("NATS_URL", &nats_url)]).await?;
    assert_eq!(get(&format!("{url}/readyz")).await?.status, 200);

    database.go_dead(true);
    nats.go_dead(true);
    let asked_at = Instant::now();
    let ready = get(&format!("{url}/readyz")).await?;
    assert!(asked_at.elapsed() < Duration::from_secs(4), "{:?}", asked_at.elapsed());
    assert_eq!(ready.status, 503);
    for name in ["database", "stream", "log_fill"] {
        let (status, detail) = check(&ready.json()?, name)?;
        assert!(status == "fail" && detail.contains("within 2 s"), "{name}: {detail}");
    }
    let asked_at = Instant::now();
    let metrics = get(&format!("{url}/metrics")).await?.body;
    assert!(asked_at.elapsed() < Duration::from_secs(5), "{:?}", asked_at.elapsed());
    crate::openmetrics::read(&metrics)?;
    for part in ["database", "stream"] {
        assert!(metrics.contains(&format!("adledger_up{{part=\"{part}\"}} 0\n")), "{metrics}");
    }

    database.go_dead(false);
    nats.go_dead(false);
    wait::until("it is ready again", DEADLINE, async || Ok(get(&format!("{url}/readyz")).await?.status == 200)).await?;
    service.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_address_is_a_mistake_and_a_taken_one_a_failure_where_http_is_all() -> Result<()> {
    let shop = Shop::open().await?;
    for wrong in ["8080", "localhost:8080", "127.0.0.1:99999"] {
        let mut command = shop.command(&["serve"]);
        command.env("HTTP_ADDR", wrong);
        let ran = run(command, None).await?;
        assert!(ran.code == 2 && ran.stderr.contains("HTTP_ADDR is"), "{ran:?}");
    }
    for (name, wrong) in [("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://")]
    {
        let mut command = shop.command(&["serve"]);
        command.env(name, wrong);
        let ran = run(command, None).await?;
        ensure!(ran.code == 2 && ran.stderr.contains(name), "{ran:?}");
    }
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let mut command = shop.command(&["serve", "--role", "web"]);
    command.env("HTTP_ADDR", taken.local_addr()?.to_string());
    let ran = run(command, None).await?;
    assert!(ran.code == 1 && ran.stderr.contains("cannot listen at HTTP_ADDR"), "{ran:?}");
    Ok(())
}
