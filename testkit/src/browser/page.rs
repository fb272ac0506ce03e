//! A page, and what a person does with it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::seen::{Problem, Seen};
use super::wire::Wire;
use super::{Options, keys, text_in};

const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// An open page. What it is asked for by a CSS selector it waits for, and fails with what the page says when it does not
/// come. Where one element is meant, a selector that matches several fails too.
pub struct Page {
    pub(super) wire: Arc<Wire>,
    pub(super) session: String,
    /// The cookies and the storage that this page has to itself.
    pub(super) context: String,
    seen: watch::Receiver<Seen>,
    /// How long it may take to load, and an element to come; ten seconds unless a test says otherwise.
    pub patience: Duration,
}

impl Page {
    pub(super) async fn new(wire: &Arc<Wire>, options: Options) -> Result<Page> {
        let wire = Arc::clone(wire);
        let context = text_in(&wire.ask("Target.createBrowserContext", json!({})).await?, "/browserContextId")?;
        let target = json!({"url": "about:blank", "browserContextId": context});
        let target = text_in(&wire.ask("Target.createTarget", target).await?, "/targetId")?;
        let attach = json!({"targetId": target, "flatten": true});
        let session = text_in(&wire.ask("Target.attachToTarget", attach).await?, "/sessionId")?;
        // The main frame of a target bears its name.
        let seen = wire.watch(&session, &target);
        let page = Page { wire, session, context, seen, patience: PATIENCE };
        for domain in ["Page", "Runtime", "Network", "Log", "Audits", "Inspector"] {
            page.ask(&format!("{domain}.enable"), json!({})).await?;
        }
        let (width, height, dots) = if options.phone { (390, 844, 2) } else { (1280, 900, 1) };
        let mut metrics = json!({"width": width, "height": height, "screenWidth": width, "screenHeight": height});
        metrics["deviceScaleFactor"] = dots.into();
        metrics["mobile"] = options.phone.into();
        page.ask("Emulation.setDeviceMetricsOverride", metrics).await?;
        page.ask("Emulation.setTouchEmulationEnabled", json!({"enabled": options.phone})).await?;
        let scheme = if options.dark { "dark" } else { "light" };
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        page.ask("Emulation.setEmulatedMedia", scheme).await?;
        // A page in the background is not told of focus and draws no frames.
        page.ask("Emulation.setFocusEmulationEnabled", json!({"enabled": true})).await?;
        page.ask("Emulation.setScriptExecutionDisabled", json!({"value": !options.javascript})).await?;
        Ok(page)
    }

    /// Opens a URL, and returns when all that belongs to the page has loaded; event streams go on. An error is a server that
    /// did not answer: a page that says 404 is a page, see [`Page::status`].
    pub async fn open(&self, url: &str) -> Result<()> {
        let opened = self.ask("Page.navigate", json!({"url": url})).await?;
        if let Some(error) = opened["errorText"].as_str() {
            bail!("opening {url}: {error}");
        }
        self.settle().await.with_context(|| format!("opening {url}"))
    }

    /// Loads the page again, as a person does.
    pub async fn reload(&self) -> Result<()> {
        let loads = self.seen.borrow().loads_ended;
        self.ask("Page.reload", json!({})).await?;
        self.wait_seen(|seen| seen.loads_ended > loads && seen.is_settled()).await
    }

    /// Clicks in the middle of the element, with the mouse. It has to be visible, enabled and not covered. A navigation
    /// that follows has loaded when this returns.
    pub async fn click(&self, css: &str) -> Result<()> {
        let found = self.wait_for(&format!("`{css}` can be clicked"), PLACE, &json!([css])).await?;
        let (x, y): (f64, f64) = serde_json::from_value(found)?;
        for (kind, button, clicks) in
            [("mouseMoved", "none", 0), ("mousePressed", "left", 1), ("mouseReleased", "left", 1)]
        {
            let event = json!({"type": kind, "x": x, "y": y, "button": button, "clickCount": clicks});
            self.ask("Input.dispatchMouseEvent", event).await?;
        }
        self.settle().await.with_context(|| format!("after a click on `{css}`"))
    }

    /// Empties the field and types the text. A list is set to the entry with that value or text, and so is a field that
    /// is no line of text, as a date.
    pub async fn fill(&self, css: &str, text: &str) -> Result<()> {
        let typed = self.wait_for(&format!("`{css}` can be filled in"), TAKE_FIELD, &json!([css, text])).await?;
        if typed == true {
            if text.is_empty() {
                self.strike("Backspace").await?;
            } else {
                self.ask("Input.insertText", json!({"text": text})).await?;
            }
        }
        let holds: String = self.evaluate("(css) => document.querySelector(css).value", &json!([css])).await?;
        ensure!(typed != true || holds == text, "`{css}` was filled in with {text:?} and holds {holds:?}");
        self.settle().await
    }

