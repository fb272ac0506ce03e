use anyhow::Result;
use clap::{Args, Subcommand};

use crate::boot::Boot;
use crate::exit::{self, Outcome, usage};
use crate::output;

/// Keep the keys that seal tokens
#[derive(Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Seal every token anew with the first key of ADLEDGER_SECRET_KEYS; exit code 3 when one does not open
    ///
    /// While services run: 1. put the new key behind the old one (old,new) and restart every process, so that each can
    /// open what the new one will seal; 2. put it first (new,old) and restart again; 3. run this; 4. take out the key
    /// that it says nothing needs any more.
    Rotate,
}

impl Keys {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let Action::Rotate = self.action;
        let keys = boot.settings.key_ring(boot.place()).map_err(usage)?;
        let (pool, _servers) = boot.tables().await?;
        let rotated = accounts::rotate(&pool, &keys).await?;
        output::line(&format!("{} tokens are sealed anew with key {:?}.", rotated.resealed, keys.current()))?;
        for (integration_id, error) in &rotated.unopened {
            eprintln!("integration {integration_id}: {}", exit::sentence(&anyhow::anyhow!("{error}")));
        }
        let in_use = accounts::keys_in_use(&pool).await?;
        for kid in keys.ids().filter(|kid| *kid != keys.current()) {
            output::line(&match in_use.iter().any(|used| used == kid) {
                true => format!(
                    "Key {kid:?} is still needed: a token above, or somebody who is connecting (half an hour at most)."
                ),
                false => format!("Key {kid:?} seals nothing any more: take it out of ADLEDGER_SECRET_KEYS."),
            })?;
        }
        Ok(if rotated.unopened.is_empty() { Outcome::Done } else { Outcome::Findings })
    }
}
