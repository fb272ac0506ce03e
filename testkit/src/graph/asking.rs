//! What the fake's own tests ask it with: a bare socket, so that nothing is retried, mended or decoded on the way.

use std::ops::RangeInclusive;

use chrono::{Days, NaiveDate};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Graph, World, percent};

pub(super) const TOKEN: &str = "EAAB-fake-token";
pub(super) const ACCOUNT: &str = "act_1001";

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Status, code and subcode of an error.
    pub(super) fn error(&self) -> (u16, i64, Option<i64>) {
        let error = &self.json()["error"];
        (self.status, error["code"].as_i64().unwrap_or_default(), error["error_subcode"].as_i64())
    }

    pub(super) fn rows(&self) -> Vec<Value> {
        self.json()["data"].as_array().cloned().unwrap_or_default()
    }

    /// The cursor of the next page; `None` on the last one.
    pub(super) fn after(&self) -> Option<String> {
        let paging = &self.json()["paging"];
        paging.get("next").and_then(|_| paging["cursors"]["after"].as_str()).map(str::to_owned)
    }
}

pub(super) fn first_day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 10, 1).unwrap()
}

pub(super) fn window(days: u64) -> RangeInclusive<NaiveDate> {
    first_day()..=first_day() + Days::new(days - 1)
}

/// A world of one ad account, in which so many days have delivery, and whoever serves it.
pub(super) async fn graph(ads: usize, days: u64, change: impl FnOnce(&mut World)) -> Graph {
    let mut world = World::demo(TOKEN, ACCOUNT, "Europe/Berlin", "EUR", window(days), ads);
    change(&mut world);
    Graph::start(world).await.unwrap()
}

/// The parameters of a question for the rows of the ads.
pub(super) fn ads(days: u64, limit: usize) -> Vec<(&'static str, String)> {
    let days = window(days);
    vec![
        ("level", "ad".into()),
        ("time_increment", "1".into()),
        ("time_range", format!(r#"{{"since":"{}","until":"{}"}}"#, days.start(), days.end())),
        ("fields", "ad_id,spend,impressions,actions".into()),
        ("limit", limit.to_string()),
    ]
}

impl Graph {
    pub(super) async fn get(&self, path: &str, parameters: &[(&str, String)]) -> Answer {
        self.ask("GET", path, parameters).await
    }

    /// With the parameters as a form.
    pub(super) async fn post(&self, path: &str, parameters: &[(&str, String)]) -> Answer {
        self.ask("POST", path, parameters).await
    }

    /// The rows of all pages.
    pub(super) async fn all_rows(&self, path: &str, parameters: &[(&str, String)]) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut parameters = parameters.to_vec();
            parameters.extend(after.map(|after| ("after", after)));
            let page = self.get(path, &parameters).await;
            assert_eq!(page.status, 200, "{page:?}");
            rows.extend(page.rows());
            after = page.after();
            if after.is_none() {
                return rows;
            }
        }
    }

    async fn ask(&self, method: &str, path: &str, parameters: &[(&str, String)]) -> Answer {
        let text: Vec<String> = parameters.iter().map(|(key, value)| format!("{key}={}", percent(value))).collect();
        let text = text.join("&");
        let (query, form) = if method == "GET" { (format!("?{text}"), String::new()) } else { (String::new(), text) };
        let mut socket = TcpStream::connect(self.address()).await.unwrap();
        let question = format!(
            "{method} /v25.0/{path}{query} HTTP/1.1\r\nhost: fake\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        );
        socket.write_all(question.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).await.unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap();
        let headers =
            lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_lowercase(), v.into())).collect();
        Answer { status, headers, body: bytes[end + 4..].to_vec() }
    }
}
