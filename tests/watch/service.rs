//! `adledger serve` as a child, and what it answers over HTTP.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::header::{HOST, HeaderMap, HeaderValue};
use reqwest::{ClientBuilder, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// How long a service may take to come up, and a level to be reached.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A running service. It is killed when it is dropped.
pub struct Service {
    child: Child,
    pub pid: u32,
    /// What it has logged so far.
    log: watch::Receiver<String>,
}

impl Service {
    pub fn start(mut command: Command) -> Result<Service> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("a pipe was asked for")?).lines();
        let (says, log) = watch::channel(String::new());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                says.send_modify(|log| *log = format!("{log}{line}\n"));
            }
        });
        let pid = child.id().context("it runs")?;
        Ok(Service { child, pid, log })
    }

    /// Waits until it has logged this text; fails at once when it ends before.
    pub async fn says(&mut self, text: &str) -> Result<String> {
        let said = match tokio::time::timeout(DEADLINE, self.log.wait_for(|log| log.contains(text))).await {
            Ok(Ok(log)) => Some(log.clone()),
            _ => None,
        };
        said.with_context(|| format!("it did not say {text:?}: {}", self.log()))
    }

    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// The URL that HTTP is served at, from the log: the port was a free one.
    pub async fn url(&mut self) -> Result<String> {
        let log = self.says("serving HTTP").await?;
        let (_, rest) = log.split_once("serving HTTP address=").context("the log names the address")?;
        Ok(format!("http://{}", rest.lines().next().context("a line")?.trim()))
    }

    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Asks it to end, and waits.
    pub async fn end(&mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.pid)?), Signal::SIGTERM)?;
        let status = tokio::time::timeout(DEADLINE, self.child.wait()).await??;
        ensure!(status.success(), "{status}: {}", self.log());
        Ok(())
    }
}

/// An answer over HTTP.
pub struct Answer {
    pub status: StatusCode,
    pub content_type: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| self.body.clone())
    }
}

pub async fn get(url: &str) -> Result<Answer> {
    ask(client(), url).await
}

/// Asks under another name than the URL's.
pub async fn get_as(host: &'static str, url: &str) -> Result<Answer> {
    let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
    ask(client().default_headers(headers), url).await
}

fn client() -> ClientBuilder {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(15))
}

async fn ask(client: ClientBuilder, url: &str) -> Result<Answer> {
    let answer = client.build()?.get(url).send().await?;
    let headers = answer.headers().clone();
    let content_type = headers.get("content-type").context("it has a type")?.to_str()?.to_owned();
    Ok(Answer { status: answer.status(), content_type, headers, body: answer.text().await? })
}

/// A check of `/readyz`: its status and what it says.
pub fn check(readiness: &Value, name: &str) -> Result<(String, String)> {
    let checks = readiness["checks"].as_array().context("a list")?;
    let check = checks.iter().find(|check| check["name"] == name).with_context(|| format!("no check {name}"))?;
    let text = |field: &str| check[field].as_str().map(str::to_owned).context("a text");
    Ok((text("status")?, text("detail")?))
}
