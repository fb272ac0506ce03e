use std::time::Duration;

use crate::authorization::Authorization;
use crate::config::{ClientConfig, ConfigError};
use crate::errors::Error;
use crate::patience::{Observer, Patience};
use crate::proof::AccessToken;
use crate::transport::{Answer, Transport};

/// The client. One serves any number of tokens and ad accounts at once, and keeps connections open.
#[derive(Debug)]
pub struct MetaApi {
    pub(crate) config: ClientConfig,
    pub(crate) transport: Transport,
}

impl MetaApi {
    /// Checks the settings and builds the HTTP client; sends nothing.
    ///
    /// # Panics
    /// When the process has installed no rustls provider; `src/` does that at boot, tests do it themselves.
    pub fn new(config: ClientConfig) -> Result<Self, ConfigError> {
        let transport = Transport::new(&config)?;
        if !config.is_metas_or_near() {
            let host = transport.host();
            tracing::warn!(host, "META_API_UNSAFE_BASE_URL is set: access tokens and the app secret go to this host");
        }
        Ok(MetaApi { config, transport })
    }

    pub(crate) fn patience<'a>(&'a self, about: String, observer: Observer<'a>) -> Patience<'a> {
        Patience::new(about, self.transport.host(), &self.config, observer)
    }

    /// For the questions of the connect flow, which somebody sits in front of.
    pub(crate) fn short_patience<'a>(&'a self, about: String, observer: Observer<'a>) -> Patience<'a> {
        self.patience(about, observer).at_most(SHORT_WAIT)
    }

    /// Asks until there is an answer, or a reason to stop asking.
    pub(crate) async fn ask(
        &self,
        auth: &Authorization,
        path: &str,
        query: &[(&str, String)],
        patience: &mut Patience<'_>,
    ) -> Result<Answer, Error> {
        loop {
            patience.pass().await?;
            match self.transport.get(auth, path, query).await {
                Ok(answer) => {
                    patience.answered(&answer.usage).await?;
                    return Ok(answer);
                }
                Err(failure) => patience.after(failure).await?,
            }
        }
    }

    /// Has something made, with a POST. An answer that got lost may have begun the work: it is asked for once more, and
    /// whoever asks must be able to live with two.
    pub(crate) async fn order(
        &self,
        auth: &Authorization,
        path: &str,
        form: &[(&str, String)],
        patience: &mut Patience<'_>,
    ) -> Result<Answer, Error> {
        loop {
            patience.pass().await?;
            match self.transport.post(auth, path, form).await {
                Ok(answer) => {
                    patience.answered(&answer.usage).await?;
                    return Ok(answer);
                }
                Err(failure) => patience.after(failure).await?,
            }
        }
    }
}

/// The sum of waits in a call of the connect flow: a throttle of minutes is said instead of waited for.
const SHORT_WAIT: Duration = Duration::from_secs(15);

/// What every question about an ad account begins with: the id, checked, for it becomes a part of the path.
pub(crate) fn authorize(token: &AccessToken, external_id: &str, about: &str) -> Result<Authorization, Error> {
    check_ad_account_id(external_id)?;
    Authorization::new(token, about)
}

/// Refuses what cannot be the id of an ad account.
pub fn check_ad_account_id(external_id: &str) -> Result<(), Error> {
    let id = external_id.strip_prefix("act_").unwrap_or_default();
    if id.is_empty() || id.len() > 64 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(Error::AdAccountId { value: external_id.into() });
    }
    Ok(())
}
