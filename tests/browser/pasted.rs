//! With a token that is pasted: on a phone, without scripts, and with a keyboard alone.

use anyhow::{Context, Result, bail, ensure};
use testkit::browser::{Browser, Options};

use crate::house::{BERLIN, BOSTON, House, TOKEN, VIENNA};
use crate::numbers;
use crate::shop::{adledger, run};
use crate::visit::Visit;

pub async fn a_pasted_token_connects_on_a_phone_in_the_dark(browser: &Browser) -> Result<()> {
    let house = House::open().await?;
    let visit = Visit::begin(browser, &house, Options { phone: true, dark: true, javascript: true }).await?;
    visit.make_tenant("Blumen & Söhne", "EUR").await?;
    visit.click("nav a[href='/connect/meta']").await?;

    visit.fill("#token", "EAABnobodys").await?;
    visit.click("form[action='/connect/meta/token'] button").await?;
    assert_eq!(visit.status(), Some(422));
    assert!(visit.text("[role=alert]").await?.starts_with("The token was not kept."));
    assert_eq!(visit.value("#token").await?, "", "what was pasted is not shown again");
    visit.look_at_refusal("connect-refused").await?;

    visit.paste_token().await?;
    // The search works while one types, and keeps what is ticked.
    visit.evaluate::<()>("() => { window.isStillThisPage = true }", &serde_json::json!([])).await?;
    visit.click(&format!("label[for='{BERLIN}']")).await?;
    visit.fill("#q", "wien").await?;
    visit.wait_text("#found legend", "2 of 3 ad accounts").await?;
    visit.click(&format!("label[for='{VIENNA}']")).await?;
    visit.fill("#q", "").await?;
    visit.wait_visible(&format!("#{BOSTON}")).await?;
    let is_still: bool = visit.evaluate("() => window.isStillThisPage === true", &serde_json::json!([])).await?;
    assert!(is_still, "the page was not loaded again");
    visit.look("accounts").await?;
    visit.connect(&[]).await?;
    assert_eq!(visit.texts(".result h2").await?, ["Blumen Berlin", "Blumen Wien"]);
    visit.look("results").await?;

    // The draft is gone with its use.
    visit.go("/connect/meta/accounts").await?;
    assert_eq!(visit.path().await?, "/connect/meta?ended=no_draft");
    assert!(
        !visit
            .evaluate::<String>("() => document.documentElement.outerHTML", &serde_json::json!([]))
            .await?
            .contains(TOKEN)
    );
    visit.look("connect-no-draft").await
}

pub async fn everything_works_without_scripts(browser: &Browser) -> Result<()> {
    let house = House::open().await?;
    let visit = Visit::begin(browser, &house, Options { javascript: false, ..Options::default() }).await?;
    visit.make_tenant("Blumen & Söhne", "EUR").await?;
    visit.paste_token().await?;
    // A search is a form like any other.
    visit.fill("#q", "berlin").await?;
    visit.click("form[role=search] button").await?;
    assert_eq!(visit.path().await?, "/connect/meta/accounts?q=berlin");
    assert_eq!(visit.text("#found legend").await?, "1 of 3 ad accounts");
    visit.connect(&[BERLIN]).await?;
    visit.look("results").await?;
    visit.to_its_page(BERLIN).await?;
    house.until_folded(BERLIN, 7).await?;
    visit.reload().await?;
    numbers::check(&house, &visit, BERLIN).await?;
    visit.look("integration").await
}

const PASSWORD: &str = "correct horse battery";

pub async fn a_keyboard_is_enough(browser: &Browser) -> Result<()> {
    let hashed = run(adledger(&["password"]), Some(PASSWORD)).await?;
    let house = House::open_with(&[("ADLEDGER_ADMIN_PASSWORD_HASH", hashed.stdout.trim())]).await?;
    let visit = Visit::begin(browser, &house, Options::default()).await?;
    visit.go("/connect/meta").await?;
    assert_eq!(visit.path().await?, "/login?wanted=/connect/meta");
    visit.look("login").await?;
    assert_eq!(focus(&visit).await?, "input#password", "one can type at once");
    type_keys(&visit, "wrong horse").await?;
    visit.press("Enter").await?;
    assert_eq!(visit.status(), Some(401));
    visit.look_at_refusal("login-refused").await?;
    type_keys(&visit, PASSWORD).await?;
    visit.press("Enter").await?;
    assert_eq!(visit.path().await?, "/tenants", "the connect form wants a tenant first");

    visit.press("Tab").await?;
    assert_eq!(visit.focused().await?.context("a focus")?.name, "Skip to the content", "it comes first");
    visit.look("skip-link").await?;
    visit.press("Enter").await?;
    tab_to(&visit, "input#name").await?;
    type_keys(&visit, "Keys only").await?;
    tab_to(&visit, "input#currency").await?;
    type_keys(&visit, "EUR").await?;
    tab_to(&visit, "input#timezone").await?;
    type_keys(&visit, "Europe/Berlin").await?;
    visit.press("Enter").await?;
    assert_eq!(visit.path().await?, "/");

    tab_to_name(&visit, "Connect").await?;
    visit.press("Enter").await?;
    tab_to(&visit, "input#token").await?;
    type_keys(&visit, TOKEN).await?;
    tab_to_name(&visit, "Go on").await?;
    visit.press("Enter").await?;
    assert_eq!(visit.path().await?, "/connect/meta/accounts");
    tab_to(&visit, &format!("input#{BERLIN}")).await?;
    visit.press("Space").await?;
    tab_to_name(&visit, "Check and connect").await?;
    visit.press("Enter").await?;
    assert_eq!(visit.text("h1").await?, "Connected");
    tab_to_name(&visit, "Its page").await?;
    visit.press("Enter").await?;
    assert_eq!(visit.text("h1").await?, "Blumen Berlin");
    // Whatever can be operated there can be reached, and shows that it was.
    let mut reached = Vec::new();
    loop {
        visit.press("Tab").await?;
        let Some(focused) = visit.focused().await? else { break };
        ensure!(focused.ring, "nobody sees that it has the focus: {focused:?}");
        reached.push(focused.name);
        ensure!(reached.len() < 1000, "the focus never leaves the page");
    }
    for name in ["Status", "Connect", "Log out"] {
        assert!(reached.iter().any(|one| one == name), "{name} is not among {reached:?}");
    }
    Ok(())
}

async fn type_keys(visit: &Visit, text: &str) -> Result<()> {
    for key in text.chars() {
        let key = if key == ' ' { "Space".to_owned() } else { key.to_string() };
        visit.press(&key).await?;
    }
    Ok(())
}

async fn focus(visit: &Visit) -> Result<String> {
    Ok(visit.focused().await?.context("something has the focus")?.css)
}

async fn tab_to(visit: &Visit, css: &str) -> Result<()> {
    tab_until(visit, css, |focused| focused.css == css).await
}

async fn tab_to_name(visit: &Visit, name: &str) -> Result<()> {
    tab_until(visit, name, |focused| focused.name == name).await
}

async fn tab_until(visit: &Visit, what: &str, is_it: impl Fn(&testkit::browser::Focused) -> bool) -> Result<()> {
    let mut passed = Vec::new();
    for _ in 0..60 {
        visit.press("Tab").await?;
        let Some(focused) = visit.focused().await? else { continue };
        ensure!(focused.ring, "nobody sees that it has the focus: {focused:?}");
        if is_it(&focused) {
            return Ok(());
        }
        passed.push(focused);
    }
    bail!("{what} is not reached: {passed:?}")
}
