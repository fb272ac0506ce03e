use std::time::Duration;

use reqwest::Url;

/// The one host that tokens go to: graph-video and the like are for uploads, and graph.instagram.com and
/// graph.threads.net know no ads.
pub(crate) const META_HOST: &str = "graph.facebook.com";

/// What the client must know; the caller reads it from wherever settings come from.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `META_API_BASE_URL`: `https://graph.facebook.com`, or a loopback address (a fake, a tunnel).
    pub base_url: String,
    /// `META_API_UNSAFE_BASE_URL`: takes any other host too, and plain http to it. Whoever answers there gets every
    /// access token, and the app's secret.
    pub any_base_url: bool,
    /// `META_API_VERSION`: `v25.0`.
    pub api_version: String,
    /// `META_MAX_BACKOFF_SECONDS`: the longest single wait, also where a header asks for a longer one. The client then
    /// asks again sooner than the header said, and goes on waiting if it must.
    pub max_backoff: Duration,
    /// How often one question (one page) is asked before the client gives up on throttles.
    pub max_attempts: u32,
    /// The longest sum of waits within one call of this crate (one day with all its pages).
    pub max_total_wait: Duration,
    /// Rows a page, where the caller does not say.
    pub page_limit: u32,
    /// The most pages of one window.
    pub max_pages: u32,
    /// A report that does not move for so long is ordered anew, and so is one that takes longer than `report_within`.
    pub report_stuck_after: Duration,
    pub report_within: Duration,
    pub connect_timeout: Duration,
    /// From sending the question to the last byte of the answer.
    pub request_timeout: Duration,
    /// The largest body that is read; a larger page counts as too much data.
    pub max_body_bytes: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            base_url: format!("https://{META_HOST}"),
            any_base_url: false,
            api_version: "v25.0".into(),
            max_backoff: Duration::from_secs(60),
            max_attempts: 12,
            max_total_wait: Duration::from_secs(30 * 60),
            page_limit: 500,
            max_pages: 2_000,
            report_stuck_after: Duration::from_secs(5 * 60),
            report_within: Duration::from_secs(2 * 3600),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(120),
            max_body_bytes: 64 << 20,
        }
    }
}

/// A setting that the client cannot work with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "META_API_BASE_URL is {value:?}, which is no usable base URL ({reason}): set it to https://graph.facebook.com"
    )]
    BaseUrl { value: String, reason: &'static str },
    #[error(
        "META_API_BASE_URL is {value:?}, but plain http would show the token to the network: \
         use https, or http on a loopback address such as http://127.0.0.1:9999"
    )]
    PlainHttp { value: String },
    #[error(
        "META_API_BASE_URL is {value:?}, but access tokens and the app's secret go there, and none of them belongs \
         anywhere but with Meta: set it to https://graph.facebook.com, or to a loopback address; for a proxy of your own \
         that may see them, set META_API_UNSAFE_BASE_URL=1 as well"
    )]
    ForeignHost { value: String },
    #[error("META_API_VERSION is {value:?}, which is not a version of the Graph API: write it like v25.0")]
    Version { value: String },
    #[error("META_MAX_BACKOFF_SECONDS is 0, which would ask Meta again without a pause: set it to 1 or more")]
    NoBackoff,
    #[error("the HTTP client cannot be built: {0}")]
    Client(#[source] reqwest::Error),
}

impl ClientConfig {
    /// Checks the settings; returns `{base}/{version}/`.
    pub(crate) fn root(&self) -> Result<Url, ConfigError> {
        let bad = |reason| ConfigError::BaseUrl { value: self.base_url.clone(), reason };
        let mut url = Url::parse(&self.base_url).map_err(|_| bad("it does not parse as a URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            // The value is not shown: what stands before the @ may be a secret.
            return Err(ConfigError::BaseUrl { value: "…@…".into(), reason: "it holds a user name or a password" });
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("it holds a query or a fragment"));
        }
        let host = url.host_str().ok_or_else(|| bad("it names no host"))?;
        let value = || self.base_url.clone();
        match url.scheme() {
            "https" | "http" if is_loopback(host) || self.any_base_url => {}
            "https" if host == META_HOST => {}
            "https" => return Err(ConfigError::ForeignHost { value: value() }),
            "http" => return Err(ConfigError::PlainHttp { value: value() }),
            _ => return Err(bad("it is neither https nor http")),
        }
        if !is_version(&self.api_version) {
            return Err(ConfigError::Version { value: self.api_version.clone() });
        }
        if self.max_backoff.is_zero() {
            return Err(ConfigError::NoBackoff);
        }
        let path = format!("{}/{}/", url.path().trim_end_matches('/'), self.api_version);
        url.set_path(&path);
        Ok(url)
    }