    /// Presses a key: `Tab`, `Shift+Tab`, `Enter`, `Escape`, `Space`, an arrow, or a character. A navigation that follows
    /// has loaded when this returns.
    pub async fn press(&self, key: &str) -> Result<()> {
        self.strike(key).await?;
        self.settle().await.with_context(|| format!("after the key {key}"))
    }

    async fn strike(&self, key: &str) -> Result<()> {
        for event in keys::events(key)? {
            self.ask("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// The text of the one element, as it is shown: what is hidden is left out.
    pub async fn text(&self, css: &str) -> Result<String> {
        let text = self.wait_for(&format!("`{css}` is there"), TEXT, &json!([css])).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// The texts of all elements that match by now; none is no error.
    pub async fn texts(&self, css: &str) -> Result<Vec<String>> {
        self.evaluate("(css) => [...document.querySelectorAll(css)].map(one => one.innerText.trim())", &json!([css]))
            .await
    }

    /// Waits until an element that matches contains the text.
    pub async fn wait_text(&self, css: &str, needle: &str) -> Result<()> {
        self.wait_for(&format!("`{css}` says {needle:?}"), SAYS, &json!([css, needle])).await?;
        Ok(())
    }

    /// Waits until an element that matches is shown.
    pub async fn wait_visible(&self, css: &str) -> Result<()> {
        self.wait_for(&format!("`{css}` is shown"), SHOWN, &json!([css])).await?;
        Ok(())
    }

    /// Whether an element that matches is shown now.
    pub async fn is_visible(&self, css: &str) -> Result<bool> {
        let shown: Value = self.evaluate(SHOWN, &json!([css])).await?;
        Ok(shown.get("is").is_some())
    }

    /// What a field holds.
    pub async fn value(&self, css: &str) -> Result<String> {
        let value = self.wait_for(&format!("`{css}` is there"), VALUE, &json!([css])).await?;
        Ok(value.as_str().unwrap_or_default().to_owned())
    }

    /// An attribute of the one element, as it is written in the page.
    pub async fn attribute(&self, css: &str, name: &str) -> Result<Option<String>> {
        let value = self.wait_for(&format!("`{css}` is there"), ATTRIBUTE, &json!([css, name])).await?;
        Ok(value.as_str().map(str::to_owned))
    }

    /// A property of the one element's style as it is applied: `("body", "background-color")` say.
    pub async fn style(&self, css: &str, property: &str) -> Result<String> {
        let value = self.wait_for(&format!("`{css}` is there"), STYLE, &json!([css, property])).await?;
        Ok(value.as_str().unwrap_or_default().to_owned())
    }

    pub async fn url(&self) -> Result<String> {
        self.evaluate("() => location.href", &json!([])).await
    }

    pub async fn title(&self) -> Result<String> {
        self.evaluate("() => document.title", &json!([])).await
    }

    /// The HTTP status of the page that is shown, after redirects.
    pub fn status(&self) -> Option<u16> {
        self.seen.borrow().status
    }

    /// What has gone wrong since the page was made: console errors, uncaught exceptions, what the
    /// Content-Security-Policy forbade, parts that did not load, cookies that were not taken. A test that expects none:
    /// `assert_eq!(page.problems().await?, [])`.
    pub async fn problems(&self) -> Result<Vec<Problem>> {
        // What the page said before it answers this is in before the answer.
        self.evaluate::<u8>("() => 1", &json!([])).await?;
        Ok(self.seen.borrow().problems.clone())
    }

    /// Calls a function of JavaScript in the page with these arguments, also where the page's own scripts do not run.
    pub async fn evaluate<T: DeserializeOwned>(&self, function: &str, arguments: &Value) -> Result<T> {
        let expression = format!("({function})(...{arguments})");
        let question = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.ask("Runtime.evaluate", question).await?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            let said = thrown.pointer("/exception/description").unwrap_or(&thrown["text"]);
            bail!("the page threw {said} in answer to {function}");
        }
        let value = answer.pointer("/result/value").cloned().unwrap_or_default();
        serde_json::from_value(value).with_context(|| format!("an unexpected answer to {function}"))
    }

    /// Asks until the function answers `{is: value}`, and gives the value; what it answers otherwise says why not yet.
    async fn wait_for(&self, what: &str, function: &str, arguments: &Value) -> Result<Value> {
        let end = Instant::now() + self.patience;
        loop {
            // While a page gives way to the next there may be nobody to answer.
            let answer = self.evaluate::<Value>(function, arguments).await;
            let why = match answer {
                Ok(mut answer) => match answer.get_mut("is") {
                    Some(value) => return Ok(value.take()),
                    None => answer["not"].as_str().unwrap_or_default().to_owned(),
                },
                Err(error) if self.is_settled() => return Err(error.context(format!("waiting until {what}"))),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > end {
                bail!(
                    "waited {} s in vain until {what}: {why}\n{}",
                    self.patience.as_secs_f32(),
                    self.description().await
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until no navigation is under way.
    async fn settle(&self) -> Result<()> {
        // What a click began has been announced when the page answers again; a page on its way out need not answer.
        let _ = self.evaluate::<u8>("() => 1", &json!([])).await;
        self.wait_seen(Seen::is_settled).await
    }

    async fn wait_seen(&self, is_enough: impl FnMut(&Seen) -> bool) -> Result<()> {
        let mut seen = self.seen.clone();
        match tokio::time::timeout(self.patience, seen.wait_for(is_enough)).await.map(|seen| seen.is_ok()) {
            Ok(true) => Ok(()),
            Ok(false) => bail!("the browser ended"),
            Err(_) => {
                bail!("the page has not loaded in {} s\n{}", self.patience.as_secs_f32(), self.description().await)
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.seen.borrow().is_settled()
    }

    /// What a person would say about the page that a test failed on.
    async fn description(&self) -> String {
        let said = self.evaluate::<String>(DESCRIPTION, &json!([])).await;
        let problems: Vec<_> = self.seen.borrow().problems.iter().map(|problem| format!("\n- {problem}")).collect();
        format!("{}{}", said.unwrap_or_else(|error| format!("{error:#}")), problems.concat())
    }

    pub(super) async fn ask(&self, method: &str, parameters: Value) -> Result<Value> {
        self.wire.ask_page(&self.session, method, parameters).await
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.wire.forget(&self.session);
        self.wire.tell("Target.disposeBrowserContext", json!({"browserContextId": self.context}));
    }
}

/// Begins every function that means one element.
macro_rules! one {
    ($parameters:literal, $body:literal) => {
        concat!(
            "(", $parameters, ") => { const all = document.querySelectorAll(css); const it = all[0];
             if (all.length !== 1) return {not: all.length ? `${all.length} elements match` : 'no element matches'}; ",
            $body, " }"
        )
    };
}

const TEXT: &str = one!("css", "return {is: it.innerText.trim()}");
const VALUE: &str = one!("css", "return {is: it.value}");
const ATTRIBUTE: &str = one!("css, name", "return {is: it.getAttribute(name)}");
const STYLE: &str = one!("css, property", "return {is: getComputedStyle(it).getPropertyValue(property)}");
const SHOWN: &str = "(css) => { const all = [...document.querySelectorAll(css)];
    if (all.some(it => it.checkVisibility({visibilityProperty: true, opacityProperty: true}))) return {is: true};
    return {not: all.length ? 'all that match are hidden' : 'no element matches'} }";
const SAYS: &str = "(css, needle) => { const texts = [...document.querySelectorAll(css)].map(it => it.innerText);
    if (texts.some(text => text.includes(needle))) return {is: true};
    return {not: texts.length ? 'it says ' + JSON.stringify(texts).slice(0, 500) : 'no element matches'} }";
const PLACE: &str = one!(
    "css",
    "if (it.disabled) return {not: 'it is disabled'};
     it.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});
     const box = it.getClientRects()[0];
     if (!box || !box.width || !box.height) return {not: 'it is not shown'};
     const x = box.x + box.width / 2, y = box.y + box.height / 2;
     const top = document.elementFromPoint(x, y);
     const hit = top && (it.contains(top) || top.closest('label')?.control === it);
     return hit ? {is: [x, y]} : {not: top ? 'covered by ' + top.outerHTML.slice(0, 120) : 'it is outside of the window'}"
);
/// Answers whether the text is still to be typed.
const TAKE_FIELD: &str = one!(
    "css, text",
    "if (it.disabled || it.readOnly) return {not: 'it takes no text'};
     if (!it.checkVisibility({visibilityProperty: true})) return {not: 'it is not shown'};
     it.focus();
     const lines = ['text', 'search', 'url', 'tel', 'email', 'password', 'number', 'textarea'];
     if (lines.includes(it.type)) { it.select(); return {is: true} }
     if (it.options) {
         const entry = [...it.options].find(entry => entry.value === text || entry.text === text);
         if (!entry) return {not: 'it has no such entry: ' + [...it.options].map(entry => entry.text)};
         it.value = entry.value;
     } else it.value = text;
     it.dispatchEvent(new Event('input', {bubbles: true}));
     it.dispatchEvent(new Event('change', {bubbles: true}));
     return {is: false}"
);
const DESCRIPTION: &str =
    "() => `${location.href} says: ${(document.body?.innerText ?? '').replace(/\\s+/g, ' ').slice(0, 600)}`";
