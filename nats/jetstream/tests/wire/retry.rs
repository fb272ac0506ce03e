//! What was parked is read, published again as it was, and deleted.

use std::time::Duration;

use anyhow::{Context, Result};
use events::subject::AccountDay;
use jetstream::{
    DEAD_LETTERS, DeadLetters, Delivery, Disposition, Letter, LetterError, META_CONNECT, META_INSIGHTS, META_SYNC,
    Which,
};
use testkit::Nats;
use uuid::Uuid;

use crate::event::{by_hand, day, publish, publish_largest};

/// Parks the next message of the consumer.
async fn park(nats: &Nats, stream: &str, durable: &str, reason: &str) -> Result<Delivery> {
    let puller = nats.wire.puller(stream, durable).await?;
    let delivery =
        puller.next_batch(1, jetstream::BATCH_BYTES, Duration::from_secs(5)).await?.pop().context("no message came")?;
    puller.settle(&delivery, Disposition::Park { reason: reason.to_owned() }).await;
    Ok(delivery)
}

async fn ids(letters: &DeadLetters, which: &Which) -> Result<Vec<u64>> {
    let (mut ids, mut reading) = (Vec::new(), letters.read(which, 1));
    while let Some(letter) = reading.next().await? {
        assert_eq!(letters.next(which, letter.id).await?.map(|letter| letter.id), Some(letter.id));
        ids.push(letter.id);
    }
    assert_eq!(letters.count(which).await?, ids.len() as u64, "{which:?}");
    Ok(ids)
}

async fn only(letters: &DeadLetters) -> Result<Letter> {
    letters.next(&Which::default(), 1).await?.context("it is parked")
}

#[tokio::test]
async fn a_retried_message_is_the_one_that_was_parked() -> Result<()> {
    let nats = testkit::nats().await?;
    publish(&nats.wire, 7, &day(1)?, "the bytes\0").await?;
    let parked = park(&nats, META_INSIGHTS, "raw", "no reason").await?;
    let letters = nats.wire.dead_letters().await?;
    let letter = only(&letters).await?;
    assert_eq!((letter.stream.as_str(), letter.consumer.as_str()), (META_INSIGHTS, "raw"));
    assert_eq!(letter.reason.as_deref(), Some("no reason"));
    let origin = letter.origin.clone().context("it says")?;
    assert_eq!((origin.sequence, origin.stored_at), (1, parked.message.stored_at));
    let original = letters.original(&letter).await?;
    assert_eq!(original.payload, "the bytes\0");
    assert_eq!(original.headers(), parked.message.event_header_pairs());

    // The event was published a moment ago, and would be dropped under its own id.
    let published = letters.retry(&letter).await?;
    assert!(!published.duplicate && published.sequence == 2, "{published:?}");
    assert!(ids(&letters, &Which::default()).await?.is_empty());
    let again = nats.wire.log(META_INSIGHTS).await?.at(2).await?.context("it is there")?;
    assert_eq!((&again.subject, &again.payload), (&day(1)?.subject(), &parked.message.payload));
    assert_eq!(again.event_header_pairs(), parked.message.event_header_pairs());

    // Whoever still cannot use it parks it anew: it has another place, and so the letter has another id.
    park(&nats, META_INSIGHTS, "raw", "still none").await?;
    let letter = only(&letters).await?;
    assert_eq!((letter.id, letter.origin.clone().map(|origin| origin.sequence)), (2, Some(2)));
    letters.discard(&letter).await?;
    letters.discard(&letter).await?;
    assert_eq!(nats.wire.log(META_INSIGHTS).await?.level().await?.messages, 2, "what is dropped stays in its stream");
    Ok(())
}

