//! What does not hold is named, mended, asked again, and then connected.

use anyhow::{Result, ensure};
use testkit::graph::{Endpoint, Failure};

use crate::browser::{Browser, Seen};
use crate::house::{House, PASTED, SECOND, SHOP};

async fn again(house: &House, browser: &Browser, name: &str, as_script: bool) -> Result<Seen> {
    let (csrf, account) = (browser.csrf().await?, house.account_id.to_string());
    let fields = [("csrf", csrf.as_str()), ("account_id", &account), ("ad_account", SHOP), ("check", name)];
    match as_script {
        true => browser.post_as_script("/connect/meta/checks", &fields).await,
        false => browser.post("/connect/meta/checks", &fields).await,
    }
}

/// The state of a check in a list.
fn state(list: &str, title: &str) -> String {
    let before = list.split(title).next().unwrap_or_default();
    let state = before.rsplit("class=\"state\">").next().unwrap_or_default();
    state.split('<').next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_check_that_fails_is_named_and_asked_again() -> Result<()> {
    let house = House::open().await?;
    let browser = house.browser()?;
    house.paste(&browser, PASTED).await?.location()?;
    let zone = |name: &'static str| {
        move |house: &House| {
            house.graph.edit(|world| world.ad_account(SHOP).timezone_name = name.into());
        }
    };
    let fail = |failure: Failure| move |house: &House| house.graph.fail(failure.clone().about(SHOP));
    type Step = Box<dyn Fn(&House)>;
    let cases: Vec<(&str, &str, &str, Step)> = vec![
        (
            "insights",
            "Its results can be read",
            "Meta does not let this token read the results of ad account act_1000000001",
            Box::new(fail(Failure::no_permission().on(Endpoint::AccountRow))),
        ),
        (
            "ad_account",
            "The ad account can be reached",
            "Meta does not let this token read ad account act_1000000001",
            Box::new(fail(Failure::no_permission().on(Endpoint::AdAccount))),
        ),
        (
            "time_zone",
            "Its time zone is known",
            "Meta says \"Mars/Olympus_Mons\", which this version of adledger does not know",
            Box::new(zone("Mars/Olympus_Mons")),
        ),
        (
            "currency",
            "Its currency is the tenant's",
            "is in USD, and the tenant Shop in EUR",
            Box::new(|house| house.graph.edit(|world| world.ad_account(SHOP).currency = "USD".into())),
        ),
    ];
    let mend = |house: &House| {
        house.graph.heal();
        house.graph.edit(|world| {
            let shop = world.ad_account(SHOP);
            (shop.timezone_name, shop.currency) = ("Asia/Tokyo".into(), "EUR".into());
        });
    };
    for (name, title, words, spoil) in &cases {
        spoil(&house);
        let refused = house.choose(&browser, &[SHOP]).await?;
        refused.shows(200, &["<h1>Not connected yet</h1>", words])?;
        let list = refused.result(SHOP)?;
        assert_eq!(
            (state(&list, title), state(&list, "The token is valid")),
            ("failed".into(), "passed".into()),
            "{name}"
        );
        if *name == "ad_account" {
            assert_eq!(state(&list, "Its time zone is known"), "not asked");
        }
        assert_eq!(house.written().await?, [0; 4], "{name}");
        let item = again(&house, &browser, name, true).await?;
        ensure!(item.body.trim_start().starts_with("<li class=\"check failed\""), "{name}: {}", item.body);
        mend(&house);
        let item = again(&house, &browser, name, true).await?;
        ensure!(item.body.trim_start().starts_with("<li class=\"check passed\""), "{name}: {}", item.body);
        let alone = again(&house, &browser, name, false).await?.result(SHOP)?;
        assert_eq!(state(&alone, title), "passed", "{name}");
        assert_eq!(house.written().await?, [0; 4], "asking connects nothing");
    }
    for name in ["token", "scope"] {
        ensure!(again(&house, &browser, name, true).await?.body.contains("check passed"), "{name}");
    }
    assert_eq!(again(&house, &browser, "anything", true).await?.status, 400);
    house.choose(&browser, &[SHOP]).await?.shows(200, &["<h1>Connected</h1>"])?;

    // The token has served; a script is led to the page that says so.
    let gone = again(&house, &browser, "insights", true).await?;
    assert_eq!(gone.headers["hx-redirect"], "/connect/meta?ended=no_draft");
    assert_eq!(again(&house, &browser, "insights", false).await?.location()?, "/connect/meta?ended=no_draft");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_that_fails_holds_up_no_other() -> Result<()> {
    let house = House::open().await?;
    let browser = house.browser()?;
    house.paste(&browser, PASTED).await?.location()?;
    house.graph.fail(Failure::no_permission().on(Endpoint::AccountRow).about(SECOND));
    let done = house.choose(&browser, &[SHOP, SECOND, "act_1000000003", "act_77"]).await?;
    done.shows(200, &["<h1>2 of 4 connected</h1>"])?;
    for (external_id, words) in [
        (SHOP, "is connected to Shop"),
        (SECOND, "is not connected, and nothing of it was written"),
        ("act_1000000003", "which is disabled: its old days can be read"),
        ("act_77", "is not connected, and nothing of it was written"),
    ] {
        let result = done.result(external_id)?;
        ensure!(result.contains(words), "{external_id}: {result}");
    }
    assert_eq!((house.written().await?, house.drafts().await?), ([2; 4], 1));
    house.graph.heal();
    house.choose(&browser, &[SECOND]).await?.shows(200, &["<h1>Connected</h1>"])?;
    assert_eq!((house.written().await?, house.drafts().await?), ([3; 4], 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_revoked_meanwhile_is_said_before_anything_else() -> Result<()> {
    let house = House::open().await?;
    let browser = house.browser()?;
    house.paste(&browser, PASTED).await?.location()?;
    house.graph.edit(|world| world.revoke(PASTED));
    let list = browser.get("/connect/meta/accounts").await?;
    list.shows(200, &["Not so: The token is valid.", "Bring another token"])?;
    let refused = house.choose(&browser, &[SHOP]).await?.result(SHOP)?;
    assert_eq!(state(&refused, "The token is valid"), "failed");
    for title in ["It has the permission ads_read", "The ad account can be reached", "Its currency is the tenant's"] {
        assert_eq!(state(&refused, title), "not asked", "{title}");
    }
    assert_eq!(house.written().await?, [0; 4]);
    Ok(())
}
