use accounts::ApiToken;
use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde::Serialize;
use uuid::Uuid;

use crate::boot::Boot;
use crate::exit::Outcome;
use crate::output::{self, or_dash};

/// What a token's name may have, so that it fits into a line.
const MAX_NAME_CHARS: usize = 100;

/// Manage the API tokens with which a tenant's programs ask over HTTP
#[derive(Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Token {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a token and print it, this once: only its hash is kept
    Create {
        /// The tenant whose data the token opens
        #[arg(long, value_name = "ID")]
        account: Uuid,
        /// What it is for
        #[arg(long, default_value = "api", value_parser = name)]
        name: String,
    },
    /// List tokens, revoked ones too; the tokens themselves are nowhere
    List {
        /// Only those of this tenant
        #[arg(long, value_name = "ID")]
        account: Option<Uuid>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Refuse a token from now on
    Revoke {
        /// The token's id, from `token list`
        id: Uuid,
    },
}

fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > MAX_NAME_CHARS || text.contains(char::is_control) {
        return Err(format!("a name has 1 to {MAX_NAME_CHARS} characters, and none that moves a cursor"));
    }
    Ok(text.to_owned())
}

/// A token as programs read it.
#[derive(Serialize)]
struct Entry {
    id: Uuid,
    account_id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
    /// By the minute.
    last_used_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl From<ApiToken> for Entry {
    fn from(token: ApiToken) -> Entry {
        let ApiToken { id, account_id, name, created_at, last_used_at, revoked_at } = token;
        Entry { id, account_id, name, created_at, last_used_at, revoked_at }
    }
}

impl Token {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let (pool, _servers) = boot.tables().await?;
        match self.action {
            Action::Create { account, name } => {
                let (id, token) = accounts::create_api_token(&pool, account, &name).await?;
                eprintln!("Token {id}. Keep it now, it is shown this once; `adledger token revoke {id}` ends it.");
                output::line(token.expose_secret())?;
            }
            Action::List { account, json } => {
                let tokens: Vec<_> = accounts::api_tokens(&pool, account).await?.into_iter().map(Entry::from).collect();
                if json {
                    output::json(&tokens)?;
                } else if tokens.is_empty() {
                    output::line("No token yet: `adledger token create --account ID` makes one.")?;
                } else {
                    output::line(&table(&tokens))?;
                }
            }
            Action::Revoke { id } => {
                let is_revoked = accounts::revoke_api_token(&pool, id).await?;
                ensure!(is_revoked, "there is no token {id} that is good: `adledger token list` shows those there are");
                output::line(&format!("Token {id} is refused from now on."))?;
            }
        }
        Ok(Outcome::Done)
    }
}

fn table(tokens: &[Entry]) -> String {
    let mut table = output::table(&["token", "account", "name", "created", "last used", "revoked"]);
    for token in tokens {
        table.add_row([
            token.id.to_string(),
            token.account_id.to_string(),
            output::printable(&token.name),
            output::time(token.created_at),
            or_dash(token.last_used_at.map(output::time)),
            or_dash(token.revoked_at.map(output::time)),
        ]);
    }
    table.to_string()
}
