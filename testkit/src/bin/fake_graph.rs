//! The fake Graph API, for use by hand: point `META_API_BASE_URL` at the URL that it prints.

use std::io::Write as _;

use anyhow::{Context, Result, ensure};
use chrono::{Days, NaiveDate, Utc};
use clap::Parser;
use testkit::graph::{Graph, World};

/// Serves a made-up ad account as Meta's Graph API would, until Ctrl-C.
#[derive(Debug, Parser)]
struct Arguments {
    /// The port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 9999)]
    port: u16,
    /// The one access token that is valid.
    #[arg(long, default_value = "EAAB-fake-token")]
    token: String,
    /// The ad account's id.
    #[arg(long, default_value = "act_1234567890")]
    ad_account: String,
    /// How many days have delivery, yesterday being the last one.
    #[arg(long, default_value_t = 40)]
    days: u64,
    /// How many ads there are.
    #[arg(long, default_value_t = 60)]
    ads: usize,
    /// The ad account's time zone, an IANA name.
    #[arg(long, default_value = "Europe/Berlin")]
    timezone: chrono_tz::Tz,
    /// The ad account's currency.
    #[arg(long, default_value = "EUR")]
    currency: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.days > 0, "--days must be 1 or more");
    let today = today(arguments.timezone);
    let since = today.checked_sub_days(Days::new(arguments.days)).context("--days is too large")?;
    let yesterday = today.pred_opt().context("there is a yesterday")?;
    let Arguments { token, ad_account, ads, timezone, currency, .. } = &arguments;
    let mut world = World::demo(token, ad_account, timezone.name(), currency, since..=yesterday, *ads);
    world.today = Some(today);
    let graph = Graph::start_on(arguments.port, world).await?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "META_API_BASE_URL={}\ntoken {token}\nad account {ad_account}\ndays {since} to {yesterday}",
        graph.url()
    )?;
    writeln!(out, "Ctrl-C ends it")?;
    drop(out);
    tokio::signal::ctrl_c().await.context("listen for Ctrl-C")
}

#[expect(clippy::disallowed_methods, reason = "a program for use by hand: the days that exist are those up to now")]
fn today(timezone: chrono_tz::Tz) -> NaiveDate {
    Utc::now().with_timezone(&timezone).date_naive()
}
