//! Strange events that are folded, those that are not, and one that fits into no message.

use anyhow::{Result, ensure};
use chrono::{DateTime, Duration, NaiveDate, Utc};
use events::{AdAccount, ControlTotal, InsightsData, InsightsFetched, Request};
use testkit::Tenant;
use testkit::history::Random;
use uuid::Uuid;

use crate::stage::{Stage, verify};

const DATE: NaiveDate = NaiveDate::from_ymd_opt(2026, 2, 3).expect("a day");

/// An event of a day, so many days after the first, with these rows.
fn event(tenant: &Tenant, currency: &str, days: i64, rows: &[Vec<u8>]) -> Result<InsightsFetched> {
    let date = DATE + Duration::days(days);
    event_at(tenant, currency, date, date.and_hms_opt(23, 0, 0).unwrap_or_default().and_utc(), rows)
}

fn event_at(
    tenant: &Tenant,
    currency: &str,
    date: NaiveDate,
    fetched_at: DateTime<Utc>,
    rows: &[Vec<u8>],
) -> Result<InsightsFetched> {
    let head = InsightsData {
        account_id: tenant.account_id,
        ad_account: AdAccount {
            id: tenant.ad_account_id,
            external_id: "act_1".into(),
            currency: currency.into(),
            timezone_name: "Pacific/Auckland".into(),
        },
        date,
        request: Request {
            api_version: "v25.0".into(),
            fields: Vec::new(),
            effective_status: None,
            attribution_windows: vec!["7d_click".into()],
        },
        control: Some(ControlTotal { spend: "5".into(), impressions: 10 }),
        rows: Vec::new(),
    };
    Ok(InsightsFetched::new(Uuid::now_v7(), fetched_at, None, 1, &head, rows)?)
}

fn rows(rows: &[&str]) -> Vec<Vec<u8>> {
    rows.iter().map(|row| row.as_bytes().to_vec()).collect()
}

