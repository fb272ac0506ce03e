//! An event is stored once, or its publisher knows that it was not.

use anyhow::Result;
use jetstream::topology::{self, Limits};
use jetstream::{META_INSIGHTS, OBJ_META_PAYLOADS, PUBLISH_WITHIN, PublishError};

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
async fn an_event_that_can_travel_nowhere_is_refused_before_anything_is_stored() -> Result<()> {
    let nats = testkit::nats().await?;
    let (day, limit) = (day(1)?, nats.wire.max_payload_bytes());
    assert_eq!(limit, 8 << 20, "the shared server.conf is in force");
    let headers = [("ce-note".to_owned(), "x".repeat(limit))];
    for (headers, payload) in [(&headers[..], vec![0; 10]), (&headers[..], vec![0; limit]), (&[], vec![0; 97 << 20])] {
        match nats.wire.publish_pairs(&day.subject(), "1", headers, payload.into(), PUBLISH_WITHIN).await {
            Err(PublishError::TooLarge { bytes, limit_bytes }) => assert!(bytes > limit_bytes && limit_bytes >= limit),
            other => panic!("{other:?}"),
        }
    }
    // The refusal leaves the connection whole.
    publish(&nats.wire, 1, &day, vec![0; limit - 2_000]).await?;
    for (stream, messages) in [(META_INSIGHTS, 1), (OBJ_META_PAYLOADS, 0)] {
        assert_eq!(nats.wire.log(stream).await?.level().await?.messages, messages, "{stream}");
    }
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
