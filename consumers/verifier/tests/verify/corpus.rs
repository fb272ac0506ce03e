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

/// The event that an input is; `number` tells it from the others.
fn event(input: &[u8], number: u32) -> Option<InsightsFetched> {
    let (first, payload) = input.split_first()?;
    let fetched_at = DAY.date.and_hms_opt(12, 0, 0).unwrap_or_default().and_utc() + Duration::minutes(number.into());
    let circumstances = Circumstances {
        event_id: Uuid::from_u128(u128::from(number) + 1),
        fetched_at,
        run_id: None,
        row_count: None,
        page_count: None,
        codec: if *first == b'z' { Codec::Zstd } else { Codec::Plain },
        uncompressed_bytes: None,
        traceparent: None,
    };
    Some(InsightsFetched { circumstances, day: DAY, payload: payload.to_vec() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_product_reads_is_read_alike() -> Result<()> {
    let stage = Stage::open().await?;
    stage
        .sql(
            "insert into accounts (id, name, currency, timezone) values ('00000000-0000-0000-0000-000000000001', 'x', 'EUR', 'UTC');
             insert into ad_accounts (account_id, id, platform, external_id, name, currency, timezone_name, status)
             values ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002', 'meta', 'act_2', 'x', 'EUR', 'UTC', 'active')",
        )
        .await?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/event");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        files.push(std::fs::read(entry?.path())?);
    }
    files.sort();
    let mut mutator = Mutator::new(18, files.clone());
    let changed: Vec<Vec<u8>> =
        files.iter().flat_map(|file| (0..CHANGES).map(|_| mutator.change(file)).collect::<Vec<_>>()).collect();
    let mut published = 0;
    for event in files.iter().chain(&changed).zip(0..).filter_map(|(input, number)| event(input, number)) {
        stage.publish(event).await?;
        published += 1;
    }
    stage.work().await?;
    let folded: i64 = sqlx::query_scalar("select count(*) from observations").fetch_one(&stage.database.pool).await?;
    let folded = u64::try_from(folded).context("a count")?;
    ensure!(folded > 40 && published - folded > 100, "{folded} of {published}");
    let said = verify(&stage.stream().await?).await?;
    ensure!(said.differences.is_empty(), "{:#?}", said.differences);
    assert_eq!((said.report.events, said.report.refused), (folded, published - folded));
    Ok(())
}
