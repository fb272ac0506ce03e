//! The stream as a log: by subject, in order, from any point.

use anyhow::Result;
use events::subject::insights_filter;
use jetstream::{META_INSIGHTS, WireError, topology};

use crate::event::{by_hand, day, publish};

#[tokio::test]
async fn a_subject_is_read_in_order() -> Result<()> {
    let nats = testkit::nats().await?;
    let (monday, tuesday) = (day(2)?, day(3)?);
    for id in 1..=9 {
        publish(&nats.wire, id, if id % 3 == 0 { &tuesday } else { &monday }, id.to_string()).await?;
    }
    let log = nats.wire.log(META_INSIGHTS).await?;
    for (day, start, wanted) in [
        (&monday, 0, vec![1, 2, 4, 5, 7, 8]),
        (&monday, 1, vec![1, 2, 4, 5, 7, 8]),
        (&monday, 3, vec![4, 5, 7, 8]),
        (&monday, 9, vec![]),
        (&tuesday, 1, vec![3, 6, 9]),
        (&tuesday, 100, vec![]),
    ] {
        let mut found = Vec::new();
        let mut from = start;
        while let Some(message) = log.next(&day.subject(), from).await? {
            assert_eq!(message.subject, day.subject());
            assert_eq!(message.payload, message.sequence.to_string(), "the log was published in order");
            from = message.sequence + 1;
            found.push(message.sequence);
        }
        assert_eq!(found, wanted, "{} from {start}", day.date);
    }
    assert!(log.next(&day(4)?.subject(), 1).await?.is_none(), "a day without events");
    Ok(())
}

#[tokio::test]
async fn subjects_are_counted_by_filter() -> Result<()> {
    let nats = testkit::nats().await?;
    for (id, number) in [(1, 1), (2, 2), (3, 3), (4, 3)] {
        publish(&nats.wire, id, &day(number)?, "x").await?;
    }
    let log = nats.wire.log(META_INSIGHTS).await?;
    let (tenant, stranger) = (day(1)?.account_id, day(1)?.ad_account_id);
    for (filter, wanted) in [
        (insights_filter(None, None), vec![1, 2, 3]),
        (insights_filter(Some(tenant), None), vec![1, 2, 3]),
        (insights_filter(Some(stranger), None), vec![]),
        (day(2)?.subject(), vec![2]),
    ] {
        let mut found = log.counts(&filter).await?;
        found.sort();
        let counted = |number| Ok((day(number)?.subject(), if number == 3 { 2 } else { 1 }));
        let wanted: Vec<(String, u64)> = wanted.into_iter().map(counted).collect::<Result<_>>()?;
        assert_eq!(found, wanted, "{filter}");
    }
    Ok(())
}

#[tokio::test]
async fn a_recreated_stream_is_told_from_the_first() -> Result<()> {
    let nats = testkit::nats().await?;
    publish(&nats.wire, 1, &day(1)?, "x").await?;
    let first = nats.wire.log(META_INSIGHTS).await?;
    assert_eq!(first.incarnation(), nats.wire.log(META_INSIGHTS).await?.incarnation());
    let level = first.level().await?;
    assert_eq!((level.messages, level.last_sequence, level.max_bytes), (1, 1, None));

    let context = by_hand(&nats.url).await?;
    context.delete_stream(META_INSIGHTS).await?;
    assert!(
        matches!(nats.wire.log(META_INSIGHTS).await, Err(WireError::NoStream { stream }) if stream == META_INSIGHTS)
    );
    topology::apply(&nats.wire, &testkit::LIMITS).await?;
    let second = nats.wire.log(META_INSIGHTS).await?;
    assert!(second.incarnation() > first.incarnation());
    assert_eq!(second.level().await?.last_sequence, 0);
    Ok(())
}
