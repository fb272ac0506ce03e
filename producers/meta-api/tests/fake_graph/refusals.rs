use meta_api::{Error, InsightsQuery, MetaApi};
use testkit::graph::{Failure, Graph, World};

use crate::{ACCOUNT, Scene, TOKEN, date, query, token};

/// Each of these is final: one question, no wait.
#[tokio::test]
async fn refusals_have_their_class_and_are_not_repeated() {
    let scene = Scene::new(3).await;
    for (failure, class, advice) in [
        (Failure::token_expired(), "token", "must connect again with a new token"),
        (Failure::refusal(401, 190, Some(460), "password changed"), "token", "code 190/460"),
        (Failure::refusal(400, 102, None, "session"), "token", "code 102"),
        (Failure::no_permission(), "permission", "permission ads_read"),
        (Failure::refusal(403, 200, None, "no"), "permission", "permission ads_read"),
        (Failure::refusal(403, 272, None, "no"), "permission", "an admin of the ad account must give them one"),
        (Failure::refusal(400, 100, Some(3_191_001), "no"), "permission", "no role on the ad account"),
        (Failure::refusal(400, 100, None, "bad field"), "wrong_request", "it would be refused again"),
        (Failure::refusal(400, 3018, None, "too old"), "wrong_request", "Meta keeps 37 months"),
        (Failure::refusal(404, 803, None, "no such alias"), "wrong_request", "HTTP 404, code 803"),
        (Failure::body(404, "{}"), "wrong_request", "check META_API_BASE_URL"),
    ] {
        scene.graph.forget_requests();
        scene.graph.fail(failure.clone());
        for error in [
            scene.day().await.unwrap_err(),
            scene.control_total(date()).await.unwrap_err(),
            scene.ad_account().await.unwrap_err(),
        ] {
            assert_eq!(error.class(), class, "{failure:?}: {error}");
            assert!(error.to_string().contains(advice), "{failure:?}: {error}");
            assert!(error.to_string().contains(ACCOUNT), "{failure:?}: {error}");
        }
        assert_eq!(scene.graph.requests().len(), 3, "{failure:?}");
        scene.graph.heal();
    }
    assert_eq!(scene.trouble(), []);
}

#[tokio::test]
async fn an_unknown_ad_account_is_said_in_a_sentence() {
    let scene = Scene::new(3).await;
    let error = scene.account_of(&token(), "act_404").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Meta refuses the request for ad account act_404 (HTTP 400, code 100/33, \"Unsupported get request. Object with \
         ID 'act_404' does not exist, cannot be loaded due to missing permissions, or does not support this \
         operation.\", fbtrace_id Fake000001): check the ad account's id, and that the token's user may see it"
    );
}

#[tokio::test]
async fn a_token_that_may_not_read_the_account_is_a_matter_of_permission() {
    let scene = Scene::new(3).await;
    scene.graph.edit(|world| world.insert_token("another"));
    let error = scene.account_of(&"another".to_owned().into(), ACCOUNT).await.unwrap_err();
    assert!(matches!(error, Error::Permission { .. }), "{error}");
}

#[tokio::test]
async fn a_token_that_was_revoked_is_a_matter_of_connecting_again() {
    let scene = Scene::with(40, |config| config.page_limit = 10).await;
    assert!(scene.day().await.is_ok());
    scene.graph.edit(|world| world.tokens.clear());
    let error = scene.day().await.unwrap_err();
    let refusal = error.refusal().expect("Meta said something");
    assert_eq!((error.class(), refusal.code, refusal.subcode), ("token", Some(190), Some(467)));
    assert_eq!(refusal.message, "Error validating access token: [token]");
}

