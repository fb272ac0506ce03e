use std::io::{IsTerminal, Read};

use ::connect::{CheckState, Directory, Examination, Examined, MAX_TOKEN_BYTES, day_to_ask_of, is_token_text};
use accounts::{FoundAdAccount, KnownToken, Tenant};
use anyhow::{Context, Result};
use clap::Args;
use secrecy::SecretString;
use sqlx::PgPool;
use uuid::Uuid;

use crate::boot::Boot;
use crate::exit::{Outcome, usage};
use crate::output;

/// Connect an ad account to a tenant, with a token read from standard input
///
/// Asks Meta about the token and the ad account, says of each check how it went, connects if all passed, and keeps the
/// token sealed. Run it again to replace the token.
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

impl Connect {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let keys = boot.settings.own_key_ring(boot.place()).map_err(usage)?;
        let meta = boot.settings.directory().map_err(usage)?;
        meta_api::check_ad_account_id(&self.ad_account).map_err(usage)?;
        let token = self.read_token()?;
        let (pool, _servers) = boot.tables().await?;
        let tenant = accounts::tenant(&pool, self.account).await?;
        let directory = Directory::of(meta.as_ref(), boot.settings.web.app.as_ref());
        let Brought { token, examined, known } = examine(&pool, directory, &tenant, token, &self.ad_account).await?;
        for check in &examined.checks {
            eprintln!("{:<9}  {}: {}", check.state.word(), check.name.title(), check.sentence);
        }
        let found = passed(&examined)?;
        let connected = accounts::connect(&pool, &keys, tenant.id, found, &token, &known).await?;
        let verb = if connected.reconnected { "Reconnected" } else { "Connected" };
        eprintln!(
            "{verb} {} ({:?}, {}, {}) to {:?}. The integration's id:",
            found.external_id, found.name, found.currency, found.timezone_name, tenant.name
        );
        output::line(&connected.integration_id.to_string())?;
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
        let mut input = std::io::stdin().take(MAX_TOKEN_BYTES as u64 + 1);
        input.read_to_string(&mut text).map_err(|error| {
            usage(format!("the token cannot be read from standard input ({error}): pipe in the token alone"))
        })?;
        let token = text.trim();
        if token.is_empty() {
            return Err(usage(
                "no token came on standard input: pipe it in, as in `adledger connect … --token-stdin < token.txt`",
            ));
        }
        if !is_token_text(token) {
            return Err(usage(
                "what came on standard input is no token (it holds a space or a line break, or is longer than any): \
                 pipe in the token alone",
            ));
        }
        Ok(token.to_owned().into())
    }
}

/// A token that was brought, and what came of the checks.
pub(super) struct Brought {
    /// A longer-lived one in its place, where it ended soon and Meta gave one.
    pub(super) token: SecretString,
    pub(super) examined: Examined,
    pub(super) known: KnownToken,
}

/// The check list of the ad account, and what is known of the token.
pub(super) async fn examine(
    pool: &PgPool,
    directory: Directory<'_>,
    tenant: &Tenant,
    token: SecretString,
    external_id: &str,
) -> Result<Brought> {
    let date = day_to_ask_of(pool).await?;
    let (mut token, mut known) = (token.clone(), directory.token(&token).await);
    if let Ok(facts) = &known {
        let now = sqlx::query_scalar!(r#"select now() as "now!""#).fetch_one(pool).await?;
        if let Some((longer, facts)) = directory.prolonged(&token, facts, now).await {
            (token, known) = (longer, Ok(facts));
        }
    }
    let app_id = known.as_ref().ok().and_then(|facts| facts.known.app_id.as_deref());
    let access = directory.access(&token, app_id);
    let examination = Examination { directory, tenant, token: &access, date };
    let examined = examination.ad_account(&known, external_id).await;
    Ok(Brought { token, examined, known: known.map(|facts| facts.known).unwrap_or_default() })
}

/// The ad account, if every check passed.
pub(super) fn passed(examined: &Examined) -> Result<&FoundAdAccount> {
    let failed = || {
        let failed = examined.checks.iter().filter(|check| check.state == CheckState::Failed);
        let failed: Vec<&str> = failed.map(|check| check.name.title()).collect();
        let external_id = &examined.external_id;
        format!("{external_id} is not connected, and nothing was written. This does not hold: {}", failed.join("; "))
    };
    examined.passed().with_context(failed)
}
