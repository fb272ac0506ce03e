use std::time::Duration;

use ::runs::{JobType, Window};
use anyhow::{Context, Result};
use chrono::{Days, NaiveDate};
use clap::Args;
use secrecy::ExposeSecret;
use sqlx::PgPool;
use uuid::Uuid;

use crate::boot::{Boot, Servers};
use crate::exit::{Outcome, usage};
use crate::roles::{self, Role};
use crate::shutdown::Tasks;
use crate::web::WhenTaken;
use crate::{daily_table, output, waiting};

/// Try everything on embedded servers and stub data
///
/// Makes a demo tenant, connects a stub ad account, whose last 7 days follow as a `meta_7d_fill`, backfills the 28
/// before, prints the tables, and serves until Ctrl-C. Run again, it goes on from what is there.
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
const FOLLOWS_WITHIN: Duration = Duration::from_secs(60);

impl Demo {
    pub async fn run(self, boot: &Boot) -> Result<Outcome> {
        eprintln!("adledger demo: a shop's ad account, made up, through the real servers.");
        boot.settings.web.check().map_err(usage)?;
        let servers = boot.servers().await?;
        boot.place().make_demo().context("the demo's key cannot be written into the data folder")?;
        let account_id = tenant(&servers.pool).await?;
        let (integration_id, fill) = match connected(&servers.pool, account_id).await? {
            Some(integration_id) => {
                let fill = ::runs::enqueue(&servers.pool, integration_id, JobType::SevenDayFill, "demo", None).await?;
                (integration_id, fill.run_id)
            }
            None => {
                let integration_id = connect(boot, &servers.pool, account_id).await?;
                (integration_id, fill_that_follows(boot, &servers, integration_id).await?)
            }
        };
        let fill = waiting::until_folded(boot, &servers, fill, DEADLINE).await?;
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
        let listener = roles::listen(Role::All, boot, WhenTaken::TakeAnotherPort).await?;
        let page = listener.as_ref().map(|listener| format!("http://{}/", listener.address())).unwrap_or_default();
        output::line(&format!(
            "The status page: {page}\n\
             Serving until Ctrl-C. In another terminal:\n\
             \x20 {adledger} status\n\
             \x20 {adledger} sync --integration {integration_id} --job meta_fresh --wait\n\
             PostgreSQL listens at {}\n\
             NATS listens at {}",
            servers.database_url().expose_secret(),
            servers.nats_url(),
        ))?;
        roles::serve(Role::All, boot, servers, listener).await
    }
}

/// The demo's tenant, made at the first run.
async fn tenant(pool: &PgPool) -> Result<Uuid> {
    let known = sqlx::query_scalar!("select id from accounts where name = $1 order by id limit 1", TENANT);
    match known.fetch_optional(pool).await? {
        Some(id) => Ok(id),
        None => {
            let id = Uuid::now_v7();
            accounts::create_account(pool, id, TENANT, "USD", "America/New_York").await?;
            Ok(id)
        }
    }
}

/// The integration of an earlier run.
async fn connected(pool: &PgPool, account_id: Uuid) -> Result<Option<Uuid>> {
    let is_ours = |i: &accounts::Integration| i.account_id == account_id && i.status == accounts::Status::Connected;
    Ok(accounts::integrations(pool).await?.into_iter().find(is_ours).map(|integration| integration.id))
}

async fn connect(boot: &Boot, pool: &PgPool, account_id: Uuid) -> Result<Uuid> {
    let tenant = accounts::tenant(pool, account_id).await?;
    let token = "the stub takes any token".to_owned().into();
    let meta = boot.settings.directory()?;
    let directory = ::connect::Directory::of(meta.as_ref(), None);
    let brought = super::connect::examine(pool, directory, &tenant, token, AD_ACCOUNT).await?;
    let found = super::connect::passed(&brought.examined)?;
    let keys = boot.settings.key_ring(boot.place())?;
    Ok(accounts::connect(pool, &keys, account_id, found, &brought.token, &brought.known).await?.integration_id)
}

/// The fill that a connection's event makes, as it does in a service: outbox, relay, META_CONNECT, its consumer.
async fn fill_that_follows(boot: &Boot, servers: &Servers, integration_id: Uuid) -> Result<Uuid> {
    let mut tasks = Tasks::new();
    roles::spawn(&mut tasks, Role::Relay, boot, servers)?;
    roles::spawn(&mut tasks, Role::Fill, boot, servers)?;
    let fill = tokio::time::timeout(FOLLOWS_WITHIN, async {
        loop {
            let fill = ::runs::newest(&servers.pool, integration_id, JobType::SevenDayFill).await?;
            if let Some(fill) = fill {
                break Ok::<_, anyhow::Error>(fill.id);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let fill = fill.await.context("no fill followed from the connection")?;
    tasks.end().await?;
    fill
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
