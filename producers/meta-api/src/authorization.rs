use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use crate::classify::{Class, Said};
use crate::errors::{Error, Refusal};
use crate::proof::AccessToken;
use crate::secrets::Secrets;

/// The token as a header, its proof as a parameter, and the means to take both out of whatever Meta says.
pub(crate) struct Authorization {
    header: HeaderValue,
    proof: Option<SecretString>,
    pub(crate) secrets: Secrets,
}

impl Authorization {
    pub(crate) fn new(token: &AccessToken, about: &str) -> Result<Self, Error> {
        let header = check(token, about)?;
        let proof = token.proof().cloned();
        let secrets: &SecretString = token;
        let secrets = [(secrets, "[token]")].into_iter().chain(proof.iter().map(|proof| (proof, "[proof]")));
        let secrets = Secrets::new(secrets);
        Ok(Authorization { header, proof, secrets })
    }

    /// The parameters that every call with this token has, whatever it asks for.
    pub(crate) fn parameters(&self) -> Option<(&'static str, &str)> {
        self.proof.as_ref().map(|proof| ("appsecret_proof", proof.expose_secret()))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// A text of the server's, fit for errors and logs: without the token, on one line, and short.
    pub(crate) fn clean(&self, text: &str) -> String {
        self.secrets.clean(text)
    }
}

/// The header of a token; else that it is refused before anything is sent.
pub(crate) fn check(token: &SecretString, about: &str) -> Result<HeaderValue, Error> {
    bearer(token).map_err(|problem| Error::Token {
        about: about.into(),
        refusal: Box::new(Refusal::of(Class::Token, &Said::default(), format!("the token {problem}"))),
    })
}

/// The header of a token; else what is wrong with the token, in words that follow its name.
pub(crate) fn bearer(token: &SecretString) -> Result<HeaderValue, &'static str> {
    let text = token.expose_secret();
    if text.is_empty() {
        return Err("is empty");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("holds a space, a line break or another character that none has");
    }
    let mut header =
        HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| "does not fit into an HTTP header")?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_never_shown() {
        let auth = Authorization::new(&"123|ab/c+d=".to_string().into(), "x").unwrap();
        assert!(auth.header().is_sensitive());
        assert_eq!(auth.clean("123|ab/c+d="), "[token]");
    }

    #[test]
    fn a_token_that_no_header_carries_is_refused_without_showing_it() {
        for token in ["", "EAAB secret", "EAAB-secret\n", "sécret"] {
            let error = Authorization::new(&token.to_string().into(), "ad account act_1").err().unwrap();
            assert!(!format!("{error} {error:?}").contains("cret"), "{error}");
            assert_eq!(error.class(), "token");
        }
    }
}
