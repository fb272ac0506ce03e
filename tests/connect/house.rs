//! Servers, a tenant, a Meta with an app and ad accounts, and the web role in front of them.

use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use chrono::NaiveDate;
use testkit::graph::{AdAccount, Graph, World};
use testkit::{Database, Nats};
use uuid::Uuid;

use crate::browser::{Browser, Seen};
use crate::service::Service;
use crate::shop::{KEYS, Ran, adledger, days_ago, run, today};

/// In euros, and read by the token of [`PASTED`].
pub const SHOP: &str = "act_1000000001";
pub const SECOND: &str = "act_1000000002";
pub const DISABLED: &str = "act_1000000003";
/// In dollars.
pub const FOREIGN: &str = "act_1000000004";
/// Of no app that is known here.
pub const PASTED: &str = "EAABpasted/0123456789+canary=";
pub const APP_ID: &str = "424242424242";
pub const APP_SECRET: &str = "app-secret/of+the=canary";

pub struct House {
    pub database: Database,
    _nats: Nats,
    pub graph: Graph,
    pub account_id: Uuid,
    pub url: String,
    pub web: Service,
    settings: Vec<(String, String)>,
}

impl House {
    pub async fn open() -> Result<House> {
        House::with(&[]).await
    }

    /// With further settings of the service; an empty one is none.
    pub async fn with(settings: &[(&str, &str)]) -> Result<House> {
        rustls::crypto::ring::default_provider().install_default().ok();
        // The address to come back to is known to Meta before the service is up.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let url = format!("http://{address}");
        let mut world = World { today: Some(today()), ..World::default() };
        for (external_id, zone, currency, status) in [
            (SHOP, "Asia/Tokyo", "EUR", 1),
            (SECOND, "Europe/Madrid", "EUR", 1),
            (DISABLED, "Europe/Berlin", "EUR", 2),
            (FOREIGN, "America/New_York", "USD", 1),
        ] {
            let demo = AdAccount::demo(external_id, zone, currency, days_ago(40)..=days_ago(1), 6);
            world.insert(PASTED, external_id, AdAccount { account_status: status, ..demo });
        }
        world.insert_app(APP_ID, APP_SECRET, &[&format!("{url}/connect/meta/oauth/callback")]);
        let (database, nats, graph) = (testkit::database().await?, testkit::nats().await?, Graph::start(world).await?);
        let account_id = Uuid::now_v7();
        accounts::create_account(&database.pool, account_id, "Shop", "EUR", "Europe/Berlin").await?;
        let mut all = vec![
            ("DATABASE_URL".to_owned(), database.url.clone()),
            ("NATS_URL".into(), nats.url.clone()),
            ("META_API_BASE_URL".into(), graph.url().into()),
            ("META_APP_ID".into(), APP_ID.into()),
            ("META_APP_SECRET".into(), APP_SECRET.into()),
            ("ADLEDGER_SECRET_KEYS".into(), KEYS.into()),
            ("META_MAX_BACKOFF_SECONDS".into(), "1".into()),
            ("RUST_LOG".into(), "info".into()),
        ];
        all.extend(settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        let web = start(&all, "web", Some(&url))?;
        let mut house = House { database, _nats: nats, graph, account_id, url, web, settings: all };
        house.web.url().await?;
        Ok(house)
    }

    pub fn browser(&self) -> Result<Browser> {
        Browser::open(&self.url)
    }

    /// Another role beside the web.
    pub fn role(&self, role: &str) -> Result<Service> {
        start(&self.settings, role, None)
    }

    /// The web again, at the same address, with other settings where some are given.
    pub async fn restart(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        self.web.kill().await?;
        let mut all = self.settings.clone();
        all.extend(settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        self.web = start(&all, "web", Some(&self.url))?;
        self.web.url().await?;
        Ok(())
    }

    /// A command that must go well.
    pub async fn done(&self, arguments: &[&str]) -> Result<Ran> {
        let ran = self.run(arguments).await?;
        ensure!(ran.code == 0, "adledger {arguments:?}: {ran:?}");
        Ok(ran)
    }

    pub async fn run(&self, arguments: &[&str]) -> Result<Ran> {
        let mut command = adledger(arguments);
        command.envs(self.settings.iter().map(|(name, value)| (name, value))).env("HTTP_ADDR", "127.0.0.1:0");
        run(command, None).await
    }

    /// A command that reads a token.
    pub async fn run_with(&self, arguments: &[&str], token: &str) -> Result<Ran> {
        let mut command = adledger(arguments);
        command.envs(self.settings.iter().map(|(name, value)| (name, value))).env("HTTP_ADDR", "127.0.0.1:0");
        run(command, Some(token)).await
    }

    /// Pastes a token in this browser.
    pub async fn paste(&self, browser: &Browser, token: &str) -> Result<Seen> {
        let (csrf, account) = (browser.csrf().await?, self.account_id.to_string());
        browser.post("/connect/meta/token", &[("csrf", &csrf), ("account_id", &account), ("token", token)]).await
    }

    /// Chooses ad accounts in this browser, as the page's form would.
    pub async fn choose(&self, browser: &Browser, ad_accounts: &[&str]) -> Result<Seen> {
        let (csrf, account) = (browser.csrf().await?, self.account_id.to_string());
        let mut fields = vec![("csrf", csrf.as_str()), ("account_id", account.as_str())];
        fields.extend(ad_accounts.iter().map(|id| ("ad_account", *id)));
        browser.post("/connect/meta/accounts", &fields).await
    }

    /// Connects ad accounts with the pasted token, in a browser of its own; returns the first one's integration.
    pub async fn connect(&self, ad_accounts: &[&str]) -> Result<Uuid> {
        let browser = self.browser()?;
        self.paste(&browser, PASTED).await?.location()?;
        self.choose(&browser, ad_accounts).await?.shows(200, &["<h1>Connected</h1>"])?;
        self.integration(ad_accounts[0]).await?.context("it is connected")
    }

    pub async fn integration(&self, external_id: &str) -> Result<Option<Uuid>> {
        let known = accounts::integrations(&self.database.pool).await?;
        Ok(known.into_iter().find(|integration| integration.external_id == external_id).map(|found| found.id))
    }

    pub async fn count(&self, query: &'static str) -> Result<i64> {
        Ok(sqlx::query_scalar(query).fetch_one(&self.database.pool).await?)
    }

    /// Ad accounts, integrations, sealed tokens, events that wait for the relay: of a connection all or none.
    pub async fn written(&self) -> Result<[i64; 4]> {
        Ok([
            self.count("select count(*) from ad_accounts").await?,
            self.count("select count(*) from integrations").await?,
            self.count("select count(*) from integration_secrets").await?,
            self.count("select count(*) from outbox").await?,
        ])
    }

    pub async fn drafts(&self) -> Result<i64> {
        self.count("select count(*) from connect_drafts").await
    }

    /// From now on PostgreSQL refuses what is written of a connection as another role than the one that its policies
    /// hold.
    pub async fn let_only_the_webs_role_write(&self) -> Result<()> {
        let refuse = "create function only_web() returns trigger language plpgsql as $$
             begin
                 if current_user <> 'adledger_web' then raise exception 'written as %', current_user; end if;
                 return coalesce(new, old);
             end $$";
        sqlx::raw_sql(refuse).execute(&self.database.pool).await?;
        for table in ["ad_accounts", "integrations", "integration_secrets", "outbox", "oauth_trips", "connect_drafts"] {
            let trigger = format!(
                "create trigger only_web before insert or update or delete on {table} for each row execute function only_web()"
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(trigger)).execute(&self.database.pool).await?;
        }
        Ok(())
    }

    /// The days of `daily_summary` equal Meta's sums of these ad accounts, to the cent.
    pub async fn check_summary(&self, ad_accounts: &[&str], since: NaiveDate, until: NaiveDate) -> Result<()> {
        for date in since.iter_days().take_while(|day| *day <= until) {
            let totals: Vec<_> = self.graph.edit(|world| {
                let of = |id: &&str| world.totals(id, date, Some(&crate::shop::DEFAULT_STATUSES));
                ad_accounts.iter().map(of).collect()
            });
            let spend: rust_decimal::Decimal = totals.iter().map(|totals| totals.spend).sum();
            let found: Option<rust_decimal::Decimal> =
                sqlx::query_scalar("select meta_spend from daily_summary where account_id = $1 and date = $2")
                    .bind(self.account_id)
                    .bind(date)
                    .fetch_optional(&self.database.pool)
                    .await?
                    .flatten();
            ensure!(found == Some(spend), "{date}: {found:?} is in the table, and {spend} was spent");
        }
        Ok(())
    }
}

/// A role of the binary; the web at an address of its own.
fn start(settings: &[(String, String)], role: &str, url: Option<&str>) -> Result<Service> {
    let mut command = adledger(&["serve", "--role", role]);
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command.env("HTTP_ADDR", url.map_or("127.0.0.1:0", |url| url.trim_start_matches("http://")));
    Service::start(command)
}
