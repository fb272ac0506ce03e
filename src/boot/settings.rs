mod web;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use accounts::{Integration, KeyRing, KeyRingError, Origin};
use chrono::{DateTime, Utc};
use insights::source::Asked;
use insights::{Clock, Sources};
use jetstream::topology;
use meta_api::{ClientConfig, MetaApi};
use reqwest::Url;
use secrecy::SecretString;

use super::Place;

/// Every setting, read and checked. An empty variable counts as one that is not set.
pub struct Settings {
    pub database_url: Option<SecretString>,
    pub nats_url: Option<String>,
    /// The text of the credentials file that `NATS_CREDS` names.
    pub nats_creds: Option<SecretString>,
    pub limits: topology::Limits,
    pub lease: Duration,
    /// Sync runs that one process works on at a time.
    pub fetch_workers: usize,
    pub http_addr: SocketAddr,
    /// The collector that traces go to; none are kept without one.
    pub otlp_endpoint: Option<Url>,
    pub log_format: LogFormat,
    pub rust_log: Option<String>,
    pub asked: Asked,
    /// The web side's.
    pub web: connect::Settings,
    /// How often the schedule asks for the fresh days by itself.
    pub schedule_fresh: Option<Duration>,
    pub cache_dir: PathBuf,
    pub search_path: OsString,
    secret_keys: Option<SecretString>,
    client: ClientConfig,
    stub: bool,
    stub_now: Option<DateTime<Utc>>,
    demo: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Pretty,
    Json,
}