#[tokio::test]
async fn a_crash_before_the_letter_is_deleted_doubles_nothing() -> Result<()> {
    let nats = testkit::nats().await?;
    publish(&nats.wire, 1, &day(1)?, "x").await?;
    park(&nats, META_INSIGHTS, "raw", "first").await?;
    park(&nats, META_INSIGHTS, "projector", "second").await?;
    let letters = nats.wire.dead_letters().await?;
    let (first, second) = (only(&letters).await?, letters.letter(2).await?.context("it is parked")?);
    letters.retry(&first).await?;
    // The retry of somebody who was killed between the two left the letter that it had read.
    let again = letters.retry(&first).await?;
    assert!(again.duplicate && again.sequence == 2, "{again:?}");
    // The other consumer's letter is of the same message, which both get again.
    assert!(letters.retry(&second).await?.duplicate);
    assert_eq!(nats.wire.log(META_INSIGHTS).await?.level().await?.messages, 2);
    assert!(ids(&letters, &Which::default()).await?.is_empty());
    for durable in ["raw", "projector"] {
        let lag = nats.wire.lag(META_INSIGHTS, durable).await?;
        assert_eq!(lag.gap, 1, "{durable} gets it again");
    }
    Ok(())
}

#[tokio::test]
async fn what_did_not_fit_is_read_where_it_came_from_as_long_as_it_is_there() -> Result<()> {
    let nats = testkit::nats().await?;
    let size = publish_largest(&nats, 1, &day(1)?).await?;
    let parked = park(&nats, META_INSIGHTS, "raw", "too deep").await?;
    let letters = nats.wire.dead_letters().await?;
    let letter = only(&letters).await?;
    assert_eq!((letter.is_whole, letter.bytes), (false, Some(size)));
    assert_eq!(letters.original(&letter).await?.payload, parked.message.payload);
    letters.retry(&letter).await?;
    let again = nats.wire.log(META_INSIGHTS).await?.at(2).await?.context("it is there")?;
    // A retry says of the message for which stream it is, and so its payload has no place in it any more.
    let again = nats.wire.whole(again).await?;
    assert!(again.payload == parked.message.payload);
    assert_eq!(again.event_header_pairs(), parked.message.event_header_pairs());

    // A stream that was made anew has another message at that place.
    park(&nats, META_INSIGHTS, "raw", "the retried one").await?;
    letters.discard(&only(&letters).await?).await?;
    publish_largest(&nats, 2, &day(1)?).await?;
    park(&nats, META_INSIGHTS, "raw", "too deep").await?;
    nats.delete_stream(META_INSIGHTS).await?;
    jetstream::topology::apply(&nats.wire, &testkit::LIMITS).await?;
    for id in 1..=3 {
        publish(&nats.wire, id, &day(1)?, "another").await?;
    }
    let letter = only(&letters).await?;
    let refused = letters.retry(&letter).await.err().context("it is gone")?;
    assert!(matches!(refused, LetterError::Gone { sequence: 3, .. }), "{refused}");
    assert_eq!(ids(&letters, &Which::default()).await?, [letter.id], "the letter stays");
    Ok(())
}