#[tokio::test]
async fn a_token_whose_session_was_ended_is_refused_by_every_call() {
    let scene = Scene::new(3).await;
    for (revoked, expires_at, subcode) in
        [(Some(460), None, 460), (Some(458), None, 458), (None, Some(crate::now()), 463)]
    {
        scene.graph.edit(|world| (world.token(TOKEN).revoked, world.token(TOKEN).expires_at) = (revoked, expires_at));
        for (call, result) in scene.every_call().await {
            if ["debug_token", "exchange_code"].contains(&call) {
                result.expect(call);
                continue;
            }
            let error = result.expect_err(call);
            let refusal = error.refusal().expect("Meta said something");
            assert_eq!((error.class(), refusal.code, refusal.subcode), ("token", Some(190), Some(subcode)), "{call}");
        }
    }
}

#[tokio::test]
async fn an_unknown_status_or_window_is_named_by_its_setting() {
    let scene = Scene::new(3).await;
    let statuses = InsightsQuery { effective_status: Some(vec!["ACTIVE".into(), "PAUSD".into()]), ..query() };
    let error = scene.ask(date(), &statuses).await.unwrap_err().to_string();
    assert!(error.contains("PAUSD") && error.contains("META_EFFECTIVE_STATUS"), "{error}");
    let windows = InsightsQuery { attribution_windows: vec!["8d_click".into()], ..query() };
    let error = scene.ask(date(), &windows).await.unwrap_err();
    assert!(error.class() == "wrong_request" && error.to_string().contains("8d_click"), "{error}");
}

#[tokio::test]
async fn an_expired_version_names_its_setting() {
    let scene = Scene::with(3, |config| config.api_version = "v24.0".into()).await;
    let error = scene.ad_account().await.unwrap_err().to_string();
    assert!(error.contains("code 2635") && error.contains("META_API_VERSION"), "{error}");
}

#[tokio::test]
async fn a_day_before_metas_memory_is_refused() {
    let scene = Scene::new(3).await;
    scene.graph.edit(|world| world.today = Some(date() + chrono::Months::new(38)));
    let error = scene.day().await.unwrap_err().to_string();
    assert!(error.contains("code 3018") && error.contains("ask for a later day"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_by_any_kind_of_call() {
    let scene = Scene::new(3).await;
    let elsewhere = Graph::start(World::demo(TOKEN, ACCOUNT, "UTC", "USD", date()..=date(), 3)).await.unwrap();
    for status in [301, 302, 303, 307, 308] {
        scene.graph.forget_requests();
        let location = format!("{}/v25.0/{ACCOUNT}/insights", elsewhere.url());
        scene.graph.fail(Failure::body(status, "").header("location", &location));
        for (call, result) in scene.every_call().await {
            let error = result.expect_err(call);
            assert_eq!(error.class(), "wrong_request", "{call}: {error}");
            assert!(error.to_string().contains("a redirect to another address, which is not followed"), "{error}");
        }
        assert_eq!(scene.graph.requests().len(), 10, "{status}");
        scene.graph.heal();
    }
    assert_eq!(elsewhere.requests(), []);
}

#[tokio::test]
async fn nothing_is_sent_for_an_id_or_a_token_that_cannot_be_one() {
    let scene = Scene::new(3).await;
    for external_id in ["", "1234567890", "act_", "act_1/../me", "act_1?access_token=x", "act_1%2f", "act_1\n"] {
        let error = scene.account_of(&token(), external_id).await.unwrap_err();
        assert!(matches!(error, Error::AdAccountId { .. }), "{external_id:?}: {error}");
        assert!(error.to_string().contains("write it like act_1234567890"), "{error}");
    }
    for bad in ["", "two words", "line\nbreak", "t\u{f6}ken"] {
        let error = scene.account_of(&bad.to_owned().into(), ACCOUNT).await.unwrap_err();
        assert_eq!(error.class(), "token", "{error}");
    }
    assert_eq!(scene.graph.requests(), []);
    assert!(
        MetaApi::new(meta_api::ClientConfig { base_url: "http://example.com".into(), ..Default::default() }).is_err()
    );
}
