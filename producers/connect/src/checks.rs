//! What must hold before an ad account is connected: named checks, each with what was seen and who must do what. The
//! web and the command line ask the same ones.

use accounts::{Expiry, FoundAdAccount, Tenant, check_currency_rule, check_timezone};
use chrono::NaiveDate;
use meta_api::{AccessToken, Error};
use serde::{Deserialize, Serialize};
use sqlx::PgExecutor;

use crate::directory::{Directory, TokenFacts, ToldBy};

/// More than any token has.
pub const MAX_TOKEN_BYTES: usize = 16 << 10;

/// Whether a text can be a token: one word, and no longer than any.
pub fn is_token_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_TOKEN_BYTES && !text.contains(char::is_whitespace)
}

/// The day that the checks ask results of: over in every time zone.
pub async fn day_to_ask_of(db: impl PgExecutor<'_>) -> sqlx::Result<NaiveDate> {
    sqlx::query_scalar!(r#"select (now() at time zone 'utc')::date - 2 as "date!""#).fetch_one(db).await
}

/// A check's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckName {
    /// The token is valid.
    Token,
    /// It may read ads.
    Scope,
    /// The ad account can be reached with it.
    AdAccount,
    /// Its results can be read.
    Insights,
    /// Its days are days of a time zone that we know.
    TimeZone,
    /// Its currency is the tenant's.
    Currency,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckState {
    Passed,
    Failed,
    /// What it needs was not there.
    NotAsked,
}

/// What a check saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: CheckName,
    pub state: CheckState,
    /// What is so; of a failure also who must do what.
    pub sentence: String,
}

/// The check list of one ad account.
#[derive(Debug, Clone)]
pub struct Examined {
    pub external_id: String,
    /// Each of [`CheckName::ALL`], in that order.
    pub checks: Vec<Check>,
    found: Option<FoundAdAccount>,
}

/// Checks ad accounts that are to be connected to one tenant with one token.
#[derive(Debug, Clone, Copy)]
pub struct Examination<'a> {
    pub directory: Directory<'a>,
    pub tenant: &'a Tenant,
    pub token: &'a AccessToken,
    /// A day that is over in every time zone.
    pub date: NaiveDate,
}

/// What is known of the token, or why nothing is.
pub type Known = Result<TokenFacts, Error>;

impl Examination<'_> {
    /// What is known of the token: asked once, however many ad accounts there are.
    pub async fn token(&self) -> Known {
        self.directory.token(self.token).await
    }

    /// The whole list of one ad account.
    pub async fn ad_account(&self, known: &Known, external_id: &str) -> Examined {
        let mut checks = of_token(known);
        if let Some(failed) = checks.iter().find(|check| check.state != CheckState::Passed) {
            let why = format!("Not asked while this is not mended: {}.", failed.name.title());
            return Examined::without_answers(external_id, checks, &why);
        }
        let (found, readable) = tokio::join!(
            self.directory.ad_account(self.token, external_id, self.tenant),
            self.directory.insights_readable(self.token, external_id, self.date),
        );
        checks.push(of_ad_account(&found));
        checks.push(of_insights(&readable));
        let found = match found {
            Ok(found) => found,
            Err(_) => {
                return Examined::without_answers(external_id, checks, "Not known: the ad account was not reached.");
            }
        };
        checks.push(of_time_zone(&found));
        checks.push(self.of_currency(&found));
        Examined { external_id: external_id.to_owned(), checks, found: Some(found) }
    }

    /// One check of the list, alone.
    pub async fn one(&self, external_id: &str, name: CheckName) -> Check {
        if matches!(name, CheckName::Token | CheckName::Scope) {
            let known = self.token().await;
            let asked = of_token(&known).into_iter().find(|check| check.name == name);
            return asked.unwrap_or_else(|| name.not_asked("Not asked."));
        }
        if name == CheckName::Insights {
            return of_insights(&self.directory.insights_readable(self.token, external_id, self.date).await);
        }
        match (name, self.directory.ad_account(self.token, external_id, self.tenant).await) {
            (CheckName::TimeZone, Ok(found)) => of_time_zone(&found),
            (CheckName::Currency, Ok(found)) => self.of_currency(&found),
            (CheckName::TimeZone | CheckName::Currency, Err(error)) => name.not_asked(&sentence(&error)),
            (_, found) => of_ad_account(&found),
        }
    }

    /// Why an ad account is not for this tenant, if it is not.
    pub(crate) fn foreign_currency(tenant: &Tenant, found: &FoundAdAccount) -> Option<String> {
        let currency = &found.currency;
        check_currency_rule(tenant.id, &tenant.currency, found).err().map(|_| {
            format!(
                "{} is in {currency}, and the tenant {} in {}: two currencies are never summed. Make a tenant in {currency}, \
                 and connect it there.",
                found.external_id, tenant.name, tenant.currency
            )
        })
    }

    fn of_currency(&self, found: &FoundAdAccount) -> Check {
        match Examination::foreign_currency(self.tenant, found) {
            None => CheckName::Currency.passed(format!("It is in {}, as the tenant.", found.currency)),
            Some(why) => CheckName::Currency.failed(why),
        }
    }
}

