//! The browser does what the scenarios rely on.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use testkit::browser::{Browser, Cookie, Kind, Options};
use tokio::time::Instant;

use crate::stage;

const PLAIN: Options = Options { phone: false, dark: false, javascript: true };

pub async fn it_fills_in_clicks_and_follows(browser: &Browser) -> Result<()> {
    let url = stage::open().await?;
    for javascript in [true, false] {
        let page = browser.page(Options { javascript, ..PLAIN }).await?;
        page.open(&url).await?;
        assert_eq!((page.status(), page.title().await?.as_str()), (Some(200), "Form"));

        // Refused: the answer to the form is there when the click returns.
        page.click("button").await?;
        assert_eq!(page.text("[role=alert]").await?, "A name is needed: write yours.");
        assert_eq!(page.status(), Some(422));

        page.open(&url).await?;
        page.fill("#name", "Wrong").await?;
        page.fill("#name", "").await?;
        assert_eq!(page.value("#name").await?, "");
        page.fill("#name", "Ada").await?;
        page.fill("#colour", "Blue").await?;
        page.fill("#day", "2026-11-12").await?;
        page.click("#agreed").await?;
        assert_eq!(page.value("#colour").await?, "b");
        assert_eq!(page.value("#day").await?, "2026-11-12");
        assert!(page.evaluate::<bool>("() => document.querySelector('#agreed').checked", &json!([])).await?);
        page.click("button").await?;
        assert_eq!((page.url().await?, page.status()), (format!("{url}/greeted"), Some(200)));
        assert_eq!(page.text("#cookie").await?, "The browser brought __Host-name=Ada.");

        // A page that takes its time is waited for; a jump within the page is no load.
        page.open(&url).await?;
        page.click("#below").await?;
        assert_eq!(page.url().await?, format!("{url}/#end"));
        page.click("#slow").await?;
        assert_eq!(page.title().await?, "Greeted");
        page.reload().await?;
        assert_eq!(page.texts("h1, #cookie").await?.len(), 2);
        assert_eq!(page.problems().await?, []);
    }
    Ok(())
}

pub async fn it_hears_an_event_stream(browser: &Browser) -> Result<()> {
    let url = stage::open().await?;
    let page = browser.page(PLAIN).await?;
    page.open(&format!("{url}/live")).await?;
    page.wait_text("#progress", "3 of 3").await?;
    assert!(!page.is_visible("#plain").await?, "what is for browsers without JavaScript is not shown");
    // Leaving the page breaks the stream off, which is no problem.
    page.open(&url).await?;
    assert_eq!(page.problems().await?, []);
    Ok(())
}

pub async fn it_runs_no_script_where_there_is_to_be_none(browser: &Browser) -> Result<()> {
    let url = stage::open().await?;
    let page = browser.page(Options { javascript: false, ..PLAIN }).await?;
    page.open(&format!("{url}/live")).await?;
    page.wait_visible("#plain").await?;
    // Another page hears the whole stream meanwhile.
    let other = browser.page(PLAIN).await?;
    other.open(&format!("{url}/live")).await?;
    other.wait_text("#progress", "3 of 3").await?;
    assert_eq!(page.text("#progress").await?, "no event yet");
    page.open(&format!("{url}/bad")).await?;
    assert_eq!(page.title().await?, "Bad");
    assert!(page.problems().await?.iter().all(|problem| problem.kind != Kind::Console), "{:?}", page.problems().await?);
    Ok(())
}

