//! Days that are skipped because their hashes are known: only those that can be.

use anyhow::{Result, ensure};
use projector::replay::Replay;

use crate::house::{House, everything};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_row_is_only_seen_by_who_makes_it_anew() -> Result<()> {
    let house = House::open(7).await?;
    let right = house.rows().await?;
    let trusting = || Replay { trust_hash: true, ..house.replay() };
    let days = trusting().run(&everything(), |_| {}).await?;
    ensure!(days.trusted == days.days_total && days.compared == 0 && days.rows == 0 && days.trusted > 9, "{days:?}");

    let damage = "update fact_meta_daily set spend = spend + 1 where ctid = (select min(ctid) from fact_meta_daily)";
    ensure!(house.sql(damage).await? == 1);
    let damaged = house.places().await?;
    let report = trusting().run(&everything(), |_| {}).await?;
    ensure!(report.trusted == report.days_total && report.days_changed == 0, "{report:?}");
    assert_eq!(house.places().await?, damaged);
    let report = house.replay().run(&everything(), |_| {}).await?;
    ensure!(report.trusted == 0 && report.days_changed == 1, "{report:?}");
    assert_eq!(house.rows().await?, right);

    for damage in [
        "delete from observations where ctid = (select min(ctid) from observations)",
        "update observations set content_sha256 = sha256('') where ctid = (select min(ctid) from observations)",
        "update observations set projection_version = 0 where ctid = (select min(ctid) from observations)",
        "update observations set rule_version = 2 where ctid = (select min(ctid) from observations)",
        "update daily_meta_metrics set content_sha256 = sha256('')
         where ctid = (select min(ctid) from daily_meta_metrics)",
        "update daily_meta_metrics set projection_version = 0 where ctid = (select min(ctid) from daily_meta_metrics)",
        "delete from daily_meta_metrics where ctid = (select min(ctid) from daily_meta_metrics)",
    ] {
        ensure!(house.sql(damage).await? == 1, "{damage}");
        let report = trusting().run(&everything(), |_| {}).await?;
        ensure!(report.trusted + 1 == report.days_total && report.days_changed == 1, "{damage}: {report:?}");
        assert_eq!(house.rows().await?, right, "{damage}");
    }
    Ok(())
}
