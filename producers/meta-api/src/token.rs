use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use crate::authorization::Authorization;
use crate::classify::Class;
use crate::client::MetaApi;
use crate::errors::Error;
use crate::json::Object;
use crate::list::List;
use crate::oauth::{App, of_app};
use crate::secrets::Secrets;
use crate::transport::{Carried, Failure, SecretCall};

/// What Meta knows about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFacts {
    pub is_valid: bool,
    /// The app that it was made for.
    pub app_id: Option<String>,
    /// `None` where it never expires, as many tokens of system users.
    pub expires_at: Option<DateTime<Utc>>,
    /// The permissions that were granted, such as `ads_read`.
    pub scopes: Vec<String>,
    /// Meta's sentence about what is wrong, on one line, with the token taken out.
    pub problem: Option<String>,
}

impl MetaApi {
    /// Asks Meta about a token of this app. A token that is not valid is an answer too.
    ///
    /// Meta takes the token in the query only, and tells an app about its own tokens only: one of another app is
    /// [`Error::OtherApp`], and [`permissions`](Self::permissions) is what can be asked about it.
    pub async fn debug_token(&self, app: &App, token: &SecretString) -> Result<TokenFacts, Error> {
        let mut patience = self.short_patience("the facts of a token".into(), &|_| ());
        let header = app.bearer()?;
        Authorization::new(token, &patience.about)?;
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
                problem: facts.problem.map(|text| secrets.clean(&text)),
                app_id: facts.app_id.map(|text| secrets.clean(&text)),
                scopes: facts.scopes.iter().map(|text| secrets.clean(text)).collect(),
                ..facts
            })
    }

    /// The permissions that the token's user has granted, such as `ads_read`; for a token of an app whose secret is not
    /// known.
    pub async fn permissions(&self, token: &SecretString) -> Result<Vec<String>, Error> {
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

fn granted(row: &str) -> Option<String> {
    let row = Object::parse(row)?;
    (row.text("status").as_deref() == Some("granted")).then(|| row.text("permission"))?
}

/// What a failure means that is not the token's own. The call is made with the app's id and secret, so that a token which
/// Meta refuses is the one made of these.
fn of_check(app: &App, failure: &Failure) -> Option<Error> {
    let refusal = Box::new(failure.refusal.clone());
    if refusal.message.to_ascii_lowercase().contains("viewing app") {
        return Some(Error::OtherApp { app_id: app.app_id.clone(), refusal });
    }
    if failure.class == Class::Token {
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
    let expires_at = match data.get("expires_at") {
        None => None,
        Some(_) => match data.integer("expires_at") {
            Some(0) => None,
            Some(seconds) => Some(
                DateTime::from_timestamp(seconds, 0).ok_or(("expires_at", "is further away than any calendar goes"))?,
            ),
            None => return Err(("expires_at", "is not a whole number of seconds")),
        },
    };
    let scopes = match data.get("scopes") {
        None => Vec::new(),
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| ("scopes", "is not a list of texts"))?,
    };
    let error = data.object("error");
    let problem = error.and_then(|error| error.text("message")).filter(|_| !is_valid);
    Ok(TokenFacts { is_valid, app_id: data.text("app_id"), expires_at, scopes, problem })
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
        let never = facts(r#"{"data":{"app_id":12,"expires_at":0,"is_valid":true}}"#);
        assert_eq!((never.app_id.as_deref(), never.expires_at, never.scopes.len()), (Some("12"), None, 0));
        let bad = facts(r#"{"data":{"error":{"code":190,"message":"gone"},"is_valid":false,"scopes":[]}}"#);
        assert_eq!((bad.is_valid, bad.problem.as_deref(), bad.app_id), (false, Some("gone"), None));
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
            (r#"{"data":{"is_valid":true,"scopes":"ads_read"}}"#, "scopes"),
        ] {
            assert_eq!(read_facts(body).unwrap_err().0, field, "{body}");
        }
    }
}
