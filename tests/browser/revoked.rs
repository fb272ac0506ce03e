//! A token that Meta takes no more.

use anyhow::Result;
use testkit::browser::{Browser, Options};

use crate::house::{BERLIN, House, SOON, TOKEN, last_7_days};
use crate::numbers;
use crate::visit::Visit;

const NEW_TOKEN: &str = "EAABnew/0123456789+new=";

pub async fn a_revoked_token_is_explained_and_mended_without_losing_a_day(browser: &Browser) -> Result<()> {
    let house = House::open().await?;
    let visit = Visit::begin(browser, &house, Options { dark: true, ..Options::default() }).await?;
    visit.make_tenant("Blumen & Söhne", "EUR").await?;
    visit.paste_token().await?;
    visit.connect(&[BERLIN]).await?;
    house.until_folded(BERLIN, 7).await?;
    visit.to_its_page(BERLIN).await?;
    let page = visit.path().await?;

    // Meta restates all days, and then the user's password is changed.
    house.graph.edit(|world| {
        for delivery in world.ad_account(BERLIN).ads.iter_mut().flat_map(|ad| ad.days.values_mut()) {
            delivery.spend += rust_decimal::Decimal::new(123, 2);
        }
        world.revoke(TOKEN);
    });
    visit.click("button[value=meta_7d_fill]").await?;
    assert_eq!(visit.path().await?, format!("{page}?sync=asked#runs"));
    testkit::wait::until("the run has failed", SOON, async || {
        visit.reload().await?;
        visit.is_visible("section.alarm").await
    })
    .await?;
    let card = visit.text("section.alarm").await?;
    for said in ["Meta no longer accepts the token", "Who mends it", "You.", "What happens next", "fbtrace_id Fake"] {
        assert!(card.contains(said), "{said:?} is not in {card:?}");
    }
    assert!(!card.contains(TOKEN), "Meta quotes the token in its messages, and no page does");
    assert!(visit.text(".standing").await?.contains("Cannot be used any more"));
    visit.look("integration-revoked").await?;
    visit.go("/").await?;
    visit.wait_text("[aria-labelledby=needs]", "Blumen Berlin").await?;
    visit.look("home-revoked").await?;

    // From the card to a new token.
    house.graph.edit(|world| {
        let facts = testkit::graph::Token { revoked: None, ..world.token(TOKEN).clone() };
        world.tokens.insert(NEW_TOKEN.into(), facts);
    });
    visit.go(&page).await?;
    visit.click("section.alarm a[href^='/connect/meta?reconnect=']").await?;
    assert_eq!(visit.text("h1").await?, "Connect again");
    visit.look("connect-again").await?;
    visit.fill("#token", NEW_TOKEN).await?;
    visit.click("form[action='/connect/meta/token'] button").await?;
    let is_ticked = format!("input#{BERLIN}:checked");
    visit.wait_visible(&is_ticked).await?;
    visit.look("accounts-again").await?;
    visit.connect(&[]).await?;
    visit.to_its_page(BERLIN).await?;
    assert_eq!(visit.path().await?, page, "it is the same integration");
    assert!(!visit.is_visible("section.alarm").await?);

    // Every day that the revoked token could not be asked for has come, as Meta has it now.
    testkit::wait::until("the days are restated", SOON, async || {
        visit.reload().await?;
        let first = house.totals(BERLIN, *last_7_days().start());
        let last = house.totals(BERLIN, *last_7_days().end());
        let shown = numbers::table(&visit).await?;
        let has =
            |totals: &testkit::graph::Totals| shown.iter().any(|row| row.get(1) == Some(&numbers::money(totals.spend)));
        Ok(has(&first) && has(&last) && !visit.is_visible("[data-live]").await?)
    })
    .await?;
    numbers::check(&house, &visit, BERLIN).await?;
    visit.look("integration-reconnected").await
}
