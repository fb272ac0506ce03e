use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use crate::authorization::{Authorization, check};
use crate::classify::{Class, Said};
use crate::client::MetaApi;
use crate::errors::{Error, Refusal};
use crate::json::Object;
use crate::list::List;
use crate::oauth::{App, of_app};
use crate::proof::AccessToken;
use crate::secrets::Secrets;
use crate::transport::{Carried, Failure, SecretCall};

/// What Meta knows about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFacts {
    pub told_by: ToldBy,
    pub is_valid: bool,
    /// The app that it was made for.
    pub app_id: Option<String>,
    /// `None` where it never expires, or where nobody says.
    pub expires_at: Option<DateTime<Utc>>,
    /// Meta said that it does not expire, as many tokens of system users.
    pub never_expires: bool,
    /// From when on Meta gives no data to it, 90 days after its user was last there; `None` where that does not end, or
    /// where nobody says.
    pub data_access_expires_at: Option<DateTime<Utc>>,
    /// The permissions that were granted, such as `ads_read`.
    pub scopes: Vec<String>,
    /// What Meta says is wrong with one that is not valid, with the token taken out.
    pub problem: Option<Refusal>,
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
}

/// Either of them lets a token read ads: whoever may manage ads may read them.
const READS_ADS: [&str; 2] = ["ads_read", "ads_management"];

impl TokenFacts {
    /// Why ads cannot be read with it, whatever the ad account; `None` where they can.
    pub fn trouble(&self, about: &str) -> Option<Error> {
        let about = about.to_owned();
        if !self.is_valid {
            let refusal = self.problem.clone().unwrap_or_else(|| refused(Class::Token, "no message"));
            return Some(Error::Token { about, refusal: refusal.into() });
        }
        let reads_ads = READS_ADS.iter().any(|wanted| self.scopes.iter().any(|scope| scope == wanted));
        let message = "ads_read is not among the permissions that were granted";
        (!reads_ads).then(|| Error::Permission { about, refusal: refused(Class::Permission, message).into() })
    }
}

impl MetaApi {
    /// What can be known of a token: from Meta's own word to the app that it was made for, or else by using it. One
    /// that is not valid is an answer too.
    pub async fn token_facts(&self, app: Option<&App>, token: &SecretString) -> Result<TokenFacts, Error> {
        let told_by = match app {
            None => ToldBy::NoApp,
            Some(app) => match self.debug_token(app, token).await {
                Err(Error::OtherApp { .. }) => ToldBy::OtherApp,
                known => return known,
            },
        };
        let (scopes, problem) = match self.permissions(&token.clone().into()).await {
            Ok(scopes) => (scopes, None),
            Err(Error::Token { refusal, .. }) => (Vec::new(), Some(*refusal)),
            Err(error) => return Err(error),
        };
        Ok(TokenFacts {
            told_by,
            is_valid: problem.is_none(),
            app_id: None,
            expires_at: None,
            never_expires: false,
            data_access_expires_at: None,
            scopes,
            problem,
        })
    }

    /// Asks Meta about a token of this app. A token that is not valid is an answer too.
    ///
    /// Meta takes the token in the query only, and tells an app about its own tokens only: one of another app is
    /// [`Error::OtherApp`], and [`permissions`](Self::permissions) is what can be asked about it.
    pub async fn debug_token(&self, app: &App, token: &SecretString) -> Result<TokenFacts, Error> {
        let mut patience = self.short_patience("the facts of a token".into(), &|_| ());
        let header = app.bearer()?;
        check(token, &patience.about)?;
        let secrets = Secrets::new([(token, "[token]"), (&app.app_secret, "[app secret]")]);
        let query = [("input_token", token.expose_secret())];
        let call = SecretCall { path: "debug_token", secrets: &secrets, carried: Carried::Query(&query, header) };
        let answer = self.ask_as_app(&call, &mut patience, |failure| of_check(app, failure)).await?;
        read_facts(&answer.text().text)
            .map_err(|(field, problem)| Error::Unreadable {
                about: "the facts of a token".into(),
                field: field.into(),
                problem: problem.into(),
            })
            .map(|facts| TokenFacts {
                problem: facts.problem.map(|mut problem| {
                    problem.message = secrets.clean(&problem.message);
                    problem
                }),
                app_id: facts.app_id.map(|text| secrets.clean(&text)),
                scopes: facts.scopes.iter().map(|text| secrets.clean(text)).collect(),
                ..facts
            })
    }

    /// The permissions that the token's user has granted, such as `ads_read`; for a token of an app whose secret is not
    /// known.
    pub async fn permissions(&self, token: &AccessToken) -> Result<Vec<String>, Error> {
        let about = "the token's permissions";
        let auth = Authorization::new(token, about)?;
        let mut patience = self.short_patience(about.into(), &|_| ());
        let list = List {
            auth: &auth,
            path: "me/permissions",
            fields: "permission,status",
            page_limit: 100,
            max_pages: self.config.max_pages.min(10),
        };
        let rows = list.read(self, &mut patience).await?;
        Ok(rows.iter().filter_map(|row| granted(row)).map(|permission| auth.clean(&permission)).collect())
    }
}

/// A refusal that no answer of Meta's holds.
fn refused(class: Class, message: &str) -> Refusal {
    Refusal::of(class, &Said::default(), message)
}

fn granted(row: &str) -> Option<String> {
    let row = Object::parse(row)?;
    (row.text("status").as_deref() == Some("granted")).then(|| row.text("permission"))?
}

