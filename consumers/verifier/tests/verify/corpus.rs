//! The corpus of the fuzz targets, each file as it is and a little changed: what the product reads the verifier reads alike,
//! and what the one refuses so does the other.

#[path = "../../../../tests/corpus/mutate.rs"]
mod mutate;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use chrono::{Duration, NaiveDate};
use events::payload::Codec;
use events::subject::AccountDay;
use events::{Circumstances, InsightsFetched};
use mutate::Mutator;
use testkit::history::Random;
use uuid::Uuid;

use crate::stage::{Stage, verify};

/// The day that the corpus speaks of.
const DAY: AccountDay = AccountDay {
    account_id: Uuid::from_u128(1),
    ad_account_id: Uuid::from_u128(2),
    date: NaiveDate::from_ymd_opt(2026, 3, 1).expect("a day"),
};

/// How often each file is changed.
const CHANGES: usize = 40;

/// The event that an input is, of a day; `number` tells it from the others.
fn event(date: NaiveDate, input: &[u8], number: u32) -> Option<InsightsFetched> {
    let (first, payload) = input.split_first()?;
    let fetched_at = date.and_hms_opt(12, 0, 0).unwrap_or_default().and_utc() + Duration::minutes(number.into());
    let circumstances = Circumstances {
        event_id: Uuid::from_u128(u128::from(number) + 1),
        fetched_at,
        run_id: None,
        row_count: None,
        page_count: None,
        codec: if *first == b'z' { Codec::Zstd } else { Codec::Plain },
        uncompressed_bytes: None,
        traceparent: None,
        upcaster: None,
    };
    Some(InsightsFetched { circumstances, day: AccountDay { date, ..DAY }, payload: payload.to_vec() })
}

/// The tenant that the corpus speaks of, and nothing of it yet.
async fn stage() -> Result<Stage> {
    let stage = Stage::open().await?;
    stage
        .sql(
            "insert into accounts (id, name, currency, timezone) values ('00000000-0000-0000-0000-000000000001', 'x', 'EUR', 'UTC');
             insert into ad_accounts (account_id, id, platform, external_id, name, currency, timezone_name, status)
             values ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002', 'meta', 'act_2', 'x', 'EUR', 'UTC', 'active')",
        )
        .await?;
    Ok(stage)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_product_reads_is_read_alike() -> Result<()> {
    let stage = stage().await?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/event");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        files.push(std::fs::read(entry?.path())?);
    }
    files.sort();
    let mut mutator = Mutator::new(18, files.clone());
    let changed: Vec<Vec<u8>> =
        files.iter().flat_map(|file| (0..CHANGES).map(|_| mutator.change(file)).collect::<Vec<_>>()).collect();
    check(&stage, files.iter().chain(&changed).map(|input| (DAY.date, input)), 40).await
}

/// Publishes these, has them folded, and verifies: some were read, and some refused.
async fn check<'i>(stage: &Stage, inputs: impl Iterator<Item = (NaiveDate, &'i Vec<u8>)>, least: u64) -> Result<()> {
    let mut published = 0;
    for event in inputs.zip(0..).filter_map(|((date, input), number)| event(date, input, number)) {
        stage.publish(event).await?;
        published += 1;
    }
    stage.work().await?;
    let folded: i64 = sqlx::query_scalar("select count(*) from observations").fetch_one(&stage.database.pool).await?;
    let folded = u64::try_from(folded).context("a count")?;
    ensure!(folded > least && published - folded > least, "{folded} of {published}");
    let said = verify(&stage.stream().await?).await?;
    ensure!(said.differences.is_empty(), "{:#?}", said.differences);
    assert_eq!((said.report.events, said.report.refused), (folded, published - folded));
    Ok(())
}

