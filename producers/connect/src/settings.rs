use std::net::SocketAddr;
use std::time::Duration;

use axum::http::Uri;
use ipnet::IpNet;
use meta_api::App;
use secrecy::SecretString;

use crate::access::password;

/// What the web side has to know, read from wherever settings come from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `ADLEDGER_PUBLIC_URL`: where browsers reach this service, without a slash at its end. `None`: where it listens.
    pub public_url: Option<String>,
    /// `HTTP_ADDR`.
    pub listens_at: SocketAddr,
    /// `ADLEDGER_TRUSTED_PROXIES`: who is believed when it says for whom it asks, in `X-Forwarded-For`.
    pub trusted_proxies: Vec<IpNet>,
    /// `ADLEDGER_ADMIN_PASSWORD_HASH`, as argon2 writes it. Without one, whoever reaches the service is let in.
    pub admin_password_hash: Option<SecretString>,
    /// `META_APP_ID` and `META_APP_SECRET`: without them a token can only be pasted.
    pub app: Option<App>,
    /// `META_JOBS_ENABLED`.
    pub jobs_enabled: bool,
    /// `META_FRESH_SCHED_MINUTES`.
    pub fresh_cooldown: Duration,
    /// `META_CRON_SECRET`, or else `CRON_SECRET`.
    pub cron_secret: Option<SecretString>,
}

/// Settings with which the web side must not start.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    #[error(
        "HTTP_ADDR {address} can be reached from other machines, and ADLEDGER_ADMIN_PASSWORD_HASH is not set, so that anybody \
         there could connect ad accounts: set it (`adledger password` makes one), or listen at 127.0.0.1"
    )]
    OpenToAll { address: SocketAddr },
    #[error(
        "ADLEDGER_PUBLIC_URL is not a loopback address, and ADLEDGER_ADMIN_PASSWORD_HASH is not set, so that whoever comes \
         through it could connect ad accounts: set it (`adledger password` makes one)"
    )]
    PublicWithoutPassword,
    #[error(
        "ADLEDGER_ADMIN_PASSWORD_HASH is not what argon2 writes ($argon2id$v=19$m=…,t=…,p=…$salt$hash): `adledger password` makes one"
    )]
    PasswordHash,
    #[error(
        "ADLEDGER_PUBLIC_URL is {value:?}: write where browsers reach this service, such as https://ads.example.com, without a \
         path, a query or a user"
    )]
    PublicUrl { value: String },
    #[error(
        "ADLEDGER_PUBLIC_URL is {value:?}: over plain http the session's cookie can be read on the way; use https, or a loopback \
         address there and in HTTP_ADDR"
    )]
    PlainHttp { value: String },
}

impl Settings {
    /// Refuses what is unsafe.
    pub fn check(&self) -> Result<(), SettingsError> {
        if let Some(hash) = &self.admin_password_hash {
            password::check_hash(hash).map_err(|_| SettingsError::PasswordHash)?;
        } else if !self.listens_at.ip().is_loopback() {
            return Err(SettingsError::OpenToAll { address: self.listens_at });
        }
        let Some(value) = self.public_url.clone() else { return Ok(()) };
        let uri: Uri = value.parse().map_err(|_| SettingsError::PublicUrl { value: value.clone() })?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(SettingsError::PublicUrl { value });
        };
        let has_path = value.ends_with('/') || uri.path() != "/";
        if has_path || uri.query().is_some() || value.contains(['@', '#']) {
            return Err(SettingsError::PublicUrl { value });
        }
        let local = is_loopback(authority.host());
        match scheme {
            "https" | "http" if !local && self.admin_password_hash.is_none() => {
                Err(SettingsError::PublicWithoutPassword)
            }
            "https" => Ok(()),
            "http" if local && self.listens_at.ip().is_loopback() => Ok(()),
            "http" => Err(SettingsError::PlainHttp { value }),
            _ => Err(SettingsError::PublicUrl { value }),
        }
    }

    /// Where browsers reach this service: every redirect address is made from it, and none from a request.
    pub fn base_url(&self) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("http://{}", self.listens_at))
    }

    /// The one address that Meta's dialog may send people back to.
    pub fn redirect_uri(&self) -> String {
        format!("{}/connect/meta/oauth/callback", self.base_url())
    }

    /// Whether it is known where browsers reach this service: beyond loopback only where a setting says so.
    pub(crate) fn knows_its_address(&self) -> bool {
        self.public_url.is_some() || self.listens_at.ip().is_loopback()
    }

    /// Whether cookies must never travel in the open: always, unless they cannot leave this machine.
    pub fn secure_cookies(&self) -> bool {
        match &self.public_url {
            Some(url) => !url.starts_with("http://"),
            None => !self.listens_at.ip().is_loopback(),
        }
    }
}

/// Whether a host's name stands for this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the password "correct horse", with little work.
    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA";

    fn settings(listens_at: &str, public_url: Option<&str>, hash: Option<&str>) -> Settings {
        Settings {
            public_url: public_url.map(str::to_owned),
            listens_at: listens_at.parse().unwrap(),
            trusted_proxies: Vec::new(),
            admin_password_hash: hash.map(|hash| hash.to_owned().into()),
            app: None,
            jobs_enabled: true,
            fresh_cooldown: Duration::from_secs(3600),
            cron_secret: None,
        }
    }

    #[test]
    fn what_is_open_to_others_needs_a_password_and_https() {
        let (local, far) = ("127.0.0.1:8080", "0.0.0.0:8080");
        for (listens_at, public_url, hash, refused, secure) in [
            (local, None, None, None, false),
            ("[::1]:8080", None, None, None, false),
            (local, Some("http://localhost:8080"), None, None, false),
            (local, Some("https://ads.example.com"), Some(HASH), None, true),
            (far, None, Some(HASH), None, true),
            (far, None, None, Some("HTTP_ADDR"), true),
            (far, Some("https://ads.example.com"), None, Some("HTTP_ADDR"), true),
            (local, Some("https://ads.example.com"), None, Some("PUBLIC_URL is not a loopback"), true),
            (local, Some("http://ads.example.com"), Some(HASH), Some("plain http"), false),
            (local, Some("http://127.0.0.1.example.com"), Some(HASH), Some("plain http"), false),
            (local, Some("https://ads.example.com/"), Some(HASH), Some("PUBLIC_URL is"), true),
            (far, Some("http://localhost:8080"), Some(HASH), Some("plain http"), true),
            (local, Some("https://ads.example.com/ads"), Some(HASH), Some("PUBLIC_URL is"), true),
            (local, Some("https://ads.example.com/?a"), Some(HASH), Some("PUBLIC_URL is"), true),
            (local, Some("https://me@ads.example.com"), Some(HASH), Some("PUBLIC_URL is"), true),
            (local, Some("ads.example.com"), Some(HASH), Some("PUBLIC_URL is"), true),
            (local, None, Some("hunter2"), Some("not what argon2 writes"), false),
        ] {
            let settings = settings(listens_at, public_url, hash);
            let said = settings.check().err().map(|error| error.to_string());
            match (&said, refused) {
                (None, None) => assert_eq!(settings.secure_cookies(), secure, "{listens_at} {public_url:?}"),
                (Some(said), Some(refused)) => assert!(said.contains(refused), "{said}"),
                _ => panic!("{listens_at} {public_url:?} {hash:?}: {said:?}"),
            }
        }
    }
}
