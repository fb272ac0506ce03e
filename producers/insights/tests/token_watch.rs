//! Tokens: asked about daily, exchanged, warned of; with a moved clock, a real PostgreSQL and a fake Meta.

use accounts::{Expiry, FoundAdAccount, Integration, KeyRing, KnownToken, Origin, Status, TokenStanding};
use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use insights::{Clock, TokenWatch};
use meta_api::{App, ClientConfig, MetaApi};
use secrecy::ExposeSecret;
use serde_json::Value;
use testkit::Database;
use testkit::graph::{Endpoint, Failure, Graph, LONG_LIVED_TOKEN_LIVES, Token, World};
use uuid::Uuid;

const APP_ID: &str = "4242";
const APP_SECRET: &str = "secret-of-the-app";
const OWN: &str = "EAAB-own";
const KEYS: &str = "k1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

struct Scene {
    database: Database,
    graph: Graph,
    account_id: Uuid,
    /// When the scene was opened.
    start: DateTime<Utc>,
}

impl Scene {
    async fn open() -> Result<Scene> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let database = testkit::database().await?;
        let account_id = Uuid::now_v7();
        accounts::create_account(&database.pool, account_id, "Shop", "EUR", "Europe/Berlin").await?;
        let mut world = World::default();
        world.insert_app(APP_ID, APP_SECRET, &[]);
        let start = sqlx::query_scalar("select now()").fetch_one(&database.pool).await?;
        Ok(Scene { database, graph: Graph::start(world).await?, account_id, start })
    }

    fn keys() -> KeyRing {
        KeyRing::parse(&KEYS.to_owned().into()).expect("a good key ring")
    }

    fn watch(&self, days: f64, app: bool) -> Result<TokenWatch> {
        let now = self.at(days);
        self.graph.edit(|world| world.now = Some(now));
        let config = ClientConfig {
            base_url: self.graph.url().into(),
            max_backoff: std::time::Duration::from_millis(10),
            max_attempts: 2,
            ..ClientConfig::default()
        };
        let app = app.then(|| App { app_id: APP_ID.into(), app_secret: APP_SECRET.to_owned().into() });
        Ok(TokenWatch {
            pool: self.database.pool.clone(),
            api: MetaApi::new(config)?,
            keys: Scene::keys(),
            app,
            clock: Clock::Fixed(now),
        })
    }

    /// So many days after the start.
    fn at(&self, days: f64) -> DateTime<Utc> {
        self.start + TimeDelta::seconds((days * 86_400.0) as i64)
    }

    /// What a leader does at that moment, and another one beside it.
    async fn look(&self, days: f64) -> Result<()> {
        let (one, other) = (self.watch(days, true)?, self.watch(days, true)?);
        let (one, other) = tokio::join!(one.look_once(), other.look_once());
        one?;
        Ok(other?)
    }

    fn token(&self, token: &str, app_id: Option<&str>, ends_after_days: Option<f64>) {
        let expires_at = ends_after_days.map(|days| self.at(days));
        let app_id = app_id.map(str::to_owned);
        self.graph.edit(|world| world.tokens.insert(token.into(), Token { app_id, expires_at, ..Token::default() }));
    }

    /// Connects an ad account of that number, with a token that nothing is known of yet, and that it is time to ask
    /// about.
    async fn connect(&self, number: u32, token: &str) -> Result<Integration> {
        let found = FoundAdAccount {
            origin: Origin::Meta,
            external_id: format!("act_{number}"),
            name: "Shop".into(),
            currency: "EUR".into(),
            timezone_name: "Europe/Berlin".into(),
            status: "active".into(),
        };
        let (token, known) = (token.to_owned().into(), KnownToken::default());
        let connected =
            accounts::connect(&self.database.pool, &Scene::keys(), self.account_id, &found, &token, &known).await?;
        sqlx::query(
            "update integration_secrets set next_check_at = now() - interval '1 second' where integration_id = $1",
        )
        .bind(connected.integration_id)
        .execute(&self.database.pool)
        .await?;
        self.integration(connected.integration_id).await
    }

    async fn integration(&self, id: Uuid) -> Result<Integration> {
        accounts::integration(&self.database.pool, id).await?.context("it is there")
    }

    async fn standing(&self, integration: &Integration) -> Result<TokenStanding> {
        let standing = accounts::token_standing(&self.database.pool, integration.account_id, integration.id);
        standing.await?.context("it has a token")
    }

    async fn kept(&self, integration: &Integration) -> Result<String> {
        let kept = accounts::token(&self.database.pool, &Scene::keys(), integration).await?.context("it has one")??;
        Ok(kept.token.expose_secret().to_owned())
    }

    /// Threshold and days left of each warning, in the order in which they were written.
    async fn warnings(&self) -> Result<Vec<(i64, i64)>> {
        let rows: Vec<Value> = sqlx::query_scalar(
            "select convert_from(payload, 'utf8')::jsonb from outbox
             where headers::text like '%adledger.meta.token.expiring.v1%' order by written_at, event_id",
        )
        .fetch_all(&self.database.pool)
        .await?;
        let number = |row: &Value, name: &str| row[name].as_i64().unwrap_or(-1);
        Ok(rows.iter().map(|row| (number(row, "threshold"), number(row, "days_left"))).collect())
    }

    /// How often the fake was asked so.
    fn asked(&self, endpoint: Endpoint) -> usize {
        self.graph.requests().iter().filter(|question| question.endpoint() == endpoint).count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_token_is_asked_about_once_a_day() -> Result<()> {
    let scene = Scene::open().await?;
    scene.token(OWN, Some(APP_ID), Some(60.0));
    let integration = scene.connect(1, OWN).await?;
    let ended = scene.connect(2, "EAAB-ended").await?;
    let mut tx = scene.database.pool.begin().await?;
    accounts::disconnect(&mut tx, scene.account_id, ended.id).await?;
    tx.commit().await?;
    for (days, asked) in [(0.01, 1), (0.02, 1), (0.9, 1), (1.02, 2), (1.5, 2), (7.0, 3)] {
        scene.look(days).await?;
        assert_eq!(scene.asked(Endpoint::DebugToken), asked, "after {days} days");
    }
    let standing = scene.standing(&integration).await?;
    // Meta tells seconds.
    let end = scene.at(60.0).timestamp();
    ensure!(matches!(standing.known.expiry, Expiry::At(at) if at.timestamp() == end), "{standing:?}");
    assert_eq!((standing.known.app_id.as_deref(), standing.check_problem), (Some(APP_ID), None));
    ensure!(standing.checked_at.context("it was")? == scene.at(7.0), "{:?}", standing.checked_at);
    assert_eq!(scene.asked(Endpoint::LongLived), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_is_warned_of_at_14_7_and_1_days_once_each() -> Result<()> {
    let scene = Scene::open().await?;
    scene.token(OWN, Some(APP_ID), Some(30.0));
    scene.graph.fail(Failure::refusal(400, 100, None, "No").on(Endpoint::LongLived));
    let integration = scene.connect(1, OWN).await?;
    for (days, expected) in [
        (0.01, vec![]),
        (15.5, vec![]),
        (16.6, vec![(14, 14)]),
        (17.7, vec![(14, 14)]),
        (23.8, vec![(14, 14), (7, 7)]),
        (24.9, vec![(14, 14), (7, 7)]),
        (29.5, vec![(14, 14), (7, 7), (1, 1)]),
        (29.9, vec![(14, 14), (7, 7), (1, 1)]),
    ] {
        scene.look(days).await?;
        assert_eq!(scene.warnings().await?, expected, "after {days} days");
    }
    assert_eq!(scene.integration(integration.id).await?.status, Status::Connected);

    // A new token starts afresh, and who was not there for two thresholds hears of the nearest.
    scene.token("EAAB-second", Some(APP_ID), Some(60.0));
    scene.connect(1, "EAAB-second").await?;
    scene.look(31.0).await?;
    assert_eq!(scene.warnings().await?.len(), 3);
    scene.look(54.0).await?;
    assert_eq!(scene.warnings().await?[3..], [(7, 6)]);

    let event: (String, Value) = sqlx::query_as(
        "select subject, convert_from(payload, 'utf8')::jsonb from outbox
         where headers::text like '%token.expiring%' order by written_at limit 1",
    )
    .fetch_one(&scene.database.pool)
    .await?;
    assert_eq!(event.0, format!("meta.connect.{}.{}", scene.account_id, integration.id));
    assert_eq!(
        (&event.1["ad_account"]["external_id"], &event.1["ends"], &event.1["integration_id"]),
        (&"act_1".into(), &"token".into(), &integration.id.to_string().into())
    );
    ensure!(!event.1.to_string().contains("EAAB"), "{}", event.1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_meta_refuses_stops_its_integration_and_no_other() -> Result<()> {
    let scene = Scene::open().await?;
    for (token, app_id) in
        [(OWN, Some(APP_ID)), ("EAAB-gone", Some(APP_ID)), ("EAAB-mute", Some(APP_ID)), ("EAAB-pasted", None)]
    {
        scene.token(token, app_id, Some(60.0));
    }
    scene.token("EAAB-expired", Some(APP_ID), Some(-1.0));
    scene.token("EAAB-gone-too", None, Some(60.0));
    scene.graph.edit(|world| {
        world.revoke("EAAB-gone");
        world.token("EAAB-gone-too").revoked = Some(458);
        world.token("EAAB-mute").scopes = ["public_profile".to_owned()].into();
    });
    let mut integrations = Vec::new();
    for (number, token, said) in [
        (1, OWN, None),
        (2, "EAAB-gone", Some("the password of the person it belongs to was changed")),
        (3, "EAAB-mute", Some("Meta does not let this token read ad account act_3")),
        (4, "EAAB-expired", Some("it has expired")),
        (5, "EAAB-pasted", None),
        (6, "EAAB-gone-too", Some("has removed the app")),
        (7, "EAAB-unknown", Some("must connect again with a new token")),
        (8, OWN, None),
    ] {
        integrations.push((scene.connect(number, token).await?, said));
    }
    scene.look(0.01).await?;
    for (before, said) in integrations {
        let after = scene.integration(before.id).await?;
        let status = if said.is_some() { Status::NeedsReconnect } else { Status::Connected };
        assert_eq!(after.status, status, "{}: {:?}", before.external_id, after.status_reason);
        let reason = after.status_reason.unwrap_or_default();
        ensure!(reason.contains(said.unwrap_or_default()), "{reason}");
        ensure!(!reason.contains("EAAB"), "{reason}");
    }
    assert_eq!(scene.asked(Endpoint::LongLived), 0);
    // Whoever must connect it again is not warned besides.
    assert_eq!(scene.warnings().await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_another_app_or_without_one_is_used_to_see_that_it_is_good() -> Result<()> {
    let scene = Scene::open().await?;
    scene.token("EAAB-pasted", None, Some(3.0));
    let pasted = scene.connect(1, "EAAB-pasted").await?;
    scene.look(0.01).await?;
    let standing = scene.standing(&pasted).await?;
    assert_eq!((standing.known, standing.check_problem), (KnownToken::default(), None));
    ensure!(standing.checked_at.is_some());
    scene.watch(1.1, false)?.look_once().await?;
    assert_eq!((scene.asked(Endpoint::DebugToken), scene.asked(Endpoint::Permissions)), (1, 2));
    assert_eq!((scene.asked(Endpoint::LongLived), scene.warnings().await?.len()), (0, 0));
    let proofs =
        scene.graph.requests().iter().filter(|question| question.parameter("appsecret_proof").is_some()).count();
    assert_eq!(proofs, 0, "another app's token has no proof of ours");
    assert_eq!(scene.integration(pasted.id).await?.status, Status::Connected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_answer_it_is_tried_again_the_same_day_and_not_without_end() -> Result<()> {
    let scene = Scene::open().await?;
    scene.token(OWN, Some(APP_ID), Some(60.0));
    scene.token("EAAB-pasted", None, None);
    let (own, pasted) = (scene.connect(1, OWN).await?, scene.connect(2, "EAAB-pasted").await?);
    scene.graph.fail(Failure::refusal(400, 100, None, "{token} is odd").on(Endpoint::DebugToken));
    let hour = 1.0 / 24.0;
    let mut attempts = Vec::new();
    for quarter in 0..(4 * 24) {
        scene.watch(0.001 + f64::from(quarter) * hour / 4.0, true)?.look_once().await?;
        attempts.push(scene.asked(Endpoint::DebugToken));
    }
    assert_eq!(attempts.last(), Some(&12), "six times a day each: {attempts:?}");
    ensure!(attempts[0] == 2 && attempts[8] >= 6, "soon again at first: {attempts:?}");
    for integration in [&own, &pasted] {
        let standing = scene.standing(integration).await?;
        let problem = standing.check_problem.context("it says why")?;
        ensure!(problem.contains("[token] is odd") && standing.checked_at.is_none(), "{problem}");
        assert_eq!(scene.integration(integration.id).await?.status, Status::Connected, "nobody knows");
    }
    scene.graph.heal();
    scene.look(1.5).await?;
    let standing = scene.standing(&own).await?;
    assert_eq!((standing.check_problem, standing.known.app_id.as_deref()), (None, Some(APP_ID)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_app_is_left_alone_for_as_long_as_meta_says() -> Result<()> {
    let scene = Scene::open().await?;
    for number in 1..=3 {
        let token = format!("EAAB-{number}");
        scene.token(&token, Some(APP_ID), Some(60.0));
        scene.connect(number, &token).await?;
    }
    scene.graph.fail(Failure::app_throttle(30).on(Endpoint::DebugToken).times(2));
    scene.watch(0.001, true)?.look_once().await?;
    assert!(scene.asked(Endpoint::DebugToken) <= 2, "the others are not asked about while the app is throttled");
    scene.look(0.05).await?;
    let unknown = "select count(*) from integration_secrets where checked_at is null";
    let unknown: i64 = sqlx::query_scalar(unknown).fetch_one(&scene.database.pool).await?;
    assert_eq!(unknown, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_soon_is_exchanged_before_anybody_is_warned() -> Result<()> {
    let scene = Scene::open().await?;
    scene.token(OWN, Some(APP_ID), Some(5.0));
    scene.token("EAAB-late", Some(APP_ID), Some(16.0));
    let (soon, late) = (scene.connect(1, OWN).await?, scene.connect(2, "EAAB-late").await?);
    scene.look(0.01).await?;
    let longer = scene.kept(&soon).await?;
    ensure!(longer != OWN && scene.kept(&late).await? == "EAAB-late");
    let end = scene.standing(&soon).await?.known.end().context("it ends")?.at;
    assert_eq!(end.timestamp(), (scene.at(0.01) + LONG_LIVED_TOKEN_LIVES).timestamp());
    assert_eq!(scene.warnings().await?, [], "nobody is warned of what mends itself");
    assert_eq!(scene.asked(Endpoint::LongLived), 1);
    assert_eq!(scene.integration(soon.id).await?.connected_at, soon.connected_at, "it is the same connection");
    // Once a day at most, and none that is long-lived.
    scene.look(0.5).await?;
    scene.look(1.02).await?;
    assert_eq!(scene.asked(Endpoint::LongLived), 2, "of the other one, which ends in less than 15 days now");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_fails_never_loses_the_token_that_works() -> Result<()> {
    let scene = Scene::open().await?;
    scene.token(OWN, Some(APP_ID), Some(5.0));
    let integration = scene.connect(1, OWN).await?;
    let mut days = 0.01;
    for (failure, endpoint) in [
        (Failure::refusal(400, 100, None, "No"), Endpoint::LongLived),
        (Failure::refusal(400, 190, Some(463), "{token}"), Endpoint::LongLived),
        (Failure::body(200, r#"{"access_token":"EAAB-of-nobody"}"#), Endpoint::LongLived),
        (Failure::body(200, &format!(r#"{{"access_token":"{OWN}"}}"#)), Endpoint::LongLived),
    ] {
        scene.graph.fail(failure.clone().on(endpoint));
        scene.look(days).await?;
        scene.graph.heal();
        assert_eq!(scene.kept(&integration).await?, OWN, "{failure:?}");
        assert_eq!(scene.integration(integration.id).await?.status, Status::Connected, "{failure:?}");
        days += 1.01;
    }
    assert_eq!(scene.warnings().await?, [(7, 5), (1, 1)][..1], "then somebody is");
    Ok(())
}

/// Meta goes on calling such a token valid, and gives it nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_access_to_data_is_warned_of_too() -> Result<()> {
    let scene = Scene::open().await?;
    scene.token(OWN, Some(APP_ID), None);
    let end = scene.at(20.0);
    scene.graph.edit(|world| world.token(OWN).data_access_expires_at = Some(end));
    let integration = scene.connect(1, OWN).await?;
    scene.look(0.01).await?;
    let standing = scene.standing(&integration).await?;
    assert_eq!(standing.known.expiry, Expiry::Never);
    ensure!(standing.known.words(scene.at(1.0)).starts_with("loses its access to data in 19 days"), "{standing:?}");
    scene.look(14.0).await?;
    assert_eq!(scene.warnings().await?, [(7, 6)]);
    assert_eq!(scene.asked(Endpoint::LongLived), 0, "that would not prolong it");
    // Its user was there: the end moves away, and is warned of afresh.
    let end = scene.at(104.0);
    scene.graph.edit(|world| world.token(OWN).data_access_expires_at = Some(end));
    for (days, warnings) in [(15.1, 1), (80.0, 1), (90.5, 2), (97.5, 3)] {
        scene.look(days).await?;
        assert_eq!(scene.warnings().await?.len(), warnings, "after {days} days");
    }
    Ok(())
}

/// Two that exchange the same token, and somebody who connects again meanwhile: one of them is too late, and changes
/// nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_second_with_a_token_changes_nothing() -> Result<()> {
    let scene = Scene::open().await?;
    let (pool, keys) = (&scene.database.pool, Scene::keys());
    let integration = scene.connect(1, OWN).await?;
    let seal = accounts::token(pool, &keys, &integration).await?.context("it has one")??.seal;
    let known = KnownToken::default();
    let (first, second) = ("EAAB-first".to_owned().into(), "EAAB-second".to_owned().into());
    let (one, other) = tokio::join!(
        accounts::replace_token(pool, &keys, &integration, &seal, &first, &known),
        accounts::replace_token(pool, &keys, &integration, &seal, &second, &known),
    );
    ensure!(one? != other?, "one of them is");
    let seal = accounts::token(pool, &keys, &integration).await?.context("it has one")??.seal;
    scene.connect(1, "EAAB-connected-again").await?;
    ensure!(!accounts::replace_token(pool, &keys, &integration, &seal, &first, &known).await?);
    assert_eq!(scene.kept(&integration).await?, "EAAB-connected-again");
    Ok(())
}
