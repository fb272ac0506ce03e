use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tracing::{Instrument, field};

use crate::authorization::Authorization;
use crate::classify::{Class, Said, classify};
use crate::config::{ClientConfig, ConfigError};
use crate::errors::Refusal;
use crate::json::Object;
use crate::rows::Text;
use crate::secrets::Secrets;
use crate::usage::Usage;

/// One question, one answer: no retries here.
#[derive(Debug)]
pub(crate) struct Transport {
    http: Client,
    root: Url,
    request_timeout: Duration,
    max_body_bytes: usize,
    version_warned: AtomicBool,
}

/// A call that carries secrets elsewhere than in its header.
pub(crate) struct SecretCall<'a> {
    /// Relative to `{base}/{version}/`, as for every call.
    pub(crate) path: &'a str,
    /// All of them, the one in the header too: each is taken out of what the server says.
    pub(crate) secrets: &'a Secrets,
    pub(crate) carried: Carried<'a>,
}

pub(crate) enum Carried<'a> {
    /// In the body of a POST, which logs of servers and proxies do not keep as they keep URLs.
    Form(&'a [(&'static str, &'a str)]),
    /// In the query of a GET, with the header of another token: for what Meta documents in no other way.
    Query(&'a [(&'static str, &'a str)], HeaderValue),
}

/// The most memory that a body gets for what its header says alone.
const FIRST_BYTES: usize = 4 << 20;

/// Somebody waits in front of a page for the answer of a call with secrets, and it is short.
const SECRET_CALL_TIMEOUT: Duration = Duration::from_secs(30);
const SECRET_CALL_MAX_BODY_BYTES: usize = 1 << 20;

/// A body that is JSON, complete, and no error.
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    /// Where the entries of its `data` stand in its [`text`](Self::text), if that is a list.
    pub(crate) entries: Option<Vec<Range<usize>>>,
    pub(crate) usage: Usage,
}

impl Answer {
    /// Reads what came with a status.
    pub(crate) fn read(body: Bytes, status: u16, usage: Usage, secrets: &Secrets) -> Result<Answer, Failure> {
        let text = Text::of(&body);
        let members = serde_json::from_str::<Members<'_>>(&text.text).ok();
        if members.is_none() && !is_json(&text.text) {
            return Err(Failure::new(class_of_broken_body(status), Some(status), not_json(&text.text), usage));
        }
        let error = members.as_ref().and_then(|members| members.error).filter(|raw| raw.get() != "null");
        if let Some((class, refusal)) = refusal(secrets, status, error, &text.text) {
            return Err(Failure { class, refusal: refusal.into(), usage, sent: true });
        }
        let entries = members.and_then(|members| members.data?.0).map(|list| {
            let start = text.text.as_ptr() as usize;
            let range = |raw: &RawValue| {
                let at = raw.get().as_ptr() as usize - start;
                at..at + raw.get().len()
            };
            list.into_iter().map(range).collect()
        });
        drop(text);
        Ok(Answer { body, entries, usage })
    }

    pub(crate) fn text(&self) -> Text<'_> {
        Text::of(&self.body)
    }
}

/// Anything else.
pub(crate) struct Failure {
    pub(crate) class: Class,
    pub(crate) refusal: Box<Refusal>,
    pub(crate) usage: Usage,
    /// Whether anything may have reached the server. Where it is false, no connection came about.
    pub(crate) sent: bool,
}

impl Failure {
    fn new(class: Class, status: Option<u16>, message: impl Into<String>, usage: Usage) -> Self {
        let said = Said { status, ..Said::default() };
        Failure { class, refusal: Refusal::of(class, &said, message).into(), usage, sent: true }
    }
}

