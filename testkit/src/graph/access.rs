//! Who may ask: apps, people, tokens, and the codes that become tokens.

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};
use sha2::{Digest as _, Sha256};

use super::refusal::Refusal;
use super::world::World;

/// How long a code can be exchanged.
pub const CODE_LIVES: Duration = Duration::minutes(10);
/// What `expires_in` says of a token from a code, and of one from its exchange.
pub const TOKEN_LIVES: Duration = Duration::hours(2);
pub const LONG_LIVED_TOKEN_LIVES: Duration = Duration::days(60);

/// A Meta app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    pub secret: String,
    /// Where the dialog may send people back to: each address to the letter.
    pub redirect_uris: BTreeSet<String>,
    /// Whether every call with a token of this app must bring an `appsecret_proof`.
    pub require_proof: bool,
}

/// Whoever sits in front of the dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    /// By external id; `None` for every ad account there is.
    pub ad_accounts: Option<BTreeSet<String>>,
}

impl Default for User {
    fn default() -> Self {
        User { name: "Dana Demo".into(), ad_accounts: None }
    }
}

/// An access token, and what is true of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it may read, by external id.
    pub ad_accounts: BTreeSet<String>,
    /// The app it was made for; `None` for one that nobody here knows.
    pub app_id: Option<String>,
    /// `None` for a token that never expires.
    pub expires_at: Option<DateTime<Utc>>,
    /// Until when it may read the person's data, 90 days after the person was there last; `None` for ever. Afterwards
    /// `/debug_token` still calls it valid, and every other call is refused.
    pub data_access_expires_at: Option<DateTime<Utc>>,
    pub scopes: BTreeSet<String>,
    /// Permissions that the user was asked for and did not give.
    pub declined: BTreeSet<String>,
    pub user_name: String,
    /// Why it is worth nothing any more, as the subcode of code 190: 458 the app was removed, 460 the password changed.
    pub revoked: Option<i64>,
}

impl Default for Token {
    /// Valid, of no known app, for ever, and allowed to read ads.
    fn default() -> Self {
        Token {
            ad_accounts: BTreeSet::new(),
            app_id: None,
            expires_at: None,
            data_access_expires_at: None,
            scopes: ["ads_read", "public_profile"].map(str::to_owned).into(),
            declined: BTreeSet::new(),
            user_name: User::default().name,
            revoked: None,
        }
    }
}

/// What a person has granted, until an app comes for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    pub app_id: String,
    pub redirect_uri: String,
    /// PKCE, S256.
    pub code_challenge: String,
    pub issued_at: DateTime<Utc>,
    pub is_used: bool,
    pub token: Token,
}

impl World {
    /// Adds an app, or replaces it.
    pub fn insert_app(&mut self, app_id: &str, secret: &str, redirect_uris: &[&str]) {
        let redirect_uris = redirect_uris.iter().map(|&uri| uri.to_owned()).collect();
        self.apps.insert(app_id.into(), App { secret: secret.into(), redirect_uris, require_proof: false });
    }

    /// The token, to change what is true of it.
    ///
    /// # Panics
    /// When there is none.
    pub fn token(&mut self, token: &str) -> &mut Token {
        self.tokens.get_mut(token).unwrap_or_else(|| panic!("the world does not have this token"))
    }

    /// The user has changed the password: the token is refused from now on.
    ///
    /// # Panics
    /// When there is no such token.
    pub fn revoke(&mut self, token: &str) {
        self.token(token).revoked = Some(460);
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        #[expect(clippy::disallowed_methods, reason = "a fake by hand goes with the wall clock; tests set World::now")]
        self.now.unwrap_or_else(Utc::now)
    }

    /// What a token may do, or why it may do nothing.
    pub(super) fn allowed(&self, token: &str) -> Result<&Token, Refusal> {
        if token.is_empty() {
            return Err(Refusal::no_token());
        }
        let facts = self.tokens.get(token).ok_or_else(|| Refusal::invalid_token(token))?;
        let is_over = facts.data_access_expires_at.is_some_and(|at| at <= self.now());
        let no_data = || (493, "Error validating access token: the data access has expired".to_owned());
        match facts.trouble(self.now()).or_else(|| is_over.then(no_data)) {
            None => Ok(facts),
            Some((subcode, what)) => Err(Refusal::unusable_token(subcode, &format!("{what} (token {token})"))),
        }
    }

    /// Adds a token of the form that changes when it is not encoded in a URL, or not escaped in JSON.
    pub(super) fn mint_token(&mut self, facts: Token) -> String {
        let token = format!("EAAB{}|z/+Q=", self.mint("token"));
        self.tokens.insert(token.clone(), facts);
        token
    }

    pub(super) fn mint_code(&mut self, code: Code) -> String {
        let text = format!("AQ{}-_/y+W==", self.mint("code"));
        self.codes.insert(text.clone(), code);
        text
    }

    fn mint(&mut self, what: &str) -> String {
        self.minted += 1;
        hex(&Sha256::digest(format!("{what} {}", self.minted)))
    }
}

impl Token {
    /// Subcode and sentence.
    pub(super) fn trouble(&self, now: DateTime<Utc>) -> Option<(i64, String)> {
        match (self.revoked, self.expires_at) {
            (Some(subcode), _) => Some((subcode, "Error validating access token: the session was ended".into())),
            (None, Some(at)) if at <= now => {
                Some((463, format!("Error validating access token: Session has expired on {at}")))
            }
            _ => None,
        }
    }

    pub(super) fn may_read_ads(&self) -> bool {
        ["ads_read", "ads_management"].iter().any(|scope| self.scopes.contains(*scope))
    }
}

/// The challenge of a code verifier: its SHA-256 as base64url without padding.
pub fn code_challenge(verifier: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digest = Sha256::digest(verifier);
    let mut text = String::new();
    for bytes in digest.chunks(3) {
        let bits = bytes.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - bytes.len()));
        for i in 0..=bytes.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * i)) as usize & 63]));
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_without_access_to_data_is_refused_and_stays_valid() {
        let at = DateTime::from_timestamp(1_793_620_800, 0).unwrap();
        for (now, wanted) in [(at - Duration::seconds(1), None), (at, Some(493))] {
            let mut world = World { now: Some(now), ..World::default() };
            world.insert_token("t");
            world.token("t").data_access_expires_at = Some(at);
            assert_eq!(world.allowed("t").err().and_then(|refusal| refusal.subcode), wanted);
            assert_eq!(world.token("t").trouble(now), None);
        }
    }

    #[test]
    fn the_challenge_of_the_standards_own_example() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(code_challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
