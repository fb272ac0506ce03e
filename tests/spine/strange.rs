//! What Meta may send and nobody expects: what the tables say of it, what is said where it cannot be used, and that the raw log
//! has the bytes. `docs/STRANGE.md` says the same to people, word for word.

mod cases;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use chrono::NaiveDate;
use events::payload;
use serde_json::Value;
use testkit::graph::{AdAccount, Delivery, Endpoint, Failure};
use testkit::wait;
use uuid::Uuid;

use crate::shop::{AD_ACCOUNT, Ran, Shop, TOKEN, days_ago, run};
use cases::{ANSWERS, Case, Ends, cases};

/// Each case is a day: the tables have what it says, or it is parked for the reason it says; its bytes are in the raw log either
/// way, and the days beside it do not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_ends_as_it_is_written() -> Result<()> {
    let shop = Shop::open().await?;
    let (folded, parked): (Vec<_>, Vec<_>) =
        cases().into_iter().partition(|case| matches!(case.ends, Ends::Folded { .. }));
    let mut days = 0;
    for case in folded.iter().chain(&parked) {
        days += 1;
        shop.graph.edit(|world| {
            for ad in &mut world.ad_account(AD_ACCOUNT).ads {
                ad.days.remove(&days_ago(days));
            }
            for (number, row) in case.rows_on(days_ago(days)).into_iter().enumerate() {
                world.raw_row(AD_ACCOUNT, &number.to_string(), days_ago(days), row);
            }
        });
    }
    let good = folded.len() as u64;
    let ran = backfill(&shop, days_ago(good), days_ago(1)).await?;
    ensure!(ran.code == 0 && ran.stdout.contains(&format!("{good} days")), "{ran:?}");
    let ran = backfill(&shop, days_ago(days), days_ago(good + 1)).await?;
    let said =
        format!("the events of {} days cannot be used and were parked, {} first: ", parked.len(), days_ago(days));
    ensure!(ran.code == 1 && ran.stderr.contains(&said), "{ran:?}");

    for (case, date) in folded.iter().chain(&parked).zip((1..=days).map(days_ago)) {
        check(&shop, case, date).await.with_context(|| case.sends.to_owned())?;
    }
    // The second implementation reads each of them alike, and what is parked it would not fold either.
    let ran = shop.run(&["verify", "--json"]).await?;
    let report: Value = serde_json::from_str(&ran.stdout)?;
    ensure!(ran.code == 0 && report["refused"] == parked.len(), "{ran:?}");
    Ok(())
}

async fn check(shop: &Shop, case: &Case, date: NaiveDate) -> Result<()> {
    let rows = rows_in_raw(shop, date).await?;
    for row in case.rows_on(date) {
        let found = rows.windows(row.len()).any(|bytes| bytes == row);
        ensure!(found, "the raw log has {}, and not {}", rows.escape_ascii(), row.escape_ascii());
    }
    let found = day(shop, date).await?;
    match &case.ends {
        Ends::Folded { metrics, facts, name } => {
            let (found_metrics, found_facts) = found.context("the day has no row")?;
            ensure!(found_metrics == *metrics, "the day has {found_metrics}, not {metrics}");
            ensure!(found_facts == *facts, "its ads have {found_facts}, not {facts}");
            if let Some(name) = name {
                let found: Option<String> = sqlx::query_scalar(
                    "select ad_name from fact_meta_daily where account_id = $1 and date = $2 order by ad_id limit 1",
                )
                .bind(shop.account_id)
                .bind(date)
                .fetch_one(&shop.database.pool)
                .await?;
                ensure!(found.as_deref() == Some(name), "its name is {found:?}, not {name:?}");
            }
        }
        Ends::Parked { reason } => {
            ensure!(found.is_none(), "the day is in the tables: {found:?}");
            let (state, said): (String, Option<String>) =
                sqlx::query_as("select state, last_error from sync_days where account_id = $1 and date = $2")
                    .bind(shop.account_id)
                    .bind(date)
                    .fetch_one(&shop.database.pool)
                    .await?;
            ensure!(
                state == "failed" && said.as_deref().is_some_and(|said| said.contains(reason)),
                "{state}: {said:?}"
            );
        }
    }
    Ok(())
}

