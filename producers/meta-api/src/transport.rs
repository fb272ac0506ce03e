use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Client, Response, Url};
use tracing::{Instrument, field};

use crate::authorization::Authorization;
use crate::classify::{Class, classify};
use crate::config::{ClientConfig, ConfigError};
use crate::errors::Refusal;
use crate::json::Object;
use crate::usage::Usage;

/// One question, one answer: no retries here.
#[derive(Debug)]
pub(crate) struct Transport {
    http: Client,
    root: Url,
    max_body_bytes: usize,
    version_warned: AtomicBool,
}

/// A body that is UTF-8, JSON, complete, and no error.
pub(crate) struct Answer {
    pub(crate) body: String,
    pub(crate) usage: Usage,
}

/// Anything else.
pub(crate) struct Failure {
    pub(crate) class: Class,
    pub(crate) refusal: Refusal,
    pub(crate) usage: Usage,
}

impl Failure {
    fn new(class: Class, status: Option<u16>, message: impl Into<String>, usage: Usage) -> Self {
        Failure { class, refusal: Refusal { status, message: message.into(), ..Refusal::default() }, usage }
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
        Ok(Transport { http, root, max_body_bytes: config.max_body_bytes, version_warned: AtomicBool::new(false) })
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
        // The query is left out: it is long, and a call that is made otherwise one day may hold a token in it.
        let span = tracing::info_span!(
            "ask_meta",
            otel.kind = "client",
            otel.status_code = field::Empty,
            path,
            status = field::Empty,
            class = field::Empty,
        );
        let answer = self.exchange(auth, path, query).instrument(span.clone()).await;
        if let Err(failure) = &answer {
            span.record("otel.status_code", "ERROR").record("class", field::debug(failure.class));
            span.record("status", failure.refusal.status);
        }
        answer
    }

    async fn exchange(&self, auth: &Authorization, path: &str, query: &[(&str, String)]) -> Result<Answer, Failure> {
        let mut url = self.root.clone();
        url.set_path(&format!("{}{path}", self.root.path()));
        let sent = self.http.get(url).query(query).header(AUTHORIZATION, auth.header()).send().await;
        let response =
            sent.map_err(|e| Failure::new(Class::Transient, None, auth.clean(&network_trouble(e)), Usage::default()))?;
        let status = response.status().as_u16();
        let usage = Usage::read(response.headers());
        self.warn_of_old_version(auth, response.headers());
        if response.status().is_redirection() {
            let message = "a redirect to another address, which is not followed, because the token would go along";
            return Err(Failure::new(Class::WrongRequest, Some(status), message, usage));
        }
        let class_of_broken_body = match classify(status, None, None, false, "") {
            class if class.is_throttle() => class,
            _ => Class::Transient,
        };
        let body = match self.body(response).await {
            Ok(body) => body,
            Err(Broken::TooLarge) => {
                let message = format!("the answer is larger than {} bytes", self.max_body_bytes);
                return Err(Failure::new(Class::TooMuchData, Some(status), message, usage));
            }
            Err(Broken::Network(reason)) => {
                let message = auth.clean(&format!("the answer was cut: {reason}"));
                return Err(Failure::new(class_of_broken_body, Some(status), message, usage));
            }
        };
        let Some(body) = String::from_utf8(body).ok().filter(|body| is_json(body)) else {
            return Err(Failure::new(class_of_broken_body, Some(status), "the answer is not JSON", usage));
        };
        match refusal(auth, status, &body) {
            Some((class, refusal)) => Err(Failure { class, refusal, usage }),
            None => Ok(Answer { body, usage }),
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| Broken::Network(network_trouble(e)))? {
            if body.len() + chunk.len() > self.max_body_bytes {
                return Err(Broken::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Once a client: the header comes with every answer.
    fn warn_of_old_version(&self, auth: &Authorization, headers: &HeaderMap) {
        if let Some(warning) = headers.get("x-ad-api-version-warning")
            && !self.version_warned.swap(true, Ordering::Relaxed)
        {
            let warning = auth.clean(&String::from_utf8_lossy(warning.as_bytes()));
            tracing::warn!(warning, "Meta warns of the API version; set META_API_VERSION to a current one");
        }
    }
}

enum Broken {
    TooLarge,
    Network(String),
}

fn is_json(body: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok()
}

/// The error in a body, or `None` when the status is good and there is none.
fn refusal(auth: &Authorization, status: u16, body: &str) -> Option<(Class, Refusal)> {
    let object = Object::parse(body);
    let field = object.as_ref().and_then(|object| object.get("error"));
    if field.is_none() && (200..300).contains(&status) {
        return None;
    }
    let error = field.and_then(|raw| Object::parse(raw.get()));
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
    let class = classify(status, code, subcode, is_transient, &message);
    let refusal = Refusal {
        status: Some(status),
        code,
        subcode,
        message: auth.clean(&message),
        fbtrace_id: text("fbtrace_id").map(|id| auth.clean(&id)),
    };
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