pub async fn it_tells_light_from_dark_and_phone_from_desktop(browser: &Browser) -> Result<()> {
    let url = stage::open().await?;
    for (phone, dark, background, size) in [
        (false, false, "rgb(255, 255, 255)", (1280, 900)),
        (false, true, "rgb(16, 20, 24)", (1280, 900)),
        (true, false, "rgb(255, 255, 255)", (390, 844)),
        (true, true, "rgb(16, 20, 24)", (390, 844)),
    ] {
        let page = browser.page(Options { phone, dark, ..PLAIN }).await?;
        page.open(&url).await?;
        assert_eq!(page.style("body", "background-color").await?, background);
        assert_eq!(page.is_visible("#wide").await?, !phone);
        let inner: (u32, u32) = page.evaluate("() => [innerWidth, innerHeight]", &json!([])).await?;
        assert_eq!(inner, size);
        assert_eq!(page.evaluate::<bool>("() => matchMedia('(pointer: coarse)').matches", &json!([])).await?, phone);
        assert_eq!(page.basics().await?, Vec::<String>::new(), "phone: {phone}, dark: {dark}");

        let name =
            format!("self-test-{}-{}", if phone { "phone" } else { "desktop" }, if dark { "dark" } else { "light" });
        let (width, height) = png_size(&std::fs::read(page.screenshot(&name).await?)?)?;
        let dots = if phone { 2 } else { 1 };
        assert!(width == size.0 * dots && height >= size.1 * dots, "{name}: {width} x {height}");
    }
    Ok(())
}

/// Width and height, which stand at the start of the file.
fn png_size(file: &[u8]) -> Result<(u32, u32)> {
    let number = |at: usize| Some(u32::from_be_bytes(file.get(at..at + 4)?.try_into().ok()?));
    number(16).zip(number(20)).context("a picture begins with its size")
}

pub async fn it_walks_by_keyboard(browser: &Browser) -> Result<()> {
    let url = stage::open().await?;
    let page = browser.page(PLAIN).await?;
    page.open(&url).await?;
    assert_eq!(page.focused().await?, None);
    for (key, role, name, css) in [
        ("Tab", "textbox", "Your name", "input#name"),
        ("Tab", "combobox", "Your colour", "select#colour"),
        ("Shift+Tab", "textbox", "Your name", "input#name"),
    ] {
        page.press(key).await?;
        let focused = page.focused().await?.context("the focus is somewhere")?;
        assert_eq!((focused.role.as_str(), focused.name.as_str(), focused.css.as_str()), (role, name, css));
        assert!(focused.ring, "{focused:?}");
    }
    for letter in ["E", "v", "a"] {
        page.press(letter).await?;
    }
    page.press("Enter").await?;
    assert_eq!(page.text("#cookie").await?, "The browser brought __Host-name=Eva.");
    page.open(&url).await?;
    let outline = page.outline().await?;
    for line in
        ["main", "heading \"Who are you?\"", "textbox \"Your name\"", "button \"Greet me\"", "link \"The slow page\""]
    {
        assert!(outline.iter().any(|one| one == line), "{line} is not in {outline:?}");
    }
    Ok(())
}

pub async fn it_finds_what_goes_wrong(browser: &Browser) -> Result<()> {
    let url = stage::open().await?;
    let page = browser.page(PLAIN).await?;
    page.open(&format!("{url}/bad")).await?;
    assert_eq!(page.title().await?, "Bad", "the policy holds");
    // What a page fetches on its own account has no end that it could be waited for by.
    testkit::wait::until("the fetch has failed", Duration::from_secs(5), async || {
        Ok(page.problems().await?.iter().any(|problem| problem.text.contains("missing.json")))
    })
    .await?;
    // The form's target is not the page's own: the click changes nothing.
    page.click("button").await?;
    assert_eq!(page.url().await?, format!("{url}/bad"));
    let problems = page.problems().await?;
    for (kind, text) in [
        (Kind::Console, "said by the page 42"),
        (Kind::Exception, "thrown by the page"),
        (Kind::Dialog, "Go on?"),
        (Kind::Cookie, "__Host-open"),
        (Kind::Csp, "script-src-elem"),
        (Kind::Csp, "style-src-attr"),
        (Kind::Csp, "http://elsewhere.example/pixel.png"),
        (Kind::Csp, "form-action"),
        (Kind::Load, "/missing.png"),
        (Kind::Load, "/missing.json"),
    ] {
        let found = problems.iter().filter(|problem| problem.kind == kind && problem.text.contains(text)).count();
        assert_eq!(found, 1, "{kind:?} {text} among {problems:#?}");
    }
    assert_eq!(problems.len(), 10, "{problems:#?}");
    let error = page.open("http://elsewhere.example/").await.expect_err("no host but this one is reached");
    assert!(format!("{error:#}").contains("ERR_NAME_NOT_RESOLVED"), "{error:#}");
    Ok(())
}

