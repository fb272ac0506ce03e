//! The fake Graph API, for use by hand: point `META_API_BASE_URL` at the URL that it prints.

use std::io::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{Days, NaiveDate, Utc};
use clap::Parser;
use testkit::graph::{AdAccount, Curve, Faults, Graph, Limits, Quota, TooMuch, World};
use tokio::signal::unix::{SignalKind, signal};

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
    /// Days are not known at once what they will be: they mature with their age along this curve. They are as old as they
    /// are when this begins.
    #[arg(long, value_name = "NAME")]
    curve: Option<Curve>,
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
    /// Every call with the token must bring a right appsecret_proof; one that is brought must always be right.
    #[arg(long)]
    require_proof: bool,
    #[command(flatten)]
    size: Size,
    #[command(flatten)]
    speed: Speed,
    #[command(flatten)]
    trouble: Trouble,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Size")]
struct Size {
    /// How many ad accounts like that of the other options there are. With 2 or more, the small ones of other currencies
    /// and time zones are left out.
    #[arg(long, value_name = "N", default_value_t = 1)]
    ad_accounts: u64,
    /// Names of ads, ad sets and campaigns have so many characters, instead of short names with traps in them.
    #[arg(long, value_name = "N")]
    name_chars: Option<usize>,
    /// A call whose whole answer, that of all days before paging, has more rows is refused (code 100, subcode 1487534);
    /// asynchronous reports are not.
    #[arg(long, value_name = "ROWS")]
    max_rows_a_call: Option<usize>,
    /// A page limit above this is refused in the same way.
    #[arg(long, value_name = "ROWS")]
    max_page_rows: Option<usize>,
    /// What is too large is refused as HTTP 500 with code 1 and the reason in words alone.
    #[arg(long)]
    too_much_in_words: bool,
    /// The rows of several days come one day after the other; otherwise they are mixed over all pages.
    #[arg(long)]
    day_by_day: bool,
    /// How many times a report that is asked about is not finished yet.
    #[arg(long, value_name = "N", default_value_t = 2)]
    polls: u32,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Speed and counts")]
struct Speed {
    /// Whatever was rendered stays in memory: the first answer to a question costs time, the others next to none.
    #[arg(long)]
    cached: bool,
    /// Implies --cached, and renders the answer to this question for every ad account and day before anyone asks: the
    /// query of a call for rows of ads, as in 'fields=ad_id,spend&filtering=[...]&action_attribution_windows=["1d_click"]'.
    #[arg(long, value_name = "QUERY")]
    warm: Option<String>,
    /// Each answer comes so much later.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    latency: u64,
    /// Prints so often which calls were made and needed; at the end (Ctrl-C, SIGTERM) they are printed anyway.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    report_every: Option<u64>,
}

/// The shares are of the calls for insights, reports and ad accounts, from 0 to 1.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Trouble (shares are of calls, from 0 to 1)")]
struct Trouble {
    /// The same seed and the same number of a call have the same misfortune.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of throttles: every kind of them, each with one usage header, Retry-After, or none.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    throttles: f64,
    /// How long a throttle blocks its ad account, or its app.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    block_seconds: u32,
    /// Every throttle says when it ends; otherwise some leave it to be guessed.
    #[arg(long)]
    no_silent_throttles: bool,
    /// Share of answers with HTTP 5xx, as a page for people or as JSON with code 2.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    server_errors: f64,
    /// Share of answers whose connection ends in their middle.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    cut_bodies: f64,
    /// Share of answers with code 2, or with an unknown code and is_transient.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    transient: f64,
    /// Share of reports that fail, are skipped, get stuck, expire, or are called completed too early.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    bad_reports: f64,
    /// How many calls for insights an ad account has in the window of --quota-window; the usage headers say how much of
    /// it is used, and who goes on is blocked.
    #[arg(long, value_name = "CALLS", value_parser = clap::value_parser!(u32).range(1..))]
    quota: Option<u32>,
    /// The rolling window of --quota.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    quota_window: u64,
}

/// Id, currency, time zone, `account_status`, ads.
type Other = (&'static str, &'static str, &'static str, i64, usize);

/// Beyond the one of the options.
const OTHERS: [Other; 3] = [
    ("act_2000000001", "USD", "America/New_York", 1, 12),
    ("act_2000000002", "EUR", "Europe/Madrid", 1, 12),
    ("act_2000000003", "EUR", "Europe/Berlin", 2, 6),
];
const FIRST_OF_MANY: u64 = 3_000_000_001;
const MANY: u64 = 40;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    arguments.check()?;
    let today = today(arguments.timezone);
    let since = today.checked_sub_days(Days::new(arguments.days)).context("--days is too large")?;
    let yesterday = today.pred_opt().context("there is a yesterday")?;
    let days = since..=yesterday;
    let mut world = arguments.world(today, &days);
    if let Some(curve) = arguments.curve {
        curve.mature(&mut world, today);
    }
    let Arguments { token, ad_account, app_id, app_secret, redirect, .. } = &arguments;
    let graph = Graph::start_on(arguments.port, world).await?;
    let warmed = arguments.speed.warm.as_deref().map(|query| graph.warm(query)).transpose().context("--warm")?;
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
    for (id, currency, timezone, status, _) in arguments.others() {
        let state = if status == 1 { "active" } else { "disabled" };
        writeln!(out, "another ad account {id} ({currency}, {timezone}, {state})")?;
    }
    let (like_it, small) = arguments.more();
    if like_it + small > 0 {
        writeln!(out, "and {} more, from act_{FIRST_OF_MANY} on", like_it + small)?;
    }
    if let Some(rows) = warmed {
        writeln!(out, "{rows} rows are rendered")?;
    }
    writeln!(out, "Ctrl-C ends it")?;
    drop(out);
    until_the_end(&graph, arguments.speed.report_every.map(Duration::from_secs)).await?;
    writeln!(std::io::stdout().lock(), "{}", graph.counts()).context("print the counts")
}

/// Prints the counts now and then, until a signal says that it is enough.
async fn until_the_end(graph: &Graph, report_every: Option<Duration>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut tick = tokio::time::interval(report_every.unwrap_or(Duration::from_secs(10)));
    tick.tick().await;
    loop {
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => return pressed.context("listen for Ctrl-C"),
            _ = terminate.recv() => return Ok(()),
            _ = tick.tick() => {
                // Nobody here reads them, and they grow.
                graph.forget_requests();
                if report_every.is_some() {
                    writeln!(std::io::stdout().lock(), "{}", graph.counts()).context("print the counts")?;
                }
            }
        }
    }
}

