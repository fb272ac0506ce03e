//! Every page, light and dark, at a desk and on a phone.

use anyhow::{Context, Result, ensure};
use testkit::browser::{Browser, Options};

use crate::house::{BERLIN, BOSTON, House, VIENNA, days_ago};
use crate::visit::Visit;

const LOOKS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

pub async fn every_page_is_fit_for_everybody(browser: &Browser) -> Result<()> {
    let house = House::open().await?;
    let visit = Visit::begin(browser, &house, Options::default()).await?;
    visit.make_tenant("Blumen & Söhne", "EUR").await?;
    visit.paste_token().await?;
    visit.connect(&[BERLIN, VIENNA]).await?;
    let (berlin, vienna) = (house.integration(BERLIN).await?, house.integration(VIENNA).await?);
    house.until_folded(BERLIN, 7).await?;
    house.until_folded(VIENNA, 7).await?;
    // One of them knows five weeks, and the other one is no longer connected.
    house.backfill(&berlin, days_ago(35), days_ago(8)).await?;
    house.until_folded(BERLIN, 35).await?;
    house.watched(BERLIN, 40).await?;
    visit.go(&format!("/integrations/{berlin}")).await?;
    let maturing = visit.texts("#settlement").await?.concat();
    ensure!(maturing.contains("What a day's purchases were known to be, by its age"), "{maturing}");
    ensure!(visit.texts("#settlement tbody tr").await?.len() > 40, "28 ages, and the days of three weeks: {maturing}");
    visit.click("#settlement .choice a[href*='purchase_value']").await?;
    visit.wait_text("#settlement h2", "What a day's purchase value was known to be").await?;
    visit.go(&format!("/integrations/{vienna}")).await?;
    ensure!(visit.texts("#settlement").await?.concat().contains("No day has settled yet"));
    visit.go(&format!("/integrations/{vienna}/disconnect")).await?;
    visit.click("main form button").await?;

    for (phone, dark) in LOOKS {
        let visit = Visit::begin(browser, &house, Options { phone, dark, ..Options::default() }).await?;
        for (name, path) in [
            ("home", "/".to_owned()),
            ("tenants", "/tenants".to_owned()),
            ("connect", "/connect/meta".to_owned()),
            ("connect-again", format!("/connect/meta?reconnect={vienna}")),
            ("integration", format!("/integrations/{berlin}")),
            ("integration-settled", format!("/integrations/{berlin}?settled=spend&days=91")),
            ("integration-91-days", format!("/integrations/{berlin}?days=91")),
            ("integration-disconnected", format!("/integrations/{vienna}")),
            ("disconnect", format!("/integrations/{berlin}/disconnect")),
            ("disconnected", format!("/integrations/{vienna}/disconnect")),
        ] {
            visit.go(&path).await.context(name)?;
            visit.look(name).await?;
        }
        for (name, path, status) in [
            ("not-found", "/nowhere".to_owned(), 404),
            ("not-here", format!("/integrations/{}", uuid::Uuid::nil()), 404),
        ] {
            visit.go(&path).await?;
            assert_eq!(visit.status(), Some(status), "{path}");
            visit.look_at_refusal(name).await?;
        }
        visit.paste_token().await?;
        visit.look("accounts").await?;
        // It is connected already, and the one in dollars cannot be: a form that was tampered with is refused in words.
        visit.click(&format!("label[for='{BERLIN}']")).await?;
        visit
            .evaluate::<()>(
                "(id) => { const it = document.getElementById(id); it.disabled = false; it.checked = true }",
                &serde_json::json!([BOSTON]),
            )
            .await?;
        visit.click("#choose button.primary").await?;
        assert_eq!(visit.text("h1").await?, "1 of 2 connected");
        visit.look("results-mixed").await?;
        // A check that is asked again takes the place of the old one.
        visit.click(&format!("[data-ad-account='{BOSTON}'] .check.failed button")).await?;
        visit.wait_text(&format!("[data-ad-account='{BOSTON}'] .check.failed"), "USD").await?;
        assert_eq!(visit.text("h1").await?, "1 of 2 connected");
        assert_eq!(visit.problems().await?, []);
    }
    Ok(())
}
