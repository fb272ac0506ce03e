//! Payloads that travel beside their events: appended like any other, compared, healed from either side, and trimmed.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use events::{BUCKET, Claim};
use jetstream::{BATCH_BYTES, BatchLimits, Disposition, META_INSIGHTS, OBJ_META_PAYLOADS, Orphans};
use raw::audit::{Audit, Finding, Kind, Report};
use raw::{Range, Trim};
use sqlx::PgPool;
use testkit::history::{self, Answer, History, Random};
use testkit::{Database, Nats, wait};
use tokio_util::sync::CancellationToken;

/// More than a server takes that is set up as servers are by default.
const SIZE: usize = 1_300_000;
const DAYS: usize = 3;

struct Logs {
    database: Database,
    nats: Nats,
    days: Vec<(Answer, Bytes)>,
}

impl Logs {
    /// An event a day, each of which is in both logs.
    async fn filled() -> Result<Logs> {
        let (database, nats) = (testkit::database().await?, testkit::nats_by_default().await?);
        let mut answers = History::random(&mut Random::new(11)).answers;
        answers.sort_by_key(|answer| answer.date);
        answers.dedup_by_key(|answer| answer.date);
        let mut random = Random::new(3);
        let mut content =
            || std::iter::repeat_with(|| random.next().to_le_bytes()).flatten().take(SIZE).collect::<Vec<u8>>();
        let days: Vec<_> = answers.into_iter().take(DAYS).map(|answer| (answer, Bytes::from(content()))).collect();
        ensure!(days.len() == DAYS, "the history has that many days");
        let logs = Logs { database, nats, days };
        for number in 0..DAYS {
            logs.publish(number).await?;
        }
        logs.append().await?;
        Ok(logs)
    }

    async fn publish(&self, number: usize) -> Result<()> {
        let (answer, payload) = &self.days[number];
        let event = answer.event()?;
        self.nats.wire.publish(&event.day.subject(), &event.attributes()?, payload.clone()).await?;
        Ok(())
    }

    /// Runs the consumer until it has settled every message.
    async fn append(&self) -> Result<()> {
        let cancel = CancellationToken::new();
        let (pool, wire, stop) = (self.database.pool.clone(), self.nats.wire.clone(), cancel.clone());
        let appending = tokio::spawn(async move { raw::run(&pool, &wire, BatchLimits::default(), &stop).await });
        wait::until("every message is settled", Duration::from_secs(30), async || {
            self.nats.is_settled(META_INSIGHTS, raw::DURABLE).await
        })
        .await?;
        cancel.cancel();
        Ok(appending.await?)
    }

    fn claim(&self, number: usize) -> Claim {
        Claim::of(&self.days[number].1)
    }

    async fn audit(&self, pool: &PgPool, heal: bool) -> Result<(Report, Vec<Finding>)> {
        let found = RefCell::new(Vec::new());
        let audit = Audit::open(pool, &self.nats.wire).await?;
        let report = audit.run(&Range::default(), heal, |finding| found.borrow_mut().push(finding), |_| {}).await?;
        Ok((report, found.into_inner()))
    }

    async fn sql(&self, statement: &'static str) -> Result<()> {
        sqlx::raw_sql(statement).execute(&self.database.pool).await?;
        Ok(())
    }

    /// Finds that many differences of this kind and no other, heals them, and has everything in both logs then.
    async fn check_heals(&self, what: &str, kind: Kind, count: usize) -> Result<()> {
        let pool = &self.database.pool;
        let (_, found) = self.audit(pool, false).await.context(what.to_owned())?;
        ensure!(found.len() == count && found.iter().all(|finding| finding.kind == kind), "{what}: {found:?}");
        let (report, found) = self.audit(pool, true).await?;
        ensure!(report.healed == report.findings, "{what}: {found:?}");
        let (report, found) = self.audit(pool, false).await?;
        ensure!(found.is_empty() && report.events_in_raw == DAYS as u64, "{what}: {report:?} {found:?}");
        ensure!(report.bytes_in_stream > (DAYS * SIZE) as u64, "{what}: {report:?}");
        for (number, (_, payload)) in self.days.iter().enumerate() {
            ensure!(self.nats.wire.prove(&self.claim(number)).await? == SIZE as u64, "{what}: object {number}");
            let stored: Vec<u8> = sqlx::query_scalar("select payload from meta_payloads where payload_sha256 = $1")
                .bind(&self.claim(number).sha256()[..])
                .fetch_one(pool)
                .await?;
            ensure!(stored == *payload, "{what}: the bytes are in PostgreSQL as they travelled");
        }
        Ok(())
    }
}

