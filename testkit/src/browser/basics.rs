//! What every page owes to everybody, as far as a program can tell: names, headings, contrast, room on a phone.

use anyhow::Result;
use serde_json::{Value, json};

use super::look::said;
use super::page::Page;

/// The functions that look at the document, in JavaScript.
const FINDINGS: &str = include_str!("basics.js");

/// Only so many findings of one rule are told: the first ones show what is wrong.
const MOST_FINDINGS: usize = 5;

/// Roles of what a person operates, each of which needs a name.
const OPERATED: [&str; 14] = [
    "button",
    "link",
    "textbox",
    "searchbox",
    "combobox",
    "listbox",
    "checkbox",
    "radio",
    "switch",
    "slider",
    "spinbutton",
    "menuitem",
    "tab",
    "Date",
];

impl Page {
    /// Where the page fails the basics of accessibility: language, title, viewport, one `main` and one `h1`, headings in
    /// order, names of what is operated, texts of images, ids that come once, contrast (4.5 to 1; large text 3 to 1), targets
    /// of 24 pixels, and nothing wider than the window. None is no proof that the page is accessible.
    pub async fn basics(&self) -> Result<Vec<String>> {
        let mut findings: Vec<String> = self.evaluate(FINDINGS, &json!([MOST_FINDINGS])).await?;
        for node in self.accessible().await? {
            let (role, name) = said(&node);
            if OPERATED.contains(&role.as_str()) && name.trim().is_empty() {
                findings.push(format!("a {role} has no name: {}", self.tag_of(&node["backendDOMNodeId"]).await));
            }
        }
        Ok(findings)
    }

    async fn tag_of(&self, node: &Value) -> String {
        let html = self.ask("DOM.getOuterHTML", json!({"backendNodeId": node})).await;
        let html = html.ok().and_then(|answer| Some(answer["outerHTML"].as_str()?.to_owned())).unwrap_or_default();
        html.chars().take(120).collect()
    }
}
