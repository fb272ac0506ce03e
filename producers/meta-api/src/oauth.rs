use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use crate::authorization::{bearer, check};
use crate::classify::{Class, Said};
use crate::client::MetaApi;
use crate::config::META_HOST;
use crate::errors::{Error, Refusal};
use crate::json::Object;
use crate::patience::Patience;
use crate::secrets::Secrets;
use crate::transport::{Answer, Carried, Failure, SecretCall};

/// Where people sign in and grant; the API answers elsewhere.
const DIALOG_HOST: &str = "www.facebook.com";
const ACCESS_TOKEN: &str = "oauth/access_token";

/// The Meta app that people grant access to.
#[derive(Debug, Clone)]
pub struct App {
    /// `META_APP_ID`.
    pub app_id: String,
    /// `META_APP_SECRET`.
    pub app_secret: SecretString,
}

/// A token, fresh from Meta.
#[derive(Debug, Clone)]
pub struct GrantedToken {
    pub token: SecretString,
    /// From now; `None` where Meta names no end.
    pub expires_in: Option<Duration>,
}

impl MetaApi {
    /// The address of Meta's dialog, where a person grants `ads_read` to the app, for a browser to go to.
    ///
    /// `code_challenge` is the SHA-256 of the code verifier in base64url without padding (PKCE, S256). Against a fake
    /// the dialog is the fake's own.
    pub fn dialog_url(&self, app_id: &str, redirect_uri: &str, state: &str, code_challenge: &str) -> Url {
        let mut url = self.transport.root().clone();
        if url.host_str() == Some(META_HOST) {
            // Neither can fail for an https URL.
            url.set_host(Some(DIALOG_HOST)).ok();
            url.set_port(None).ok();
        }
        url.set_path(&format!("{}dialog/oauth", self.transport.root().path()));
        url.query_pairs_mut().extend_pairs([
            ("client_id", app_id),
            ("redirect_uri", redirect_uri),
            ("state", state),
            ("scope", "ads_read"),
            ("response_type", "code"),
            ("code_challenge", code_challenge),
            ("code_challenge_method", "S256"),
        ]);
        url
    }

    /// Turns the code that came back from the dialog into a token, mostly one for an hour or two.
    ///
    /// `redirect_uri` is the dialog's, to the letter. A code serves once: the call is repeated only where no connection
    /// came about, and whatever is left without a token ends in [`Error::Code`], to start again.
    pub async fn exchange_code(
        &self,
        app: &App,
        redirect_uri: &str,
        code: &SecretString,
        code_verifier: &SecretString,
    ) -> Result<GrantedToken, Error> {
        app.check()?;
        let no_code = || Refusal::of(Class::WrongRequest, &Said::default(), "no code came back");
        if code.expose_secret().is_empty() {
            return Err(Error::Code { refusal: no_code().into() });
        }
        let secrets =
            Secrets::new([(code, "[code]"), (code_verifier, "[code verifier]"), (&app.app_secret, "[app secret]")]);
        let form = [
            ("client_id", app.app_id.as_str()),
            ("client_secret", app.app_secret.expose_secret()),
            ("redirect_uri", redirect_uri),
            ("code", code.expose_secret()),
            ("code_verifier", code_verifier.expose_secret()),
        ];
        let call = SecretCall { path: ACCESS_TOKEN, secrets: &secrets, carried: Carried::Form(&form) };
        let mut patience = self.short_patience("the token of this sign-in".into(), &|_| ());
        let answer = loop {
            match self.transport.ask_with_secrets(&call).await {
                Ok(answer) => break answer,
                Err(failure) if !failure.sent => patience.after(failure).await?,
                Err(failure) => return Err(without_a_token(app, redirect_uri, failure)),
            }
        };
        granted(&answer, &patience.about)
    }

