//! What happened in a page: whether it loads, what the server answered, and what went wrong.

use std::fmt;

use serde_json::Value;

/// Something that a page should not have done, in the browser's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub kind: Kind,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `console.error`, a failed `console.assert`, or an error that the browser itself wrote there.
    Console,
    /// An exception that nobody caught.
    Exception,
    /// The page's Content-Security-Policy forbade something, or would have (`report-only`).
    Csp,
    /// A part of the page that did not load: a style, an image, a script, an event stream. The page's own status is no
    /// problem: see [`super::Page::status`].
    Load,
    /// A cookie that the browser did not take.
    Cookie,
    /// `alert`, `confirm` or `prompt`, which was accepted.
    Dialog,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

/// What a page has told so far.
#[derive(Debug, Clone)]
pub struct Seen {
    frame: String,
    /// A navigation was asked for and has not begun.
    asked: bool,
    loads: bool,
    pub loads_ended: u64,
    /// The request that brought the document.
    document: Option<String>,
    pub status: Option<u16>,
    pub problems: Vec<Problem>,
}

impl Seen {
    pub fn new(frame: &str) -> Seen {
        let frame = frame.to_owned();
        Seen { frame, asked: false, loads: false, loads_ended: 0, document: None, status: None, problems: Vec::new() }
    }

    /// Whether no navigation is under way.
    pub fn is_settled(&self) -> bool {
        !self.asked && !self.loads
    }

    pub fn take(&mut self, method: &str, event: &Value) {
        let in_page = event["frameId"].as_str() == Some(self.frame.as_str());
        match method {
            "Page.frameRequestedNavigation" if in_page => self.asked |= event["disposition"] == "currentTab",
            // A page that refreshes itself after a while is settled until then.
            "Page.frameScheduledNavigation" if in_page => {
                self.asked |= !matches!(event["reason"].as_str(), Some("metaTagRefresh" | "httpHeaderRefresh"));
            }
            "Page.frameStartedLoading" if in_page => (self.asked, self.loads) = (false, true),
            "Page.frameClearedScheduledNavigation" | "Page.navigatedWithinDocument" if in_page => self.asked = false,
            "Page.frameStoppedLoading" if in_page => {
                (self.asked, self.loads) = (false, false);
                self.loads_ended += 1;
            }
            "Network.responseReceived" if in_page && event["type"] == "Document" => {
                self.document = event["requestId"].as_str().map(str::to_owned);
                self.status = event["response"]["status"].as_u64().and_then(|status| u16::try_from(status).ok());
            }
            "Runtime.consoleAPICalled" if matches!(event["type"].as_str(), Some("error" | "assert")) => {
                let values = event["args"].as_array().into_iter().flatten();
                let words: Vec<_> = values.map(|value| words(value, &["value", "description", "type"])).collect();
                self.problem(Kind::Console, words.join(" "));
            }
            "Runtime.exceptionThrown" => {
                let details = &event["exceptionDetails"];
                let thrown = words(&details["exception"], &["description", "value"]);
                self.problem(Kind::Exception, format!("{} {thrown}", words(details, &["text"])));
            }
            "Network.responseReceivedExtraInfo" => {
                for cookie in event["blockedCookies"].as_array().into_iter().flatten() {
                    self.problem(
                        Kind::Cookie,
                        format!("{}: {}", words(cookie, &["cookieLine"]), cookie["blockedReasons"]),
                    );
                }
            }
            "Log.entryAdded" => self.take_entry(&event["entry"]),
            "Audits.issueAdded" => self.take_issue(&event["issue"]),
            "Inspector.targetCrashed" => self.problem(Kind::Exception, "the page's process crashed".to_owned()),
            "Page.javascriptDialogOpening" => self.problem(Kind::Dialog, words(event, &["message"])),
            _ => {}
        }
    }

    fn take_entry(&mut self, entry: &Value) {
        let (text, url) = (words(entry, &["text"]), words(entry, &["url"]));
        if entry["level"] != "error" {
            return;
        }
        match entry["source"].as_str() {
            // The same, as an issue, says which directive it was.
            Some("security") if text.contains("Content Security Policy") => {}
            Some("network") => {
                let is_document =
                    entry["networkRequestId"].as_str().is_some_and(|id| self.document.as_deref() == Some(id));
                // Browsers ask for this one unbidden, some time after the page has loaded.
                let is_icon = url.ends_with("/favicon.ico");
                if !is_document && !is_icon {
                    self.problem(Kind::Load, format!("{url}: {text}"));
                }
            }
            _ => self.problem(Kind::Console, format!("{text} ({url})")),
        }
    }

    fn take_issue(&mut self, issue: &Value) {
        if issue["code"] == "ContentSecurityPolicyIssue" {
            let details = &issue["details"]["contentSecurityPolicyIssueDetails"];
            let directive = words(details, &["violatedDirective"]);
            let what = words(details, &["blockedURL", "contentSecurityPolicyViolationType"]);
            self.problem(Kind::Csp, format!("{directive} forbids {what}"));
        }
    }

    fn problem(&mut self, kind: Kind, text: String) {
        self.problems.push(Problem { kind, text });
    }
}

/// The first of these properties that is there, as text.
fn words(value: &Value, names: &[&str]) -> String {
    let found = names.iter().map(|name| &value[*name]).find(|value| !value.is_null());
    found.map_or_else(String::new, |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}
