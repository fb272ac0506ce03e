use secrecy::{ExposeSecret, SecretString};

/// The longest text of Meta's that goes into an error.
const MAX_TEXT_CHARS: usize = 300;

/// What one call must not give away, and the means to take it out of whatever a server says: Meta quotes tokens in
/// error messages.
pub(crate) struct Secrets {
    /// Every spelling that a text may hold, the longest first: one secret may be a part of another. Beside each what
    /// stands in its place.
    spellings: Vec<(SecretString, &'static str)>,
}

impl Secrets {
    /// `name` is what a cleaned text says instead, such as `[token]`. An empty secret is none.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = (&'a SecretString, &'static str)>) -> Self {
        let mut spellings: Vec<(String, &'static str)> = Vec::new();
        for (secret, name) in secrets {
            let text = secret.expose_secret();
            // A slash as PHP writes it in JSON, and that once more in quotes of Rust's: values that could not be read
            // are shown undecoded. Forms and queries spell a tilde and an asterisk each in its own way.
            let slashes = [r"\/", r"\\/"].map(|slash| text.replace('/', slash));
            let escapes = [("-._~", false), ("-._~", true), ("-._*", false), ("-._*", true)];
            let percent = escapes.map(|(plain, lower)| percent(text, plain, lower));
            let all = [text.to_owned()].into_iter().chain(slashes).chain(percent).filter(|text| !text.is_empty());
            spellings.extend(all.map(|spelling| (spelling, name)));
        }
        spellings.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        spellings.dedup_by(|(a, _), (b, _)| a == b);
        Secrets { spellings: spellings.into_iter().map(|(text, name)| (text.into(), name)).collect() }
    }

    /// A text of the server's, fit for errors and logs: without the secrets, on one line, and short.
    pub(crate) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (spelling, name) in &self.spellings {
            text = text.replace(spelling.expose_secret(), name);
        }
        // Cut only now: half a secret would not be found any more.
        let cut = text.chars().count() > MAX_TEXT_CHARS;
        let mut text: String =
            text.chars().take(MAX_TEXT_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if cut {
            text.push('…');
        }
        text
    }
}

fn percent(text: &str, plain: &str, lower: bool) -> String {
    text.bytes()
        .map(|b| match b {
            b if b.is_ascii_alphanumeric() || plain.as_bytes().contains(&b) => char::from(b).to_string(),
            b if lower => format!("%{b:02x}"),
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretString {
        text.to_owned().into()
    }

    #[test]
    fn a_secret_is_taken_out_in_every_spelling() {
        let secrets = Secrets::new([(&secret("123|ab/c+d="), "[token]")]);
        let said = "bad 123|ab/c+d= and 123%7Cab%2Fc%2Bd%3D\nand 123%7cab%2fc%2bd%3d";
        assert_eq!(secrets.clean(said), "bad [token] and [token] and [token]");
        let undecoded = r"123|ab\/c+d=";
        assert_eq!(secrets.clean(&format!("{undecoded} {undecoded:?}")), "[token] \"[token]\"");
        let long = format!("{}123|ab/c+d={}", "x".repeat(295), "y".repeat(50));
        assert!(!secrets.clean(&long).contains("123"));
        let verifier = Secrets::new([(&secret("a~b-c*"), "[verifier]")]);
        assert_eq!(verifier.clean("a~b-c* a%7Eb-c* a~b-c%2A a%7eb-c*"), "[verifier] [verifier] [verifier] [verifier]");
    }

    #[test]
    fn several_secrets_each_have_their_name() {
        let (token, inside, empty) = (secret("abc-def"), secret("abc"), secret(""));
        let secrets = Secrets::new([(&inside, "[code]"), (&token, "[token]"), (&empty, "[nothing]")]);
        assert_eq!(secrets.clean("abc abc-def x"), "[code] [token] x");
    }
}
