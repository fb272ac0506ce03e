//! The whole product for one scenario: `adledger serve` with every role, on servers of its own, and a fake Meta.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::{Days, NaiveDate};
use insights::Clock;
use testkit::graph::{AdAccount, Graph, Name, Totals, World};
use testkit::{Database, Nats};
use uuid::Uuid;

use crate::service::Service;
use crate::shop::{DEFAULT_STATUSES, KEYS, adledger, run};

/// An ad account in euros, whose days are those of [`ZONE`].
pub const BERLIN: &str = "act_1234567890";
/// Another one in euros.
pub const VIENNA: &str = "act_2345678901";
/// One in dollars.
pub const BOSTON: &str = "act_3456789012";
/// Sees all three.
pub const TOKEN: &str = "EAABpasted/0123456789+pasted=";
const APP_ID: &str = "1020304050607080";
const APP_SECRET: &str = "0123456789abcdef0123456789abcdef";
const ZONE: chrono_tz::Tz = chrono_tz::Europe::Berlin;

/// Something that happens in a while, such as a fill.
pub const SOON: Duration = Duration::from_secs(60);

pub struct House {
    pub database: Database,
    pub graph: Graph,
    /// Where the pages are.
    pub url: String,
    nats: Nats,
    _service: Service,
}

impl House {
    /// Nobody is connected, and there is no tenant yet.
    pub async fn open() -> Result<House> {
        House::open_with(&[]).await
    }

    pub async fn open_with(settings: &[(&str, &str)]) -> Result<House> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let (database, nats, graph) = tokio::try_join!(testkit::database(), testkit::nats(), Graph::start(world()))?;
        let mut command = adledger(&["serve"]);
        command
            .env("DATABASE_URL", &database.url)
            .env("NATS_URL", &nats.url)
            // To a browser this is another site than that of the pages, as Meta is.
            .env("META_API_BASE_URL", graph.url().replace("127.0.0.1", "localhost"))
            .env("META_APP_ID", APP_ID)
            .env("META_APP_SECRET", APP_SECRET)
            .env("META_MAX_BACKOFF_SECONDS", "1")
            .env("ADLEDGER_SECRET_KEYS", KEYS)
            .env("HTTP_ADDR", "127.0.0.1:0")
            .envs(settings.iter().copied());
        let mut service = Service::start(command)?;
        let url = service.url().await?;
        // Whoever runs the app enters the address that people come back to.
        let back = format!("{url}/connect/meta/oauth/callback");
        graph.edit(|world| world.insert_app(APP_ID, APP_SECRET, &[&back]));
        Ok(House { database, graph, url, nats, _service: service })
    }

    /// What Meta says of the ads that are asked for.
    pub fn totals(&self, external_id: &str, date: NaiveDate) -> Totals {
        self.graph.edit(|world| world.totals(external_id, date, Some(&DEFAULT_STATUSES)))
    }

    /// The integration of an ad account that is connected.
    pub async fn integration(&self, external_id: &str) -> Result<Uuid> {
        let id = sqlx::query_scalar(
            "select i.id from integrations i join ad_accounts a on a.account_id = i.account_id and a.id = i.ad_account_id
             where a.external_id = $1",
        );
        Ok(id.bind(external_id).fetch_one(&self.database.pool).await?)
    }

    /// Asks for older days, which no page does.
    pub async fn backfill(&self, integration: &Uuid, since: NaiveDate, until: NaiveDate) -> Result<()> {
        let (integration, since, until) = (integration.to_string(), since.to_string(), until.to_string());
        let mut command = adledger(&["backfill", "--integration", &integration, "--since", &since, "--until", &until]);
        command
            .env("DATABASE_URL", &self.database.url)
            .env("NATS_URL", &self.nats.url)
            .env("ADLEDGER_SECRET_KEYS", KEYS);
        let ran = run(command, None).await?;
        ensure!(ran.code == 0, "{ran:?}");
        Ok(())
    }

    /// Lets so many days of an ad account have been watched until they settled, five weeks ago: as the fold would have
    /// written it down, had it been there.
    pub async fn watched(&self, external_id: &str, settled: i32) -> Result<()> {
        let watched = sqlx::query(
            "insert into observations (account_id, ad_account_id, date, event_id, fetched_at, age_days, row_count, content_sha256,
                 spend, impressions, purchases, purchase_value, projection_version)
             select a.account_id, a.id, $3::date - day, gen_random_uuid(), now() - day * interval '1 day' + age * interval '1 day', age, 1, '',
                    1000, 10000, ended * share, ended * share * 40, 1
             from ad_accounts a, generate_series(36, 35 + $2) as day, generate_series(1, 29) as age,
                  lateral (select 40 + day % 7 * 5 as ended) e,
                  lateral (select round(1 - 0.6 * exp(-age / 5.0) + (day * 37 % 11 - 5) * 0.02 * (29 - age) / 29, 2) as share) s
             where a.external_id = $1",
        );
        watched.bind(external_id).bind(settled).bind(days_ago(0)).execute(&self.database.pool).await?;
        Ok(())
    }

    /// Waits until the tables have so many days of an ad account.
    pub async fn until_folded(&self, external_id: &str, days: i64) -> Result<()> {
        testkit::wait::until("the days are in the tables", SOON, async || {
            let folded: i64 = sqlx::query_scalar(
                "select count(*) from daily_meta_metrics m join ad_accounts a on a.account_id = m.account_id
                 and a.id = m.ad_account_id where a.external_id = $1",
            )
            .bind(external_id)
            .fetch_one(&self.database.pool)
            .await?;
            Ok(folded >= days)
        })
        .await
    }
}

fn world() -> World {
    let mut world = World { today: Some(days_ago(0)), ..World::default() };
    for (external_id, name, zone, currency, ads) in [
        (BERLIN, "Blumen Berlin", ZONE.name(), "EUR", 12),
        (VIENNA, "Blumen Wien", "Europe/Vienna", "EUR", 8),
        (BOSTON, "Garden shop \"Boston\"", "America/New_York", "USD", 6),
    ] {
        let ad_account = AdAccount::demo(external_id, zone, currency, days_ago(60)..=days_ago(0), ads);
        world.insert(TOKEN, external_id, AdAccount { name: Name::new(name), ..ad_account });
    }
    world
}

/// In the zone of [`BERLIN`].
pub fn days_ago(days: u64) -> NaiveDate {
    Clock::System.today(ZONE) - Days::new(days)
}

/// The days of a fill.
pub fn last_7_days() -> RangeInclusive<NaiveDate> {
    days_ago(7)..=days_ago(1)
}
