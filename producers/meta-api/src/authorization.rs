use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use crate::errors::{Error, Refusal};

/// The longest text of Meta's that goes into an error.
const MAX_TEXT_CHARS: usize = 300;

/// The token as a header, and the means to take it out of whatever Meta says: Meta quotes tokens in error messages.
pub(crate) struct Authorization {
    header: HeaderValue,
    /// Every spelling of the token that a text may hold.
    spellings: Vec<SecretString>,
}

impl Authorization {
    pub(crate) fn new(token: &SecretString, about: &str) -> Result<Self, Error> {
        let unusable = |message: &str| Error::Token {
            about: about.into(),
            refusal: Box::new(Refusal { message: message.into(), ..Refusal::default() }),
        };
        let text = token.expose_secret();
        if text.is_empty() {
            return Err(unusable("the token is empty"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(unusable("the token holds a space, a line break or another character that no token has"));
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {text}"))
            .map_err(|_| unusable("the token does not fit into an HTTP header"))?;
        header.set_sensitive(true);
        let mut spellings: Vec<String> = vec![text.into(), percent(text, false), percent(text, true)];
        // A slash as PHP writes it in JSON, and that once more in quotes of Rust's: values that could not be read are
        // shown undecoded.
        spellings.extend([r"\/", r"\\/"].map(|slash| text.replace('/', slash)));
        spellings.sort();
        spellings.dedup();
        Ok(Authorization { header, spellings: spellings.into_iter().map(SecretString::from).collect() })
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// A text of the server's, fit for errors and logs: without the token, on one line, and short.
    pub(crate) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for spelling in &self.spellings {
            text = text.replace(spelling.expose_secret(), "[token]");
        }
        // Cut only now: half a token would not be found any more.
        let cut = text.chars().count() > MAX_TEXT_CHARS;
        let mut text: String =
            text.chars().take(MAX_TEXT_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if cut {
            text.push('…');
        }
        text
    }
}

fn percent(text: &str, lower: bool) -> String {
    text.bytes()
        .map(|b| match b {
            b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
            b if lower => format!("%{b:02x}"),
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_taken_out_in_every_spelling() {
        let auth = Authorization::new(&"123|ab/c+d=".to_string().into(), "x").unwrap();
        let said = "bad 123|ab/c+d= and 123%7Cab%2Fc%2Bd%3D\nand 123%7cab%2fc%2bd%3d";
        assert_eq!(auth.clean(said), "bad [token] and [token] and [token]");
        let undecoded = r"123|ab\/c+d=";
        assert_eq!(auth.clean(&format!("{undecoded} {undecoded:?}")), "[token] \"[token]\"");
        let long = format!("{}123|ab/c+d={}", "x".repeat(295), "y".repeat(50));
        assert!(!auth.clean(&long).contains("123"));
        assert!(auth.header().is_sensitive());
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
