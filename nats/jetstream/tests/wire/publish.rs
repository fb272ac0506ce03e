//! An event is stored once, or its publisher knows that it was not.

use anyhow::Result;
use jetstream::topology::{self, Limits};
use jetstream::{META_INSIGHTS, PublishError};

use crate::event::{attributes, day, publish};

#[tokio::test]
async fn one_event_id_is_one_message() -> Result<()> {
    let nats = testkit::nats().await?;
    let day = day(1)?;
    let first = publish(&nats.wire, 1, &day, "once").await?;
    let second = publish(&nats.wire, 1, &day, "once").await?;
    assert_eq!((first.duplicate, second.duplicate), (false, true));
    assert_eq!(first.sequence, second.sequence);
    let other = publish(&nats.wire, 2, &day, "once").await?;
    assert!(!other.duplicate, "equal content under another event id is another event");
    assert_eq!(nats.wire.log(META_INSIGHTS).await?.level().await?.messages, 2);
    Ok(())
}

#[tokio::test]
async fn a_message_carries_what_was_published() -> Result<()> {
    let nats = testkit::nats().await?;
    let day = day(1)?;
    let published = publish(&nats.wire, 1, &day, vec![0, 255, 10, 13]).await?;
    let message = nats.wire.log(META_INSIGHTS).await?.next(&day.subject(), 1).await?.expect("it is there");
    assert_eq!((message.sequence, message.subject.as_str()), (published.sequence, day.subject().as_str()));
    assert_eq!(message.payload.as_ref(), [0, 255, 10, 13]);
    let sent = events::open_insights(&attributes(1, &day)?)?;
    assert_eq!(format!("{:?}", events::open_insights(&message.attributes()?)?), format!("{sent:?}"));
    // The raw log keeps the headers as pairs; they must be the event's still.
    let pairs = message.header_pairs();
    let again = events::headers::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
    assert_eq!(format!("{:?}", events::open_insights(&again)?), format!("{sent:?}"));
    Ok(())
}

#[tokio::test]
async fn a_full_log_says_so_and_keeps_what_it_acknowledged() -> Result<()> {
    let nats = testkit::nats_without_streams().await?;
    let small = Limits { log_max_bytes: Some(100_000), ..testkit::LIMITS };
    assert_eq!(topology::apply(&nats.wire, &small).await?, []);
    let day = day(1)?;
    let mut acknowledged = Vec::new();
    let refused = loop {
        let id = acknowledged.len() as u128 + 1;
        match publish(&nats.wire, id, &day, vec![b'x'; 9_000]).await {
            Ok(published) => acknowledged.push(published.sequence),
            Err(error) => break (id, error),
        }
        assert!(acknowledged.len() < 12, "100,000 bytes hold no twelve messages of 9,000");
    };
    assert!(matches!(refused.1, PublishError::Full { .. }), "{:?}", refused.1);

    let log = nats.wire.log(META_INSIGHTS).await?;
    let level = log.level().await?;
    assert_eq!((level.messages, level.max_bytes), (acknowledged.len() as u64, Some(100_000)));
    let mut kept = Vec::new();
    let mut from = 1;
    while let Some(message) = log.next(&day.subject(), from).await? {
        from = message.sequence + 1;
        kept.push(message.sequence);
    }
    assert_eq!(kept, acknowledged);

    // With room made, the very event that was refused is taken.
    assert_eq!(topology::apply(&nats.wire, &Limits { log_max_bytes: Some(200_000), ..testkit::LIMITS }).await?, []);
    let published = publish(&nats.wire, refused.0, &day, vec![b'x'; 9_000]).await?;
    assert!(!published.duplicate);
    Ok(())
}

#[tokio::test]
async fn an_event_too_large_for_the_server_is_refused_before_it_is_sent() -> Result<()> {
    let nats = testkit::nats().await?;
    let day = day(1)?;
    let limit = nats.wire.max_payload_bytes();
    assert_eq!(limit, 8 << 20, "the shared server.conf is in force");
    match publish(&nats.wire, 1, &day, vec![0; limit]).await {
        Err(PublishError::TooLarge { bytes, limit_bytes }) => assert!(bytes > limit && limit_bytes == limit),
        other => panic!("{other:?}"),
    }
    // The refusal leaves the connection whole, and an event just below the limit is none.
    publish(&nats.wire, 1, &day, vec![0; limit - 2_000]).await?;
    assert_eq!(nats.wire.log(META_INSIGHTS).await?.level().await?.messages, 1);
    Ok(())
}

#[tokio::test]
async fn every_size_up_to_the_limit_is_either_stored_or_refused_at_once() -> Result<()> {
    let nats = testkit::nats().await?;
    let day = day(1)?;
    let limit = nats.wire.max_payload_bytes();
    let mut stored = 0;
    for (id, below) in [300, 400, 500, 600, 700, 800, 900].into_iter().enumerate() {
        match publish(&nats.wire, id as u128 + 1, &day, vec![0; limit - below]).await {
            Ok(_) => stored += 1,
            Err(PublishError::TooLarge { .. }) => {
                assert_eq!(stored, 0, "a smaller one fitted not, {below} bytes below")
            }
            Err(error) => return Err(error.into()),
        }
    }
    assert!(stored > 0, "headers take no more than 900 bytes");
    Ok(())
}

#[tokio::test]
async fn a_subject_of_no_stream_is_not_acknowledged() -> Result<()> {
    let nats = testkit::nats().await?;
    let attributes = attributes(1, &day(1)?)?;
    // Whoever waits for the whole budget is a test nobody runs: that no answer comes within a second is enough.
    let waited = tokio::time::timeout(
        std::time::Duration::from_secs(1),
        nats.wire.publish("elsewhere.subject", &attributes, bytes::Bytes::new()),
    );
    assert!(!matches!(waited.await, Ok(Ok(_))), "nobody stored it, and yet it was acknowledged");
    Ok(())
}
