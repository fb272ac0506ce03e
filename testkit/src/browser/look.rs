//! Looking at a page: pictures, cookies, the focus, and what a screen reader is told.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::page::Page;
use super::{build_folder, text_in};

/// A cookie as the browser keeps it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cookie {
    pub name: String,
    pub value: String,
    pub domain: String,
    pub path: String,
    pub http_only: bool,
    pub secure: bool,
    /// `Strict`, `Lax` or `None`; nothing where the server did not say.
    pub same_site: Option<String>,
    /// Whether it goes when the browser is closed.
    pub session: bool,
}

/// The element that has the keyboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Focused {
    /// What a screen reader calls it: `button`, `textbox`, `link`, …
    pub role: String,
    /// The name that it reads out.
    pub name: String,
    /// The element itself: its tag, and its id or its name.
    pub css: String,
    /// Whether a person sees that it has the focus: it matches `:focus-visible` and has an outline or a shadow.
    pub ring: bool,
}

/// Roles that say nothing by themselves.
const SILENT: [&str; 9] = [
    "none",
    "generic",
    "InlineTextBox",
    "StaticText",
    "RootWebArea",
    "LineBreak",
    "paragraph",
    "ListMarker",
    "LayoutTableRow",
];

impl Page {
    /// A picture of the whole page, also of what is below the window; written to `target/screenshots/NAME.png`.
    pub async fn screenshot(&self, name: &str) -> Result<PathBuf> {
        let metrics = self.ask("Page.getLayoutMetrics", json!({})).await?;
        let (size, window) = (&metrics["cssContentSize"], &metrics["cssLayoutViewport"]);
        let height = f64::max(
            size["height"].as_f64().context("a page has a height")?,
            window["clientHeight"].as_f64().context("a window has a height")?,
        );
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1});
        let question = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let picture = text_in(&self.ask("Page.captureScreenshot", question).await?, "/data")?;
        let folder = build_folder("screenshots");
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, STANDARD.decode(picture)?).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// The cookies of this page, also those that its scripts cannot read.
    pub async fn cookies(&self) -> Result<Vec<Cookie>> {
        let mut answer = self.wire.ask("Storage.getCookies", json!({"browserContextId": self.context})).await?;
        let mut cookies: Vec<Cookie> = serde_json::from_value(answer["cookies"].take())?;
        cookies.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(cookies)
    }

    /// The element that has the keyboard; `None` where it is the page itself.
    pub async fn focused(&self) -> Result<Option<Focused>> {
        let Some((css, ring)) = self.evaluate::<Option<(String, bool)>>(FOCUSED, &json!([])).await? else {
            return Ok(None);
        };
        let question = json!({"expression": "document.activeElement"});
        let object = text_in(&self.ask("Runtime.evaluate", question).await?, "/result/objectId")?;
        let question = json!({"objectId": object, "fetchRelatives": false});
        let answer = self.ask("Accessibility.getPartialAXTree", question).await?;
        let (role, name) = said(&answer["nodes"][0]);
        Ok(Some(Focused { role, name, css, ring }))
    }

    /// What a screen reader is told, in the order of reading, an element a line: its role, and its name in quotes. Text
    /// between them is left out.
    pub async fn outline(&self) -> Result<Vec<String>> {
        let nodes = self.accessible().await?;
        let lines = nodes.iter().map(said).filter(|(role, _)| !SILENT.contains(&role.as_str()));
        Ok(lines.map(|(role, name)| if name.is_empty() { role } else { format!("{role} {name:?}") }).collect())
    }

    /// The nodes of the accessibility tree that are not ignored, in the order of reading.
    pub(super) async fn accessible(&self) -> Result<Vec<Value>> {
        let mut answer = self.ask("Accessibility.getFullAXTree", json!({})).await?;
        let nodes: Vec<Value> = serde_json::from_value(answer["nodes"].take())?;
        let by_id: HashMap<_, _> = nodes.iter().filter_map(|node| Some((node["nodeId"].as_str()?, node))).collect();
        let root = nodes.first().and_then(|node| node["nodeId"].as_str()).context("a page has a root")?;
        let (mut order, mut stack, mut known) = (Vec::new(), vec![root], HashSet::new());
        while let Some(id) = stack.pop() {
            ensure!(known.insert(id), "the accessibility tree has a circle");
            let Some(node) = by_id.get(id) else { continue };
            let children = node["childIds"].as_array().into_iter().flatten();
            stack.extend(children.filter_map(Value::as_str).rev());
            if node["ignored"] != true {
                order.push((*node).clone());
            }
        }
        Ok(order)
    }
}

/// Role and name of a node of the accessibility tree.
pub(super) fn said(node: &Value) -> (String, String) {
    let text = |name: &str| node[name]["value"].as_str().unwrap_or_default().to_owned();
    (text("role"), text("name"))
}

const FOCUSED: &str = "() => {
    const it = document.activeElement;
    if (!it || it === document.body || it === document.documentElement) return null;
    const name = it.getAttribute('name');
    const css = it.localName + (it.id ? '#' + it.id : name ? `[name=\"${name}\"]` : '');
    const style = getComputedStyle(it);
    const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
    return [css, it.matches(':focus-visible') && (outlined || style.boxShadow !== 'none')] }";
