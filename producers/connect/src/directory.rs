//! Whom to ask about ad accounts that are to be connected: Meta, or in stub mode the stub.

use std::sync::Mutex;

use accounts::{Expiry, FoundAdAccount, KnownToken, Origin, Tenant};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use meta_api::{Access, AccessToken, App, Error, MetaApi, Progress};
use secrecy::SecretString;

/// Who answers.
#[derive(Debug, Clone, Copy)]
pub enum Directory<'a> {
    /// With the app, Meta also says how long a token of that app lives.
    Meta {
        api: &'a MetaApi,
        app: Option<&'a App>,
    },
    Stub,
}

/// What is known of a token.
#[derive(Debug, Clone)]
pub struct TokenFacts {
    pub is_valid: bool,
    /// Why it is not.
    pub problem: Option<String>,
    /// Such as `ads_read`.
    pub scopes: Vec<String>,
    /// Whose it is, and when it ends.
    pub known: KnownToken,
    pub told_by: ToldBy,
}

/// From where the facts of a token are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldBy {
    /// Meta tells the app about its own token.
    App,
    /// There is no app to ask as; that the token is good was seen by using it.
    NoApp,
    /// The token was made for another app, which alone is told when it expires.
    OtherApp,
    Stub,
}

/// A token that ends sooner is exchanged for a longer-lived one, where Meta gives one. Those that people find in Meta's
/// tools last for an hour or two.
const SHORT: TimeDelta = TimeDelta::days(10);

/// The ad accounts that a token sees.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    pub ad_accounts: Vec<FoundAdAccount>,
    /// Those that cannot be connected for what Meta says of them: id, and why.
    pub left_out: Vec<(String, String)>,
}

impl<'a> Directory<'a> {
    /// Meta where there is a client, and the stub where there is none.
    pub fn of(api: Option<&'a MetaApi>, app: Option<&'a App>) -> Directory<'a> {
        match api {
            Some(api) => Directory::Meta { api, app },
            None => Directory::Stub,
        }
    }

    /// Whether a token is good, and for what. One that is refused is an answer too.
    pub async fn token(&self, token: &SecretString) -> Result<TokenFacts, Error> {
        let Directory::Meta { api, app } = *self else {
            let (scopes, known) = (vec!["ads_read".to_owned()], KnownToken::default());
            return Ok(TokenFacts { is_valid: true, problem: None, scopes, known, told_by: ToldBy::Stub });
        };
        let facts = api.token_facts(app, token).await?;
        let told_by = match facts.told_by {
            meta_api::ToldBy::App => ToldBy::App,
            meta_api::ToldBy::NoApp => ToldBy::NoApp,
            meta_api::ToldBy::OtherApp => ToldBy::OtherApp,
        };
        // Of a token that was used, what it was used for is a part of the reason.
        let problem = match told_by {
            ToldBy::App => facts.problem.map(|refusal| refusal.message),
            _ => facts.trouble("the token's permissions").filter(|_| !facts.is_valid).map(|error| error.to_string()),
        };
        let expiry = match facts.expires_at {
            Some(at) => Expiry::At(at),
            None if facts.never_expires => Expiry::Never,
            None => Expiry::Unknown,
        };
        let data_access_expires_at = facts.data_access_expires_at;
        let known = KnownToken { app_id: facts.app_id, expiry, data_access_expires_at };
        Ok(TokenFacts { is_valid: facts.is_valid, problem, scopes: facts.scopes, known, told_by })
    }

    /// A longer-lived token in the place of one of our own app that ends soon, with what is known of it; `None` where
    /// there is none to be had: then the one that was brought is as good as it was.
    pub async fn prolonged(
        &self,
        token: &SecretString,
        facts: &TokenFacts,
        now: DateTime<Utc>,
    ) -> Option<(SecretString, TokenFacts)> {
        let Directory::Meta { api, app: Some(app) } = *self else { return None };
        let Expiry::At(end) = facts.known.expiry else { return None };
        if facts.told_by != ToldBy::App || !facts.is_valid || end - now > SHORT {
            return None;
        }
        let exchanged = async {
            let granted = api.long_lived(app, token).await?;
            let facts = self.token(&granted.token).await?;
            Ok::<_, Error>((granted.token, facts))
        };
        match exchanged.await {
            Ok((token, facts)) => {
                let is_later = match facts.known.expiry {
                    Expiry::At(at) => at > end,
                    Expiry::Never => true,
                    Expiry::Unknown => false,
                };
                (facts.is_valid && is_later).then_some((token, facts))
            }
            Err(error) => {
                tracing::warn!(%error, "a token was not exchanged for a longer-lived one; the one that was brought is kept");
                None
            }
        }
    }

    /// The token as it is sent: with the proof of our app's secret, where it is the app's.
    pub fn access(&self, token: &SecretString, app_id: Option<&str>) -> AccessToken {
        let app = match *self {
            Directory::Meta { app, .. } => app,
            Directory::Stub => None,
        };
        AccessToken::of(token.clone(), app_id, app)
    }

    /// Every ad account that the token sees, to its last page.
    pub async fn list(&self, token: &AccessToken, tenant: &Tenant) -> Result<Listing, Error> {
        let Directory::Meta { api, .. } = *self else {
            return Ok(Listing {
                ad_accounts: STUBS.iter().map(|stub| stub.found(tenant)).collect(),
                left_out: Vec::new(),
            });
        };
        let left_out = Mutex::default();
        let observer = |progress| {
            if let Progress::LeftOut { entry, reason } = progress {
                let mut left_out: std::sync::MutexGuard<'_, Vec<(String, String)>> =
                    left_out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                left_out.push((entry, reason));
            }
        };
        let ad_accounts = api.ad_accounts(token, &observer).await?.into_iter().map(found).collect();
        let left_out = left_out.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(Listing { ad_accounts, left_out })
    }

    /// One ad account. The stub has one of every id, and it fits the tenant unless [`list`](Self::list) says otherwise.
    pub async fn ad_account(
        &self,
        token: &AccessToken,
        external_id: &str,
        tenant: &Tenant,
    ) -> Result<FoundAdAccount, Error> {
        match *self {
            Directory::Meta { api, .. } => {
                let access = Access { token, external_id, gate: None, observer: &|_| () };
                Ok(found(api.ad_account(&access).await?))
            }
            Directory::Stub => {
                meta_api::check_ad_account_id(external_id)?;
                let listed = STUBS.iter().find(|stub| stub.external_id == external_id);
                Ok(listed.unwrap_or(&Stub { external_id, ..STUBS[0] }).found(tenant))
            }
        }
    }

    /// Proves with one day that results can be read.
    pub async fn insights_readable(
        &self,
        token: &AccessToken,
        external_id: &str,
        date: NaiveDate,
    ) -> Result<(), Error> {
        match *self {
            Directory::Meta { api, .. } => api.insights_readable(token, external_id, date).await,
            Directory::Stub => Ok(()),
        }
    }
}

