//! A real Chromium without a window, for tests of pages: opened, clicked, filled in and looked at as a person would.
//!
//! It is driven through the DevTools protocol over two pipes: no port is open, no driver program takes part, and the
//! browser ends when the pipe does. [`Browser::page`] opens a page with cookies of its own, so that scenarios share one
//! browser process and nothing else. Pages reach 127.0.0.1 and no other host.

mod basics;
mod keys;
mod launch;
mod look;
mod page;
mod seen;
mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

pub use look::{Cookie, Focused};
pub use page::Page;
pub use seen::{Kind, Problem};

use launch::Process;

/// A running browser. It ends when it is dropped, and when this process ends, however it ends.
pub struct Browser {
    process: Process,
}

/// What a page is looked at with. By default a desktop of 1280 x 900 pixels, light, with JavaScript.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// 390 x 844 pixels, two dots a pixel, a finger instead of a mouse.
    pub phone: bool,
    /// `prefers-color-scheme: dark`.
    pub dark: bool,
    /// Whether the page's scripts run. What tests ask of the page works without them.
    pub javascript: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { phone: false, dark: false, javascript: true }
    }
}

impl Browser {
    /// The Chromium or Chrome of this machine, where it has one.
    pub fn installed() -> Option<PathBuf> {
        launch::installed()
    }

    /// Starts a browser with a new, empty profile.
    pub async fn start() -> Result<Browser> {
        let program = Browser::installed().context("no browser was found: install Debian's package chromium")?;
        let process = Process::start(&program)?;
        process.wire.ask("Browser.getVersion", json!({})).await?;
        Ok(Browser { process })
    }

    /// Whether the browser still runs.
    pub fn runs(&self) -> bool {
        self.process.wire.runs()
    }

    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Opens an empty page with cookies of its own. They go when it is dropped.
    pub async fn page(&self, options: Options) -> Result<Page> {
        Page::new(&self.process.wire, options).await
    }
}

/// A folder in the build's own, so that what is written there goes with it.
fn build_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(name)
}

/// A text out of an answer of the protocol.
fn text_in(answer: &Value, pointer: &str) -> Result<String> {
    let text = answer.pointer(pointer).and_then(Value::as_str);
    Ok(text.with_context(|| format!("the browser's answer has no {pointer}: {answer}"))?.to_owned())
}
