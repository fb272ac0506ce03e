use std::fmt::Write as _;

/// A name as it stands in Meta's JSON: in quotes, everything but ASCII escaped. Some names are no Rust string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    pub fn new(text: &str) -> Self {
        let mut json = String::from('"');
        for unit in text.encode_utf16() {
            match char::from_u32(unit.into()) {
                Some(c @ ('"' | '\\' | '/')) => json.extend(['\\', c]),
                Some(c @ ' '..='~') => json.push(c),
                // Writing to a String cannot fail.
                _ => drop(write!(json, "\\u{unit:04x}")),
            }
        }
        json.push('"');
        Name(json)
    }

    /// The JSON text between the quotes, as it is: the way to a lone surrogate, as in `r"broken \ud83d"`.
    pub fn escaped(json: &str) -> Self {
        Name(format!("\"{json}\""))
    }

    /// The JSON text, with its quotes.
    pub fn json(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Name::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_ascii_json_that_reads_back() {
        for text in ["plain", "a \"b\" \\ c/d", "🚀 عرض", "nul\0 tab\t é"] {
            let name = Name::new(text);
            assert!(name.json().is_ascii(), "{name:?}");
            assert_eq!(serde_json::from_str::<String>(name.json()).unwrap(), text);
        }
        assert!(serde_json::from_str::<String>(Name::escaped(r"broken \ud83d").json()).is_err());
    }
}