fn found(ad_account: meta_api::AdAccount) -> FoundAdAccount {
    FoundAdAccount {
        origin: Origin::Meta,
        external_id: ad_account.external_id,
        name: ad_account.name,
        currency: ad_account.currency,
        timezone_name: ad_account.timezone_name,
        status: status_word(ad_account.account_status),
    }
}

/// Meta's `account_status` in words.
fn status_word(status: Option<i64>) -> String {
    let Some(status) = status else { return "unknown".into() };
    match status {
        1 => "active".into(),
        2 => "disabled".into(),
        3 => "unsettled".into(),
        7 => "risk_review".into(),
        8 => "pending_settlement".into(),
        9 => "grace_period".into(),
        100 => "pending_closure".into(),
        101 => "closed".into(),
        other => format!("status_{other}"),
    }
}

/// An ad account of the stub's.
struct Stub<'a> {
    external_id: &'a str,
    /// Of a currency that is not the tenant's.
    is_foreign: bool,
    status: &'static str,
}

/// Those that the stub lists: enough to meet what can be met with Meta.
const STUBS: [Stub<'static>; 5] = [
    Stub { external_id: "act_1000000001", is_foreign: false, status: "active" },
    Stub { external_id: "act_1000000002", is_foreign: false, status: "active" },
    Stub { external_id: "act_1000000003", is_foreign: true, status: "active" },
    Stub { external_id: "act_1000000004", is_foreign: false, status: "disabled" },
    Stub { external_id: "act_1000000005", is_foreign: false, status: "active" },
];

impl Stub<'_> {
    fn found(&self, tenant: &Tenant) -> FoundAdAccount {
        let foreign = if tenant.currency == "USD" { "EUR" } else { "USD" };
        FoundAdAccount {
            origin: Origin::Stub,
            external_id: self.external_id.to_owned(),
            name: format!("Stub ad account {}", self.external_id.trim_start_matches("act_")),
            currency: if self.is_foreign { foreign.to_owned() } else { tenant.currency.clone() },
            timezone_name: tenant.timezone.clone(),
            status: self.status.to_owned(),
        }
    }
}
