//! A browser without a window: it keeps its cookie, follows no redirect by itself, and remembers all that it saw.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::header::{HeaderMap, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};

pub struct Browser {
    http: Client,
    /// Where the service is, without a slash at its end.
    pub base: String,
    cookies: Mutex<BTreeMap<String, String>>,
    saw: Mutex<Vec<String>>,
}

/// An answer.
#[derive(Debug)]
pub struct Seen {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Browser {
    pub fn open(base: &str) -> Result<Browser> {
        let http = Client::builder().no_proxy().redirect(Policy::none()).timeout(Duration::from_secs(70)).build()?;
        Ok(Browser { http, base: base.to_owned(), cookies: Mutex::default(), saw: Mutex::default() })
    }

    /// A path of the service's, or a whole address of it.
    pub async fn get(&self, path: &str) -> Result<Seen> {
        self.get_with(path, &[]).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Result<Seen> {
        let mut request = self.http.get(self.address(path)).header("accept", "text/html");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await
    }

    /// Posts a form; the session's own proof is a field that the caller has read from a page.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Result<Seen> {
        self.send(self.http.post(self.address(path)).header("accept", "text/html").form(fields)).await
    }

    /// Posts a form, and says more of itself than a page of the service's would.
    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Result<Seen> {
        let mut request = self.http.post(self.address(path)).form(fields);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await
    }

    pub async fn post_as_script(&self, path: &str, fields: &[(&str, &str)]) -> Result<Seen> {
        self.send(self.http.post(self.address(path)).header("hx-request", "true").form(fields)).await
    }

    fn address(&self, path: &str) -> String {
        let path = path.split('#').next().unwrap_or_default();
        if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Seen> {
        let cookies: Vec<String> = self.cookies().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = request.header("cookie", cookies.join("; ")).send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        for cookie in headers.get_all(SET_COOKIE) {
            let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').context("a cookie has a value")?;
            match value {
                "" => self.cookies().remove(name),
                value => self.cookies().insert(name.to_owned(), value.to_owned()),
            };
        }
        let seen = Seen { status, headers, body: answer.text().await? };
        lock(&self.saw).push(format!("{} {:?}\n{}", seen.status, seen.headers, seen.body));
        Ok(seen)
    }

    /// Status, headers and body of every answer so far.
    pub fn saw(&self) -> Vec<String> {
        lock(&self.saw).clone()
    }

    pub fn cookies(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        lock(&self.cookies)
    }

    /// The proof that the session's forms bring along.
    pub async fn csrf(&self) -> Result<String> {
        let seen = self.get("/tenants").await?;
        Ok(seen.field("csrf").context("a form has the field")?.to_owned())
    }
}

impl Seen {
    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Where it leads.
    pub fn location(&self) -> Result<&str> {
        ensure!(self.status == 303, "a way on was expected: {self:?}");
        Ok(self.headers.get(LOCATION).context("a location")?.to_str()?)
    }

    /// Fails unless it is a page with these words.
    pub fn shows(&self, status: u16, words: &[&str]) -> Result<&Seen> {
        let text = self.text();
        ensure!(self.status == status, "{status} was expected: {}\n{text}", self.status);
        for word in words {
            ensure!(text.contains(word), "{word:?} was expected: {text}");
        }
        Ok(self)
    }

    /// The value of the first field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("name=\"{name}\" value=\""))?;
        rest.split('"').next()
    }

    /// The body with its entities read.
    pub fn text(&self) -> String {
        let entities = [("&#34;", "\""), ("&#39;", "'"), ("&#60;", "<"), ("&#62;", ">"), ("&#38;", "&")];
        entities.iter().fold(self.body.clone(), |text, (entity, sign)| text.replace(entity, sign))
    }

    /// The part of a page of results that is about an ad account.
    pub fn result(&self, external_id: &str) -> Result<String> {
        let text = self.text();
        let (_, rest) = text
            .split_once(&format!("data-ad-account=\"{external_id}\""))
            .with_context(|| format!("no result of {external_id}: {text}"))?;
        Ok(rest.split("</section>").next().unwrap_or_default().to_owned())
    }
}

/// A test that panicked with the lock held has failed already.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