impl Transport {
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, ConfigError> {
        let root = config.root()?;
        let http = Client::builder()
            // A redirect would take the token to wherever the answer points.
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would be read from the environment, which this crate does not do.
            .no_proxy()
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            .user_agent(concat!("adledger/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| ConfigError::Client(e.without_url()))?;
        Ok(Transport {
            http,
            root,
            request_timeout: config.request_timeout,
            max_body_bytes: config.max_body_bytes,
            version_warned: AtomicBool::new(false),
        })
    }

    /// `{base}/{version}/`.
    pub(crate) fn root(&self) -> &Url {
        &self.root
    }

    pub(crate) fn host(&self) -> String {
        let host = self.root.host_str().unwrap_or_default();
        self.root.port().map_or(host.into(), |port| format!("{host}:{port}"))
    }

    /// `path` is relative to `{base}/{version}/` and must be free of anything but ids and slashes.
    pub(crate) async fn get(
        &self,
        auth: &Authorization,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Answer, Failure> {
        let request = self.http.get(self.url(path)).query(query).query(&auth.parameters().as_slice());
        let request = request.header(AUTHORIZATION, auth.header());
        self.traced(&auth.secrets, path, request, self.max_body_bytes).await
    }

    /// Asks for a report to be made; the parameters travel in the body.
    pub(crate) async fn post(
        &self,
        auth: &Authorization,
        path: &str,
        form: &[(&str, String)],
    ) -> Result<Answer, Failure> {
        let form = form.iter().map(|(key, value)| (*key, value.as_str())).chain(auth.parameters());
        let request = self.http.post(self.url(path)).form(&form.collect::<Vec<_>>());
        let request = request.header(AUTHORIZATION, auth.header());
        self.traced(&auth.secrets, path, request, self.max_body_bytes).await
    }

    /// The one door of calls that carry secrets in a body or in a URL: what they carry is in no error and no span, they
    /// have a short deadline and a small answer, and their redirects are not followed either.
    pub(crate) async fn ask_with_secrets(&self, call: &SecretCall<'_>) -> Result<Answer, Failure> {
        let url = self.url(call.path);
        let request = match &call.carried {
            Carried::Form(form) => self.http.post(url).form(form),
            Carried::Query(query, header) => self.http.get(url).query(query).header(AUTHORIZATION, header.clone()),
        };
        let request = request.timeout(self.request_timeout.min(SECRET_CALL_TIMEOUT));
        let max_body_bytes = self.max_body_bytes.min(SECRET_CALL_MAX_BODY_BYTES);
        self.traced(call.secrets, call.path, request, max_body_bytes).await
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(&format!("{}{path}", self.root.path()));
        url
    }

    async fn traced(
        &self,
        secrets: &Secrets,
        path: &str,
        request: RequestBuilder,
        max_body_bytes: usize,
    ) -> Result<Answer, Failure> {
        // The query is left out: it is long, and some calls have a secret in it.
        let span = tracing::info_span!(
            "ask_meta",
            otel.kind = "client",
            otel.status_code = field::Empty,
            path,
            status = field::Empty,
            class = field::Empty,
        );
        let answer = self.exchange(secrets, request, max_body_bytes).instrument(span.clone()).await;
        if let Err(failure) = &answer {
            span.record("otel.status_code", "ERROR").record("class", field::debug(failure.class));
            span.record("status", failure.refusal.status);
        }
        answer
    }

    async fn exchange(
        &self,
        secrets: &Secrets,
        request: RequestBuilder,
        max_body_bytes: usize,
    ) -> Result<Answer, Failure> {
        let response = request.send().await.map_err(|error| {
            let sent = !error.is_connect();
            let message = secrets.clean(&network_trouble(error));
            Failure { sent, ..Failure::new(Class::Transient, None, message, Usage::default()) }
        })?;
        let status = response.status().as_u16();
        let usage = Usage::read(response.headers());
        self.warn_of_old_version(secrets, response.headers());
        if response.status().is_redirection() {
            let message = "a redirect to another address, which is not followed, because secrets would go along";
            return Err(Failure::new(Class::WrongRequest, Some(status), message, usage));
        }
        let class = class_of_broken_body(status);
        match read_body(response, max_body_bytes).await {
            Ok(body) => Answer::read(body.into(), status, usage, secrets),
            Err(Broken::TooLarge) => {
                let message = format!("the answer is larger than {max_body_bytes} bytes");
                Err(Failure::new(Class::TooMuchData, Some(status), message, usage))
            }
            Err(Broken::Network(reason)) => {
                let message = secrets.clean(&format!("the answer was cut: {reason}"));
                Err(Failure::new(class, Some(status), message, usage))
            }
        }
    }

    /// Once a client: the header comes with every answer.
    fn warn_of_old_version(&self, secrets: &Secrets, headers: &HeaderMap) {
        if let Some(warning) = headers.get("x-ad-api-version-warning")
            && !self.version_warned.swap(true, Ordering::Relaxed)
        {
            let warning = secrets.clean(&String::from_utf8_lossy(warning.as_bytes()));
            tracing::warn!(warning, "Meta warns of the API version; set META_API_VERSION to a current one");
        }
    }
}

enum Broken {
    TooLarge,
    Network(String),
}

async fn read_body(mut response: Response, max_body_bytes: usize) -> Result<Vec<u8>, Broken> {
    // What the server says of its length is a hint, and no reason to take more than is read.
    let expected = response.content_length().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
    let mut body = Vec::with_capacity(expected.min(max_body_bytes).min(FIRST_BYTES));
    while let Some(chunk) = response.chunk().await.map_err(|e| Broken::Network(network_trouble(e)))? {
        if body.len() + chunk.len() > max_body_bytes {
            return Err(Broken::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What is read of every answer, in one pass over its bytes.
#[derive(serde::Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    data: Option<Data<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// The entries of a list; `None` for anything else, which some answers have here.
struct Data<'a>(Option<Vec<&'a RawValue>>);

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Option<Vec<&'de RawValue>>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of entries")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element()? {
                    entries.push(entry);
                }
                Ok(Some(entries))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(None)
            }
            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(None)
            }
        }
        deserializer.deserialize_any(Entries).map(Data)
    }
}