/// `docs/STRANGE.md` has a line for each case, with its words, and no other.
#[test]
fn the_page_says_what_the_cases_say() -> Result<()> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/STRANGE.md"))?;
    let rows = page.split("<!-- rows -->").nth(1).context("the page has its list of rows between two marks")?;
    let cases = cases();
    let words = cases.iter().map(|case| (case.sends, case.says)).chain(ANSWERS);
    let wanted: Vec<_> = words.map(|(sends, says)| format!("| {sends} | {says} |")).collect();
    let header = ["| what Meta sends | what the tables say |", "|---|---|"].map(str::to_owned);
    let wanted = header.into_iter().chain(wanted).collect::<Vec<_>>().join("\n");
    ensure!(rows.trim() == wanted, "docs/STRANGE.md is to say between its two marks:\n\n{wanted}\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yen_have_no_decimals_and_need_none() -> Result<()> {
    const YEN: &str = "act_81";
    let shop = Shop::open().await?;
    shop.graph.edit(|world| {
        world.insert(TOKEN, YEN, AdAccount::demo(YEN, "Asia/Tokyo", "JPY", days_ago(3)..=days_ago(1), 0));
        for (ad, spend) in [("1", "\"123456\""), ("2", "7")] {
            let row = format!(r#"{{"ad_id":"{ad}","spend":{spend},"impressions":"1000","account_currency":"JPY"}}"#);
            world.raw_row(YEN, ad, days_ago(1), row);
        }
    });
    let created = ["account", "create", "--name", "Tokyo", "--currency", "JPY", "--timezone", "Asia/Tokyo"];
    let account = shop.done(&created).await?.stdout.trim().to_owned();
    let connect = ["connect", "--account", &account, "--ad-account", YEN, "--token-stdin"];
    let ran = run(shop.command(&connect), Some(TOKEN)).await?;
    ensure!(ran.code == 0, "{ran:?}");
    let integration = ran.stdout.trim().to_owned();
    shop.done(&["sync", "--integration", &integration, "--job", "meta_7d_fill", "--wait", "--deadline-seconds", "60"])
        .await?;
    let said: String = sqlx::query_scalar(
        "select concat_ws(' ', m.currency, m.spend, s.meta_spend, m.cpm) from daily_meta_metrics m join daily_summary s using (account_id, date)
         where m.account_id = $1 and m.date = $2",
    )
    .bind(account.parse::<Uuid>()?)
    .bind(days_ago(1))
    .fetch_one(&shop.database.pool)
    .await?;
    assert_eq!(said, "JPY 123463 123463 61731.500000");
    ensure!(shop.done(&["verify"]).await?.stdout.contains("JPY"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_comes_again_on_the_next_page_counts_once() -> Result<()> {
    let shop = Shop::open().await?;
    // So many ads that a day has several of the smallest pages.
    shop.graph.edit(|world| {
        let more = AdAccount::demo("act_9", "Asia/Tokyo", "EUR", days_ago(40)..=days_ago(1), 100);
        world.ad_account(AD_ACCOUNT).ads.extend(more.ads);
    });
    shop.graph.fail(Failure::too_much_data_above(25).on(Endpoint::AdRows));
    shop.graph.fail(Failure::rows_moved());
    let ran = shop.sync("meta_7d_fill").await?;
    ensure!(ran.code == 0, "{ran:?}");
    let later = shop.graph.requests().iter().filter(|question| question.parameter("after").is_some()).count();
    ensure!(later > 3, "there were {later} later pages");
    shop.check_sums(days_ago(7), days_ago(1)).await
}

/// One of the two counts; the log names the ad, the control total shows what is missing, and `reconcile` says of the day why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_different_rows_of_one_ad_are_seen() -> Result<()> {
    let shop = Shop::open().await?;
    let date = days_ago(2);
    shop.graph.edit(|world| {
        let account = world.ad_account(AD_ACCOUNT);
        account.ads.truncate(1);
        let spent = Delivery { spend: "30.00".parse().unwrap_or_default(), impressions: 300, ..Delivery::default() };
        account.ads[0].days.insert(date, spent);
        let ad = account.ads[0].id.clone();
        for (campaign, spend) in [("1", "10.00"), ("2", "20.00")] {
            let row = format!(
                r#"{{"ad_id":"{ad}","campaign_id":"{campaign}","spend":"{spend}","impressions":"{campaign}00"}}"#
            );
            world.raw_row(AD_ACCOUNT, &ad, date, row);
        }
    });
    let ran = shop.sync("meta_7d_fill").await?;
    ensure!(ran.code == 0, "{ran:?}");
    for words in
        ["Meta has two rows for one ad and day", "Meta has rows that differ for one ad and day: the last one counts"]
    {
        ensure!(ran.stderr.contains(words) || ran.stdout.contains(words), "{words}: {ran:?}");
    }
    let (metrics, _) = day(&shop, date).await?.context("the day has a row")?;
    assert_eq!(metrics, "1 ads, spend 20.00, impressions 200, clicks -, cpc -, cpm 100.000000, roas -");
    let raw = String::from_utf8(rows_in_raw(&shop, date).await?)?;
    ensure!(raw.contains(r#""spend":"10.00""#) && raw.contains(r#""spend":"20.00""#), "{raw}");
    let text = date.to_string();
    let ran = shop.run(&["reconcile", "--since", &text, "--until", &text, "--json"]).await?;
    let report: Value = serde_json::from_str(&ran.stdout)?;
    let line = &report["days"][0];
    assert_eq!((ran.code, &line["gap"]), (3, &"10.00".into()), "{line}");
    assert_eq!(line["causes"][0]["cause"], "several_rows", "{line}");
    ensure!(line["causes"][0]["sentence"].as_str().is_some_and(|text| text.contains("1 row more than ads")), "{line}");
    Ok(())
}

/// Whatever ids an ad has above it, it is the same ad: its spend is there once, under the newest campaign.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ad_that_moves_to_another_campaign_is_counted_once() -> Result<()> {
    let shop = Shop::open().await?;
    for campaign in ["11", "12"] {
        shop.graph.edit(|world| {
            world.ad_account(AD_ACCOUNT).ads.clear();
            world.raw_rows.clear();
            let row =
                format!(r#"{{"ad_id":"1","campaign_id":"{campaign}","campaign_name":"c{campaign}","spend":"5.00"}}"#);
            world.raw_row(AD_ACCOUNT, "1", days_ago(1), row);
        });
        ensure!(shop.sync("meta_fresh").await?.code == 0);
        let said: Vec<String> = sqlx::query_scalar(
            "select concat_ws(' ', f.campaign_id, f.campaign_name, f.spend, m.spend) from fact_meta_daily f
             join daily_meta_metrics m using (account_id, date) where account_id = $1 and date = $2",
        )
        .bind(shop.account_id)
        .bind(days_ago(1))
        .fetch_all(&shop.database.pool)
        .await?;
        assert_eq!(said, [format!("{campaign} c{campaign} 5.00 5.00")]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_page_that_leads_on_is_no_end() -> Result<()> {
    let shop = Shop::open().await?;
    // The cursor is that of the fake's first row.
    let body = r#"{"data":[],"paging":{"cursors":{"before":"x","after":"QVFI+19919/ZD=="},"next":"https://graph.example.com/x"}}"#;
    shop.graph.fail(Failure::body(200, body).on(Endpoint::AdRows).times(1));
    let ran = shop.sync("meta_7d_fill").await?;
    ensure!(ran.code == 0, "{ran:?}");
    shop.check_sums(days_ago(7), days_ago(1)).await
}

/// What cannot be read at all fails its day with a sentence, the other days are there, and the day comes with the next run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_cannot_be_read_fail_their_day_until_they_can() -> Result<()> {
    let first = days_ago(7);
    let no_day = r#"{"data":[{"ad_id":"1","date_start":"2020-01-01"}]}"#;
    for (failure, said) in [
        (Failure::html(200), "HTTP 200, \"the answer is not JSON but a page of HTML\""),
        (Failure::body(200, r#"{"data":[{"spend":"1"}]}"#), "ad_id of row 1 of the page is missing or no id"),
        (Failure::body(200, no_day), "date_start of row 1 of the page is \"2020-01-01\", but"),
        (Failure::body(200, r#"{"data":[],"paging":"x"}"#), "paging is not a JSON object"),
    ] {
        let shop = Shop::open().await?;
        shop.graph.fail(failure.on(Endpoint::AdRows).on_date(first));
        let ran = shop.sync("meta_7d_fill").await?;
        ensure!(ran.code == 1 && ran.stderr.contains("the run partial with 6 of 7 days: "), "{ran:?}");
        let failed: String = sqlx::query_scalar(
            "select last_error from sync_days where account_id = $1 and date = $2 and state = 'failed'",
        )
        .bind(shop.account_id)
        .bind(first)
        .fetch_one(&shop.database.pool)
        .await?;
        ensure!(failed.contains(said) && ran.stderr.contains(said), "{said}: {failed} {ran:?}");
        shop.check_sums(days_ago(6), days_ago(1)).await?;
        shop.graph.heal();
        let ran = shop.sync("meta_fresh").await?;
        ensure!(ran.code == 0, "{ran:?}");
        shop.check_sums(first, days_ago(1)).await?;
    }
    Ok(())
}

async fn backfill(shop: &Shop, since: NaiveDate, until: NaiveDate) -> Result<Ran> {
    let (id, since, until) = (shop.integration_id.to_string(), since.to_string(), until.to_string());
    let range =
        ["backfill", "--integration", &id, "--since", &since, "--until", &until, "--wait", "--deadline-seconds", "90"];
    shop.run(&range).await
}

/// The day's metrics and its ads, as text; a dash is unknown.
async fn day(shop: &Shop, date: NaiveDate) -> Result<Option<(String, String)>> {
    Ok(sqlx::query_as(
        "select format('%s ads, spend %s, impressions %s, clicks %s, cpc %s, cpm %s, roas %s', ads, coalesce(spend::text, '-'),
                    coalesce(impressions::text, '-'), coalesce(clicks::text, '-'), coalesce(cpc::text, '-'),
                    coalesce(cpm::text, '-'), coalesce(roas::text, '-')),
                (select coalesce(string_agg(concat_ws(' ', ad_id, coalesce(spend::text, '-'), coalesce(impressions::text, '-')),
                                            ', ' order by ad_id), '')
                 from fact_meta_daily f where f.account_id = m.account_id and f.date = m.date)
         from daily_meta_metrics m where account_id = $1 and date = $2",
    )
    .bind(shop.account_id)
    .bind(date)
    .fetch_optional(&shop.database.pool)
    .await?)
}

/// The data of the newest event of a day, from its rows on, out of the raw log.
async fn rows_in_raw(shop: &Shop, date: NaiveDate) -> Result<Vec<u8>> {
    let newest = async || {
        let newest: Option<(String, Vec<u8>)> = sqlx::query_as(
            "select codec, payload from meta_insights_raw join meta_payloads using (account_id, payload_sha256)
             where account_id = $1 and date = $2 order by fetched_at desc limit 1",
        )
        .bind(shop.account_id)
        .bind(date)
        .fetch_optional(&shop.database.pool)
        .await?;
        Ok::<_, anyhow::Error>(newest)
    };
    // Who waits for a run waits for its folds; the raw log may have an event a moment later.
    wait::until("the raw log has the day", crate::service::DEADLINE, async || Ok(newest().await?.is_some())).await?;
    let (codec, bytes) = newest().await?.context("it was there")?;
    let data = payload::decode(codec.parse()?, &bytes, 1 << 24)?.into_owned();
    let rows = data.windows(8).position(|bytes| bytes == b"\"rows\":[").context("the data has rows")?;
    Ok(data[rows..].to_vec())
}