    /// Whether tokens go to nobody but Meta and this machine.
    pub(crate) fn is_metas_or_near(&self) -> bool {
        ClientConfig { any_base_url: false, ..self.clone() }.root().is_ok()
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_version(text: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.len() <= 3 && s.bytes().all(|b| b.is_ascii_digit());
    text.strip_prefix('v').and_then(|v| v.split_once('.')).is_some_and(|(a, b)| digits(a) && digits(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_named_with_their_value() {
        for (base_url, api_version, said) in [
            ("http://graph.facebook.com", "v25.0", "META_API_BASE_URL is \"http://graph.facebook.com\""),
            ("http://192.168.1.5:80", "v25.0", "plain http would show the token"),
            ("http://127.0.0.1.example.com", "v25.0", "plain http would show the token"),
            ("graph.facebook.com", "v25.0", "META_API_BASE_URL is \"graph.facebook.com\""),
            ("", "v25.0", "META_API_BASE_URL is \"\""),
            ("ftp://graph.facebook.com", "v25.0", "neither https nor http"),
            ("ftp://127.0.0.1", "v25.0", "neither https nor http"),
            ("https://graph.facebook.com/?a=b", "v25.0", "a query"),
            ("https://graph.example.com", "v25.0", "META_API_UNSAFE_BASE_URL=1"),
            ("https://graph.facebook.com.example.com", "v25.0", "anywhere but with Meta"),
            ("https://graph.facebook.com@example.com", "v25.0", "a user name or a password"),
            ("https://facebook.com", "v25.0", "META_API_BASE_URL is \"https://facebook.com\""),
            ("https://evil-graph.facebook.com", "v25.0", "anywhere but with Meta"),
            ("https://graph.facebook.com.", "v25.0", "anywhere but with Meta"),
            ("https://10.0.0.1", "v25.0", "anywhere but with Meta"),
            ("https://134744072", "v25.0", "anywhere but with Meta"),
            ("https://[::2]", "v25.0", "anywhere but with Meta"),
            ("https://u:hunter2@graph.facebook.com", "v25.0", "a user name or a password"),
            ("https://graph.facebook.com", "25", "META_API_VERSION is \"25\""),
            ("https://graph.facebook.com", "v25.0/../x", "META_API_VERSION is \"v25.0/../x\""),
            ("https://graph.facebook.com", "", "META_API_VERSION is \"\""),
        ] {
            let config =
                ClientConfig { base_url: base_url.into(), api_version: api_version.into(), ..ClientConfig::default() };
            let error = config.root().unwrap_err().to_string();
            assert!(error.contains(said), "{base_url} {api_version}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_unsafe_flag_takes_any_host_and_nothing_else() {
        for (base_url, is_good, is_near) in [
            ("https://graph.example.com", true, false),
            ("http://fake-graph:9999", true, false),
            ("https://graph.facebook.com", true, true),
            ("http://127.0.0.1:9999", true, true),
            ("ftp://graph.example.com", false, false),
            ("https://u:p@graph.example.com", false, false),
            ("https://graph.example.com/?a=b", false, false),
        ] {
            let config = ClientConfig { base_url: base_url.into(), any_base_url: true, ..ClientConfig::default() };
            assert_eq!((config.root().is_ok(), config.is_metas_or_near()), (is_good, is_near), "{base_url}");
        }
    }

    #[test]
    fn good_settings_become_the_root_of_every_url() {
        for (base_url, root) in [
            ("https://graph.facebook.com", "https://graph.facebook.com/v25.0/"),
            ("https://graph.facebook.com/", "https://graph.facebook.com/v25.0/"),
            ("https://GRAPH.facebook.com:443", "https://graph.facebook.com/v25.0/"),
            ("https://127.0.0.1:1", "https://127.0.0.1:1/v25.0/"),
            ("http://127.0.0.1:9999/graph", "http://127.0.0.1:9999/graph/v25.0/"),
            ("http://localhost:1", "http://localhost:1/v25.0/"),
            ("http://[::1]:1", "http://[::1]:1/v25.0/"),
        ] {
            let config = ClientConfig { base_url: base_url.into(), ..ClientConfig::default() };
            assert_eq!(config.root().unwrap().as_str(), root);
        }
    }
}