/// Everything that is stored by now was stored before this.
fn later() -> DateTime<Utc> {
    DateTime::<Utc>::MAX_UTC
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_damage_is_found_and_healed_from_the_other_side() -> Result<()> {
    let logs = Logs::filled().await?;
    logs.check_heals("nothing happened", Kind::InNeither, 0).await?;
    let with_claim = "select count(*) from meta_insights_raw where headers ? 'ce-dataref'";
    let with_claim: i64 = sqlx::query_scalar(with_claim).fetch_one(&logs.database.pool).await?;
    ensure!(with_claim == 0, "how an event travelled is not a part of it");

    logs.sql("truncate meta_insights_raw, meta_payloads").await?;
    logs.check_heals("the table was emptied", Kind::MissingInRaw, DAYS).await?;
    logs.sql("update meta_payloads set payload = set_bit(payload, 9, 1 - get_bit(payload, 9))").await?;
    logs.check_heals("bits flipped in PostgreSQL", Kind::DamagedInRaw, DAYS).await?;

    let objects = logs.nats.wire.objects().await?;
    ensure!(objects.remove(&logs.claim(0), later()).await?);
    logs.check_heals("an object is gone", Kind::DamagedInStream, 1).await?;
    let bucket = logs.nats.wire.log(OBJ_META_PAYLOADS).await?;
    let chunk = bucket.next(&format!("$O.{BUCKET}.C.*"), 1).await?.context("a chunk")?;
    bucket.delete(chunk.sequence).await?;
    logs.check_heals("a chunk is gone", Kind::DamagedInStream, 1).await?;

    logs.nats.delete_stream(OBJ_META_PAYLOADS).await?;
    jetstream::topology::apply(&logs.nats.wire, &testkit::LIMITS).await?;
    logs.check_heals("the objects were lost", Kind::DamagedInStream, DAYS).await?;
    for stream in [META_INSIGHTS, OBJ_META_PAYLOADS] {
        logs.nats.delete_stream(stream).await?;
    }
    jetstream::topology::apply(&logs.nats.wire, &testkit::LIMITS).await?;
    logs.check_heals("the stream was lost with them", Kind::MissingInStream, DAYS).await?;
    logs.append().await?;
    logs.check_heals("and its events were delivered again", Kind::InNeither, 0).await?;

    ensure!(objects.remove(&logs.claim(1), later()).await?);
    logs.sql("truncate meta_insights_raw, meta_payloads").await?;
    let (report, found) = logs.audit(&logs.database.pool, true).await?;
    let left: Vec<_> = found.iter().filter_map(|finding| finding.left_because.as_deref()).collect();
    ensure!(report.findings - report.healed == 1 && left.len() == 1, "both lost one: {found:?}");
    ensure!(left[0].contains("is not in the object store"), "{left:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trim_takes_the_payloads_that_nothing_needs_any_more() -> Result<()> {
    let logs = Logs::filled().await?;
    let (wire, pool) = (&logs.nats.wire, &logs.database.pool);
    let objects = async || {
        let all = [0, 1, 2].map(|number| logs.claim(number));
        let mut there = Vec::new();
        for claim in all {
            there.push(wire.prove(&claim).await.is_ok());
        }
        anyhow::Ok(there)
    };
    let trim = async |pool: &PgPool, days: u64| {
        let before = logs.days[0].0.date + chrono::Days::new(days);
        let trim = Trim::prove(pool, wire, before, &[raw::DURABLE], |_, _| {}).await?;
        let trimmed = *trim.trimmed();
        trim.carry_out(|_, _| {}).await?;
        anyhow::Ok(trimmed)
    };
    ensure!(logs.days[0].0.date == history::first_day(), "the days are in order");
    let trimmed = trim(pool, 1).await?;
    ensure!(trimmed.events == 1 && trimmed.bytes > SIZE as u64, "{trimmed:?}");
    ensure!(objects().await? == [true; 3], "a payload that was put today may be needed by an event to come");

    // Two days later, by PostgreSQL's clock.
    logs.sql(
        "create function public.now() returns timestamptz language sql as $$ select pg_catalog.now() + interval '2 days' $$;
         do $$ begin execute format('alter database %I set search_path = public, pg_catalog', current_database()); end $$",
    )
    .await?;
    let later = PgPool::connect(&logs.database.url).await?;
    let (report, found) = logs.audit(&later, false).await?;
    let orphan = Orphans { objects: 1, bytes: SIZE as u64, removed: false };
    ensure!(found.is_empty() && report.orphans == Some(orphan), "{report:?} {found:?}");
    let (report, _) = logs.audit(&later, true).await?;
    ensure!(report.orphans == Some(Orphans { removed: true, ..orphan }), "{report:?}");
    ensure!(objects().await? == [false, true, true]);

    // A letter that could not be published again without it keeps one.
    let puller = wire.puller(META_INSIGHTS, "projector").await?;
    let delivery =
        puller.next_batch(1, BATCH_BYTES, Duration::from_secs(5)).await?.pop().context("the second day's")?;
    ensure!(delivery.message.claim() == Some(logs.claim(1)));
    puller.settle(&delivery, Disposition::Park { reason: "a reason".to_owned() }).await;
    let trimmed = trim(&later, 2).await?;
    ensure!(trimmed.events == 1 && objects().await? == [false, true, true], "{trimmed:?}");
    let letters = wire.dead_letters().await?;
    let letter = letters.letter(1).await?.context("it is parked")?;
    ensure!(letters.original(&letter).await?.payload == logs.days[1].1);
    letters.discard(&letter).await?;
    let (report, found) = logs.audit(&later, true).await?;
    ensure!(report.orphans == Some(Orphans { removed: true, ..orphan }), "{report:?}");
    ensure!(found.is_empty() && report.trimmed == 2, "{report:?} {found:?}");

    let trimmed = trim(&later, 3).await?;
    ensure!(trimmed.events == 1 && objects().await? == [false; 3], "{trimmed:?}");
    ensure!(wire.log(OBJ_META_PAYLOADS).await?.level().await?.messages == 0, "nothing is left of them");
    Ok(())
}