pub async fn it_finds_where_the_basics_fail(browser: &Browser) -> Result<()> {
    let url = stage::open().await?;
    let page = browser.page(Options { phone: true, ..PLAIN }).await?;
    page.open(&format!("{url}/unnamed")).await?;
    let findings = page.basics().await?;
    for expected in [
        "language",
        "no title",
        "viewport",
        "0 <main>",
        "skips a level",
        "no alt",
        "an id comes twice",
        "contrast 2.85, not 4.5",
        "pixels wide",
        "a textbox has no name: <input name=\"unnamed\">",
        "a button has no name",
    ] {
        assert!(findings.iter().any(|finding| finding.contains(expected)), "{expected} is not among {findings:#?}");
    }
    Ok(())
}

pub async fn it_keeps_cookies_apart_and_shows_their_attributes(browser: &Browser) -> Result<()> {
    let url = stage::open().await?;
    let (page, other) = (browser.page(PLAIN).await?, browser.page(PLAIN).await?);
    page.open(&url).await?;
    page.fill("#name", "Ada").await?;
    page.click("button").await?;
    let expected = Cookie {
        name: "__Host-name".to_owned(),
        value: "Ada".to_owned(),
        domain: "127.0.0.1".to_owned(),
        path: "/".to_owned(),
        http_only: true,
        secure: true,
        same_site: Some("Lax".to_owned()),
        session: true,
    };
    assert_eq!(page.cookies().await?, [expected]);
    assert_eq!(page.evaluate::<String>("() => document.cookie", &json!([])).await?, "", "scripts cannot read it");
    other.open(&format!("{url}/greeted")).await?;
    assert_eq!(other.text("#cookie").await?, "The browser brought nothing.");
    assert_eq!(other.cookies().await?, []);
    Ok(())
}

pub async fn it_waits_for_no_longer_than_a_deadline(browser: &Browser) -> Result<()> {
    let url = stage::open().await?;
    let mut page = browser.page(PLAIN).await?;
    page.open(&url).await?;
    page.patience = Duration::from_millis(400);
    let started = Instant::now();
    let (many, none, invalid) =
        tokio::join!(page.click("label"), page.wait_text("h1", "Something else"), page.text("label["));
    for (error, expected) in [
        (many.expect_err("there are several"), "4 elements match"),
        (none.expect_err("it never comes"), "it says [\"Who are you?\"]"),
        (invalid.expect_err("it is no selector"), "not a valid selector"),
    ] {
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
    let error = page.open(&format!("{url}/stuck")).await.expect_err("its end never comes");
    assert!(format!("{error:#}").contains("has not loaded"), "{error:#}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    Ok(())
}

pub async fn it_says_so_when_it_has_ended(_: &Browser) -> Result<()> {
    let browser = Browser::start().await?;
    let page = browser.page(PLAIN).await?;
    kill(Pid::from_raw(i32::try_from(browser.pid())?), Signal::SIGKILL)?;
    testkit::wait::until("it is noticed", Duration::from_secs(10), async || Ok(!browser.runs())).await?;
    for error in [page.open("about:blank").await.err(), page.text("h1").await.err(), browser.page(PLAIN).await.err()] {
        let error = format!("{:#}", error.context("nobody answers")?);
        assert!(error.contains("the browser ended (signal: 9"), "{error}");
    }
    Ok(())
}
