use std::time::Duration;

use ::runs::{JobType, Window};
use anyhow::{Context, Result};
use chrono::{Days, NaiveDate};
use clap::Args;
use secrecy::ExposeSecret;
use sqlx::PgPool;
use uuid::Uuid;

use crate::boot::{Boot, Servers};
use crate::exit::Outcome;
use crate::roles::{self, Role};
use crate::{daily_table, output, waiting};

/// Try everything on embedded servers and stub data
///
/// Makes a demo tenant with a stub ad account, fetches its last 7 days as `meta_7d_fill` does and the 28 before as
/// backfilled history, prints the tables, and serves until Ctrl-C. Run again, it goes on from what is there.
#[derive(Args)]
pub struct Demo {
    /// End after the tables were printed
    #[arg(long)]
    exit: bool,
}

const TENANT: &str = "Demo shop";
const AD_ACCOUNT: &str = "act_1000000001";
/// Days that the demo shows: seven filled, the rest backfilled.
const DAYS_SHOWN: u64 = 35;
const DEADLINE: Duration = Duration::from_secs(600);

impl Demo {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        eprintln!("adledger demo: a shop's ad account, made up, through the real servers.");
        let servers = boot.servers().await?;
        boot.place().make_demo().context("the demo's key cannot be written into the data folder")?;
        let (account_id, integration_id) = connect(boot, &servers.pool).await?;

        let fill = ::runs::enqueue(&servers.pool, integration_id, JobType::SevenDayFill, "demo", None).await?;
        let fill = waiting::until_folded(boot, &servers, fill.run_id, DEADLINE).await?;
        let last = fill.window_until.context("a run that went through has a window")?;
        if let Some(missing) = missing(&servers.pool, account_id, last).await? {
            let run = ::runs::enqueue(&servers.pool, integration_id, JobType::Backfill, "demo", Some(missing)).await?;
            waiting::until_folded(boot, &servers, run.run_id, DEADLINE).await?;
        }
        daily_table::print(&servers.pool, account_id, last - Days::new(DAYS_SHOWN - 1), last).await?;

        if self.exit {
            servers.close().await;
            return Ok(Outcome::Done);
        }
        self.serve(boot, servers, integration_id).await
    }

    async fn serve(self, boot: &Boot, servers: Servers, integration_id: Uuid) -> Result<Outcome> {
        let program = std::env::current_exe().unwrap_or_else(|_| "adledger".into());
        let adledger = format!("{} --data-dir {}", program.display(), boot.place().data_dir().display());
        output::line(&format!(
            "Serving until Ctrl-C. In another terminal:\n\
             \x20 {adledger} status\n\
             \x20 {adledger} sync --integration {integration_id} --job meta_fresh --wait\n\
             PostgreSQL listens at {}\n\
             NATS listens at {}",
            servers.database_url().expose_secret(),
            servers.nats_url(),
        ))?;
        roles::serve(Role::All, boot, servers).await
    }
}

/// The demo's tenant and its integration, made at the first run.
async fn connect(boot: &Boot, pool: &PgPool) -> Result<(Uuid, Uuid)> {
    let known = sqlx::query_scalar!("select id from accounts where name = $1 order by id limit 1", TENANT);
    let account_id = match known.fetch_optional(pool).await? {
        Some(id) => id,
        None => accounts::create_account(pool, TENANT, "USD", "America/New_York").await?,
    };
    let tenant = accounts::tenant(pool, account_id).await?;
    let token = "the stub takes any token".to_owned().into();
    let found = boot.settings.sources()?.ad_account(&token, AD_ACCOUNT, &tenant).await?;
    let keys = boot.settings.key_ring(boot.place())?;
    let connected = accounts::connect(pool, &keys, account_id, &found, &token, None).await?;
    Ok((account_id, connected.integration_id))
}

/// The range from the first to the last day of those shown that have no row yet.
async fn missing(pool: &PgPool, account_id: Uuid, last: NaiveDate) -> Result<Option<Window>> {
    let first = last - Days::new(DAYS_SHOWN - 1);
    let known = sqlx::query_scalar!(
        "select date from daily_summary where account_id = $1 and date between $2 and $3",
        account_id,
        first,
        last
    );
    let known = known.fetch_all(pool).await?;
    let mut missing = Window { since: first, until: last }.days().filter(|day| !known.contains(day));
    Ok(missing.next().map(|since| Window { since, until: missing.last().unwrap_or(since) }))
}
