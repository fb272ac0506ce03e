//! The client against the fake Graph API, over real sockets: what it asks, what it makes of good answers, of throttles,
//! of broken answers and of refusals, and that the token stays in its header.

mod broken;
mod leaks;
mod pages;
mod questions;
mod refusals;
mod throttles;

use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::time::Duration;

use chrono::NaiveDate;
use meta_api::{AdAccount, ClientConfig, ControlTotal, DayAnswer, Error, InsightsQuery, MetaApi, Progress};
use secrecy::SecretString;
use testkit::graph::{Ask, Graph, Level, World};

/// Of the form of Meta's app tokens, so that it looks different in a URL.
const TOKEN: &str = "123456789|aB-cD_eF/gH+iJ=";
const ACCOUNT: &str = "act_1234567890";

/// A fake with a made-up ad account, a client, and what the client told while it asked.
struct Scene {
    graph: Graph,
    api: MetaApi,
    told: Mutex<Vec<Progress>>,
}

impl Scene {
    async fn new(ads: usize) -> Scene {
        Scene::with(ads, |_| ()).await
    }

    async fn with(ads: usize, change: impl FnOnce(&mut ClientConfig)) -> Scene {
        leaks::log();
        rustls::crypto::ring::default_provider().install_default().ok();
        let world = World::demo(TOKEN, ACCOUNT, "Europe/Berlin", "EUR", days(), ads);
        let graph = Graph::start(world).await.expect("the fake starts");
        let mut config = ClientConfig {
            base_url: graph.url().into(),
            max_backoff: Duration::from_millis(20),
            ..ClientConfig::default()
        };
        change(&mut config);
        let api = MetaApi::new(config).expect("the settings are good");
        Scene { graph, api, told: Mutex::default() }
    }

    async fn day(&self) -> Result<DayAnswer, Error> {
        self.ask(date(), &query()).await
    }

    async fn ask(&self, date: NaiveDate, query: &InsightsQuery) -> Result<DayAnswer, Error> {
        self.api.insights_day(&token(), ACCOUNT, date, query, &|progress| self.hear(progress)).await
    }

    async fn control_total(&self, date: NaiveDate) -> Result<ControlTotal, Error> {
        self.api.control_total(&token(), ACCOUNT, date, &|progress| self.hear(progress)).await
    }

    async fn ad_account(&self) -> Result<AdAccount, Error> {
        self.api.ad_account(&token(), ACCOUNT, &|_| ()).await
    }

    fn hear(&self, progress: Progress) {
        self.told.lock().expect("nobody panicked with it").push(progress);
    }

    /// What was told, apart from pages.
    fn trouble(&self) -> Vec<Progress> {
        let told = self.told.lock().expect("nobody panicked with it");
        told.iter().filter(|progress| !matches!(progress, Progress::Page { .. })).cloned().collect()
    }

    /// The rows of the day as the fake sends them.
    fn rows_sent(&self, date: NaiveDate, query: &InsightsQuery) -> Vec<String> {
        let ask = Ask {
            level: Level::Ad,
            since: date,
            until: date,
            fields: query.fields.clone(),
            statuses: query.effective_status.clone(),
            windows: query.attribution_windows.clone(),
        };
        self.graph.edit(|world| world.rows(ACCOUNT, &ask))
    }

    /// The limits of the questions so far.
    fn limits_asked(&self) -> Vec<String> {
        self.graph.requests().iter().filter_map(|r| r.parameter("limit").map(str::to_owned)).collect()
    }
}

fn texts(answer: &DayAnswer) -> Vec<&str> {
    answer.rows.iter().map(|row| row.get()).collect()
}

fn token() -> SecretString {
    SecretString::from(TOKEN.to_owned())
}

fn date() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 1).expect("it exists")
}

fn days() -> RangeInclusive<NaiveDate> {
    date() - chrono::Days::new(6)..=date()
}

fn query() -> InsightsQuery {
    let fields = "ad_id,ad_name,adset_id,adset_name,campaign_id,campaign_name,account_currency,spend,impressions,clicks,\
                  inline_link_clicks,actions,action_values";
    InsightsQuery {
        fields: fields.split(',').map(str::to_owned).collect(),
        effective_status: None,
        attribution_windows: ["1d_click", "7d_click", "1d_view"].map(str::to_owned).to_vec(),
    }
}
