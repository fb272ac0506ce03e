//! With Meta's dialog, which is another site's.

use anyhow::Result;
use testkit::browser::{Browser, Options};
use testkit::graph::Endpoint;

use crate::house::{BERLIN, House, VIENNA};
use crate::visit::Visit;

pub async fn the_dialog_leads_to_a_connected_ad_account(browser: &Browser) -> Result<()> {
    let house = House::open().await?;
    let visit = Visit::begin(browser, &house, Options::default()).await?;
    visit.go("/").await?;
    assert_eq!(visit.path().await?, "/tenants", "there is nobody to look at yet");
    visit.look("tenants-none").await?;
    visit.make_tenant("Blumen & Söhne", "EUR").await?;
    visit.look("home-empty").await?;
    visit.click("nav a[href='/connect/meta']").await?;
    visit.look("connect").await?;

    // Whoever cancels is told how to go on, and nothing was kept.
    visit.click("a[href$='/connect/meta/oauth/start']").await?;
    assert!(visit.url().await?.starts_with("http://localhost:"), "{}", visit.url().await?);
    visit.wait_text("h1", "Continue with the fake Meta").await?;
    visit.click("#cancel").await?;
    assert_eq!(visit.path().await?, "/connect/meta?ended=declined");
    assert!(visit.text("[role=alert]").await?.starts_with("You cancelled in Facebook's dialog"));
    visit.look("connect-cancelled").await?;

    // So is who keeps back what nothing can be read without.
    visit.click("a[href$='/connect/meta/oauth/start']").await?;
    visit.click("input[value=ads_read]").await?;
    visit.click("#continue").await?;
    assert_eq!(visit.path().await?, "/connect/meta?ended=scope");
    assert!(visit.text("[role=alert]").await?.contains("ads_read"));

    visit.click("a[href$='/connect/meta/oauth/start']").await?;
    visit.click("#continue").await?;
    assert_eq!(visit.path().await?, "/connect/meta/accounts", "neither code nor state stays in an address");
    visit.look("accounts").await?;
    visit.connect(&[BERLIN, VIENNA]).await?;
    visit.look("results").await?;
    assert_eq!(visit.texts(".result h2").await?, ["Blumen Berlin", "Blumen Wien"]);
    visit.to_its_page(BERLIN).await?;
    assert_eq!(visit.text("h1").await?, "Blumen Berlin");

    // The token was exchanged for one that lasts, and is used: the fill comes of it.
    let requests = house.graph.requests();
    assert!(requests.iter().any(|request| request.endpoint() == Endpoint::LongLived));
    assert!(requests.iter().all(|request| !request.token_in_url));
    house.until_folded(BERLIN, 7).await?;
    visit.reload().await?;
    visit.look("integration-connected").await?;

    // The way back serves once, and is no way in for anybody else.
    let [cookie] = visit.cookies().await?.try_into().expect("the session's is the only cookie");
    assert!(cookie.http_only && cookie.session && cookie.same_site.as_deref() == Some("Lax"), "{cookie:?}");
    let stranger = Visit::begin(browser, &house, Options::default()).await?;
    stranger.go("/connect/meta/oauth/callback?code=x&state=x").await?;
    assert_eq!(stranger.path().await?, "/connect/meta?ended=over");
    stranger.look("connect-over").await
}
