//! Payloads that fit into no message: put, found again, read, lost, damaged and taken out.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::object_store::ObjectStore;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use events::{BUCKET, Claim};
use jetstream::{
    BatchLimits, ClaimError, DEAD_LETTERS, Disposition, LetterError, META_INSIGHTS, Message, OBJ_META_PAYLOADS,
    Orphans, WireError,
};
use testkit::Nats;
use testkit::wait::until;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use crate::event::{by_hand, day, publish};

const DEADLINE: Duration = Duration::from_secs(30);

/// Bytes that nothing else has, and that differ from chunk to chunk.
fn content(seed: u64, size: usize) -> Bytes {
    let mut state = seed | 1;
    let word = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 32) as u32
    };
    std::iter::repeat_with(|| word(&mut state).to_le_bytes()).flatten().take(size).collect::<Vec<u8>>().into()
}

/// The first message of the day.
async fn first(nats: &Nats) -> Result<Message> {
    nats.wire.log(META_INSIGHTS).await?.next(&day(1)?.subject(), 1).await?.context("it is there")
}

async fn objects(nats: &Nats) -> Result<ObjectStore> {
    Ok(by_hand(&nats.url).await?.get_object_store(BUCKET).await?)
}

/// How many chunks and descriptions the bucket holds.
async fn messages(nats: &Nats) -> Result<u64> {
    Ok(nats.wire.log(OBJ_META_PAYLOADS).await?.level().await?.messages)
}

/// Everything that is stored by now was stored before this.
fn later() -> DateTime<Utc> {
    DateTime::<Utc>::MAX_UTC
}

/// Takes a chunk out of an object, as a disk might.
async fn damage(nats: &Nats, claim: &Claim) -> Result<()> {
    let info = objects(nats).await?.info(claim.name()).await?;
    let subject = format!("$O.{BUCKET}.C.{}", info.nuid);
    let log = nats.wire.log(OBJ_META_PAYLOADS).await?;
    let chunk = log.next(&subject, 1).await?.context("a chunk")?;
    log.delete(chunk.sequence).await?;
    Ok(())
}

/// What raw's consumer is handed until everything is settled: the batches, by the sequences and sizes in them.
async fn consumed(nats: &Nats) -> Result<Vec<Vec<(u64, usize)>>> {
    let (cancel, batches) = (CancellationToken::new(), Mutex::new(Vec::new()));
    let consuming = nats.wire.consume(META_INSIGHTS, "raw", BatchLimits::default(), &cancel, |messages| {
        let batch = messages.iter().map(|message| (message.sequence, message.payload.len())).collect::<Vec<_>>();
        let dispositions = batch.iter().map(|_| Disposition::Ack).collect();
        batches.lock().expect("nobody panics with it").push(batch);
        async { Ok::<_, WireError>(dispositions) }
    });
    let settled = async {
        let settled = until("every message is settled", DEADLINE, async || nats.is_settled(META_INSIGHTS, "raw").await);
        let settled = settled.await;
        cancel.cancel();
        settled
    };
    tokio::join!(consuming, settled).1?;
    Ok(batches.into_inner()?)
}

#[tokio::test]
async fn every_size_travels_on_its_rung_whatever_the_server_takes() -> Result<()> {
    for nats in [testkit::nats_by_default().await?, testkit::nats().await?] {
        let limit = nats.wire.max_payload_bytes();
        let sizes = [0, 10, limit - 2_000, limit - 700, limit - 400, limit - 200, limit, limit + 1, 2 * limit + 77];
        for (id, size) in (1..).zip(sizes) {
            let payload = content(size as u64, size);
            let first = publish(&nats.wire, id, &day(1)?, payload.clone()).await?;
            let again = publish(&nats.wire, id, &day(1)?, payload.clone()).await?;
            assert_eq!((first.duplicate, again.duplicate, first.sequence), (false, true, again.sequence), "{size}");
            let message = nats.wire.log(META_INSIGHTS).await?.at(first.sequence).await?.context("it is there")?;
            assert_eq!(message.attributes()?.extension("datacodec").map(ToString::to_string).as_deref(), Some("plain"));
            match message.claim() {
                Some(claim) => {
                    assert!(size > limit - 700, "{size} of {limit} bytes fit");
                    assert_eq!((claim, message.payload.len()), (Claim::of(&payload), 0));
                    assert_eq!(nats.wire.prove(&claim).await?, size as u64);
                    // Any client of JetStream's reads it.
                    let mut read = Vec::new();
                    objects(&nats).await?.get(claim.name()).await?.read_to_end(&mut read).await?;
                    assert_eq!(read, payload);
                }
                None => assert!(size < limit, "{size} of {limit} bytes do not fit"),
            }
            let pairs = message.event_header_pairs();
            assert!(pairs.iter().all(|(name, _)| name != "ce-dataref"), "how it travelled is not the event's");
            assert_eq!(nats.wire.whole(message).await?.payload, payload);
        }
        let batches: Vec<_> = consumed(&nats).await?.concat();
        assert_eq!(
            batches.iter().map(|(_, size)| *size).collect::<Vec<_>>(),
            sizes,
            "in a handler's hands they are alike"
        );
    }
    Ok(())
}

