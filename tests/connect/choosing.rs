//! Many ad accounts: every page of Meta's, a search, and what was ticked.

use anyhow::{Result, ensure};
use testkit::graph::{AdAccount, Endpoint, Failure};

use crate::house::{House, PASTED, SECOND, SHOP};
use crate::shop::days_ago;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ad_account_is_found_however_many_there_are() -> Result<()> {
    let house = House::open().await?;
    house.graph.edit(|world| {
        for number in 0..250 {
            let id = format!("act_{}", 3_000_000_000_u64 + number);
            let zone = if number == 249 { "America/Sao_Paulo" } else { "Europe/Berlin" };
            world.insert(PASTED, &id, AdAccount::demo(&id, zone, "EUR", days_ago(2)..=days_ago(1), 1));
        }
        // One that Meta tells too little about is left out, and the others are good.
        world.ad_account("act_3000000007").currency.clear();
    });
    // A page of 100 is too much for Meta, one of 25 is not.
    house.graph.fail(Failure::too_much_data_above(25).on(Endpoint::AdAccounts));
    let browser = house.browser()?;
    house.paste(&browser, PASTED).await?.location()?;
    let all = browser.get("/connect/meta/accounts").await?;
    all.shows(200, &["253 ad accounts; the first 200 are shown", "act_3000000007 is left out: currency is missing"])?;
    ensure!(!all.body.contains("act_3000000249"), "more than a page holds");
    let asked = |house: &House| {
        house.graph.requests().iter().filter(|request| request.endpoint() == Endpoint::AdAccounts).count()
    };
    let before = asked(&house);
    for (query, shown, hidden) in [
        ("q=3000000249", "act_3000000249", SHOP),
        ("q=sao_paulo", "act_3000000249", SHOP),
        ("q=SHOP+tokyo", SHOP, SECOND),
        ("q=disabled+eur", "act_1000000003", SHOP),
        ("q=%22%3E%3Cscript%3E", "None of them matches", SHOP),
        // What is ticked stays, ticked, whatever is looked for.
        ("q=tokyo&ad_account=act_3000000249", "value=\"act_3000000249\" checked", SECOND),
    ] {
        let seen = browser.get(&format!("/connect/meta/accounts?{query}")).await?;
        seen.shows(200, &[shown])?;
        ensure!(!seen.body.contains(&format!("value=\"{hidden}\"")), "{query}: {hidden} is shown");
        ensure!(!seen.body.contains("\"><script>"), "{query}");
    }
    assert_eq!(asked(&house), before, "a search asks Meta nothing");

    let too_many: Vec<String> = (0..51).map(|number| format!("act_{}", 3_000_000_100_u64 + number)).collect();
    let too_many: Vec<&str> = too_many.iter().map(String::as_str).collect();
    house.choose(&browser, &too_many).await?.shows(400, &["at most 50"])?;
    house.choose(&browser, &[]).await?.shows(400, &["No ad account was chosen"])?;
    house.choose(&browser, &["act_1/../me"]).await?.shows(400, &["is not the id of a Meta ad account"])?;
    house.choose(&browser, &too_many[..50]).await?.shows(200, &["<h1>Connected</h1>"])?;
    assert_eq!((house.written().await?, house.drafts().await?), ([50; 4], 0));
    Ok(())
}
