//! Codes become tokens, tokens become long-lived ones, and an app asks about its tokens.

use chrono::Duration;
use serde_json::{Value, json};

use super::access::{CODE_LIVES, LONG_LIVED_TOKEN_LIVES, TOKEN_LIVES, Token, code_challenge};
use super::recorded::Recorded;
use super::refusal::Refusal;
use super::world::World;

/// `/oauth/access_token`, by GET as Meta documents it, or by POST with a form.
pub(super) fn access_token(world: &mut World, question: &Recorded) -> Result<String, Refusal> {
    let value = |key: &str| {
        let value = question.parameter(key).filter(|value| !value.is_empty());
        value.ok_or_else(|| Refusal::parameter(&format!("Missing {key} parameter.")))
    };
    if !matches!(question.method.as_str(), "GET" | "POST") {
        return Err(Refusal::parameter("Unsupported request"));
    }
    let app_id = value("client_id")?;
    let app = world.apps.get(app_id).ok_or_else(|| {
        let message = "Error validating application. Cannot get application info due to a system error.";
        Refusal::new(400, 101, None, message)
    })?;
    let secret = value("client_secret")?;
    if app.secret != secret {
        // Meta's code here is the one of its hiccups.
        return Err(Refusal::new(400, 1, None, format!("Error validating client secret. ({secret})")));
    }
    match question.parameter("grant_type") {
        None | Some("authorization_code") => {
            let code = (value("code")?, value("redirect_uri")?, question.parameter("code_verifier"));
            of_code(world, app_id, code)
        }
        Some("fb_exchange_token") => long_lived(world, app_id, value("fb_exchange_token")?),
        Some(other) => Err(Refusal::parameter(&format!("Unsupported grant_type {other}"))),
    }
}

fn of_code(
    world: &mut World,
    app_id: &str,
    (text, redirect_uri, verifier): (&str, &str, Option<&str>),
) -> Result<String, Refusal> {
    let now = world.now();
    let wrong = |subcode, what: &str| Err(Refusal::new(400, 100, subcode, format!("{what} ({text})")));
    let Some(code) = world.codes.get_mut(text).filter(|code| code.app_id == app_id) else {
        return wrong(None, "Invalid verification code format.");
    };
    if code.is_used {
        return wrong(Some(36_009), "This authorization code has been used.");
    }
    // Whatever comes next, it was the only try.
    code.is_used = true;
    if now - code.issued_at >= CODE_LIVES {
        return wrong(Some(36_007), "This authorization code has expired.");
    }
    if code.redirect_uri != redirect_uri {
        let what = "Error validating verification code. Please make sure your redirect_uri is identical to the one you \
                    used in the OAuth dialog request";
        return wrong(Some(36_008), what);
    }
    let verifier = verifier.unwrap_or_default();
    if code_challenge(verifier) != code.code_challenge {
        return wrong(None, &format!("Invalid code_verifier {verifier}"));
    }
    let facts = code.token.clone();
    Ok(grant(world, facts, TOKEN_LIVES))
}

fn long_lived(world: &mut World, app_id: &str, token: &str) -> Result<String, Refusal> {
    let facts = world.allowed(token)?.clone();
    if facts.app_id.as_deref() != Some(app_id) {
        let message = format!("The access token {token} does not belong to application {app_id}");
        return Err(Refusal::new(400, 190, None, message));
    }
    Ok(grant(world, facts, LONG_LIVED_TOKEN_LIVES))
}

fn grant(world: &mut World, facts: Token, lives: Duration) -> String {
    let token = world.mint_token(Token { expires_at: Some(world.now() + lives), ..facts });
    json!({"access_token": token, "token_type": "bearer", "expires_in": lives.num_seconds()}).to_string()
}

/// `/debug_token`; `credential` is the app's own token, `id|secret`.
pub(super) fn debug_token(world: &World, question: &Recorded, credential: &str) -> Result<String, Refusal> {
    if question.method != "GET" {
        return Err(Refusal::parameter("Unsupported request"));
    }
    if credential.is_empty() {
        return Err(Refusal::no_token());
    }
    let app = credential.split_once('|').and_then(|(id, secret)| Some((id, world.apps.get(id)?, secret)));
    let Some((app_id, ..)) = app.filter(|(_, app, secret)| app.secret == *secret) else {
        return Err(Refusal::new(400, 190, None, format!("Invalid OAuth access token signature: {credential}")));
    };
    let token = question.parameter("input_token").unwrap_or_default();
    let Some(facts) = world.tokens.get(token) else {
        let error = json!({"code": 190, "message": format!("Invalid OAuth access token: {token}")});
        return Ok(json!({"data": {"error": error, "is_valid": false, "scopes": []}}).to_string());
    };
    if facts.app_id.as_deref() != Some(app_id) {
        return Err(Refusal::parameter("The App_id in the input_token did not match the Viewing App"));
    }
    let trouble = facts.trouble(world.now());
    let mut data = json!({
        "app_id": app_id,
        "type": "USER",
        "application": format!("Fake app {app_id}"),
        "expires_at": facts.expires_at.map_or(0, |at| at.timestamp()),
        "data_access_expires_at": facts.data_access_expires_at.map_or(0, |at| at.timestamp()),
        "is_valid": trouble.is_none(),
        "scopes": if trouble.is_none() { json!(facts.scopes) } else { json!([]) },
        "user_id": "10001",
    });
    if let Some((subcode, what)) = trouble {
        data["error"] = json!({"code": 190, "subcode": subcode, "message": format!("{what} (token {token})")});
    }
    Ok(json!({ "data": data }).to_string())
}

/// `/me`, and the rows of `/me/permissions`.
pub(super) fn me(facts: &Token) -> String {
    json!({"id": "10001", "name": facts.user_name}).to_string()
}

pub(super) fn permissions(facts: &Token) -> Vec<String> {
    let row = |permission: &String, status: &str| json!({"permission": permission, "status": status});
    let granted = facts.scopes.iter().map(|scope| row(scope, "granted"));
    let declined = facts.declined.iter().map(|scope| row(scope, "declined"));
    granted.chain(declined).map(|row: Value| row.to_string()).collect()
}
