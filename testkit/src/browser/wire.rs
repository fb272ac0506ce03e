//! The DevTools protocol: JSON messages, each ended by a zero byte.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use super::seen::Seen;

/// How long the browser may take for an answer; starting it is the longest.
const DEADLINE: Duration = Duration::from_secs(30);

pub struct Wire {
    inside: Mutex<Inside>,
}

struct Inside {
    input: Option<ChildStdin>,
    number: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    /// What happened in each page, by session.
    pages: HashMap<String, watch::Sender<Seen>>,
    /// Why nothing can be asked any more.
    ended: Option<String>,
}

type Answer = Result<Value, String>;

impl Wire {
    pub fn new(input: ChildStdin) -> Wire {
        let (waiting, pages) = (HashMap::new(), HashMap::new());
        Wire { inside: Mutex::new(Inside { input: Some(input), number: 0, waiting, pages, ended: None }) }
    }

    /// Asks the browser as a whole.
    pub async fn ask(&self, method: &str, parameters: Value) -> Result<Value> {
        self.call(json!({"method": method, "params": parameters})).await
    }

    /// Asks a page.
    pub async fn ask_page(&self, session: &str, method: &str, parameters: Value) -> Result<Value> {
        self.call(json!({"method": method, "params": parameters, "sessionId": session})).await
    }

    async fn call(&self, message: Value) -> Result<Value> {
        let method = message["method"].to_string();
        let (answer, answered) = oneshot::channel();
        {
            let mut inside = self.inside();
            let number = inside.send(message).with_context(|| format!("asking the browser: {method}"))?;
            inside.waiting.insert(number, answer);
        }
        let answer = tokio::time::timeout(DEADLINE, answered).await;
        match answer.with_context(|| format!("the browser did not answer {method} for {} s", DEADLINE.as_secs()))? {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(said)) => bail!("the browser refused {method}: {said}"),
            Err(_) => bail!("{}", self.inside().ended.clone().unwrap_or_else(|| "the browser ended".to_owned())),
        }
    }

    /// Asks and waits for nothing, for what is done when a page is dropped.
    pub fn tell(&self, method: &str, parameters: Value) {
        let _ = self.inside().send(json!({"method": method, "params": parameters}));
    }

    /// Keeps what happens in a page from now on.
    pub fn watch(&self, session: &str, frame: &str) -> watch::Receiver<Seen> {
        let (sender, receiver) = watch::channel(Seen::new(frame));
        self.inside().pages.insert(session.to_owned(), sender);
        receiver
    }

    pub fn forget(&self, session: &str) {
        self.inside().pages.remove(session);
    }

    /// Applies all that the browser says, until it says no more. What happened before an answer is applied before the
    /// answer is given.
    pub fn read(&self, output: ChildStdout) {
        let mut output = BufReader::new(output);
        let mut message = Vec::new();
        while matches!(output.read_until(0, &mut message), Ok(1..)) {
            if message.pop() == Some(0)
                && let Ok(message) = serde_json::from_slice::<Value>(&message)
            {
                self.inside().take(&message);
            }
            message.clear();
        }
    }

    pub fn runs(&self) -> bool {
        self.inside().ended.is_none()
    }

    /// Closes the browser's input, which is what ends it.
    pub fn close(&self) {
        self.inside().input = None;
    }

    /// Nothing can be asked any more, because of `why`.
    pub fn end(&self, why: String) {
        let mut inside = self.inside();
        inside.ended = Some(why);
        inside.input = None;
        inside.waiting.clear();
        inside.pages.clear();
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn send(&mut self, mut message: Value) -> Result<u64> {
        if let Some(why) = &self.ended {
            bail!("{why}");
        }
        self.number += 1;
        message["id"] = self.number.into();
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.input.as_mut().context("the browser was closed")?.write_all(&bytes)?;
        Ok(self.number)
    }

    fn take(&mut self, message: &Value) {
        if let Some(number) = message["id"].as_u64() {
            let Some(waiting) = self.waiting.remove(&number) else { return };
            let answer = match message.get("error") {
                Some(error) => Err(error["message"].as_str().unwrap_or("for no reason").to_owned()),
                None => Ok(message["result"].clone()),
            };
            let _ = waiting.send(answer);
            return;
        }
        let (Some(session), Some(method)) = (message["sessionId"].as_str(), message["method"].as_str()) else { return };
        let event = &message["params"];
        if let Some(page) = self.pages.get(session) {
            page.send_modify(|seen| seen.take(method, event));
        }
        // A dialog stands in the way of everything else until somebody answers it.
        if method == "Page.javascriptDialogOpening" {
            let accept =
                json!({"method": "Page.handleJavaScriptDialog", "params": {"accept": true}, "sessionId": session});
            let _ = self.send(accept);
        }
    }
}