/// What a body means that cannot be read: that it went wrong on the way, unless its status is a throttle's.
fn class_of_broken_body(status: u16) -> Class {
    match classify(&Said { status: Some(status), ..Said::default() }).class {
        class if class.is_throttle() => class,
        _ => Class::Transient,
    }
}

/// What a body is that is not JSON, as far as can be seen at once.
fn not_json(body: &str) -> &'static str {
    match body.trim_start() {
        "" => "the answer is not JSON but empty",
        text if text.starts_with('<') => "the answer is not JSON but a page of HTML",
        _ => "the answer is not JSON",
    }
}

fn is_json(body: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok()
}

/// The error of an answer, or `None` when the status is good and there is none.
fn refusal(secrets: &Secrets, status: u16, error: Option<&RawValue>, body: &str) -> Option<(Class, Refusal)> {
    if error.is_none() && (200..300).contains(&status) {
        return None;
    }
    let error = error.and_then(|raw| Object::parse(raw.get()));
    let text = |key| error.as_ref().and_then(|error| error.text(key));
    let integer = |key| error.as_ref().and_then(|error| error.integer(key));
    let (code, subcode) = (integer("code"), integer("error_subcode"));
    let message = match (text("message"), text("error_user_msg")) {
        (Some(message), Some(more)) if more != message => format!("{message} ({more})"),
        (Some(message), _) => message,
        (None, Some(more)) => more,
        (None, None) => "no message".into(),
    };
    let is_transient = error.as_ref().is_some_and(|error| error.is_true("is_transient"));
    let said = Said { status: Some(status), code, subcode, is_transient, body };
    let class = classify(&said).class;
    let mut refusal = Refusal::of(class, &said, secrets.clean(&message));
    refusal.fbtrace_id = text("fbtrace_id").map(|id| secrets.clean(&id));
    Some((class, refusal))
}

/// What went wrong on the way, without the URL.
fn network_trouble(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let error = error.without_url();
    // The innermost cause says what happened ("Connection refused"); the outer ones say that something did.
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