/// Rows of so many ads, with names that no compression makes small; the last names an ad that the first named.
fn large() -> Vec<Vec<u8>> {
    let mut random = Random::new(9);
    let mut name = || (0..900).map(|_| char::from(b'a' + random.below(26) as u8)).collect::<String>();
    let mut rows: Vec<Vec<u8>> = (0..2_000)
        .map(|ad| {
            format!(r#"{{"ad_id":"{ad}","ad_name":"{}","spend":"{ad}.25","impressions":"10"}}"#, name()).into_bytes()
        })
        .collect();
    rows.push(br#"{"ad_id":"0","ad_name":"again","spend":"1000000.5"}"#.to_vec());
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_events_verify_clean_and_those_not_folded_are_named() -> Result<()> {
    let stage = Stage::open().await?;
    let (tenant, tokyo) = (Tenant::insert(&stage.database.pool).await?, Tenant::insert(&stage.database.pool).await?);
    stage
        .sql(&format!(
            "alter table accounts disable trigger user; update accounts set currency = 'JPY' where id = '{}'",
            tokyo.account_id
        ))
        .await?;
    stage.sql("update ad_accounts a set currency = t.currency from accounts t where t.id = a.account_id").await?;

    let folded: Vec<Vec<Vec<u8>>> = vec![
        rows(&[
            r#"{"ad_id":12345678901234567890,"spend":12.5,"impressions":1000,"clicks":"3.0"}"#,
            r#"{"ad_id":"12345678901234567891","spend":"1.5e2"}"#,
        ]),
        rows(&[
            r#"{"ad_id":"8"}"#,
            r#"{"ad_id":"9","spend":null,"impressions":"","actions":null,"ad_name":null,"account_currency":""}"#,
        ]),
        rows(&[
            r#"{"ad_id":"1","spend":"100.00","impressions":"1000","clicks":"10"}"#,
            r#"{"ad_id":"2","spend":"-130.50","impressions":"-1000"}"#,
        ]),
        rows(&[
            r#"{"ad_id":"1","spend":"-12.34","impressions":"0","action_values":[{"action_type":"omni_purchase","value":"24.68"}]}"#,
        ]),
        rows(&[
            r#"{"ad_id":"1","ad_name":"😀 \ud83d\ude00 אב","adset_name":"a\u0000b","campaign_name":"half \ud83d","adset_id":"tab\t\\","campaign_id":{"no":"text"}}"#,
        ]),
        vec![b"{\"ad_id\":\"1\",\"ad_name\":\"cut \xf0\x9f\",\"spend\":\"7\",\"deep\":[[[[{}]]]]}".to_vec()],
        rows(&[r#"{"ad_id":"1","spend":"3","impressions":"1"}"#, r#"{"ad_id":"1","spend":"5","impressions":"10"}"#]),
        rows(&[r#"{"ad_id":"1","spend":"3","spend":"4"}"#, r#"{"ad_id":"1","spend":"5","impressions":"10"}"#]),
        rows(&[
            r#"{"ad_id":"1","actions":[{"action_type":"half \ud83d","value":"1"},{"action_type":"onsite_conversion.purchase","value":"2"}],"action_values":[{"action_type":"app_custom_event.fb_mobile_purchase","value":"9.99"}]}"#,
        ]),
        rows(&[r#"{"ad_id":"1","spend":"123456789012.34","impressions":"99999999999","clicks":"7"}"#]),
        Vec::new(),
        large(),
    ];
    for (days, rows) in (0..).zip(&folded) {
        stage.publish(event(&tenant, "USD", days, rows)?).await?;
    }
    // Five minutes before midnight there it is another day here.
    let late = DATE.and_hms_opt(10, 55, 0).unwrap_or_default().and_utc() + Duration::days(29);
    stage
        .publish(event_at(&tenant, "USD", DATE, late, &rows(&[r#"{"ad_id":"1","spend":"5","impressions":"10"}"#]))?)
        .await?;
    stage
        .publish(event(
            &tokyo,
            "JPY",
            0,
            &rows(&[r#"{"ad_id":"1","spend":123456,"impressions":"1000","account_currency":"JPY"}"#]),
        )?)
        .await?;

    let refused = [
        (event(&tenant, "EUR", 1, &rows(&[r#"{"ad_id":"1","spend":"1"}"#]))?, "two currencies"),
        (event(&tenant, "USD", 2, &rows(&[r#"{"ad_id":"1","spend":"12,34"}"#]))?, "a number as people write it"),
        (event(&tenant, "USD", 3, &rows(&[r#"{"ad_id":"1","spend":"1","spend":"2"}"#]))?, "one key twice"),
        (event(&tenant, "USD", 4, &rows(&[r#"{"ad_id":"a b"}"#]))?, "no id"),
        (event(&tenant, "USD", 5, &rows(&[r#"{"ad_id":"1","clicks":"1.5"}"#]))?, "not whole"),
        (event_at(&tenant, "USD", DATE, "2090-01-01T00:00:00Z".parse()?, &[])?, "from the future"),
        (event(&Tenant { ad_account_id: Uuid::now_v7(), ..tenant }, "USD", 0, &[])?, "of nobody's"),
    ];
    let mut ids = Vec::new();
    for (event, _) in refused {
        ids.push(event.circumstances.event_id);
        stage.publish(event).await?;
    }
    stage.work().await?;
    let folded_events: i64 =
        sqlx::query_scalar("select count(*) from observations").fetch_one(&stage.database.pool).await?;
    assert_eq!(folded_events as usize, folded.len() + 2, "the product folds what the test says it does");
    ids.sort();
    for verifier in [stage.stream().await?, stage.raw().await?] {
        let said = verify(&verifier).await?;
        ensure!(said.differences.is_empty(), "{said:#?}");
        let mut named: Vec<Uuid> = said.refused.iter().filter_map(|refused| refused.event_id).collect();
        named.sort();
        assert_eq!(named, ids, "{:#?}", said.refused);
        assert_eq!(said.report.spend["JPY"], 123456.into());
    }

    // What must not be there is found when it is.
    let parked = ids[0];
    stage
        .sql(&format!(
            "insert into observations select account_id, ad_account_id, date, '{parked}', fetched_at, age_days, row_count, content_sha256, spend, impressions,
                 purchases, purchase_value, control_spend, control_impressions, status_filter, projection_version, rule_version,
                 attribution_windows from observations where date = '2026-02-04'"
        ))
        .await?;
    let said = verify(&stage.stream().await?).await?;
    let wanted = format!("event {parked} is in the tables, and must not be: it is in EUR");
    ensure!(said.sentences().contains(&wanted), "{said:#?}");
    Ok(())
}