/// The two checks that are about the token alone.
pub(crate) fn of_token(known: &Known) -> Vec<Check> {
    let facts = match known {
        Ok(facts) => facts,
        Err(error) => {
            let not_asked = CheckName::Scope.not_asked("Not known while the token is not.");
            return vec![CheckName::Token.failed(sentence(error)), not_asked];
        }
    };
    if !facts.is_valid {
        let why = facts.problem.as_deref().unwrap_or("Meta gives no reason").trim_end_matches('.');
        let token = CheckName::Token
            .failed(format!("The token is not valid ({why}): sign in with Facebook again, or paste a new token."));
        return vec![token, CheckName::Scope.not_asked("A token that is not valid has none.")];
    }
    let seen = match (facts.told_by, facts.known.expiry) {
        (ToldBy::App, Expiry::At(at)) => {
            format!("Meta says that it is valid until {}.", at.format("%Y-%m-%d %H:%M UTC"))
        }
        (ToldBy::App, Expiry::Never) => "Meta says that it is valid and never expires.".to_owned(),
        (ToldBy::App, Expiry::Unknown) => "Meta says that it is valid, and not for how long.".to_owned(),
        (ToldBy::NoApp, _) => {
            "Meta answers it. How long it lasts can be asked only where META_APP_ID and META_APP_SECRET \
                               are set."
                .to_owned()
        }
        (ToldBy::OtherApp, _) => {
            "Meta answers it. It was made for another Meta app, so that nobody here is told how long it lasts."
                .to_owned()
        }
        (ToldBy::Stub, _) => "The stub takes any token.".to_owned(),
    };
    let data_access = match facts.known.data_access_expires_at {
        Some(at) => format!(" It gives data until {}, unless its user is there before.", at.format("%Y-%m-%d")),
        None => String::new(),
    };
    vec![CheckName::Token.passed(seen + &data_access), of_scopes(&facts.scopes)]
}

fn of_scopes(scopes: &[String]) -> Check {
    // Whoever may manage ads may read them.
    match ["ads_read", "ads_management"].into_iter().find(|wanted| scopes.iter().any(|scope| scope == wanted)) {
        Some(granted) => CheckName::Scope.passed(format!("{granted} was granted.")),
        None => CheckName::Scope.failed(
            "ads_read was not granted: whoever the token belongs to signs in again and leaves that permission on, or makes a \
             token that has it."
                .to_owned(),
        ),
    }
}

