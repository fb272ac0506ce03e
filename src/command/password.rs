use std::io::{IsTerminal, Read};

use anyhow::Result;
use clap::Args;
use connect::password;
use secrecy::SecretString;

use crate::exit::{Outcome, usage};
use crate::output;

/// Make ADLEDGER_ADMIN_PASSWORD_HASH from a password read from standard input
///
/// Nothing is stored. The hash is argon2id with a random salt; put it in single quotes where a shell reads it.
#[derive(Args)]
pub struct Password {}

/// More than anybody types.
const MAX_BYTES: u64 = 4096;

impl Password {
    pub fn run(self) -> Result<Outcome> {
        if std::io::stdin().is_terminal() {
            eprintln!("Type the password (it shows on the screen), then Enter and Ctrl-D:");
        }
        let mut text = String::new();
        let read = std::io::stdin().take(MAX_BYTES).read_to_string(&mut text);
        read.map_err(|error| usage(format!("the password cannot be read from standard input ({error})")))?;
        let password = text.trim_end_matches(['\r', '\n']);
        if password.chars().count() < password::MIN_CHARS {
            return Err(usage(format!(
                "the password is shorter than {} characters: take a longer one",
                password::MIN_CHARS
            )));
        }
        output::line(&password::hash(&SecretString::from(password.to_owned()))?)?;
        Ok(Outcome::Done)
    }
}
