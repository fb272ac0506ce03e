//! A token as it is sent: alone, or with the proof that whoever sends it knows the secret of the token's app.

use std::fmt::Write as _;
use std::ops::Deref;

use ring::hmac;
use secrecy::{ExposeSecret, SecretString};

use crate::oauth::App;

/// A token, and the `appsecret_proof` that goes along where one applies. Where only the token matters, it is one: it
/// derefs to it.
///
/// The proof is of no use without the token, and tells nothing of the app's secret; it is kept as secret as both all
/// the same.
#[derive(Debug, Clone)]
pub struct AccessToken {
    token: SecretString,
    proof: Option<SecretString>,
}

impl AccessToken {
    /// `proof` is what [`App::proof`] made of this token; `None` for a token of another app, or of one that nobody
    /// knows: Meta refuses a proof that is not of the token's own app.
    pub fn new(token: SecretString, proof: Option<SecretString>) -> AccessToken {
        AccessToken { token, proof }
    }

    /// With the proof where the token was made for this app, `app_id` being the one that it is known to be made for.
    pub fn of(token: SecretString, app_id: Option<&str>, app: Option<&App>) -> AccessToken {
        let own = app.filter(|app| app_id == Some(app.app_id.as_str()));
        let proof = own.map(|app| app.proof(&token));
        AccessToken { token, proof }
    }

    /// What goes into the query of every call, beside the token in its header.
    pub(crate) fn proof(&self) -> Option<&SecretString> {
        self.proof.as_ref()
    }
}

/// Without a proof.
impl From<SecretString> for AccessToken {
    fn from(token: SecretString) -> Self {
        AccessToken { token, proof: None }
    }
}

/// Without a proof.
impl From<String> for AccessToken {
    fn from(token: String) -> Self {
        SecretString::from(token).into()
    }
}

impl Deref for AccessToken {
    type Target = SecretString;

    fn deref(&self) -> &SecretString {
        &self.token
    }
}

impl App {
    /// `appsecret_proof`: the HMAC-SHA256 of a token with the app's secret as its key, in lower-case hex.
    pub fn proof(&self, token: &SecretString) -> SecretString {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.app_secret.expose_secret().as_bytes());
        let tag = hmac::sign(&key, token.expose_secret().as_bytes());
        let hex = tag.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
            // Writing into a string does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        hex.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(app_id: &str, secret: &str) -> App {
        App { app_id: app_id.into(), app_secret: secret.to_owned().into() }
    }

    /// Case 2 of RFC 4231.
    #[test]
    fn the_proof_is_the_hmac_of_the_standards_own_example() {
        let proof = app("1", "Jefe").proof(&"what do ya want for nothing?".to_owned().into());
        assert_eq!(proof.expose_secret(), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn a_proof_goes_along_with_the_apps_own_tokens_only() {
        let own = app("42", "hush");
        for (app_id, app, has_proof) in [
            (Some("42"), Some(&own), true),
            (Some("43"), Some(&own), false),
            (None, Some(&own), false),
            (Some("42"), None, false),
        ] {
            let token = AccessToken::of("EAAB".to_owned().into(), app_id, app);
            assert_eq!(token.proof().is_some(), has_proof, "{app_id:?}");
            assert!(!format!("{token:?}").contains("EAAB"));
            if let Some(proof) = token.proof() {
                assert!(!format!("{token:?}").contains(proof.expose_secret()));
            }
        }
    }
}