impl Arguments {
    fn check(&self) -> Result<()> {
        ensure!(self.days > 0, "--days must be 1 or more");
        ensure!(self.size.ad_accounts > 0, "--ad-accounts must be 1 or more");
        let Trouble { throttles, server_errors, cut_bodies, transient, bad_reports, .. } = self.trouble;
        let shares = [throttles, server_errors, cut_bodies, transient];
        let is_share = |share: &f64| (0.0..=1.0).contains(share);
        ensure!(
            shares.iter().all(is_share) && is_share(&bad_reports) && shares.iter().sum::<f64>() <= 1.0,
            "--throttles, --server-errors, --cut-bodies and --transient are shares of all calls: each of them must be \
             between 0 and 1, their sum too, and so must --bad-reports"
        );
        Ok(())
    }

    /// How many ad accounts there are beyond the one: like it, and small ones.
    fn more(&self) -> (u64, u64) {
        (self.size.ad_accounts - 1, if self.many { MANY } else { 0 })
    }

    fn others(&self) -> impl Iterator<Item = Other> {
        let others = if self.size.ad_accounts == 1 { OTHERS.as_slice() } else { &[] };
        others.iter().copied().filter(|other| other.0 != self.ad_account)
    }

    fn world(&self, today: NaiveDate, days: &RangeInclusive<NaiveDate>) -> World {
        let Arguments { token, ad_account, ads, timezone, currency, size, speed, trouble, .. } = self;
        let mut world = World { today: Some(today), ..World::default() };
        let (like_it, small) = self.more();
        let more = (FIRST_OF_MANY..).map(|number| format!("act_{number}")).filter(|id| id != ad_account);
        let ids = [ad_account.clone()].into_iter().chain(more);
        let sizes = (0..=like_it).map(|_| *ads).chain((0..small).map(|_| 3));
        for (id, ads) in ids.zip(sizes) {
            world.insert(token, &id, AdAccount::demo(&id, timezone.name(), currency, days.clone(), ads));
        }
        for (id, currency, timezone, status, ads) in self.others() {
            let other = AdAccount::demo(id, timezone, currency, days.clone(), ads);
            world.insert(token, id, AdAccount { account_status: status, ..other });
        }
        if let Some(chars) = size.name_chars {
            world.ad_accounts.values_mut().for_each(|account| account.rename(chars));
        }
        let redirect_uris: Vec<&str> = self.redirect.iter().map(String::as_str).collect();
        world.insert_app(&self.app_id, &self.app_secret, &redirect_uris);
        world.apps.values_mut().for_each(|app| app.require_proof = self.require_proof);
        world.token(token).app_id = Some(self.app_id.clone());
        world.mixed_days = !size.day_by_day;
        world.limits = Limits {
            max_rows_a_call: size.max_rows_a_call,
            max_page_rows: size.max_page_rows,
            wording: if size.too_much_in_words { TooMuch::Words } else { TooMuch::Subcode },
            ..Limits::default()
        };
        world.reports.polls = size.polls;
        world.cached = speed.cached || speed.warm.is_some();
        world.latency = Duration::from_millis(speed.latency);
        world.quota = trouble.quota.map(|calls| Quota {
            calls,
            window: Duration::from_secs(trouble.quota_window),
            block_seconds: trouble.block_seconds,
        });
        world.faults = trouble.faults();
        world
    }
}

impl Trouble {
    fn faults(&self) -> Faults {
        let mut faults = Faults {
            seed: self.seed,
            throttles: self.throttles,
            server_errors: self.server_errors,
            cut_bodies: self.cut_bodies,
            transient: self.transient,
            reports: self.bad_reports,
            block_seconds: self.block_seconds,
            ..Faults::default()
        };
        if self.no_silent_throttles {
            faults.hints.retain(|hint| hint.tells_end());
        }
        faults
    }
}

#[expect(clippy::disallowed_methods, reason = "a program for use by hand: the days that exist are those up to now")]
fn today(timezone: chrono_tz::Tz) -> NaiveDate {
    Utc::now().with_timezone(&timezone).date_naive()
}