/// What a failure means that is not the token's own. The call is made with the app's id and secret, so that a token
/// which Meta refuses is the one made of these.
fn of_check(app: &App, failure: &Failure) -> Option<Error> {
    let refusal = failure.refusal.clone();
    if refusal.message.to_ascii_lowercase().contains("viewing app") {
        return Some(Error::OtherApp { app_id: app.app_id.clone(), refusal });
    }
    // The question is the app's own: what it may not ask, no token of anybody's is to blame for.
    if matches!(failure.class, Class::Token | Class::Permission) {
        return Some(Error::App { app_id: app.app_id.clone(), refusal });
    }
    of_app(app, failure)
}

/// The facts in an answer; else the field that spoils it, and what is wrong in words that follow its name.
fn read_facts(body: &str) -> Result<TokenFacts, (&'static str, &'static str)> {
    let object = Object::parse(body).ok_or(("the answer", "is not a JSON object"))?;
    let data = object.object("data").ok_or(("data", "is missing or no object"))?;
    let is_valid = match data.get("is_valid").map(RawValue::get) {
        Some("true") => true,
        Some("false") => false,
        _ => return Err(("is_valid", "is neither true nor false")),
    };
    let (expires_at, never_expires) = match instant(&data, "expires_at")? {
        Some(None) => (None, true),
        Some(at) => (at, false),
        None => (None, false),
    };
    let data_access_expires_at = instant(&data, "data_access_expires_at")?.flatten();
    let scopes = match data.get("scopes") {
        None => Vec::new(),
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| ("scopes", "is not a list of texts"))?,
    };
    let problem = data.object("error").filter(|_| !is_valid).map(|error| {
        let said = Said { code: error.integer("code"), subcode: error.integer("subcode"), ..Said::default() };
        Refusal::of(Class::Token, &said, error.text("message").unwrap_or_else(|| "no message".into()))
    });
    Ok(TokenFacts {
        told_by: ToldBy::App,
        is_valid,
        app_id: data.text("app_id"),
        expires_at,
        never_expires,
        data_access_expires_at,
        scopes,
        problem,
    })
}

/// An instant in whole seconds; `Some(None)` where it is 0, which says that it never comes.
fn instant(
    data: &Object<'_>,
    field: &'static str,
) -> Result<Option<Option<DateTime<Utc>>>, (&'static str, &'static str)> {
    if data.get(field).is_none() {
        return Ok(None);
    }
    match data.integer(field) {
        Some(0) => Ok(Some(None)),
        Some(seconds) => {
            let at = DateTime::from_timestamp(seconds, 0);
            at.map(|at| Some(Some(at))).ok_or((field, "is further away than any calendar goes"))
        }
        None => Err((field, "is not a whole number of seconds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_as_meta_writes_them() {
        let facts = |body| read_facts(body).unwrap();
        let good = facts(
            r#"{"data":{"app_id":"12","type":"USER","expires_at":1767225600,"is_valid":true,"scopes":["ads_read"]}}"#,
        );
        assert_eq!(good.expires_at.unwrap().to_rfc3339(), "2026-01-01T00:00:00+00:00");
        assert_eq!((good.app_id.as_deref(), good.scopes.as_slice()), (Some("12"), ["ads_read".to_owned()].as_slice()));
        assert!(good.is_valid && good.problem.is_none());
        assert!(!good.never_expires && good.data_access_expires_at.is_none());
        let never = facts(r#"{"data":{"app_id":12,"expires_at":0,"data_access_expires_at":0,"is_valid":true}}"#);
        assert_eq!((never.app_id.as_deref(), never.expires_at, never.scopes.len()), (Some("12"), None, 0));
        assert!(never.never_expires && never.data_access_expires_at.is_none());
        let system = facts(r#"{"data":{"expires_at":0,"data_access_expires_at":1767225600,"is_valid":true}}"#);
        assert_eq!(system.data_access_expires_at, good.expires_at);
        let unsaid = facts(r#"{"data":{"is_valid":true}}"#);
        assert!(unsaid.expires_at.is_none() && !unsaid.never_expires, "what nobody said is not never");
        let bad =
            facts(r#"{"data":{"error":{"code":190,"subcode":463,"message":"gone"},"is_valid":false,"scopes":[]}}"#);
        let problem = bad.problem.clone().unwrap();
        assert_eq!((bad.is_valid, problem.message.as_str(), bad.app_id.clone()), (false, "gone", None));
        assert_eq!((problem.code, problem.subcode), (Some(190), Some(463)));
        assert!(bad.trouble("x").unwrap().to_string().contains("has expired"));
        assert!(good.trouble("x").is_none());
        assert_eq!(system.trouble("x").unwrap().class(), "permission");
    }

    #[test]
    fn what_is_wrong_with_an_answer_is_named() {
        for (body, field) in [
            ("[]", "the answer"),
            ("{}", "data"),
            (r#"{"data":{}}"#, "is_valid"),
            (r#"{"data":{"is_valid":"yes"}}"#, "is_valid"),
            (r#"{"data":{"is_valid":true,"expires_at":"soon"}}"#, "expires_at"),
            (r#"{"data":{"is_valid":true,"expires_at":9223372036854775807}}"#, "expires_at"),
            (r#"{"data":{"is_valid":true,"data_access_expires_at":"soon"}}"#, "data_access_expires_at"),
            (r#"{"data":{"is_valid":true,"scopes":"ads_read"}}"#, "scopes"),
        ] {
            assert_eq!(read_facts(body).unwrap_err().0, field, "{body}");
        }
    }
}