/// What may stand where a number, a text or a list of actions should, and now and then does.
const NUMBERS: [&str; 25] = [
    "1",
    "\"2\"",
    "\"12.50\"",
    "0",
    "\"-3.10\"",
    "null",
    "\"\"",
    "\"3.0\"",
    "7e2",
    "\"1E-2\"",
    "\"+5\"",
    "\".5\"",
    "\"5.\"",
    "\" 5\"",
    "\"1_0\"",
    "\"-0\"",
    "\"\\u0031\"",
    "true",
    "{}",
    "[]",
    "\"1e-30\"",
    "\"1e29\"",
    "1e15",
    "999999999999",
    "\"0x1\"",
];
const TEXTS: [&str; 12] = [
    "\"a\"",
    "\"\"",
    "null",
    "5",
    "-5",
    "true",
    "{\"a\":[1]}",
    "\"\\u0000\"",
    "\"\\ud83d\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ude00\\\\\\/\\b\"",
    "\"tab\\t\"",
];
const ACTIONS: [&str; 12] = [
    "null",
    "[]",
    r#"[{"action_type":"purchase","value":"2"}]"#,
    r#"[{"action_type":"omni_purchase","value":3,"7d_click":"1"},{"action_type":"purchase","value":"9"}]"#,
    r#"[{"action_type":"onsite_conversion.purchase","value":"1.5"}]"#,
    r#"[{"action_type":"app_custom_event.fb_mobile_purchase","value":"1"},{"action_type":"onsite_conversion.purchase"}]"#,
    r#"[{"action_type":"purchase","value":"2"},{"action_type":"purchase","value":""},{"action_type":"purchase","value":null}]"#,
    r#"[{"action_type":"link_click","value":"many"},{"action_type":"half \ud83d","value":"1"}]"#,
    r#"[{"action_type":"purchase","value":"many"}]"#,
    r#"[{"value":"1"}]"#,
    r#"[{"action_type":"purchase","action_type":"purchase","value":"1"}]"#,
    r#"{}"#,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_odd_parts_are_read_alike() -> Result<()> {
    let stage = stage().await?;
    let mut random = Random::new(99);
    // Few events a day, so that most of what is read is what counts.
    let dates = DAY.date.iter_days().take(300).collect::<Vec<_>>();
    let inputs: Vec<Vec<u8>> = (0..900)
        .map(|number| {
            let rows: Vec<String> = (0..random.below(4)).map(|_| row(&mut random)).collect();
            let windows = if random.one_in(2) { r#""7d_click""# } else { "" };
            let control = if random.one_in(3) { "null" } else { r#"{"spend":"12.50","impressions":1}"# };
            let head = format!(
                r#"p{{"account_id":"{}","ad_account":{{"id":"{}","external_id":"act_2","currency":"EUR","timezone_name":"Asia/Tokyo"}},
                    "date":"{}","request":{{"api_version":"v25.0","fields":[],"effective_status":null,"attribution_windows":[{windows}]}},
                    "control":{control},"rows":[{}]}}"#,
                DAY.account_id,
                DAY.ad_account_id,
                dates[number % dates.len()],
                rows.join(",")
            );
            head.into_bytes()
        })
        .collect();
    check(&stage, dates.into_iter().cycle().zip(&inputs), 100).await
}

/// A row whose parts are mostly as they should be: the first of each list are.
fn row(random: &mut Random) -> String {
    let mut one_of = |all: &[&'static str]| {
        let most = if random.one_in(12) { all.len() } else { all.len() / 3 };
        all[random.below(most as u64) as usize]
    };
    let mut members = vec![format!(
        r#""ad_id":{}"#,
        one_of(&["\"1\"", "\"2\"", "3", "\"a b\"", "\"\"", "\"1_a-B\"", "-1", "null", "1.5"])
    )];
    for field in ["spend", "impressions", "clicks", "inline_link_clicks"] {
        members.push(format!(r#""{field}":{}"#, one_of(&NUMBERS)));
    }
    for field in ["ad_name", "adset_id", "campaign_name"] {
        members.push(format!(r#""{field}":{}"#, one_of(&TEXTS)));
    }
    for field in ["actions", "action_values"] {
        members.push(format!(r#""{field}":{}"#, one_of(&ACTIONS)));
    }
    members.push(format!(r#""account_currency":{}"#, one_of(&["\"EUR\"", "\"\"", "null", "\"USD\"", "5", "{}"])));
    if random.one_in(40) {
        members.push(r#""spend":"1""#.to_owned());
    }
    format!("{{{}}}", members.join(","))
}