    /// Turns a token of this app into one for about 60 days. An expired one cannot be exchanged.
    pub async fn long_lived(&self, app: &App, token: &SecretString) -> Result<GrantedToken, Error> {
        let mut patience = self.short_patience("a long-lived token".into(), &|_| ());
        app.check()?;
        // For what it refuses: nothing is sent in a header here.
        check(token, &patience.about)?;
        let secrets = Secrets::new([(token, "[token]"), (&app.app_secret, "[app secret]")]);
        let form = [
            ("grant_type", "fb_exchange_token"),
            ("client_id", app.app_id.as_str()),
            ("client_secret", app.app_secret.expose_secret()),
            ("fb_exchange_token", token.expose_secret()),
        ];
        let call = SecretCall { path: ACCESS_TOKEN, secrets: &secrets, carried: Carried::Form(&form) };
        let answer = self.ask_as_app(&call, &mut patience, |failure| of_app(app, failure)).await?;
        granted(&answer, &patience.about)
    }

    /// Asks until there is an answer, or a reason to stop asking; `meaning` comes before the failure's class.
    pub(crate) async fn ask_as_app(
        &self,
        call: &SecretCall<'_>,
        patience: &mut Patience<'_>,
        meaning: impl Fn(&Failure) -> Option<Error>,
    ) -> Result<Answer, Error> {
        loop {
            match self.transport.ask_with_secrets(call).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => match meaning(&failure) {
                    Some(error) => return Err(error),
                    None => patience.after(failure).await?,
                },
            }
        }
    }
}

impl App {
    /// Refuses what cannot be an app before anything is sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.bearer().map(drop)
    }

    /// The app's own token, as a header.
    pub(crate) fn bearer(&self) -> Result<HeaderValue, Error> {
        let secret = self.app_secret.expose_secret();
        let is_id = !self.app_id.is_empty() && self.app_id.bytes().all(|b| b.is_ascii_digit());
        let header = match bearer(&self.app_secret) {
            _ if !is_id => Err("the app's id is no number"),
            Err(_) => Err("the app's secret is empty, or holds a space or another character that none has"),
            Ok(_) => bearer(&format!("{}|{secret}", self.app_id).into()),
        };
        header.map_err(|problem| Error::App {
            app_id: self.app_id.clone(),
            refusal: Box::new(Refusal::of(Class::WrongRequest, &Said::default(), problem)),
        })
    }
}

/// What Meta's dialog means when it sends the browser back without a code, with these parameters of the redirect.
pub fn dialog_refusal(error: &str, error_reason: Option<&str>, error_description: Option<&str>) -> Error {
    if error == "access_denied" || error_reason == Some("user_denied") {
        return Error::Declined;
    }
    let said = error_description.filter(|text| !text.is_empty()).unwrap_or(error);
    Error::Dialog { said: Secrets::new([]).clean(said) }
}

/// A failure that is the app's and not the token's. Meta gives code 1, which is transient elsewhere, for a wrong
/// secret.
pub(crate) fn of_app(app: &App, failure: &Failure) -> Option<Error> {
    let Refusal { code, message, .. } = &*failure.refusal;
    let says = |words: &str| message.to_ascii_lowercase().contains(words);
    let is_of_app = *code == Some(101) || (code.is_some() && (says("client secret") || says("app access token")));
    is_of_app.then(|| Error::App { app_id: app.app_id.clone(), refusal: failure.refusal.clone() })
}

/// Why a code that was sent got no token.
fn without_a_token(app: &App, redirect_uri: &str, failure: Failure) -> Error {
    if let Some(error) = of_app(app, &failure) {
        return error;
    }
    let refusal = failure.refusal;
    match (refusal.code, refusal.subcode) {
        (Some(191), _) | (Some(100), Some(36_008)) => {
            Error::RedirectAddress { app_id: app.app_id.clone(), redirect_uri: redirect_uri.into(), refusal }
        }
        (Some(100), None) if refusal.message.contains("redirect_uri") => {
            Error::RedirectAddress { app_id: app.app_id.clone(), redirect_uri: redirect_uri.into(), refusal }
        }
        // What stands there is not Meta, or not this version of it: another code would fare alike.
        (None | Some(2635), _) if failure.class == Class::WrongRequest => {
            Error::WrongRequest { about: "the token of this sign-in".into(), refusal }
        }
        _ => Error::Code { refusal },
    }
}

