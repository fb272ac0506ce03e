//! A message nobody can use is kept with the reason, and the rest goes on.

use std::time::Duration;

use anyhow::{Context, Result};
use events::subject::dead_letter;
use jetstream::{DEAD_LETTERS, Delivery, Disposition, META_INSIGHTS, Message, Puller, Which};
use testkit::wait::until;

use crate::event::{day, publish, publish_largest};

const DEADLINE: Duration = Duration::from_secs(20);

async fn one(puller: &Puller) -> Result<Delivery> {
    let mut batch = puller.next_batch(1, jetstream::BATCH_BYTES, Duration::from_secs(5)).await?;
    batch.pop().context("no message came")
}

fn header(message: &Message, name: &str) -> Option<String> {
    message.header_pairs().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

#[tokio::test]
async fn a_parked_message_keeps_its_bytes_its_place_and_the_reason() -> Result<()> {
    let nats = testkit::nats().await?;
    let day = day(1)?;
    publish(&nats.wire, 1, &day, "before").await?;
    let parked = publish(&nats.wire, 2, &day, "broken\0bytes").await?;
    publish(&nats.wire, 3, &day, "after").await?;
    let puller = nats.wire.puller(META_INSIGHTS, "raw").await?;

    puller.settle(&one(&puller).await?, Disposition::Ack).await;
    let delivery = one(&puller).await?;
    assert_eq!(delivery.message.sequence, parked.sequence);
    let reason = "data is not JSON: line 1,\r\nNats-Msg-Id: forged — 100%".to_owned();
    puller.settle(&delivery, Disposition::Park { reason: reason.clone() }).await;
    let last = one(&puller).await?;
    assert_eq!(last.message.payload, "after", "the rest goes on");
    puller.settle(&last, Disposition::Ack).await;

    let log = nats.wire.log(DEAD_LETTERS).await?;
    let letter = log.next(&dead_letter(META_INSIGHTS, "raw", &day.subject()), 1).await?.context("it was parked")?;
    assert_eq!(letter.payload, delivery.message.payload);
    for (name, value) in [
        ("adledger-parked-bytes", "12".to_owned()),
        ("adledger-parked-stream", META_INSIGHTS.to_owned()),
        ("adledger-parked-consumer", "raw".to_owned()),
        ("adledger-parked-sequence", parked.sequence.to_string()),
        ("adledger-parked-subject", day.subject()),
        ("adledger-parked-stored-at", delivery.message.stored_at.to_rfc3339()),
    ] {
        assert_eq!(header(&letter, name), Some(value), "{name}");
    }
    let told = header(&letter, "adledger-parked-reason").context("the reason")?;
    assert!(told.starts_with("data is not JSON: line 1,%0D%0A"), "{told}");
    assert_eq!(percent_encoding::percent_decode_str(&told).decode_utf8()?, reason);
    // It is the event still, so that it can be published again once a newer version understands it.
    assert_eq!(events::open_insights(&letter.attributes()?)?.event_id.as_u128(), 2);
    assert_eq!(log.level().await?.messages, 1);
    until("nothing is left unsettled", DEADLINE, || async {
        let lag = nats.wire.lag(META_INSIGHTS, "raw").await?;
        Ok((lag.gap, lag.in_flight) == (0, 0))
    })
    .await
}

#[tokio::test]
async fn a_message_is_parked_once_however_often_it_comes() -> Result<()> {
    let nats = testkit::nats().await?;
    publish(&nats.wire, 1, &day(1)?, "broken").await?;
    let puller = nats.wire.puller(META_INSIGHTS, "raw").await?;
    let delivery = one(&puller).await?;
    for reason in ["first", "second"] {
        puller.settle(&delivery, Disposition::Park { reason: reason.to_owned() }).await;
    }
    // Another consumer parks for itself.
    let projector = nats.wire.puller(META_INSIGHTS, "projector").await?;
    projector.settle(&one(&projector).await?, Disposition::Park { reason: "third".to_owned() }).await;
    let log = nats.wire.log(DEAD_LETTERS).await?;
    assert_eq!(log.level().await?.messages, 2);
    let letter = log.next(&dead_letter(META_INSIGHTS, "raw", "*.>"), 1).await?.context("parked")?;
    assert_eq!(header(&letter, "adledger-parked-reason").as_deref(), Some("first"));
    Ok(())
}

#[tokio::test]
async fn a_message_that_does_not_fit_with_its_reason_leaves_its_place() -> Result<()> {
    let nats = testkit::nats().await?;
    let day = day(1)?;
    publish_largest(&nats, 1, &day).await?;
    let puller = nats.wire.puller(META_INSIGHTS, "raw").await?;
    puller.settle(&one(&puller).await?, Disposition::Park { reason: "too deep".to_owned() }).await;
    let log = nats.wire.log(DEAD_LETTERS).await?;
    let letter = log.next(&dead_letter(META_INSIGHTS, "raw", &day.subject()), 1).await?.context("parked")?;
    assert_eq!(letter.payload.len(), 0);
    assert_eq!(header(&letter, "adledger-parked-sequence").as_deref(), Some("1"));
    assert_eq!(header(&letter, "adledger-parked-subject"), Some(day.subject()));
    Ok(())
}

#[tokio::test]
async fn whatever_a_message_is_made_of_it_can_be_parked() -> Result<()> {
    let nats = testkit::nats().await?;
    let day = day(1)?;
    let long = "long".repeat(900);
    let header = |name: &str, value: String| vec![(name.to_owned(), value)];
    // Headers as large as JetStream takes them; a subject that fills a line; and what somebody says it was parked for.
    nats.publish_foreign(&day.subject(), &header("x-note", "x".repeat(65_400)), b"").await?;
    nats.publish_foreign(&format!("meta.insights.a.b.{long}"), &[], b"hello").await?;
    nats.publish_foreign(&day.subject(), &header("Adledger-Parked-Reason", "none".into()), b"{}").await?;
    let puller = nats.wire.puller(META_INSIGHTS, "raw").await?;
    for _ in 0..3 {
        puller.settle(&one(&puller).await?, Disposition::Park { reason: "\u{1b}[31m ".repeat(100_000) }).await;
    }
    let letters = nats.wire.dead_letters().await?;
    for (id, size, is_whole) in [(1, 0, false), (2, 5, true), (3, 2, true)] {
        let letter = letters.letter(id).await?.context("it is parked")?;
        assert_eq!((letter.bytes, letter.is_whole), (Some(size), is_whole), "{id}");
        assert_eq!(letters.original(&letter).await?.payload.len(), size);
        assert!(letter.reason.is_some_and(|reason| reason.starts_with("\u{1b}[31m ") && reason.ends_with('…')));
    }
    let raw = Which { stream: Some(META_INSIGHTS.into()), consumer: Some("raw".into()), account_id: None };
    assert_eq!(letters.count(&raw).await?, 3);
    Ok(())
}
