//! Somebody who visits: keeps cookies as a browser does, follows nothing, and says what a browser would say.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::header::{COOKIE, HeaderMap, SET_COOKIE};
use reqwest::{Method, StatusCode};

pub struct Visitor {
    http: reqwest::Client,
    base: String,
    pub cookies: BTreeMap<String, String>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn location(&self) -> &str {
        self.header("location")
    }

    /// What the page's forms bring along.
    pub fn csrf(&self) -> Result<String> {
        let (_, rest) = self.body.split_once(r#"name="csrf" value=""#).with_context(|| self.body.clone())?;
        Ok(rest.split('"').next().unwrap_or_default().to_owned())
    }
}

impl Visitor {
    pub fn of(base: &str) -> Result<Visitor> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(60))
            .build()?;
        Ok(Visitor { http, base: base.to_owned(), cookies: BTreeMap::new() })
    }

    pub async fn get(&mut self, path: &str) -> Result<Answer> {
        self.ask(Method::GET, path, &[("accept", "text/html")], None).await
    }

    /// Posts a form, as this visitor's own page does.
    pub async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Result<Answer> {
        self.post_as(path, &[("accept", "text/html"), ("sec-fetch-site", "same-origin")], form).await
    }

    pub async fn post_as(&mut self, path: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Result<Answer> {
        let url = reqwest::Url::parse_with_params("http://form/", form)?;
        let body = url.query().unwrap_or_default().to_owned();
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/x-www-form-urlencoded"));
        self.ask(Method::POST, path, &headers, Some(body)).await
    }

    pub async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(COOKIE, cookies.join("; "));
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        for cookie in headers.get_all(SET_COOKIE) {
            let cookie = cookie.to_str()?;
            let (name, value) = cookie.split(';').next().and_then(|c| c.split_once('=')).context("a cookie")?;
            match value {
                "" => self.cookies.remove(name),
                value => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        Ok(Answer { status, headers, body: response.text().await? })
    }
}