#[tokio::test]
async fn letters_are_found_by_stream_consumer_and_tenant() -> Result<()> {
    let nats = testkit::nats().await?;
    let (tenant, other) = (day(1)?, AccountDay { account_id: Uuid::from_u128(9), ..day(1)? });
    let connection = format!("meta.connect.{}.{}", tenant.account_id, Uuid::from_u128(3));
    let bell = format!("meta.sync.high.{}", Uuid::from_u128(3));
    for (subject, stream, durable) in [
        (tenant.subject(), META_INSIGHTS, "raw"),
        (other.subject(), META_INSIGHTS, "raw"),
        (connection, META_CONNECT, "initial-fill"),
        (bell, META_SYNC, "fetch"),
    ] {
        nats.publish_foreign(&subject, &[], b"{}").await?;
        park(&nats, stream, durable, "no event").await?;
    }
    // One whose subject is too long to be repeated; and what something else wrote.
    nats.publish_foreign(&format!("meta.insights.a.b.{}", "c".repeat(2000)), &[], b"{}").await?;
    park(&nats, META_INSIGHTS, "raw", "no event").await?;
    nats.publish_foreign("dead.x", &[], b"hello").await?;

    let letters = nats.wire.dead_letters().await?;
    let which = |stream: Option<&str>, consumer: Option<&str>, account_id| Which {
        stream: stream.map(str::to_owned),
        consumer: consumer.map(str::to_owned),
        account_id,
    };
    for (wanted, found) in [
        (which(None, None, None), vec![1, 2, 3, 4, 5, 6]),
        (which(Some(META_INSIGHTS), None, None), vec![1, 2, 5]),
        (which(Some(META_INSIGHTS), Some("projector"), None), vec![]),
        (which(None, Some("fetch"), None), vec![4]),
        (which(None, None, Some(tenant.account_id)), vec![1, 3]),
        (which(Some(META_INSIGHTS), Some("raw"), Some(other.account_id)), vec![2]),
        (which(Some("NONE"), None, None), vec![]),
    ] {
        assert_eq!(ids(&letters, &wanted).await?, found, "{wanted:?}");
    }
    let by_consumer: Vec<_> = letters.by_consumer().await?.into_iter().collect();
    let wanted = [("", "", 1), (META_CONNECT, "initial-fill", 1), (META_INSIGHTS, "raw", 3), (META_SYNC, "fetch", 1)];
    let wanted = wanted.map(|(stream, consumer, count)| ((stream.to_owned(), consumer.to_owned()), count));
    assert_eq!(by_consumer, wanted);

    // Each goes back to the stream that it came from.
    for (id, stream) in [(3, META_CONNECT), (4, META_SYNC), (5, META_INSIGHTS)] {
        let letter = letters.letter(id).await?.context("it is parked")?;
        let before = nats.wire.log(stream).await?.level().await?.last_sequence;
        assert_eq!(letters.retry(&letter).await?.sequence, before + 1, "{stream}");
    }
    assert_eq!(ids(&letters, &Which::default()).await?, [1, 2, 6]);
    Ok(())
}

/// A letter is data: whoever may write one must not make the person who retries it do something else.
#[tokio::test]
async fn a_forged_letter_publishes_nothing() -> Result<()> {
    let nats = testkit::nats().await?;
    let place = |subject: &str| {
        let headers = [("subject", subject), ("sequence", "1"), ("stored-at", "2026-02-03T04:05:06Z")];
        headers.map(|(name, value)| (format!("adledger-parked-{name}"), value.to_owned()))
    };
    nats.publish_foreign("dead.META_INSIGHTS.raw.a", &place("$JS.API.STREAM.DELETE.META_INSIGHTS"), b"{}").await?;
    nats.publish_foreign("dead.META_INSIGHTS.raw.a", &place("meta.connect.a.b"), b"{}").await?;
    nats.publish_foreign("dead.NONE.raw.a", &place("meta.connect.a.b"), b"{}").await?;
    nats.publish_foreign("dead.META_INSIGHTS.raw.a", &[], b"{}").await?;
    let letters = nats.wire.dead_letters().await?;
    for (id, words) in [
        (1, "which stream META_INSIGHTS does not take"),
        (2, "which stream META_INSIGHTS does not take"),
        (3, "stream NONE does not exist"),
        (4, "does not say where its message came from"),
    ] {
        let letter = letters.letter(id).await?.context("it is there")?;
        let refused = letters.retry(&letter).await.err().context("it is refused")?;
        assert!(refused.to_string().contains(words) && !refused.is_of_the_servers(), "{refused}");
    }
    assert_eq!(by_hand(&nats.url).await?.get_stream(DEAD_LETTERS).await?.cached_info().state.messages, 4);
    assert_eq!(nats.wire.log(META_INSIGHTS).await?.level().await?.last_sequence, 0);
    Ok(())
}
