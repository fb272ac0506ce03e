//! Streams and consumers are made from the files, compared with what the server has, and mended.

use std::collections::BTreeSet;
use std::time::Duration;

use ::jetstream::topology::{Difference, Limits, apply, check};
use ::jetstream::{DEAD_LETTERS, META_INSIGHTS, WAREHOUSE, WireError};
use anyhow::{Context, Result};
use async_nats::jetstream::{self, consumer::pull};
use testkit::LIMITS;

use crate::event::{by_hand, day, publish};

fn fields(differences: &[Difference]) -> BTreeSet<(&str, &str)> {
    differences.iter().map(|difference| (difference.object.as_str(), difference.field.as_str())).collect()
}

#[tokio::test]
async fn an_empty_server_lacks_everything() -> Result<()> {
    let nats = testkit::nats_without_streams().await?;
    let found = check(&nats.wire, &LIMITS).await?;
    let missing = |object: &str| Difference {
        object: object.to_owned(),
        field: "existence".to_owned(),
        wanted: "exists".to_owned(),
        found: "missing".to_owned(),
    };
    let streams = ["META_INSIGHTS", "OBJ_META_PAYLOADS", "META_CONNECT", "META_SYNC", "WAREHOUSE", "DEAD_LETTERS"];
    let consumers = ["raw", "projector", "initial-fill", "fetch"];
    let objects = streams.map(|name| format!("stream {name}")).into_iter();
    let objects = objects.chain(consumers.map(|name| format!("consumer {name}")));
    assert_eq!(found, objects.map(|object| missing(&object)).collect::<Vec<_>>());
    assert!(matches!(nats.wire.log(META_INSIGHTS).await, Err(WireError::NoStream { .. })), "a check makes nothing");
    Ok(())
}

#[tokio::test]
async fn apply_makes_everything_and_a_second_one_changes_nothing() -> Result<()> {
    let nats = testkit::nats_without_streams().await?;
    assert_eq!(apply(&nats.wire, &LIMITS).await?, []);
    assert_eq!(check(&nats.wire, &LIMITS).await?, []);
    let first = nats.wire.log(META_INSIGHTS).await?.incarnation();
    publish(&nats.wire, 1, &day(1)?, "kept").await?;
    let puller = nats.wire.puller(META_INSIGHTS, "raw").await?;
    let batch = puller.next_batch(1, ::jetstream::BATCH_BYTES, Duration::from_secs(5)).await?;
    puller.settle(&batch[0], ::jetstream::Disposition::Ack).await;
    nats.wire.flush().await?;

    assert_eq!(apply(&nats.wire, &LIMITS).await?, []);
    let log = nats.wire.log(META_INSIGHTS).await?;
    assert_eq!((log.incarnation(), log.level().await?.messages), (first, 1));
    assert_eq!(nats.wire.lag(META_INSIGHTS, "raw").await?.gap, 0, "a consumer keeps its place");
    Ok(())
}

#[tokio::test]
async fn the_log_is_made_as_the_invariants_want_it() -> Result<()> {
    let nats = testkit::nats().await?;
    let context = by_hand(&nats.url).await?;
    for name in [META_INSIGHTS, DEAD_LETTERS] {
        let stream = context.get_stream(name).await?;
        let config = &stream.cached_info().config;
        assert_eq!(
            config.discard,
            jetstream::stream::DiscardPolicy::New,
            "{name}: full is told, nothing old is dropped"
        );
        assert_eq!(config.storage, jetstream::stream::StorageType::File, "{name}");
        assert_eq!((config.max_age, config.max_messages), (Duration::ZERO, -1), "{name}: nothing gets too old");
    }
    Ok(())
}

