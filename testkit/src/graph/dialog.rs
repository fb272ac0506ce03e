//! The dialog in which a person grants access to an app: two pages without a script, and the way back.

use super::access::{Code, Token};
use super::percent;
use super::recorded::Recorded;
use super::world::World;

/// The permissions that this fake knows.
const SCOPES: [&str; 5] = ["ads_read", "ads_management", "business_management", "email", "public_profile"];

/// What the person in front of the dialog does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Continue,
    /// Goes on, but keeps this permission back.
    ContinueWithout(String),
    Cancel,
}

/// What the dialog answers.
#[derive(Debug)]
pub(super) enum Shown {
    Page(u16, String),
    /// Where the browser is sent.
    Back(String),
}

pub(super) fn answer(world: &mut World, question: &Recorded) -> Shown {
    let asked = match Asked::read(world, &question.query) {
        Ok(asked) => asked,
        Err(problem) => return Shown::Page(400, page("This cannot go on", &refused(&problem))),
    };
    match question.method.as_str() {
        "GET" => {
            let address = format!("{}?{}", question.path, query(&question.query));
            Shown::Page(200, page("Continue with the fake Meta", &form(&world.user.name, &asked, &address)))
        }
        "POST" => {
            let value = |key| question.form.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
            match (value("decision"), value("declined")) {
                (Some("continue"), None) => Shown::Back(asked.decide(world, &Decision::Continue)),
                (Some("continue"), Some(scope)) => {
                    Shown::Back(asked.decide(world, &Decision::ContinueWithout(scope.into())))
                }
                (Some("cancel"), _) => Shown::Back(asked.decide(world, &Decision::Cancel)),
                _ => Shown::Page(400, page("This cannot go on", &refused("the form says neither continue nor cancel"))),
            }
        }
        _ => Shown::Page(405, page("This cannot go on", &refused("the dialog is read, or answered by its form"))),
    }
}

/// What an app asks of the person, once it is proven to be in order.
pub(super) struct Asked {
    app_id: String,
    redirect_uri: String,
    state: String,
    scopes: Vec<String>,
    code_challenge: String,
}

impl Asked {
    /// Reads the dialog's parameters; else what is wrong with them. Nobody is sent to an address that is not the app's.
    pub(super) fn read(world: &World, query: &[(String, String)]) -> Result<Asked, String> {
        let value = |key: &str| {
            let mut values = query.iter().filter(|(k, _)| k == key).map(|(_, value)| value.as_str());
            match (values.next(), values.next()) {
                (Some(value), None) if !value.is_empty() => Ok(value),
                (_, Some(_)) => Err(format!("the parameter {key} comes twice")),
                _ => Err(format!("the parameter {key} is missing")),
            }
        };
        let app_id = value("client_id")?;
        let app = world.apps.get(app_id).ok_or("Invalid App ID: there is no such app")?;
        let redirect_uri = value("redirect_uri")?;
        if !app.redirect_uris.contains(redirect_uri) {
            return Err(format!("URL blocked: {redirect_uri} is not one of the app's valid OAuth redirect URIs"));
        }
        let state = value("state")?;
        if value("response_type")? != "code" {
            return Err("response_type must be code".into());
        }
        let code_challenge = value("code_challenge")?;
        let is_base64url = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        if value("code_challenge_method")? != "S256"
            || code_challenge.len() != 43
            || !code_challenge.bytes().all(is_base64url)
        {
            return Err("the fake wants PKCE: a code_challenge of 43 characters, and S256 as its method".into());
        }
        let scopes: Vec<String> = value("scope")?.split([',', ' ']).map(str::to_owned).collect();
        if let Some(unknown) = scopes.iter().find(|scope| !SCOPES.contains(&scope.as_str())) {
            return Err(format!("Invalid Scopes: {unknown}"));
        }
        Ok(Asked {
            app_id: app_id.into(),
            redirect_uri: redirect_uri.into(),
            state: state.into(),
            scopes,
            code_challenge: code_challenge.into(),
        })
    }

    /// The address that the browser is sent back to.
    pub(super) fn decide(self, world: &mut World, decision: &Decision) -> String {
        let declined = match decision {
            Decision::Cancel => {
                return self.back(&[
                    ("error", "access_denied"),
                    ("error_code", "200"),
                    ("error_description", "Permissions error"),
                    ("error_reason", "user_denied"),
                ]);
            }
            Decision::Continue => None,
            Decision::ContinueWithout(scope) => Some(scope),
        };
        let (declined, mut scopes) = self.scopes.iter().cloned().partition(|scope| Some(scope) == declined);
        let scopes_of_all = ["public_profile".to_owned()];
        std::collections::BTreeSet::extend(&mut scopes, scopes_of_all);
        let every = || world.ad_accounts.keys().cloned().collect();
        let token = Token {
            ad_accounts: world.user.ad_accounts.clone().unwrap_or_else(every),
            app_id: Some(self.app_id.clone()),
            scopes,
            declined,
            user_name: world.user.name.clone(),
            ..Token::default()
        };
        let code = world.mint_code(Code {
            app_id: self.app_id.clone(),
            redirect_uri: self.redirect_uri.clone(),
            code_challenge: self.code_challenge.clone(),
            issued_at: world.now(),
            is_used: false,
            token,
        });
        self.back(&[("code", &code)])
    }

    /// With the fragment that Meta hangs on.
    fn back(&self, parameters: &[(&str, &str)]) -> String {
        let mut all: Vec<(String, String)> = parameters.iter().map(|&(k, v)| (k.into(), v.into())).collect();
        all.push(("state".into(), self.state.clone()));
        let joint = if self.redirect_uri.contains('?') { '&' } else { '?' };
        format!("{}{joint}{}#_=_", self.redirect_uri, query(&all))
    }
}

fn query(parameters: &[(String, String)]) -> String {
    let pairs: Vec<String> = parameters.iter().map(|(k, v)| format!("{}={}", percent(k), percent(v))).collect();
    pairs.join("&")
}

fn form(name: &str, asked: &Asked, address: &str) -> String {
    let scopes: String = asked
        .scopes
        .iter()
        .map(|scope| {
            format!(
                "<li>{0} <label><input type=\"checkbox\" name=\"declined\" value=\"{0}\"> keep back</label></li>",
                html(scope)
            )
        })
        .collect();
    format!(
        "<p>App <strong id=\"app\">{}</strong> asks {} for:</p>\n<form method=\"post\" action=\"{}\">\n<ul>{scopes}</ul>\n\
         <button id=\"continue\" name=\"decision\" value=\"continue\">Continue as {}</button>\n\
         <button id=\"cancel\" name=\"decision\" value=\"cancel\">Cancel</button>\n</form>",
        html(&asked.app_id),
        html(name),
        html(address),
        html(name)
    )
}

fn refused(problem: &str) -> String {
    format!("<p id=\"problem\">{}</p>", html(problem))
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title></head>\n\
         <body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
