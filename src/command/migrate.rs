use anyhow::Result;
use clap::Args;

use crate::boot::{self, Boot};
use crate::exit::Outcome;
use crate::output;

/// Apply the migrations to the database
///
/// Safe to repeat, and to run from several machines at once.
#[derive(Args)]
pub struct Migrate {}

impl Migrate {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let (pool, _servers) = boot.database().await?;
        boot::migrate(&pool).await?;
        let newest = migrations::MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
        output::line(&format!("The database is at migration {newest:04}."))?;
        Ok(Outcome::Done)
    }
}