#[tokio::test]
async fn one_beside_its_event_is_handled_alone() -> Result<()> {
    let nats = testkit::nats_by_default().await?;
    let large = 3 << 20;
    for (id, size) in (1..).zip([1, 2, large, large + 1, 3]) {
        publish(&nats.wire, id, &day(1)?, content(7, size)).await?;
    }
    let batches = consumed(&nats).await?;
    assert_eq!(batches, [vec![(1, 1), (2, 2)], vec![(3, large)], vec![(4, large + 1)], vec![(5, 3)]]);
    Ok(())
}

#[tokio::test]
async fn equal_bytes_are_one_object_and_the_newest_use_counts() -> Result<()> {
    let nats = testkit::nats_by_default().await?;
    let payload = content(1, 1_200_000);
    publish(&nats.wire, 1, &day(1)?, payload.clone()).await?;
    assert_eq!(messages(&nats).await?, 4, "three chunks and what they make");
    let between = objects(&nats).await?.info(Claim::of(&payload).name()).await?;
    publish(&nats.wire, 2, &day(1)?, payload.clone()).await?;
    assert_eq!(messages(&nats).await?, 5, "the description again");
    let after = objects(&nats).await?.info(Claim::of(&payload).name()).await?;
    assert_eq!((between.nuid, between.digest, between.size), (after.nuid, after.digest, 1_200_000));
    // Of the two descriptions the cleaning leaves the newer.
    let claimed = BTreeSet::from([Claim::of(&payload)]);
    let orphans = nats.wire.objects().await?.orphans(&claimed, later(), true).await?;
    assert_eq!(orphans, Orphans { objects: 0, bytes: 0, removed: true });
    assert_eq!(messages(&nats).await?, 4);
    assert_eq!(nats.wire.whole(first(&nats).await?).await?.payload, payload);
    Ok(())
}

#[tokio::test]
async fn publishers_of_equal_bytes_at_once_all_end_well() -> Result<()> {
    let nats = testkit::nats_by_default().await?;
    let payload = content(2, 2_500_000);
    let publishing =
        (1..=8).map(async |id| publish(&nats.wire, id, &day(1)?, payload.clone()).await.map_err(Into::into));
    let published: Vec<Result<_>> = futures_util::future::join_all(publishing).await;
    for published in published {
        let message = nats.wire.log(META_INSIGHTS).await?.at(published?.sequence).await?.context("it is there")?;
        assert_eq!(nats.wire.whole(message).await?.payload, payload);
    }
    // What those who came second had stored by then is nobody's, and goes.
    let claimed = BTreeSet::from([Claim::of(&payload)]);
    nats.wire.objects().await?.orphans(&claimed, later(), true).await?;
    assert_eq!(messages(&nats).await?, 6, "five chunks and what they make");
    assert_eq!(nats.wire.whole(first(&nats).await?).await?.payload, payload);
    Ok(())
}

#[tokio::test]
async fn what_no_event_names_is_found_when_it_is_old_and_removed_when_asked() -> Result<()> {
    let nats = testkit::nats_by_default().await?;
    let (kept, orphaned) = (content(3, 1_100_000), content(4, 1_300_000));
    publish(&nats.wire, 1, &day(1)?, kept.clone()).await?;
    // A process that died after its object was put, and one that died between two chunks.
    let published = publish(&nats.wire, 2, &day(1)?, orphaned.clone()).await?;
    nats.wire.log(META_INSIGHTS).await?.delete(published.sequence).await?;
    nats.publish_foreign(&format!("$O.{BUCKET}.C.broken-off"), &[], &content(5, 1000)).await?;
    let (objects, claimed) = (nats.wire.objects().await?, BTreeSet::from([Claim::of(&kept)]));
    let found = |objects, bytes, removed| Orphans { objects, bytes, removed };
    assert_eq!(objects.orphans(&claimed, DateTime::UNIX_EPOCH, true).await?, found(0, 0, true), "they are young");
    for remove in [false, true] {
        assert_eq!(objects.orphans(&claimed, later(), remove).await?, found(2, 1_301_000, remove));
    }
    assert_eq!(objects.orphans(&claimed, later(), false).await?, found(0, 0, false));
    assert_eq!(messages(&nats).await?, 4);
    // What was taken out can be put again.
    publish(&nats.wire, 3, &day(1)?, orphaned.clone()).await?;
    assert_eq!(nats.wire.prove(&Claim::of(&orphaned)).await?, 1_300_000);

    assert!(!objects.remove(&Claim::of(&kept), DateTime::UNIX_EPOCH).await?, "it is young");
    assert!(objects.remove(&Claim::of(&kept), later()).await?);
    assert!(matches!(nats.wire.prove(&Claim::of(&kept)).await, Err(ClaimError::Lost { .. })));
    assert_eq!(messages(&nats).await?, 4, "nothing is left of it");
    Ok(())
}

