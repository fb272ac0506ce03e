//! Whom to ask about ad accounts that are to be connected: Meta, or in stub mode the stub.

use std::sync::Mutex;

use accounts::{FoundAdAccount, Origin, Tenant};
use chrono::{DateTime, NaiveDate, Utc};
use meta_api::{Access, App, Error, MetaApi, Progress};
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
    /// `None` where it never expires, or where nobody says: [`told_by`](Self::told_by) tells these apart.
    pub expires_at: Option<DateTime<Utc>>,
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
        let (api, app) = match *self {
            Directory::Meta { api, app } => (api, app),
            Directory::Stub => {
                let scopes = vec!["ads_read".to_owned()];
                let (is_valid, problem, expires_at) = (true, None, None);
                return Ok(TokenFacts { is_valid, problem, scopes, expires_at, told_by: ToldBy::Stub });
            }
        };
        let told_by = match app {
            None => ToldBy::NoApp,
            Some(app) => match api.debug_token(app, token).await {
                Ok(facts) => {
                    let meta_api::TokenFacts { is_valid, expires_at, scopes, problem, .. } = facts;
                    return Ok(TokenFacts { is_valid, problem, scopes, expires_at, told_by: ToldBy::App });
                }
                Err(Error::OtherApp { .. }) => ToldBy::OtherApp,
                Err(error) => return Err(error),
            },
        };
        let (is_valid, problem, scopes) = match api.permissions(token).await {
            Ok(scopes) => (true, None, scopes),
            Err(error @ Error::Token { .. }) => (false, Some(error.to_string()), Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(TokenFacts { is_valid, problem, scopes, expires_at: None, told_by })
    }

    /// Every ad account that the token sees, to its last page.
    pub async fn list(&self, token: &SecretString, tenant: &Tenant) -> Result<Listing, Error> {
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
        token: &SecretString,
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
        token: &SecretString,
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
