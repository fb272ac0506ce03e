use accounts::TenantError;
use anyhow::Result;
use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::boot::Boot;
use crate::exit::{Outcome, usage};
use crate::output;

/// Manage tenants
#[derive(Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Account {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a tenant and print its id
    Create {
        /// What people call it
        #[arg(long)]
        name: String,
        /// ISO 4217 code of the currency that all its ad accounts must have
        #[arg(long)]
        currency: String,
        /// IANA time zone, such as Europe/Berlin
        #[arg(long)]
        timezone: String,
    },
}

impl Account {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let Action::Create { name, currency, timezone } = self.action;
        accounts::check_currency(&currency).map_err(usage)?;
        accounts::check_timezone(&timezone).map_err(usage)?;
        let (pool, _servers) = boot.tables().await?;
        let id = Uuid::now_v7();
        accounts::create_account(&pool, id, &name, &currency, &timezone).await.map_err(|error| match error {
            error @ (TenantError::NoName | TenantError::Name) => usage(error),
            error => error.into(),
        })?;
        output::line(&id.to_string())?;
        Ok(Outcome::Done)
    }
}