#[tokio::test]
async fn a_stream_changed_by_hand_is_reported_field_by_field_and_mended() -> Result<()> {
    let nats = testkit::nats().await?;
    publish(&nats.wire, 1, &day(1)?, "kept").await?;
    let context = by_hand(&nats.url).await?;
    let mut config = context.get_stream(META_INSIGHTS).await?.cached_info().config.clone();
    config.duplicate_window = Duration::from_secs(60);
    config.allow_direct = false;
    config.max_bytes = 1_000_000;
    config.max_messages_per_subject = 5;
    config.max_age = Duration::from_secs(86_400);
    context.update_stream(&config).await?;

    let found = check(&nats.wire, &LIMITS).await?;
    let wanted = ["allow_direct", "duplicate_window", "max_age", "max_bytes", "max_msgs_per_subject"];
    assert_eq!(fields(&found), wanted.map(|field| ("stream META_INSIGHTS", field)).into());
    let bytes = found.iter().find(|difference| difference.field == "max_bytes").context("it is there")?;
    assert_eq!((bytes.wanted.as_str(), bytes.found.as_str()), ("-1", "1000000"));

    assert_eq!(apply(&nats.wire, &LIMITS).await?, []);
    assert_eq!(check(&nats.wire, &LIMITS).await?, []);
    assert_eq!(nats.wire.log(META_INSIGHTS).await?.level().await?.messages, 1, "mending takes nothing");
    Ok(())
}

#[tokio::test]
async fn a_consumer_changed_by_hand_is_reported_and_mended() -> Result<()> {
    let nats = testkit::nats().await?;
    let stream = by_hand(&nats.url).await?.get_stream(META_INSIGHTS).await?;
    let changed = pull::Config {
        durable_name: Some("raw".to_owned()),
        ack_wait: Duration::from_secs(5),
        max_ack_pending: 7,
        ..pull::Config::default()
    };
    stream.create_consumer(changed).await?;
    let found = check(&nats.wire, &LIMITS).await?;
    assert!(
        fields(&found).is_superset(&["ack_wait", "max_ack_pending"].map(|field| ("consumer raw", field)).into()),
        "{found:?}"
    );
    assert_eq!(apply(&nats.wire, &LIMITS).await?, []);
    Ok(())
}

#[tokio::test]
async fn settings_grow_the_log_in_place() -> Result<()> {
    let nats = testkit::nats_without_streams().await?;
    for (log_max_bytes, found) in [
        (Some(1_000_000), Some(1_000_000)),
        (Some(2_000_000), Some(2_000_000)),
        (None, Some(2_000_000)),
        (Some(-1), None),
    ] {
        let limits = Limits { log_max_bytes, ..LIMITS };
        assert_eq!(apply(&nats.wire, &limits).await?, []);
        let level = nats.wire.log(META_INSIGHTS).await?.level().await?;
        assert_eq!(level.max_bytes, found, "what is not said stays");
    }
    Ok(())
}

#[tokio::test]
async fn settings_say_how_long_changes_are_kept() -> Result<()> {
    let nats = testkit::nats_without_streams().await?;
    let context = by_hand(&nats.url).await?;
    let days = |days: u64| Duration::from_secs(days * 86_400);
    for (warehouse_max_age, found) in
        [(None, 30), (Some(days(7)), 7), (None, 7), (Some(days(0)), 0), (None, 0), (Some(days(90)), 90)]
    {
        let limits = Limits { warehouse_max_age, ..LIMITS };
        assert_eq!(apply(&nats.wire, &limits).await?, []);
        let config = context.get_stream(WAREHOUSE).await?.cached_info().config.clone();
        assert_eq!(config.max_age, days(found), "what is not said stays");
    }
    Ok(())
}

#[tokio::test]
async fn a_deleted_consumer_is_missed_and_made_anew() -> Result<()> {
    let nats = testkit::nats().await?;
    by_hand(&nats.url).await?.get_stream(META_INSIGHTS).await?.delete_consumer("projector").await?;
    assert!(matches!(
        nats.wire.puller(META_INSIGHTS, "projector").await,
        Err(WireError::NoConsumer { durable, .. }) if durable == "projector"
    ));
    assert_eq!(fields(&check(&nats.wire, &LIMITS).await?), [("consumer projector", "existence")].into());
    assert_eq!(apply(&nats.wire, &LIMITS).await?, []);
    Ok(())
}

#[tokio::test]
async fn more_replicas_than_servers_are_refused_in_words() -> Result<()> {
    let nats = testkit::nats_without_streams().await?;
    let error =
        apply(&nats.wire, &Limits { replicas: Some(3), ..LIMITS }).await.err().context("one server holds no three")?;
    let text = error.to_string();
    assert!(text.contains("META_INSIGHTS") && text.contains("replicas"), "{text}");
    Ok(())
}
