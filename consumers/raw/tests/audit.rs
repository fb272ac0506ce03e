//! Two logs of the same events: damage is planted on either side, found by its name, and mended from the other.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jetstream::{BatchLimits, META_INSIGHTS};
use raw::audit::{Audit, Finding, Kind, Report};
use raw::{Range, Trim, TrimError};
use testkit::history::{self, Answer, History, Random};
use testkit::{Database, Nats, wait};
use tokio_util::sync::CancellationToken;

/// A history's events in both logs.
struct Logs {
    database: Database,
    nats: Nats,
    answers: Vec<Answer>,
}

impl Logs {
    async fn filled() -> Result<Logs> {
        let (database, nats) = (testkit::database().await?, testkit::nats().await?);
        let answers = History::random(&mut Random::new(11)).answers;
        for answer in &answers {
            answer.publish(&nats.wire).await?;
        }
        let logs = Logs { database, nats, answers };
        logs.append().await?;
        Ok(logs)
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

    async fn audit(&self, heal: bool) -> Result<(Report, Vec<Finding>)> {
        let found = RefCell::new(Vec::new());
        let audit = Audit::open(&self.database.pool, &self.nats.wire).await?;
        let report = audit.run(&Range::default(), heal, |finding| found.borrow_mut().push(finding), |_| {}).await?;
        Ok((report, found.into_inner()))
    }

    async fn sql(&self, statement: &'static str) -> Result<()> {
        sqlx::raw_sql(statement).execute(&self.database.pool).await?;
        Ok(())
    }

    /// Where the stream has the first message of this answer's day.
    async fn sequence(&self, answer: &Answer) -> Result<u64> {
        let log = self.nats.wire.log(META_INSIGHTS).await?;
        let message = log.next(&answer.event()?.day.subject(), 1).await?;
        Ok(message.context("the stream has it")?.sequence)
    }

    /// Finds exactly this, heals it, and finds nothing more; then the events are in both logs again.
    async fn check_heals(&self, what: &str, kinds: &[(Kind, usize)]) -> Result<()> {
        let (report, found) = self.audit(false).await.context(what.to_owned())?;
        for (kind, count) in kinds {
            let of_kind = found.iter().filter(|finding| finding.kind == *kind).count();
            ensure!(of_kind == *count, "{what}: {of_kind} are {kind:?}, of {found:?}");
        }
        ensure!(found.len() == kinds.iter().map(|(_, count)| count).sum::<usize>(), "{what}: {found:?}");
        ensure!(report.healed == 0 && found.iter().all(|finding| !finding.healed), "{what}: an audit changes nothing");
        let (report, found) = self.audit(true).await?;
        ensure!(report.healed == report.findings && found.iter().all(|finding| finding.healed), "{what}: {found:?}");
        let (report, found) = self.audit(false).await?;
        ensure!(found.is_empty(), "{what}, healed: {found:?}");
        ensure!(report.events_in_raw == self.answers.len() as u64, "{what}: {report:?}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_damage_is_found_and_healed_from_the_other_side() -> Result<()> {
    let logs = Logs::filled().await?;
    let events = logs.answers.len();
    logs.check_heals("nothing happened", &[]).await?;

    logs.sql("delete from meta_insights_raw where stream_sequence in (1, 2)").await?;
    logs.check_heals("rows were deleted", &[(Kind::MissingInRaw, 2)]).await?;

    logs.sql("truncate meta_insights_raw, meta_payloads").await?;
    logs.check_heals("the table was emptied", &[(Kind::MissingInRaw, events)]).await?;

    // The answers of one content share its bytes.
    let of_content =
        "select count(*) from meta_insights_raw where payload_sha256 = (select min(payload_sha256) from meta_payloads)";
    let shared: i64 = sqlx::query_scalar(of_content).fetch_one(&logs.database.pool).await?;
    logs.sql("update meta_payloads set payload = set_bit(payload, 9, 1 - get_bit(payload, 9)) where payload_sha256 = (select min(payload_sha256) from meta_payloads)").await?;
    logs.check_heals("a bit flipped in PostgreSQL", &[(Kind::DamagedInRaw, shared.try_into()?)]).await?;

    // Appended again, a row finds the bytes of its content as they are.
    logs.sql("delete from meta_insights_raw; update meta_payloads set payload = 'x'").await?;
    logs.audit(true).await?;
    logs.check_heals("rows and bytes were lost at once", &[]).await?;

    let log = logs.nats.wire.log(META_INSIGHTS).await?;
    let sequence = logs.sequence(&logs.answers[0]).await?;
    log.delete(sequence).await?;
    logs.check_heals("a message was deleted", &[(Kind::MissingInStream, 1)]).await?;
    // Healed within the time in which the stream remembers message ids, and lost once more.
    let sequence = log.level().await?.last_sequence;
    log.delete(sequence).await?;
    logs.check_heals("the healed message was deleted", &[(Kind::MissingInStream, 1)]).await?;

    // Another program publishes other bytes under an id that is known.
    let event = logs.answers[1].event()?;
    let headers = events::headers::to_pairs(&event.attributes()?);
    logs.nats.publish_foreign(&event.day.subject(), &headers, b"forged").await?;
    logs.check_heals("a false copy came", &[(Kind::DamagedInStream, 1)]).await?;

    logs.nats.delete_stream(META_INSIGHTS).await?;
    jetstream::topology::apply(&logs.nats.wire, &testkit::LIMITS).await?;
    let (report, _) = logs.audit(false).await?;
    let earlier: i64 = report.earlier_streams.iter().map(|stream| stream.events).sum();
    ensure!(earlier == events as i64, "the stream is another one: {report:?}");
    logs.check_heals("the stream was lost", &[(Kind::MissingInStream, events)]).await?;
    logs.append().await?;
    logs.check_heals("and its events were delivered again", &[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_healed_is_said() -> Result<()> {
    let logs = Logs::filled().await?;
    // Damaged here and lost there: no copy has the bytes that came.
    logs.sql("update meta_payloads set payload = 'x'").await?;
    let log = logs.nats.wire.log(META_INSIGHTS).await?;
    for sequence in 1..=log.level().await?.last_sequence {
        log.delete(sequence).await?;
    }
    let (report, found) = logs.audit(true).await?;
    ensure!(report.healed == 0 && found.len() == logs.answers.len(), "{report:?}");
    for finding in &found {
        ensure!(finding.kind == Kind::NoGoodCopy && finding.left_because.is_some(), "{finding:?}");
    }
    // The same answers come once more: appending them mends the bytes, and what is whole in raw can go back.
    let mut random = Random::new(12);
    for answer in &logs.answers {
        Answer { event_id: random.uuid(), ..answer.clone() }.publish(&logs.nats.wire).await?;
    }
    logs.append().await?;
    let (report, found) = logs.audit(true).await?;
    ensure!(found.len() == logs.answers.len() && report.healed == report.findings, "{report:?}");
    ensure!(found.iter().all(|finding| finding.kind == Kind::MissingInStream), "{found:?}");

    // An event that was folded is missed when no log has it any more, though its day is gone from both.
    let day = logs.answers[0].event()?.day;
    sqlx::query(
        "insert into observations (account_id, ad_account_id, date, event_id, fetched_at, age_days, row_count, content_sha256,
             projection_version)
         select account_id, ad_account_id, date, event_id, fetched_at, 1, 1, payload_sha256, 1 from meta_insights_raw
         where date = $1",
    )
    .bind(day.date)
    .execute(&logs.database.pool)
    .await?;
    log.purge(&events::subject::day_filter(day.date), log.level().await?.last_sequence).await?;
    let gone = sqlx::query("delete from meta_insights_raw where date = $1").bind(day.date);
    let gone = gone.execute(&logs.database.pool).await?.rows_affected();
    let (report, found) = logs.audit(true).await?;
    ensure!(report.healed == 0 && found.len() as u64 == gone, "{report:?}");
    ensure!(found.iter().all(|finding| finding.kind == Kind::InNeither && finding.left_because.is_some()), "{found:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_on_its_way_is_no_finding_and_no_event_is_one() -> Result<()> {
    let logs = Logs::filled().await?;
    let mut late = logs.answers[0].clone();
    late.event_id = Random::new(5).uuid();
    late.publish(&logs.nats.wire).await?;
    logs.nats.publish_foreign(&late.event()?.day.subject(), &[], b"hello").await?;
    logs.nats.publish_foreign("meta.insights.no.such.day", &[], b"hello").await?;
    let (report, found) = logs.audit(true).await?;
    ensure!(found.is_empty() && report.on_their_way == 1 && report.no_events == 2, "{report:?} {found:?}");
    ensure!(report.events_in_raw == logs.answers.len() as u64, "the consumer appends it, not the audit");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trim_takes_what_is_proven_and_refuses_the_rest() -> Result<()> {
    let logs = Logs::filled().await?;
    let (pool, wire) = (&logs.database.pool, &logs.nats.wire);
    let before = history::first_day() + chrono::Days::new(2);
    let old = logs.answers.iter().filter(|answer| answer.date < before).count() as u64;
    let readers = [raw::DURABLE];
    let level = async || anyhow::Ok(wire.log(META_INSIGHTS).await?.level().await?.messages);
    let all = level().await?;

    logs.sql("delete from meta_insights_raw where stream_sequence = 1").await?;
    let refused = Trim::prove(pool, wire, before, &readers, |_, _| {}).await.err();
    ensure!(matches!(refused, Some(TrimError::Unproven { findings: 1, .. })), "{refused:?}");
    logs.audit(true).await?;
    let refused = Trim::prove(pool, wire, before, &[raw::DURABLE, "projector"], |_, _| {}).await.err();
    ensure!(matches!(refused, Some(TrimError::Unsettled { .. })), "the projector has seen none: {refused:?}");
    let mut late = logs.answers[0].clone();
    late.event_id = Random::new(5).uuid();
    late.publish(wire).await?;
    let refused = Trim::prove(pool, wire, before, &readers, |_, _| {}).await.err();
    ensure!(matches!(refused, Some(TrimError::OnTheirWay { events: 1 })), "{refused:?}");
    logs.append().await?;
    ensure!(level().await? == all + 1, "a refusal takes nothing");

    let trim = Trim::prove(pool, wire, before, &readers, |_, _| {}).await?;
    ensure!(trim.trimmed().events == old + 1 && level().await? == all + 1, "proving takes nothing");
    trim.carry_out(|_, _| {}).await?;
    ensure!(level().await? == all - old, "{} of {all} are left, {old} were to go", level().await?);
    let (report, found) = logs.audit(true).await?;
    ensure!(found.is_empty() && report.trimmed == old + 1, "{report:?} {found:?}");
    ensure!(level().await? == all - old, "an audit puts none of them back");

    // Where something else stands among them, it stays.
    logs.nats.publish_foreign(&logs.answers[0].event()?.day.subject(), &[], b"no event").await?;
    logs.append().await?;
    let last_day = before + chrono::Days::new(1);
    let rest = logs.answers.iter().filter(|answer| answer.date == before).count() as u64;
    let trim = Trim::prove(pool, wire, last_day, &readers, |_, _| {}).await?;
    ensure!((trim.trimmed().events, trim.trimmed().no_events) == (rest, 1), "{:?}", trim.trimmed());
    trim.carry_out(|_, _| {}).await?;
    ensure!(level().await? == 1, "{} messages are left, and one is no event", level().await?);

    // What comes after the trim is the stream's again.
    let mut later = logs.answers[0].clone();
    later.event_id = Random::new(6).uuid();
    later.publish(wire).await?;
    logs.append().await?;
    let log = wire.log(META_INSIGHTS).await?;
    log.delete(log.level().await?.last_sequence).await?;
    let (_, found) = logs.audit(false).await?;
    ensure!(found.len() == 1 && found[0].kind == Kind::MissingInStream, "{found:?}");
    Ok(())
}
