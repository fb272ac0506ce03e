//! Texts and numbers that are written in more than one way come back as PostgreSQL writes them.

use std::sync::Arc;

use anyhow::{Result, ensure};
use events::{AdAccount, ControlTotal, InsightsData, InsightsFetched, Request};
use projections::{Folds, Snapshot};
use projector::fold_events;
use serde_json::value::RawValue;
use testkit::Tenant;
use testkit::history::first_day;
use uuid::Uuid;

use crate::house::{MAX_EVENT_BYTES, everything, replay};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_strange_is_compared_as_it_was_written() -> Result<()> {
    let (database, nats) = (testkit::database().await?, testkit::nats().await?);
    let tenant = Tenant::insert(&database.pool).await?;
    let names = [
        r"\u0000",
        r"\b\f\u000b\u0007\u001b",
        r"\t\n\r",
        r"\\N",
        r"\\.",
        r"\\b\\",
        r"\ud800",
        r"é\u00e9",
        r"\u2028",
        "",
        r"\u007f\u0080\u009f",
        r#"\"'"#,
        "１２",
        r"\ufeff",
        r"\ud83d\ude00",
    ];
    let numbers = ["-0.00", "0", "-0", "1e3", "1.50e1", "12.3400", "000.10", "1E-7", "", "-7.25"];
    let rows: Vec<Box<RawValue>> = names
        .iter()
        .cycle()
        .zip(numbers.iter().cycle())
        .zip(0..150)
        .map(|((name, number), ad)| {
            let row = format!(
                r#"{{"ad_id":"{ad}","ad_name":"{name}","adset_name":"{name}x","campaign_name":null,"adset_id":{ad},
                    "spend":"{number}",                    "impressions":"1e2","clicks":-0,"actions":[{{"action_type":"omni_purchase","value":"{number}"}}],
                    "action_values":[{{"action_type":"omni_purchase","value":"-0.000"}}]}}"#
            );
            Ok(RawValue::from_string(row)?)
        })
        .collect::<Result<_>>()?;
    // To less than a microsecond: what is kept is not what was said.
    let fetched_at =
        (first_day() + chrono::Duration::days(1)).and_hms_nano_opt(1, 2, 3, 123_450_999).unwrap_or_default();
    let data = InsightsData {
        account_id: tenant.account_id,
        ad_account: AdAccount {
            id: tenant.ad_account_id,
            external_id: "act_1".into(),
            currency: "USD".into(),
            timezone_name: "UTC".into(),
        },
        date: first_day(),
        request: Request {
            api_version: "v25.0".into(),
            fields: Vec::new(),
            effective_status: None,
            attribution_windows: Vec::new(),
        },
        control: Some(ControlTotal { spend: "-0.0".into(), impressions: 0 }),
        rows: rows.iter().map(|row| &**row).collect(),
    };
    let event = InsightsFetched::new(Uuid::from_u128(5), fetched_at.and_utc(), None, 1, &data, data.row_bytes())?;
    nats.wire.publish(&event.day.subject(), &event.attributes()?, event.payload.clone().into()).await?;
    let log = logs::Source::stream(&nats.wire).await?;
    let mut logged = Vec::new();
    log.each_event_until(event.day, None, |event| logged.push(event)).await?;
    let logged = logged.pop().expect("it was published")?;
    let snapshot = Snapshot::decode(
        &logged.circumstances,
        logged.day,
        logged.stored_at,
        &logged.payload,
        &Arc::default(),
        MAX_EVENT_BYTES,
    )?;
    let (folded, refused) = fold_events(&database.pool, &Folds::default(), vec![snapshot]).await?;
    ensure!(folded.rows == 150 && refused.is_empty(), "{refused:?}");
    let replay = projector::replay::Replay { logs: log.into(), ..replay(&database.pool) };
    let report = replay.run(&everything(), |_| {}).await?;
    ensure!(report.rows == 150 && report.days_changed == 0 && report.not_folded.is_empty(), "{report:?}");
    Ok(())
}