/// How long one answer of Meta's may take, and waiting for it, where somebody sits in front of it.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// The values of Meta's `ad.effective_status`.
const EFFECTIVE_STATUSES: [&str; 12] = [
    "ACTIVE",
    "PAUSED",
    "DELETED",
    "PENDING_REVIEW",
    "DISAPPROVED",
    "PREAPPROVED",
    "PENDING_BILLING_INFO",
    "CAMPAIGN_PAUSED",
    "ARCHIVED",
    "ADSET_PAUSED",
    "IN_PROCESS",
    "WITH_ISSUES",
];

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn variable(name: &str) -> Result<Option<String>, String> {
    match std::env::var(name) {
        Ok(value) if value.trim().is_empty() => Ok(None),
        Ok(value) => Ok(Some(value.trim().to_owned())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8: set it anew")),
    }
}

/// A variable that holds a number within a range.
fn optional_number(name: &str, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, String> {
    let Some(text) = variable(name)? else { return Ok(None) };
    let number = text.parse().ok().filter(|number| range.contains(number));
    number
        .map(Some)
        .ok_or_else(|| format!("{name} is {text:?}: write a whole number from {} to {}", range.start(), range.end()))
}

fn number(name: &str, default: u64, range: std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    Ok(optional_number(name, range)?.unwrap_or(default))
}

fn flag(name: &str) -> Result<bool, String> {
    switch(name, false)
}

fn switch(name: &str, default: bool) -> Result<bool, String> {
    match variable(name)?.as_deref() {
        None => Ok(default),
        Some("0" | "false") => Ok(false),
        Some("1" | "true") => Ok(true),
        Some(other) => Err(format!("{name} is {other:?}: write true or false (or 1 or 0)")),
    }
}

impl Settings {
    /// Reads all of them, also those that this command does not use: a typo shows at once.
    ///
    /// The demo is the stub's, whatever is set.
    pub fn read(place: &Place, demo: bool) -> Result<Settings, String> {
        let log_format = match variable("LOG_FORMAT")?.as_deref() {
            None | Some("pretty") => LogFormat::Pretty,
            Some("json") => LogFormat::Json,
            Some(other) => return Err(format!("LOG_FORMAT is {other:?}: write pretty or json")),
        };
        let nats_creds = match variable("NATS_CREDS")? {
            None => None,
            Some(path) => Some(
                std::fs::read_to_string(&path)
                    .map_err(|error| {
                        format!("NATS_CREDS names {path:?}, which cannot be read ({error}): name a .creds file")
                    })?
                    .into(),
            ),
        };
        let client = client()?;
        let http_addr = http_addr()?;
        let database_url = url("DATABASE_URL", &["postgres", "postgresql"])?.map(SecretString::from);
        let stub = flag("META_STUB_MODE")? || demo;
        Ok(Settings {
            database_url,
            nats_url: url("NATS_URL", &["nats", "tls"])?,
            nats_creds,
            limits: topology::Limits {
                log_max_bytes: optional_number("ADLEDGER_LOG_MAX_BYTES", 0..=i64::MAX as u64)?
                    .map(|bytes| i64::try_from(bytes).ok().filter(|bytes| *bytes > 0).unwrap_or(-1)),
                replicas: optional_number("NATS_REPLICAS", 1..=5)?.and_then(|replicas| usize::try_from(replicas).ok()),
                warehouse_max_age: optional_number("ADLEDGER_WAREHOUSE_MAX_AGE_DAYS", 0..=36_500)?
                    .map(|days| Duration::from_secs(days * 86_400)),
            },
            lease: Duration::from_secs(number("ADLEDGER_LEASE_SECONDS", 15, 3..=3600)?),
            fetch_workers: usize::try_from(number("ADLEDGER_FETCH_WORKERS", 4, 1..=64)?).unwrap_or(1),
            http_addr,
            web: web::read(http_addr)?,
            schedule_fresh: web::schedule_fresh(demo)?,
            otlp_endpoint: otlp_endpoint()?,
            log_format,
            rust_log: variable("RUST_LOG")?,
            asked: asked(&client.api_version)?,
            cache_dir: cache_dir(place)?,
            #[expect(clippy::disallowed_methods, reason = "a PATH need not be UTF-8; this file reads the environment")]
            search_path: std::env::var_os("PATH").unwrap_or_default(),
            secret_keys: variable("ADLEDGER_SECRET_KEYS")?.map(Into::into),
            client,
            stub,
            stub_now: stub_now(stub)?,
            demo,
        })
    }

    /// The key ring with which a token of Meta's may be sealed: a demo's own is for the stub's tokens.
    pub fn own_key_ring(&self, place: &Place) -> Result<KeyRing, KeyRingError> {
        if self.secret_keys.is_none() && !self.stub { Err(KeyRingError::Missing) } else { self.key_ring(place) }
    }

    /// The key ring; in a demo's folder the demo's, where none is set.
    pub fn key_ring(&self, place: &Place) -> Result<KeyRing, KeyRingError> {
        let of_demo = || place.demo_key_ring().filter(|_| self.demo || self.database_url.is_none());
        let setting = self.secret_keys.clone().or_else(of_demo).ok_or(KeyRingError::Missing)?;
        KeyRing::parse(&setting)
    }

    /// Whom this process may ask: in stub mode the stub alone.
    pub fn sources(&self) -> Result<Sources, meta_api::ConfigError> {
        let meta = if self.stub { None } else { Some(MetaApi::new(self.client.clone())?) };
        Ok(Sources { meta })
    }

    /// Meta for the connect flow, which somebody sits in front of: a throttle of minutes is said instead of waited for.
    /// `None` in stub mode.
    pub fn directory(&self) -> Result<Option<MetaApi>, meta_api::ConfigError> {
        let client = ClientConfig {
            max_total_wait: self.client.max_total_wait.min(ANSWER_WITHIN),
            request_timeout: self.client.request_timeout.min(ANSWER_WITHIN),
            ..self.client.clone()
        };
        if self.stub { Ok(None) } else { MetaApi::new(client).map(Some) }
    }

    /// Whether no request leaves this process.
    pub fn is_stub(&self) -> bool {
        self.stub
    }

    /// In stub mode nobody answers for an integration of Meta's.
    pub fn check_answers(&self, integration: &Integration) -> Result<(), String> {
        match integration.origin {
            Origin::Meta if self.stub => Err(format!(
                "integration {} is Meta's, and META_STUB_MODE=1 lets no request out: unset it",
                integration.id
            )),
            _ => Ok(()),
        }
    }

    /// How long a throttle is waited out with the run in hand.
    pub fn max_backoff(&self) -> Duration {
        self.client.max_backoff
    }

    pub fn clock(&self) -> Clock {
        self.stub_now.map_or(Clock::System, Clock::Fixed)
    }
}

/// A URL of one of these schemes. What is wrong with it is said without showing it: it holds a password.
fn url(name: &str, schemes: &[&str]) -> Result<Option<String>, String> {
    let Some(text) = variable(name)? else { return Ok(None) };
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    if scheme.is_some_and(|scheme| schemes.contains(&scheme)) {
        return Ok(Some(text));
    }
    Err(format!("{name} is no {0} URL: write it like {0}://user:password@host:port/…", schemes[0]))
}

fn http_addr() -> Result<SocketAddr, String> {
    let text = variable("HTTP_ADDR")?.unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    text.parse().map_err(|_| {
        format!("HTTP_ADDR is {text:?}: write an IP address and a port, such as 127.0.0.1:8080 or [::]:8080")
    })
}

fn otlp_endpoint() -> Result<Option<Url>, String> {
    let name = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let Some(text) = url(name, &["http", "https"])? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| format!("{name} is no URL: write it like http://127.0.0.1:4318"))
}

fn client() -> Result<ClientConfig, String> {
    let default = ClientConfig::default();
    Ok(ClientConfig {
        base_url: variable("META_API_BASE_URL")?.unwrap_or(default.base_url),
        any_base_url: flag("META_API_UNSAFE_BASE_URL")?,
        api_version: variable("META_API_VERSION")?.unwrap_or(default.api_version),
        max_backoff: Duration::from_secs(number("META_MAX_BACKOFF_SECONDS", 60, 1..=3600)?),
        report_stuck_after: Duration::from_secs(number("META_REPORT_STUCK_SECONDS", 300, 5..=7200)?),
        ..ClientConfig::default()
    })
}

fn asked(api_version: &str) -> Result<Asked, String> {
    let mut asked = Asked { api_version: api_version.to_owned(), ..Asked::default() };
    let list =
        |text: String| text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect();
    if let Some(text) = variable("META_EFFECTIVE_STATUS")? {
        asked.query.effective_status = if text.eq_ignore_ascii_case("all") {
            None
        } else {
            let statuses: Vec<String> = list(text);
            if let Some(unknown) = statuses.iter().find(|status| !EFFECTIVE_STATUSES.contains(&status.as_str())) {
                let known = EFFECTIVE_STATUSES.join(", ");
                return Err(format!(
                    "META_EFFECTIVE_STATUS holds {unknown:?}, which is no status of Meta's: write all, or some of {known}"
                ));
            }
            Some(statuses)
        };
    }
    if let Some(text) = variable("META_ATTRIBUTION_WINDOWS")? {
        asked.query.attribution_windows = list(text);
        let windows = &asked.query.attribution_windows;
        if let Some(unknown) = windows.iter().find(|window| !accounts::is_attribution_window(window)) {
            return Err(format!(
                "META_ATTRIBUTION_WINDOWS holds {unknown:?}: write windows such as 1d_click,7d_click,1d_view"
            ));
        }
    }
    Ok(asked)
}

/// Where fetched servers are kept for this user.
fn cache_dir(place: &Place) -> Result<PathBuf, String> {
    let base = match (variable("XDG_CACHE_HOME")?, variable("HOME")?) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".cache"),
        (None, None) => place.data_dir().join("cache"),
    };
    Ok(base.join("adledger").join("servers"))
}

/// `ADLEDGER_STUB_NOW`: the stub on another day. With Meta it would fetch days that are not over.
fn stub_now(stub: bool) -> Result<Option<DateTime<Utc>>, String> {
    let Some(text) = variable("ADLEDGER_STUB_NOW")? else { return Ok(None) };
    let now = DateTime::parse_from_rfc3339(&text)
        .map_err(|_| format!("ADLEDGER_STUB_NOW is {text:?}: write an instant such as 2026-12-01T12:00:00Z"))?;
    if stub {
        Ok(Some(now.to_utc()))
    } else {
        Err("ADLEDGER_STUB_NOW moves the stub's clock: set META_STUB_MODE=1 too".into())
    }
}