/// The token in an answer. Nothing of the answer is quoted: it holds a token that nobody knows yet.
fn granted(answer: &Answer, about: &str) -> Result<GrantedToken, Error> {
    let unreadable = |field: &str, problem: &str| Error::Unreadable {
        about: about.into(),
        field: field.into(),
        problem: problem.into(),
    };
    let text = answer.text();
    let object = Object::parse(&text.text).ok_or_else(|| unreadable("the answer", "is not a JSON object"))?;
    let token = object.text("access_token").map(SecretString::from);
    let token = token.ok_or_else(|| unreadable("access_token", "is missing or no text"))?;
    bearer(&token).map_err(|problem| unreadable("access_token", problem))?;
    let expires_in = object.integer("expires_in").and_then(|seconds| u64::try_from(seconds).ok());
    Ok(GrantedToken { token, expires_in: expires_in.filter(|seconds| *seconds > 0).map(Duration::from_secs) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClientConfig;

    fn dialog(base_url: &str) -> String {
        rustls::crypto::ring::default_provider().install_default().ok();
        let config = ClientConfig { base_url: base_url.into(), ..ClientConfig::default() };
        let api = MetaApi::new(config).unwrap();
        api.dialog_url("123", "https://a.example/back?x=1&y=2", "st ate", "abc-_").into()
    }

    #[test]
    fn the_dialog_stands_beside_meta_and_with_a_fake_on_it() {
        let query = "?client_id=123&redirect_uri=https%3A%2F%2Fa.example%2Fback%3Fx%3D1%26y%3D2&state=st+ate&scope=ads_read\
                     &response_type=code&code_challenge=abc-_&code_challenge_method=S256";
        for (base_url, dialog_url) in [
            ("https://graph.facebook.com", "https://www.facebook.com/v25.0/dialog/oauth"),
            ("https://graph.facebook.com:443/", "https://www.facebook.com/v25.0/dialog/oauth"),
            ("http://127.0.0.1:9999", "http://127.0.0.1:9999/v25.0/dialog/oauth"),
            ("http://localhost:9999/graph/", "http://localhost:9999/graph/v25.0/dialog/oauth"),
        ] {
            assert_eq!(dialog(base_url), format!("{dialog_url}{query}"), "{base_url}");
        }
    }

    #[test]
    fn a_dialog_without_a_code_is_said_in_a_sentence() {
        for (error, reason, description, class, said) in [
            ("access_denied", Some("user_denied"), Some("Permissions error"), "sign_in", "nothing was granted"),
            ("access_denied", None, None, "sign_in", "nothing was granted"),
            ("server_error", None, Some("Try\nlater"), "sign_in", "\"Try later\""),
            ("server_error", None, Some(""), "sign_in", "\"server_error\""),
        ] {
            let error = dialog_refusal(error, reason, description);
            assert_eq!(error.class(), class);
            assert!(error.to_string().contains(said), "{error}");
            assert!(error.to_string().contains("start the connection again"), "{error}");
        }
    }

    #[test]
    fn an_app_that_cannot_be_one_is_refused_without_showing_its_secret() {
        for (app_id, app_secret, said) in [
            ("", "hush", "the app's id is no number"),
            ("my app", "hush", "the app's id is no number"),
            ("1|2", "hush", "the app's id is no number"),
            ("1", "", "the app's secret is empty"),
            ("1", "hush hush", "the app's secret is empty, or holds a space"),
        ] {
            let app = App { app_id: app_id.into(), app_secret: app_secret.to_owned().into() };
            let error = app.check().unwrap_err();
            assert_eq!(error.class(), "app");
            let text = format!("{error} {error:?} {app:?}");
            assert!(text.contains(said) && !text.contains("hush"), "{text}");
        }
        let app = App { app_id: "1".into(), app_secret: "hush".to_owned().into() };
        let header = app.bearer().unwrap();
        assert!(header.is_sensitive());
        assert_eq!(header.as_bytes(), b"Bearer 1|hush");
    }
}
