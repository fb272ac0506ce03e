//! Counted spend held against Meta's account-level totals, from the command line.

use anyhow::{Context, Result, ensure};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::shop::{self, AD_ACCOUNT, DEFAULT_STATUSES, Shop, days_ago};

fn decimal(value: &Value) -> Result<Decimal> {
    Ok(value.as_str().with_context(|| format!("{value} is not an exact decimal"))?.parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_found_explained_and_closed() -> Result<()> {
    let shop = Shop::open().await?;
    shop.graph.edit(|world| {
        for ad in world.ad_account(AD_ACCOUNT).ads.iter_mut().step_by(4) {
            ad.effective_status = "ARCHIVED".into();
        }
    });
    ensure!(shop.sync("meta_7d_fill").await?.code == 0);
    shop.graph.forget_requests();
    let (since, until) = (days_ago(7).to_string(), days_ago(1).to_string());
    let reconcile = ["reconcile", "--since", &since, "--until", &until];

    let ran = shop.run(&reconcile).await?;
    ensure!(ran.code == 3 && ran.stdout.contains("META_EFFECTIVE_STATUS=all"), "{ran:?}");
    ensure!(ran.stdout.contains("7 of 7 days are findings, at a tolerance of 0.5%."), "{ran:?}");
    let ran = shop.run(&[&reconcile[..], &["--json", "--account", &shop.account_id.to_string()]].concat()).await?;
    ensure!(ran.code == 3, "{ran:?}");
    let report: Value = serde_json::from_str(&ran.stdout)?;
    let days = report["days"].as_array().context("days")?;
    assert_eq!(days.len(), 7);
    let mut gaps = Decimal::ZERO;
    for (day, line) in (1..=7).rev().zip(days) {
        let date = days_ago(day);
        let counted = shop.graph.edit(|world| world.totals(AD_ACCOUNT, date, Some(&DEFAULT_STATUSES))).spend;
        let control = shop.graph.edit(|world| world.totals(AD_ACCOUNT, date, None)).spend;
        assert_eq!((&line["date"], &line["external_id"]), (&date.to_string().into(), &AD_ACCOUNT.into()));
        assert_eq!((decimal(&line["counted_spend"])?, decimal(&line["control_spend"])?), (counted, control));
        assert_eq!(decimal(&line["gap"])?, control - counted);
        assert_eq!(line["within_tolerance"], false, "{line}");
        let cause = &line["causes"][0];
        assert_eq!((&cause["cause"], decimal(&cause["amount"])?), (&"status_filter".into(), control - counted));
        gaps += control - counted;
    }
    let sum = &report["summary"]["ad_accounts"][0];
    assert_eq!((decimal(&sum["gap"])?, &sum["findings"]), (gaps, &7.into()));
    // Whoever can live with it says so.
    let ran = shop.run(&[&reconcile[..], &["--tolerance", "100", "--ad-account", AD_ACCOUNT]].concat()).await?;
    ensure!(ran.code == 0, "{ran:?}");
    ensure!(shop.graph.requests().is_empty(), "Meta was asked: {:?}", shop.graph.requests());

    // Every status closes the gap; the day before, which nobody asked for, is unknown.
    let id = shop.integration_id.to_string();
    let mut backfill =
        shop.command(&["backfill", "--integration", &id, "--since", &since, "--until", &until, "--wait"]);
    backfill.env("META_EFFECTIVE_STATUS", "all");
    let ran = shop::run(backfill, None).await?;
    ensure!(ran.code == 0, "{ran:?}");
    let ran = shop.run(&reconcile).await?;
    ensure!(ran.code == 0 && ran.stdout.contains("0 of 7 days are findings"), "{ran:?}");
    let ran = shop.run(&["reconcile", "--since", &days_ago(8).to_string(), "--until", &until]).await?;
    ensure!(ran.code == 3 && ran.stdout.contains("Nobody has asked for it"), "{ran:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_wrong_usage() -> Result<()> {
    let shop = Shop::open().await?;
    let nobody = uuid::Uuid::nil().to_string();
    for (arguments, code, words) in [
        (&["--since", "2026-03-02", "--until", "2026-03-01"][..], 2, "2026-03-02"),
        (&["--since", "2020-01-01", "--until", "2026-03-01"], 2, "take a shorter range"),
        (&["--since", "2026-03-01"], 2, "--until"),
        (&["--since", "2026-03-01", "--until", "2026-03-01", "--tolerance", "many"], 2, "from 0 to 100"),
        (&["--since", "2026-03-01", "--until", "2026-03-01", "--tolerance", "101"], 2, "from 0 to 100"),
        (&["--since", "2026-03-01", "--until", "2026-03-01", "--account", &nobody], 1, "does not exist"),
        (&["--since", "2026-03-01", "--until", "2026-03-01", "--ad-account", "act_9"], 1, "is not connected"),
    ] {
        let ran = shop.run(&[&["reconcile"], arguments].concat()).await?;
        ensure!(ran.code == code && ran.stderr.contains(words), "{arguments:?}: {ran:?}");
    }
    Ok(())
}
