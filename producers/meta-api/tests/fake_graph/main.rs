//! The client against the fake Graph API, over real sockets: what it asks, what it makes of good answers, of throttles,
//! of broken answers and of refusals, how a person's grant becomes a token, and that what is secret stays so.

mod ad_accounts;
mod broken;
mod codes;
mod grants;
mod leaks;
mod pages;
mod questions;
mod refusals;
mod reports;
mod strange;
mod throttles;
mod tokens;

use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use meta_api::{
    Access, AccessToken, AdAccount, App, ClientConfig, ControlTotal, DayAnswer, Error, InsightsQuery, MetaApi,
    Progress, Shape, Way,
};
use secrecy::{ExposeSecret, SecretString};
use testkit::graph::{Ask, Decision, Graph, Level, World, code_challenge};

/// Of the form of Meta's app tokens, so that it looks different in a URL.
const TOKEN: &str = "123456789|aB-cD_eF/gH+iJ=";
const ACCOUNT: &str = "act_1234567890";

const APP_ID: &str = "424242424242";
/// These look different in a URL, too.
const APP_SECRET: &str = "0f~sEcReT/of+the=app*";
/// Of [`TOKEN`], with [`APP_SECRET`]; made with another program.
const PROOF: &str = "556b68f570411e6044ed4ed9065ec797b3ccee974f3cab1a90599ae5f96952c6";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFO~EjXk";
const REDIRECT_URI: &str = "http://127.0.0.1:8080/connect/meta/oauth/callback?a=b";

/// A fake with a made-up ad account, a client, and what the client told while it asked.
struct Scene {
    graph: Graph,
    api: MetaApi,
    page_limit: u32,
    told: Mutex<Vec<Progress>>,
}

impl Scene {
    async fn new(ads: usize) -> Scene {
        Scene::with(ads, |_| ()).await
    }

    async fn with(ads: usize, change: impl FnOnce(&mut ClientConfig)) -> Scene {
        leaks::log();
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut world = World::demo(TOKEN, ACCOUNT, "Europe/Berlin", "EUR", days(), ads);
        world.insert_app(APP_ID, APP_SECRET, &[REDIRECT_URI]);
        world.token(TOKEN).app_id = Some(APP_ID.into());
        world.now = Some(now());
        let graph = Graph::start(world).await.expect("the fake starts");
        let mut config = ClientConfig {
            base_url: graph.url().into(),
            max_backoff: Duration::from_millis(20),
            ..ClientConfig::default()
        };
        change(&mut config);
        let page_limit = config.page_limit;
        let api = MetaApi::new(config).expect("the settings are good");
        Scene { graph, api, page_limit, told: Mutex::default() }
    }

    async fn day(&self) -> Result<DayAnswer, Error> {
        self.ask(date(), &query()).await
    }

    async fn ask(&self, date: NaiveDate, query: &InsightsQuery) -> Result<DayAnswer, Error> {
        let days = self.window(date..=date, query, Way::Pages).await?;
        let [day] = <[DayAnswer; 1]>::try_from(days).expect("one day was asked for");
        Ok(day)
    }

    async fn window(
        &self,
        window: RangeInclusive<NaiveDate>,
        query: &InsightsQuery,
        way: Way,
    ) -> Result<Vec<DayAnswer>, Error> {
        let (token, page_limit) = (token(), self.page_limit);
        let hear = |progress| self.hear(progress);
        let access = Access { token: &token, external_id: ACCOUNT, gate: None, observer: &hear };
        self.api.insights(&access, window, query, Shape { page_limit, way, max_pages: None }).await
    }

    async fn control_total(&self, date: NaiveDate) -> Result<ControlTotal, Error> {
        let token = token();
        let hear = |progress| self.hear(progress);
        let access = Access { token: &token, external_id: ACCOUNT, gate: None, observer: &hear };
        let mut totals = self.api.control_totals(&access, date..=date).await?;
        Ok(totals.days.remove(&date).expect("every day of the window has a total"))
    }

    async fn ad_account(&self) -> Result<AdAccount, Error> {
        self.account_of(&token(), ACCOUNT).await
    }

    async fn account_of(&self, token: &AccessToken, external_id: &str) -> Result<AdAccount, Error> {
        let access = Access { token, external_id, gate: None, observer: &|_| () };
        self.api.ad_account(&access).await
    }

    async fn ad_accounts(&self) -> Result<Vec<AdAccount>, Error> {
        self.api.ad_accounts(&token(), &|progress| self.hear(progress)).await
    }

    fn dialog_url(&self) -> String {
        self.api.dialog_url(APP_ID, REDIRECT_URI, "st/ate", &code_challenge(VERIFIER)).into()
    }

    /// What a person grants in the dialog.
    fn code(&self) -> SecretString {
        let back = self.graph.decide(&self.dialog_url(), Decision::Continue).expect("the dialog is in order");
        value(&back, "code").expect("there is a code").into()
    }

    async fn exchange(&self, code: &SecretString) -> Result<SecretString, Error> {
        let verifier = VERIFIER.to_owned().into();
        self.api.exchange_code(&app(), REDIRECT_URI, code, &verifier).await.map(|granted| granted.token)
    }

    /// One call of each kind, by name; the token is that of every test, with its proof.
    async fn every_call(&self) -> Vec<(&'static str, Result<(), Error>)> {
        let (token, hear) = (own_token(), |progress| self.hear(progress));
        let access = Access { token: &token, external_id: ACCOUNT, gate: None, observer: &hear };
        let (window, shape) = (date()..=date(), |way| Shape { page_limit: self.page_limit, way, max_pages: None });
        vec![
            ("day", self.api.insights(&access, window.clone(), &query(), shape(Way::Pages)).await.map(drop)),
            ("report", self.api.insights(&access, window.clone(), &query(), shape(Way::Report)).await.map(drop)),
            ("control_total", self.api.control_totals(&access, window).await.map(drop)),
            ("ad_account", self.api.ad_account(&access).await.map(drop)),
            ("ad_accounts", self.api.ad_accounts(&token, &hear).await.map(drop)),
            ("permissions", self.api.permissions(&token).await.map(drop)),
            ("insights_readable", self.api.insights_readable(&token, ACCOUNT, date()).await),
            ("debug_token", self.api.debug_token(&app(), &token).await.map(drop)),
            ("long_lived", self.api.long_lived(&app(), &token).await.map(drop)),
            ("exchange_code", self.exchange(&self.code()).await.map(drop)),
        ]
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
    answer.rows.iter().map(text).collect()
}

fn text(row: &[u8]) -> &str {
    std::str::from_utf8(row).expect("the fake writes ASCII")
}

fn token() -> AccessToken {
    TOKEN.to_owned().into()
}

/// With its proof, as every call of a token of our own app has it.
fn own_token() -> AccessToken {
    AccessToken::of(TOKEN.to_owned().into(), Some(APP_ID), Some(&app()))
}

fn app() -> App {
    App { app_id: APP_ID.into(), app_secret: APP_SECRET.to_owned().into() }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_793_620_800, 0).expect("it exists")
}

fn shown(secret: &SecretString) -> &str {
    secret.expose_secret()
}

/// A parameter of an address, decoded.
fn value(url: &str, key: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).expect("it is a URL");
    url.query_pairs().find(|(k, _)| k == key).map(|(_, value)| value.into_owned())
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
