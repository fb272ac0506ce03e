use anyhow::Result;
use clap::{Args, Subcommand};

use super::names::Names;
use crate::boot::Boot;
use crate::exit::Outcome;
use crate::output;

/// List replays, newest first, or pause one
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Replays {
    #[command(subcommand)]
    action: Option<Action>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Ask a running replay to pause after the transaction in hand; its command, given again, goes on from there
    Pause {
        /// Its number, as `adledger replays` shows it
        id: i64,
    },
}

impl Replays {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        let (pool, _servers) = boot.tables().await?;
        if let Some(Action::Pause { id }) = self.action {
            projector::replay::pause(&pool, id).await?;
            output::line(&format!("Replay {id} pauses after the transaction in hand."))?;
            return Ok(Outcome::Done);
        }
        let replays = projector::replay::list(&pool, self.limit).await?;
        if self.json {
            output::json(&replays)?;
            return Ok(Outcome::Done);
        }
        if replays.is_empty() {
            output::line("No replay yet: `adledger replay --since DATE --until DATE` folds a range again.")?;
            return Ok(Outcome::Done);
        }
        let names = Names::load(&pool).await?;
        let mut table =
            output::table(&["replay", "range", "of", "from", "state", "days", "changed", "left", "rows/s", "started"]);
        output::right(&mut table, [0, 5, 6, 7, 8]);
        for replay in &replays {
            let whose = match (replay.account_id, replay.ad_account_id) {
                (_, Some(id)) => names.ad_account(id),
                (Some(id), None) => format!("tenant {}", names.tenant(id)),
                (None, None) => "all".to_owned(),
            };
            let table_named = replay.table.as_ref().map(|table| format!(", {table}")).unwrap_or_default();
            let trusting = if replay.trust_hash { ", by hash" } else { "" };
            table.add_row([
                replay.id.to_string(),
                format!("{} – {}", replay.since, replay.until),
                whose,
                format!("{}{table_named}{trusting}", replay.from),
                replay.state.clone(),
                format!("{}/{}", replay.days_done, replay.days_total),
                replay.days_changed.to_string(),
                replay.days_left.to_string(),
                output::or_dash(replay.rows_a_second.map(|rate| format!("{rate:.0}"))),
                output::time(replay.started_at),
            ]);
        }
        output::line(&table.to_string())?;
        Ok(Outcome::Done)
    }
}
