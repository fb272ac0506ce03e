//! The log against the tables, and the logs against this version's decoder, from the command line.

use anyhow::{Context, Result, ensure};
use jetstream::META_INSIGHTS;
use serde_json::Value;

use crate::shop::{Ran, Shop, days_ago};

fn check(ran: &Ran, code: i32, words: &str) -> Result<()> {
    ensure!(ran.code == code && ran.stdout.contains(words), "{words:?} with {code} was expected: {ran:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cent_too_much_is_found_and_a_replay_takes_it_back() -> Result<()> {
    let shop = Shop::open().await?;
    ensure!(shop.sync("meta_7d_fill").await?.code == 0);
    let pool = &shop.database.pool;
    let (rows, account) = (
        sqlx::query_scalar::<_, i64>("select count(*) from fact_meta_daily").fetch_one(pool).await?,
        shop.account_id.to_string(),
    );
    let clean = format!("7 account-days verified: {rows} rows, spend ");
    for arguments in [&["verify"][..], &["verify", "--from", "raw"], &["verify", "--account", &account]] {
        let ran = shop.run(arguments).await?;
        check(&ran, 0, &clean)?;
        check(&ran, 0, " EUR; 0 differ")?;
    }
    let (ad, spend): (String, String) = sqlx::query_as(
        "update fact_meta_daily set spend = spend + 0.01
         where ctid = (select ctid from fact_meta_daily where date = $1 and spend > 0 limit 1)
         returning ad_id, trim_scale(spend)::text",
    )
    .bind(days_ago(2))
    .fetch_one(pool)
    .await?;
    let ran = shop.run(&["verify"]).await?;
    check(
        &ran,
        3,
        &format!(
            "{} of act_1234567890, tenant Shop: fact_meta_daily, ad {ad}: spend {spend} in the table, ",
            days_ago(2)
        ),
    )?;
    check(&ran, 3, "; 1 differ")?;
    let (since, until) = (days_ago(7).to_string(), days_ago(3).to_string());
    check(&shop.run(&["verify", "--since", &since, "--until", &until]).await?, 0, "5 account-days verified")?;
    let ran = shop.run(&["verify", "--json"]).await?;
    let document: Value = serde_json::from_str(&ran.stdout)?;
    assert_eq!((ran.code, &document["differing_days"], &document["differences"]), (3, &1.into(), &1.into()));
    let day = &document["differing"][0];
    ensure!(day["by_the_log"]["sha256"] != day["in_the_tables"]["sha256"], "{document}");
    assert_eq!(day["by_the_log"]["rows"], day["in_the_tables"]["rows"]);
    let day = days_ago(2).to_string();
    shop.done(&["replay", "--since", &day, "--until", &day]).await?;
    check(&shop.run(&["verify"]).await?, 0, "; 0 differ")?;
    let backwards = shop.run(&["verify", "--since", &until, "--until", &since]).await?;
    ensure!(backwards.code == 2, "{backwards:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_decoded_is_named_with_its_place() -> Result<()> {
    let shop = Shop::open().await?;
    ensure!(shop.sync("meta_7d_fill").await?.code == 0);
    check(
        &shop.run(&["log", "check"]).await?,
        0,
        "7 events of the stream and 7 events of meta_insights_raw read; 0 cannot",
    )?;

    // Headers as they should be, and data that breaks off.
    let log = shop.nats.wire.log(META_INSIGHTS).await?;
    let message = log.at(1).await?.context("the first message")?;
    let subject = message.subject.clone();
    let id = uuid::Uuid::now_v7();
    let headers: Vec<_> = message
        .header_pairs()
        .into_iter()
        .filter(|(name, _)| !name.to_lowercase().starts_with("nats-"))
        .map(|(name, value)| if name == "ce-id" { (name, id.to_string()) } else { (name, value) })
        .collect();
    shop.nats.publish_foreign(&subject, &headers, &message.payload[..message.payload.len() / 2]).await?;
    let ran = shop.run(&["log", "check", "--from", "stream"]).await?;
    check(&ran, 3, &format!("Event {id} in the stream: {subject}, message 8: "))?;
    check(&ran, 3, "8 events of the stream read; 1 cannot be decoded")?;
    // Nobody folded it, so the tables are what the log says.
    let ran = shop.run(&["verify"]).await?;
    check(&ran, 0, &format!("Event {id} of "))?;

    let (damaged,): (uuid::Uuid,) = sqlx::query_as(
        "with damaged as (update meta_payloads p set payload = '\\x00' || payload
             from meta_insights_raw r where r.payload_sha256 = p.payload_sha256 and r.date = $1 returning r.event_id)
         select event_id from damaged",
    )
    .bind(days_ago(3))
    .fetch_one(&shop.database.pool)
    .await?;
    let ran = shop.run(&["log", "check", "--from", "raw", "--json"]).await?;
    let document: Value = serde_json::from_str(&ran.stdout)?;
    assert_eq!((ran.code, &document["events_in_stream"], &document["undecodable"]), (3, &Value::Null, &1.into()));
    let found = &document["events"][0];
    assert_eq!((&found["log"], &found["event_id"]), (&"raw".into(), &damaged.to_string().into()));
    // With the other log at hand the tables are still proven; without it they are not.
    check(&shop.run(&["verify"]).await?, 0, "; 0 differ")?;
    check(
        &shop.run(&["verify", "--from", "raw"]).await?,
        3,
        &format!(
            "event {damaged} is in the tables, and cannot be read in the log any more: its payload in meta_insights_raw is damaged"
        ),
    )
}

/// Bytes that decode as well as those that came, and are others: nobody takes numbers from them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_changed_by_hand_changes_no_table() -> Result<()> {
    let shop = Shop::open().await?;
    ensure!(shop.sync("meta_7d_fill").await?.code == 0);
    let (day, pool) = (days_ago(3), &shop.database.pool);
    let changed = sqlx::query(
        "update meta_payloads p set payload = other.payload
         from meta_insights_raw r, meta_insights_raw o join meta_payloads other using (account_id, payload_sha256)
         where r.payload_sha256 = p.payload_sha256 and r.date = $1 and o.date = $1 + 1",
    );
    ensure!(changed.bind(day).execute(pool).await?.rows_affected() == 1);
    let day = day.to_string();
    let words = "its payload in meta_insights_raw is damaged";
    let ran = shop.run(&["replay", "--since", &day, "--until", &day, "--from", "raw"]).await?;
    ensure!(ran.code == 3 && ran.stderr.contains(words) && ran.stderr.contains("`adledger audit --heal`"), "{ran:?}");
    let ran = shop.run(&["verify", "--from", "raw"]).await?;
    check(&ran, 3, words)?;
    check(&ran, 3, "; 1 differ")?;
    let ran = shop.run(&["rebuild", "--from", "raw"]).await?;
    ensure!(ran.code == 3 && !ran.stdout.contains("differed: 1"), "{ran:?}");
    shop.check_sums(days_ago(7), days_ago(1)).await?;
    // The stream still says what came.
    check(&shop.run(&["verify"]).await?, 0, "; 0 differ")?;
    shop.run(&["audit", "--heal"]).await?;
    check(&shop.run(&["verify", "--from", "raw"]).await?, 0, "; 0 differ")
}
