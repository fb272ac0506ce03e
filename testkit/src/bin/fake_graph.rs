//! The fake Graph API, for use by hand: point `META_API_BASE_URL` at the URL that it prints.

use std::io::Write as _;

use anyhow::{Context, Result, ensure};
use chrono::{Days, NaiveDate, Utc};
use clap::Parser;
use testkit::graph::{AdAccount, Graph, World};

/// Serves made-up ad accounts as Meta's Graph API would, and the dialog that grants access to them, until Ctrl-C.
#[derive(Debug, Parser)]
struct Arguments {
    /// The port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 9999)]
    port: u16,
    /// The access token that is valid from the start; the dialog gives more.
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
    /// The id of the Meta app, a number.
    #[arg(long, default_value = "424242424242")]
    app_id: String,
    /// The app's secret.
    #[arg(long, default_value = "fake-app-secret")]
    app_secret: String,
    /// An address that the dialog may send people back to; repeat it for several.
    #[arg(long, value_name = "URI", default_values = [
        "http://127.0.0.1:8080/connect/meta/oauth/callback",
        "http://localhost:8080/connect/meta/oauth/callback",
    ])]
    redirect: Vec<String>,
    /// More ad accounts than fit a page of 25.
    #[arg(long)]
    many: bool,
}

/// Beyond the one of the options: id, currency, time zone, `account_status`, ads.
const OTHERS: [(&str, &str, &str, i64, usize); 3] = [
    ("act_2000000001", "USD", "America/New_York", 1, 12),
    ("act_2000000002", "EUR", "Europe/Madrid", 1, 12),
    ("act_2000000003", "EUR", "Europe/Berlin", 2, 6),
];
const FIRST_OF_MANY: u64 = 3_000_000_001;
const MANY: u64 = 40;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.days > 0, "--days must be 1 or more");
    let today = today(arguments.timezone);
    let since = today.checked_sub_days(Days::new(arguments.days)).context("--days is too large")?;
    let yesterday = today.pred_opt().context("there is a yesterday")?;
    let days = since..=yesterday;
    let Arguments { token, ad_account, ads, timezone, currency, app_id, app_secret, redirect, .. } = &arguments;
    let mut world = World::demo(token, ad_account, timezone.name(), currency, days.clone(), *ads);
    world.today = Some(today);
    for (id, currency, timezone, status, ads) in OTHERS.into_iter().filter(|other| other.0 != ad_account) {
        let other = AdAccount::demo(id, timezone, currency, days.clone(), ads);
        world.insert(token, id, AdAccount { account_status: status, ..other });
    }
    let many = if arguments.many { MANY } else { 0 };
    for id in (FIRST_OF_MANY..).take(usize::try_from(many)?).map(|number| format!("act_{number}")) {
        world.insert(token, &id, AdAccount::demo(&id, timezone.name(), currency, days.clone(), 3));
    }
    let redirect_uris: Vec<&str> = redirect.iter().map(String::as_str).collect();
    world.insert_app(app_id, app_secret, &redirect_uris);
    world.token(token).app_id = Some(app_id.clone());

    let graph = Graph::start_on(arguments.port, world).await?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "META_API_BASE_URL={}\ntoken {token}\nad account {ad_account}\ndays {since} to {yesterday}",
        graph.url()
    )?;
    writeln!(out, "META_APP_ID={app_id}\nMETA_APP_SECRET={app_secret}")?;
    for uri in redirect {
        writeln!(out, "redirect address {uri}")?;
    }
    for (id, currency, timezone, status, _) in OTHERS {
        let state = if status == 1 { "active" } else { "disabled" };
        writeln!(out, "another ad account {id} ({currency}, {timezone}, {state})")?;
    }
    if many > 0 {
        writeln!(out, "and {many} more, from act_{FIRST_OF_MANY} on")?;
    }
    writeln!(out, "Ctrl-C ends it")?;
    drop(out);
    tokio::signal::ctrl_c().await.context("listen for Ctrl-C")
}

#[expect(clippy::disallowed_methods, reason = "a program for use by hand: the days that exist are those up to now")]
fn today(timezone: chrono_tz::Tz) -> NaiveDate {
    Utc::now().with_timezone(&timezone).date_naive()
}
