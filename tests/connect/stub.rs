//! The same flow where nobody is asked.

use anyhow::{Result, ensure};

use crate::house::{House, PASTED};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_ad_accounts_go_the_same_way_and_never_mix_with_metas() -> Result<()> {
    let mut house = House::with(&[("META_STUB_MODE", "1")]).await?;
    let browser = house.browser()?;
    let start = browser.get("/connect/meta").await?;
    start.shows(200, &["the ad accounts are made up", "Paste a token"])?;
    ensure!(!start.body.contains("Continue with Facebook"), "nobody is asked");
    house.paste(&browser, "any text").await?.shows(422, &["That is no token"])?;
    house.paste(&browser, "any").await?.location()?;
    let list = browser.get("/connect/meta/accounts").await?;
    list.shows(200, &["5 ad accounts", "Stub ad account 1000000001", "disabled", "act_1000000003 is in USD"])?;
    let done = house.choose(&browser, &["act_1000000001", "act_1000000003", "act_1000000004"]).await?;
    done.shows(200, &["<h1>2 of 3 connected</h1>", "Make a tenant in USD", "which is disabled"])?;
    assert_eq!(house.written().await?, [2; 4]);
    assert_eq!(house.count("select count(*) from integrations where source = 'stub'").await?, 2);
    ensure!(house.graph.requests().is_empty(), "a request left the process");

    // Where the time zone is the same too, only its origin tells the made-up one.
    house.graph.edit(|world| world.ad_account("act_1000000001").timezone_name = "Europe/Berlin".into());
    house.restart(&[("META_STUB_MODE", "0")]).await?;
    let browser = house.browser()?;
    house.paste(&browser, PASTED).await?.location()?;
    let refused = house.choose(&browser, &["act_1000000001", "act_1000000002"]).await?;
    refused.shows(200, &["<h1>1 of 2 connected</h1>"])?;
    let result = refused.result("act_1000000001")?;
    ensure!(result.contains("what the stub makes up never mixes with what Meta says"), "{result}");
    Ok(())
}
