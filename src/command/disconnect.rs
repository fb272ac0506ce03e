use anyhow::{Context, Result};
use clap::Args;
use uuid::Uuid;

use crate::boot::Boot;
use crate::exit::Outcome;

/// End a connection: its token is deleted, its runs end, its numbers stay
///
/// Connect the ad account again, and it goes on from where it was.
#[derive(Args)]
pub struct Disconnect {
    /// Id of the integration, as `adledger status` shows it
    #[arg(long, value_name = "ID")]
    integration: Uuid,
}

impl Disconnect {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let (pool, _servers) = boot.tables().await?;
        let integration = accounts::integration(&pool, self.integration).await?.with_context(|| {
            format!("integration {} does not exist: `adledger status` lists them", self.integration)
        })?;
        let mut tx = pool.begin().await?;
        let ended = ::connect::disconnect(&mut tx, integration.account_id, integration.id).await?;
        tx.commit().await?;
        let name = &integration.external_id;
        if ended {
            eprintln!("Disconnected {name}: its token is deleted, its numbers stay.");
        } else {
            eprintln!("{name} was disconnected already.");
        }
        Ok(Outcome::Done)
    }
}
