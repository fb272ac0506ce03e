use std::io::{IsTerminal, Read};

use anyhow::Result;
use clap::Args;
use secrecy::SecretString;
use uuid::Uuid;

use crate::boot::Boot;
use crate::exit::{Outcome, usage};
use crate::output;

/// Connect an ad account to a tenant, with a token read from standard input
///
/// Asks Meta for the ad account, checks that its currency is the tenant's, and keeps the token sealed. Run it again to
/// replace the token.
#[derive(Args)]
pub struct Connect {
    /// Id of the tenant, as `adledger account create` printed it
    #[arg(long, value_name = "ID")]
    account: Uuid,
    /// Meta's id of the ad account, such as act_1234567890
    #[arg(long, value_name = "ACT")]
    ad_account: String,
    /// Read the token from standard input (the default; without a terminal's echo in scripts)
    #[arg(long)]
    token_stdin: bool,
}

/// More than any token has.
const MAX_TOKEN_BYTES: u64 = 16 << 10;

impl Connect {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let keys = boot.settings.key_ring(boot.place()).map_err(usage)?;
        let sources = boot.settings.sources().map_err(usage)?;
        let token = self.read_token()?;
        let (pool, _servers) = boot.tables().await?;
        let tenant = accounts::tenant(&pool, self.account).await?;
        let found = sources.ad_account(&token, &self.ad_account, &tenant).await.map_err(|error| match error {
            error @ meta_api::Error::AdAccountId { .. } => usage(error),
            error => error.into(),
        })?;
        let connected = accounts::connect(&pool, &keys, tenant.id, &found, &token, None).await?;
        let verb = if connected.reconnected { "Reconnected" } else { "Connected" };
        eprintln!(
            "{verb} {} ({:?}, {}, {}) to {:?}. The integration's id:",
            found.external_id, found.name, found.currency, found.timezone_name, tenant.name
        );
        output::line(&connected.integration_id.to_string())?;
        if !matches!(found.status.as_str(), "active" | "unknown") {
            eprintln!(
                "Meta says that this ad account is {}: its old days can be read, new ones may not come.",
                found.status
            );
        }
        eprintln!(
            "Its last 7 days follow by themselves where `adledger serve` runs. To fetch them here and now:\n  \
             adledger sync --integration {} --job meta_7d_fill --wait",
            connected.integration_id
        );
        Ok(Outcome::Done)
    }

    fn read_token(&self) -> Result<SecretString> {
        if !self.token_stdin && std::io::stdin().is_terminal() {
            eprintln!("Paste the access token, then Enter and Ctrl-D:");
        }
        let mut text = String::new();
        let mut input = std::io::stdin().take(MAX_TOKEN_BYTES + 1);
        input.read_to_string(&mut text).map_err(|error| {
            usage(format!("the token cannot be read from standard input ({error}): pipe in the token alone"))
        })?;
        let token = text.trim();
        if token.len() as u64 > MAX_TOKEN_BYTES || token.contains(char::is_whitespace) {
            return Err(usage(
                "what came on standard input is no token (it holds a space or a line break, or is longer than any): \
                 pipe in the token alone",
            ));
        }
        if token.is_empty() {
            return Err(usage(
                "no token came on standard input: pipe it in, as in `adledger connect … --token-stdin < token.txt`",
            ));
        }
        Ok(token.to_owned().into())
    }
}
