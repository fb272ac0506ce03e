//! The daily summary over HTTP: exact, unknown where unknown, and not sent twice.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::json;

use crate::site::{Answer, Member, Site, Web, answer};

const NOVEMBER: &str = "/api/daily-summary?since=2026-11-01&until=2026-11-30";

async fn unless(web: &Web, member: &Member, tag: &str) -> Result<Answer> {
    answer(web.request(Method::GET, NOVEMBER).bearer_auth(&member.token).header("if-none-match", tag)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_exact_in_order_and_sent_once() -> Result<()> {
    let site = Site::open().await?;
    let member = site.member().await?;
    let account_id = member.tenant.account_id;
    sqlx::query(
        "insert into daily_summary (account_id, date, meta_spend, meta_impressions, meta_clicks, meta_purchases,
             meta_purchase_value, meta_roas, shopify_orders, shopify_revenue, updated_at)
         values ($1, '2026-11-02', 0.10, 9007199254740993, 0, 1.5, 123456789012345678901234567890123456.789, 2.5000, null, null,
                 '2026-11-03T04:05:06Z'),
                ($1, '2026-11-01', null, null, null, null, null, null, 3, 12.00, null),
                ($1, '2026-10-31', 1, 1, 1, 1, 1, 1, 1, 1, now()), ($1, '2026-12-01', 1, 1, 1, 1, 1, 1, 1, 1, now())",
    )
    .bind(account_id)
    .execute(&site.database.pool)
    .await?;
    let web = site.serve(&[]).await?;
    let first = web.get(&member, NOVEMBER).await?;
    let summary = first.json(200)?;
    assert_eq!(
        summary,
        json!({
            "account_id": account_id, "currency": "USD", "since": "2026-11-01", "until": "2026-11-30",
            "rows": [
                {
                    "date": "2026-11-01", "meta_spend": null, "meta_impressions": null, "meta_clicks": null,
                    "meta_purchases": null, "meta_purchase_value": null, "meta_roas": null, "shopify_orders": 3,
                    "shopify_revenue": "12.00", "updated_at": null,
                },
                {
                    "date": "2026-11-02", "meta_spend": "0.10", "meta_impressions": 9_007_199_254_740_993_i64, "meta_clicks": 0,
                    "meta_purchases": "1.5", "meta_purchase_value": "123456789012345678901234567890123456.789",
                    "meta_roas": "2.5000", "shopify_orders": null, "shopify_revenue": null,
                    "updated_at": "2026-11-03T04:05:06Z",
                },
            ],
        })
    );
    let columns: BTreeSet<String> = sqlx::query_scalar(
        "select column_name::text from information_schema.columns where table_name = 'daily_summary'",
    )
    .fetch_all(&site.database.pool)
    .await?
    .into_iter()
    .filter(|column| column != "account_id")
    .collect();
    let shown: BTreeSet<_> = summary["rows"][0].as_object().context("a row")?.keys().cloned().collect();
    assert_eq!(shown, columns, "a column of the table is not shown");

    assert_eq!(first.header("cache-control"), Some("private, no-cache"));
    let tag = first.header("etag").context("it has a tag")?.to_owned();
    assert!(tag.starts_with('"') && tag.len() > 20, "{tag} is no strong tag");
    let named = web.get(&member, &format!("{NOVEMBER}&account_id={account_id}")).await?;
    assert_eq!((named.status, named.header("etag")), (200, Some(tag.as_str())));
    for kept in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        let answer = unless(&web, &member, &kept).await?;
        assert_eq!((answer.status, answer.body.as_str()), (304, ""), "{kept}");
        assert_eq!(
            (answer.header("etag"), answer.header("cache-control")),
            (Some(tag.as_str()), Some("private, no-cache"))
        );
    }
    site.sql("update daily_summary set meta_spend = 0.11 where date = '2026-11-02'").await?;
    let changed = unless(&web, &member, &tag).await?;
    assert_eq!(changed.json(200)?["rows"][1]["meta_spend"], "0.11");
    assert_ne!(changed.header("etag"), Some(tag.as_str()));

    // Of the past, only what Meta's answers say, of which there are none.
    let past = web.get(&member, &format!("{NOVEMBER}&as_of=2026-11-20T00:00:00Z")).await?.json(200)?;
    assert_eq!((&past["as_of"], &past["rows"]), (&json!("2026-11-20T00:00:00Z"), &json!([])));
    let detail = web.get(&member, &format!("{NOVEMBER}&as_of=yesterday")).await?.problem(400)?;
    assert!(detail.contains("as_of"), "{detail}");
    let years = "/api/daily-summary?since=2025-01-01&until=2026-11-30";
    web.get(&member, years).await?.json(200)?;
    let detail = web.get(&member, &format!("{years}&as_of=2026-11-20T00:00:00Z")).await?.problem(400)?;
    assert!(detail.contains("ask for 366 at most"), "{detail}");
    Ok(())
}