#[tokio::test]
async fn a_payload_that_is_gone_is_parked_with_the_reason_and_comes_back_with_its_bytes() -> Result<()> {
    let nats = testkit::nats_by_default().await?;
    let (payload, other) = (content(6, 2_000_000), content(8, 2_000_000));
    for (id, payload) in [(1, &payload), (2, &other)] {
        publish(&nats.wire, id, &day(1)?, payload.clone()).await?;
    }
    nats.wire.objects().await?.remove(&Claim::of(&payload), later()).await?;
    damage(&nats, &Claim::of(&other)).await?;
    assert_eq!(consumed(&nats).await?, Vec::<Vec<_>>::new());
    let letters = nats.wire.dead_letters().await?;
    for (id, what) in
        [(1, "is not in the object store"), (2, "is not whole (chunk 4 of 4 is missing) in the object store")]
    {
        let letter = letters.letter(id).await?.context("it is parked")?;
        let reason = letter.reason.clone().unwrap_or_default();
        assert!(reason.contains(what) && reason.contains("adledger audit --heal"), "{reason}");
        assert_eq!((letter.is_whole, letter.bytes), (true, None));
        assert!(matches!(letters.retry(&letter).await, Err(LetterError::Payload { .. })));
    }
    let claims = BTreeSet::from([Claim::of(&payload), Claim::of(&other)]);
    assert_eq!(letters.claims().await?, claims);
    // The day is fetched again, with the same answer: the objects are whole, and the letters can be used.
    for (id, payload) in [(3, &payload), (4, &other)] {
        publish(&nats.wire, id, &day(1)?, payload.clone()).await?;
    }
    for (id, payload) in [(1, payload), (2, other)] {
        let letter = letters.letter(id).await?.context("it is parked")?;
        assert_eq!(letters.original(&letter).await?.payload, payload);
        let retried = letters.retry(&letter).await?;
        let message = nats.wire.log(META_INSIGHTS).await?.at(retried.sequence).await?.context("it is there")?;
        assert_eq!(nats.wire.whole(message).await?.payload, payload);
    }
    assert_eq!(nats.wire.log(DEAD_LETTERS).await?.level().await?.messages, 0);
    Ok(())
}

#[tokio::test]
async fn an_object_store_that_is_away_is_waited_for() -> Result<()> {
    let nats = testkit::nats_by_default().await?;
    publish(&nats.wire, 1, &day(1)?, content(9, 1_100_000)).await?;
    nats.delete_stream(OBJ_META_PAYLOADS).await?;
    let error = nats.wire.whole(first(&nats).await?).await.err().context("it is away")?;
    assert!(matches!(error, ClaimError::Wire(WireError::NoStream { .. })), "{error}");
    assert!(error.to_string().contains("adledger streams apply"), "{error}");
    Ok(())
}

#[tokio::test]
async fn loaded_payloads_have_room_or_wait() -> Result<()> {
    let nats = testkit::nats().await?;
    let mut loaded = Vec::new();
    for id in 1..=2 {
        let published = publish(&nats.wire, u128::from(id), &day(1)?, content(id, 9 << 20)).await?;
        loaded.push(nats.wire.log(META_INSIGHTS).await?.at(published.sequence).await?.context("it is there")?);
    }
    let (second, first) = (loaded.pop().context("two")?, loaded.pop().context("two")?);
    let first = nats.wire.whole(first).await?;
    let copy = first.clone();
    let mut second = std::pin::pin!(nats.wire.whole(second));
    for held in [first, copy] {
        let waited = tokio::time::timeout(Duration::from_millis(300), &mut second).await;
        ensure!(waited.is_err(), "there is no room while a copy is held");
        drop(held);
    }
    assert_eq!(tokio::time::timeout(DEADLINE, second).await??.payload.len(), 9 << 20);
    Ok(())
}