fn of_ad_account(found: &Result<FoundAdAccount, Error>) -> Check {
    match found {
        Ok(found) if matches!(found.status.as_str(), "active" | "unknown") => {
            CheckName::AdAccount.passed(format!("It is called {}.", found.name))
        }
        Ok(found) => CheckName::AdAccount.passed(format!(
            "It is called {}, which is {}: its old days can be read, new ones may not come.",
            found.name,
            found.status.replace('_', " ")
        )),
        Err(error) => CheckName::AdAccount.failed(sentence(error)),
    }
}

fn of_insights(readable: &Result<(), Error>) -> Check {
    match readable {
        Ok(()) => CheckName::Insights.passed("A day was read.".to_owned()),
        Err(error) => CheckName::Insights.failed(sentence(error)),
    }
}

fn of_time_zone(found: &FoundAdAccount) -> Check {
    match check_timezone(&found.timezone_name) {
        Ok(()) => CheckName::TimeZone.passed(format!("Its days are those of {}.", found.timezone_name)),
        Err(_) => CheckName::TimeZone.failed(format!(
            "Meta says {:?}, which this version of adledger does not know: whoever runs it installs a newer one, or reports it.",
            found.timezone_name
        )),
    }
}

/// An error as a sentence of its own.
fn sentence(error: &Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    format!("{}.", first.chain(chars).collect::<String>().trim_end_matches('.'))
}

impl Examined {
    /// A list that ends where nobody was asked any more.
    pub(crate) fn without_answers(external_id: &str, mut checks: Vec<Check>, why: &str) -> Examined {
        let rest = CheckName::ALL.into_iter().filter(|name| checks.iter().all(|check| check.name != *name));
        let rest: Vec<Check> = rest.map(|name| name.not_asked(why)).collect();
        checks.extend(rest);
        Examined { external_id: external_id.to_owned(), checks, found: None }
    }

    /// The ad account, if every check passed.
    pub fn passed(&self) -> Option<&FoundAdAccount> {
        self.found.as_ref().filter(|_| self.checks.iter().all(|check| check.state == CheckState::Passed))
    }

    /// As Meta describes it, where it was reached.
    pub(crate) fn name(&self) -> &str {
        self.found.as_ref().map_or(&self.external_id, |found| &found.name)
    }
}

impl CheckName {
    pub const ALL: [CheckName; 6] = [
        CheckName::Token,
        CheckName::Scope,
        CheckName::AdAccount,
        CheckName::Insights,
        CheckName::TimeZone,
        CheckName::Currency,
    ];

    pub fn title(self) -> &'static str {
        match self {
            CheckName::Token => "The token is valid",
            CheckName::Scope => "It has the permission ads_read",
            CheckName::AdAccount => "The ad account can be reached",
            CheckName::Insights => "Its results can be read",
            CheckName::TimeZone => "Its time zone is known",
            CheckName::Currency => "Its currency is the tenant's",
        }
    }

    /// As forms have it.
    pub fn as_str(self) -> &'static str {
        match self {
            CheckName::Token => "token",
            CheckName::Scope => "scope",
            CheckName::AdAccount => "ad_account",
            CheckName::Insights => "insights",
            CheckName::TimeZone => "time_zone",
            CheckName::Currency => "currency",
        }
    }

    fn passed(self, sentence: String) -> Check {
        Check { name: self, state: CheckState::Passed, sentence }
    }

    fn failed(self, sentence: String) -> Check {
        Check { name: self, state: CheckState::Failed, sentence }
    }

    pub(crate) fn not_asked(self, why: &str) -> Check {
        Check { name: self, state: CheckState::NotAsked, sentence: why.to_owned() }
    }
}

impl CheckState {
    /// In words; also the name of its style.
    pub fn word(self) -> &'static str {
        match self {
            CheckState::Passed => "passed",
            CheckState::Failed => "failed",
            CheckState::NotAsked => "not asked",
        }
    }

    pub(crate) fn class(self) -> &'static str {
        match self {
            CheckState::Passed => "passed",
            CheckState::Failed => "failed",
            CheckState::NotAsked => "not-asked",
        }
    }
}
