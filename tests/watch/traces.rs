//! One trace holds a day's way, from the run that fetched it to the fold; its context travels in the event.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use events::{headers, subject};
use jetstream::{META_INSIGHTS, Message};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use testkit::{Collector, wait};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::service::{DEADLINE, Service};
use crate::shop::{Shop, days_ago, run};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let value = span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value?;
    Some(match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

/// Every event of the log.
async fn events(shop: &Shop) -> Result<Vec<Message>> {
    let log = shop.nats.wire.log(META_INSIGHTS).await?;
    let mut events = Vec::new();
    for (subject, _) in log.counts("meta.insights.>").await? {
        let mut next = 1;
        while let Some(message) = log.next(&subject, next).await? {
            next = message.sequence + 1;
            events.push(message);
        }
    }
    Ok(events)
}

fn traceparent(message: &Message) -> Option<String> {
    headers::extension(&message.attributes().ok()?, headers::TRACEPARENT)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_holds_run_day_append_and_fold_and_the_event_names_it() -> Result<()> {
    let shop = Shop::open().await?;
    let collector = Collector::start().await?;
    // An event of another program, which keeps no traces.
    let foreign = subject::AccountDay { account_id: shop.account_id, ad_account_id: Uuid::now_v7(), date: days_ago(9) };
    shop.nats.publish_foreign(&foreign.subject(), &[], b"no event").await?;
    // In processes of their own, and nobody who would ask for further runs.
    let serve = |role: &str| {
        let mut command = shop.command(&["serve", "--role", role]);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/", collector.url));
        Service::start(command)
    };
    let mut services = [serve("fetch")?, serve("raw")?, serve("project")?];
    let integration = shop.integration_id.to_string();
    shop.done(&["sync", "--integration", &integration, "--job", "meta_7d_fill"]).await?;
    wait::until("the fill is in the tables and acknowledged", DEADLINE, async || {
        for durable in [raw::DURABLE, projector::DURABLE] {
            let lag = shop.nats.wire.lag(META_INSIGHTS, durable).await?;
            if lag.gap + lag.in_flight > 0 {
                return Ok(false);
            }
        }
        Ok(shop.check_sums(days_ago(7), days_ago(1)).await.is_ok())
    })
    .await?;
    for service in &mut services {
        service.end().await?;
    }

    let spans = collector.spans();
    assert!(collector.services().iter().all(|name| name.contains("\"adledger\"")), "{:?}", collector.services());
    let by_id: HashMap<&[u8], &Span> = spans.iter().map(|span| (span.span_id.as_slice(), span)).collect();
    let named = |name: &'static str| spans.iter().filter(move |span| span.name == name);
    let [worked] = named("run").collect::<Vec<_>>()[..] else {
        anyhow::bail!("{} spans of runs", named("run").count());
    };
    assert!(worked.parent_span_id.is_empty());
    let run_id = runs::runs(&shop.database.pool, 1).await?.remove(0).id.to_string();
    assert_eq!(attribute(worked, "run_id"), Some(run_id.clone()));
    let mut messages = events(&shop).await?;
    messages.retain(|message| message.subject != foreign.subject());
    assert_eq!((messages.len(), named("day").count()), (7, 7));
    assert_eq!((named("append").count(), named("fold").count()), (7, 7), "the foreign event belongs to no trace");
    for message in &messages {
        let event = message.attributes()?;
        let said = traceparent(message).context("the event names its trace")?;
        let [_, trace_id, span_id, _] = said.split('-').collect::<Vec<_>>()[..] else {
            anyhow::bail!("{said:?} is no traceparent");
        };
        let day = named("day").find(|span| hex(&span.span_id) == span_id).context("the event names its day's span")?;
        let window = by_id.get(day.parent_span_id.as_slice()).context("a day is one of a window")?;
        assert_eq!((window.name.as_str(), &window.parent_span_id), ("window", &worked.span_id));
        assert_eq!((hex(&day.trace_id), &day.trace_id), (trace_id.to_owned(), &worked.trace_id));
        let date = message.subject.rsplit('.').next().map(str::to_owned);
        assert_eq!((attribute(day, "date"), attribute(window, "run_id")), (date, Some(run_id.clone())));
        assert_eq!(attribute(day, "rows"), headers::extension(&event, "rowcount"));
        assert_eq!(attribute(window, "pages"), headers::extension(&event, "pagecount"));
        for name in ["publish", "append", "fold"] {
            let sequence = Some(message.sequence.to_string());
            let mut parts = named(name).filter(|span| span.parent_span_id == day.span_id);
            let part = parts.next().with_context(|| format!("no {name} of {}", message.subject))?;
            assert_eq!((attribute(part, "sequence"), &part.trace_id), (sequence, &worked.trace_id), "{name}");
            assert!(parts.next().is_none() && part.end_time_unix_nano > part.start_time_unix_nano, "{part:?}");
        }
        // Rows and control total.
        assert!(named("ask_meta").filter(|span| span.parent_span_id == window.span_id).count() >= 2);
    }
    for asked in named("ask_meta") {
        ensure!(by_id.contains_key(asked.parent_span_id.as_slice()), "{asked:?} has no parent");
        let path = attribute(asked, "path").context("it has a path")?;
        assert!(path.starts_with("act_") && !path.contains('?'), "{path}");
    }
    // The log has its lines as ever: no span stands in front of them.
    let log = services[0].log();
    assert!(log.contains(" INFO insights::fetcher: working on a sync run run_id="), "{log}");
    assert!(!log.contains("run{") && !log.contains("day{"), "{log}");
    replays_start_no_trace(&shop, &collector).await
}

/// A replay reads the same events, and is no part of the trace that they came about in. The raw log has the context
/// too.
async fn replays_start_no_trace(shop: &Shop, collector: &Collector) -> Result<()> {
    let before = collector.spans().len();
    for from in ["stream", "raw"] {
        let (since, until) = (days_ago(7).to_string(), days_ago(1).to_string());
        let mut replay = shop.command(&["replay", "--since", &since, "--until", &until, "--from", from]);
        replay.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url);
        assert_eq!(run(replay, None).await?.code, 0);
    }
    assert_eq!(collector.spans().len(), before);
    let mut on_stream = Vec::new();
    for message in events(shop).await? {
        on_stream.extend(traceparent(&message));
    }
    let mut in_raw: Vec<String> = sqlx::query_scalar("select headers ->> 'ce-traceparent' from meta_insights_raw")
        .fetch_all(&shop.database.pool)
        .await?;
    in_raw.sort();
    on_stream.sort();
    assert_eq!((in_raw.len(), in_raw), (7, on_stream));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_collector_events_name_no_trace() -> Result<()> {
    let shop = Shop::open().await?;
    assert_eq!(shop.sync("meta_7d_fill").await?.code, 0);
    for message in events(&shop).await? {
        assert_eq!(traceparent(&message), None);
    }
    Ok(())
}

/// Nobody there, somebody who never answers, and somebody who refuses: work is done as ever, and ends in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_stops_nothing() -> Result<()> {
    let shop = Shop::open().await?;
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let closed = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let collector = Collector::start().await?;
    let refusing = format!("{}/elsewhere", collector.url);
    for endpoint in [format!("http://{closed}"), format!("http://{}", silent.local_addr()?), refusing] {
        let mut status = shop.command(&["runs"]);
        status.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
        assert_eq!(run(status, None).await?.code, 0);
        let integration = shop.integration_id.to_string();
        let job = ["sync", "--integration", &integration, "--job", "meta_fresh", "--wait", "--deadline-seconds", "60"];
        let started_at = Instant::now();
        assert_eq!(shop.run(&job).await?.code, 0);
        let without = started_at.elapsed();
        let mut command = shop.command(&job);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
        let started_at = Instant::now();
        let ran = run(command, None).await?;
        let with = started_at.elapsed();
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(with < without + Duration::from_secs(5), "{endpoint}: {with:?}, and {without:?} without");
        assert!(ran.stderr.matches("traces are lost").count() <= 1, "{ran:?}");
    }
    assert!(collector.spans().is_empty());
    Ok(())
}
