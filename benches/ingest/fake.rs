//! The fake Graph API in a process of its own, and what it knows of its ad accounts.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use chrono::{Days, NaiveDate};
use insights::Clock;
use testkit::graph::{AdAccount, Graph, Totals, World};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::run::Job;

/// Makes this program the fake.
pub const ARGUMENT: &str = "fake";
pub const TOKEN: &str = "EAAB-benchmark-token";
pub const CURRENCY: &str = "EUR";
pub const ZONE: chrono_tz::Tz = chrono_tz::Europe::Berlin;

/// The running process.
pub struct Fake {
    pub url: String,
    pub pid: u32,
    pub today: NaiveDate,
    world: World,
    _process: Child,
}

/// Serves until its standard input ends, which it does with whoever started it.
pub async fn serve() -> Result<()> {
    let today = std::env::args().nth(2).context("the day that it is")?.parse()?;
    let graph = Graph::start(world(today)).await?;
    println!("{}", graph.url());
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    Ok(())
}

impl Fake {
    pub async fn start() -> Result<Fake> {
        let today = Clock::System.today(ZONE);
        let mut process = Command::new(std::env::current_exe()?)
            .args([ARGUMENT, &today.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().context("its standard output is piped")?;
        let url = BufReader::new(output).lines().next_line().await?.context("the fake did not start")?;
        let pid = process.id().context("the fake has ended")?;
        Ok(Fake { url, pid, today, world: world(today), _process: process })
    }

    /// The job's days, oldest first.
    pub fn days(&self, job: Job) -> Vec<NaiveDate> {
        (1..=job.days()).rev().map(|ago| self.today - Days::new(ago)).collect()
    }

    /// What the tables must say of each of the job's days, over all its ad accounts.
    pub fn totals(&self, job: Job) -> Result<BTreeMap<NaiveDate, Totals>> {
        let mut of_day = BTreeMap::new();
        for date in self.days(job) {
            let sum: &mut Totals = of_day.entry(date).or_default();
            for id in job.ad_accounts() {
                let totals = self.world.totals(&id, date, None);
                ensure!(totals.ads == job.ads(), "{id} has {} rows on {date}", totals.ads);
                sum.ads += totals.ads;
                sum.spend += totals.spend;
                sum.impressions += totals.impressions;
                sum.clicks += totals.clicks;
                sum.purchases += totals.purchases;
                sum.purchase_value += totals.purchase_value;
            }
        }
        Ok(of_day)
    }
}

/// The ad accounts of both jobs, every ad with a row on every day.
fn world(today: NaiveDate) -> World {
    let mut world = World::default();
    for job in Job::ALL {
        let days = (today - Days::new(job.days()))..=(today - Days::new(1));
        for id in job.ad_accounts() {
            let mut account = AdAccount::demo(&id, ZONE.name(), CURRENCY, days.clone(), job.ads());
            for ad in &mut account.ads {
                ad.effective_status = "ACTIVE".to_owned();
                let Some(some) = ad.days.values().next().cloned() else { continue };
                for ago in 1..=job.days() {
                    ad.days.entry(today - Days::new(ago)).or_insert_with(|| some.clone());
                }
            }
            world.insert(TOKEN, &id, account);
        }
    }
    world.today = Some(today);
    world.cached = true;
    world
}
