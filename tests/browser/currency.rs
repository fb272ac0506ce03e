//! Two currencies are never summed, and nobody is left alone with that.

use anyhow::Result;
use testkit::browser::{Browser, Options};

use crate::house::{BERLIN, BOSTON, House};
use crate::visit::Visit;

pub async fn an_ad_account_of_another_currency_needs_a_tenant_of_its_own(browser: &Browser) -> Result<()> {
    let house = House::open().await?;
    let visit = Visit::begin(browser, &house, Options { phone: true, ..Options::default() }).await?;
    visit.make_tenant("Blumen & Söhne", "EUR").await?;
    visit.paste_token().await?;
    let boston = format!("input#{BOSTON}");
    assert!(visit.attribute(&boston, "disabled").await?.is_some(), "it cannot be ticked");
    assert!(visit.attribute(&format!("input#{BERLIN}"), "disabled").await?.is_none());
    let about = visit.text(&format!("#about-{BOSTON}")).await?;
    assert!(about.contains("USD") && about.contains("EUR"), "it says why: {about}");
    visit.look("accounts-currency").await?;

    // It says where to go, and there it works.
    visit.click(&format!("#about-{BOSTON} a[href='/tenants']")).await?;
    visit.look("tenants").await?;
    visit.make_tenant("Garden shop", "USD").await?;
    visit.paste_token().await?;
    assert!(visit.attribute(&format!("input#{BERLIN}"), "disabled").await?.is_some());
    visit.connect(&[BOSTON]).await?;
    visit.to_its_page(BOSTON).await?;
    assert_eq!(visit.text("h1").await?, "Garden shop \"Boston\"");
    assert!(visit.text("main").await?.contains("USD"));

    // The other tenant still has its own, and nothing of this one.
    visit.go("/tenants").await?;
    visit.look("tenants-two").await?;
    Ok(())
}
