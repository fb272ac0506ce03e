//! A code serves once.

use std::time::Duration;

use meta_api::{App, Error};
use testkit::graph::{CODE_LIVES, Endpoint, Failure};

use crate::{APP_ID, APP_SECRET, REDIRECT_URI, Scene, VERIFIER, app, now, shown, token};

#[tokio::test]
async fn what_is_wrong_with_a_code_is_said_with_who_does_what() {
    let scene = Scene::new(3).await;
    let (used, wrong_uri, wrong_verifier, of_app) = (scene.code(), scene.code(), scene.code(), scene.code());
    scene.exchange(&used).await.unwrap();
    let app_with = |id: &str, secret: &str| App { app_id: id.into(), app_secret: secret.to_owned().into() };
    let unknown = "AQ-none".to_owned().into();
    for (app, uri, code, verifier, class, said) in [
        (app(), REDIRECT_URI, &used, VERIFIER, "sign_in", "code 100/36009"),
        (app(), REDIRECT_URI, &unknown, VERIFIER, "sign_in", "start the connection again"),
        (app(), REDIRECT_URI, &wrong_verifier, "another", "sign_in", "Invalid code_verifier [code verifier]"),
        (
            app(),
            "https://b.example/",
            &wrong_uri,
            VERIFIER,
            "app",
            "an admin of the Meta app 424242424242 must enter it",
        ),
        (app_with(APP_ID, "another"), REDIRECT_URI, &of_app, VERIFIER, "app", "set META_APP_ID and META_APP_SECRET"),
        (app_with("1", APP_SECRET), REDIRECT_URI, &of_app, VERIFIER, "app", "the Meta app \"1\""),
    ] {
        scene.graph.forget_requests();
        let error = scene.api.exchange_code(&app, uri, code, &verifier.to_owned().into()).await.unwrap_err();
        assert_eq!(error.class(), class, "{error}");
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(scene.graph.requests().len(), 1, "{error}");
    }
    assert!(scene.exchange(&of_app).await.is_ok(), "an app that is not the code's spends nothing");
    assert!(scene.exchange(&wrong_verifier).await.is_err(), "who guesses has one try");

    let late = scene.code();
    scene.graph.edit(|world| world.now = Some(now() + CODE_LIVES));
    let error = scene.exchange(&late).await.unwrap_err().to_string();
    assert!(error.contains("code 100/36007") && error.contains("start the connection again"), "{error}");
    scene.graph.forget_requests();
    assert!(matches!(scene.exchange(&String::new().into()).await, Err(Error::Code { .. })));
    assert_eq!(scene.graph.requests(), []);
}

/// Whatever comes back, or does not, the code went out once.
#[tokio::test]
async fn a_code_that_was_sent_is_never_sent_again() {
    let scene = Scene::with(3, |config| config.request_timeout = Duration::from_millis(500)).await;
    for failure in [
        Failure::html(500),
        Failure::html(429),
        Failure::not_json(),
        Failure::cut(),
        Failure::slow(Duration::MAX),
        Failure::account_throttle(0),
        Failure::app_throttle(7),
        Failure::refusal(400, 2, None, "Service temporarily unavailable"),
        Failure::refusal(500, 1, Some(99), "An unknown error occurred"),
        Failure::body(200, &format!(r#"{{"access_token":"{}"}}"#, "x".repeat(2 << 20))),
    ] {
        let code = scene.code();
        scene.graph.forget_requests();
        scene.graph.fail(failure.clone().on(Endpoint::CodeExchange));
        let error = scene.exchange(&code).await.unwrap_err();
        assert!(matches!(error, Error::Code { .. }), "{failure:?}: {error}");
        assert_eq!(scene.graph.requests().len(), 1, "{failure:?}");
        scene.graph.heal();
    }
}

#[tokio::test]
async fn a_code_that_could_not_be_sent_is_tried_again() {
    let scene = Scene::new(3).await;
    let code = scene.code();
    drop(scene.graph);
    let verifier = VERIFIER.to_owned().into();
    let unreachable = async {
        loop {
            // The listener is closed by a task of the server's, soon after; a call that it still answers or drops
            // spends nothing that matters here.
            match scene.api.exchange_code(&app(), REDIRECT_URI, &code, &verifier).await {
                Err(error @ Error::Unreachable { .. }) => break error,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(20), unreachable).await.expect("it is unreachable");
    assert!(matches!(error, Error::Unreachable { attempts: 4, .. }), "{error}");
}

#[tokio::test]
async fn answers_without_a_sound_token_are_named_and_not_quoted() {
    let scene = Scene::new(3).await;
    for (body, field) in [
        ("[]", "the answer"),
        ("{}", "access_token"),
        (r#"{"access_token":""}"#, "access_token"),
        (r#"{"access_token":"two words"}"#, "access_token"),
        (r#"{"access_token":{"EAAB":1}}"#, "access_token"),
    ] {
        scene.graph.fail(Failure::body(200, body));
        for error in [
            scene.exchange(&scene.code()).await.unwrap_err(),
            scene.api.long_lived(&app(), &token()).await.map(drop).unwrap_err(),
        ] {
            assert!(matches!(&error, Error::Unreadable { field: found, .. } if found == field), "{body}: {error}");
            assert!(!error.to_string().contains("two") && !error.to_string().contains("EAAB"), "{error}");
        }
        scene.graph.heal();
    }
    for (body, expires_in) in [
        (r#"{"access_token":"EAAB"}"#, None),
        (r#"{"access_token":"EAAB","expires_in":0}"#, None),
        (r#"{"access_token":"EAAB","expires_in":-5}"#, None),
        (r#"{"access_token":"EAAB","expires_in":"5184000"}"#, Some(Duration::from_secs(5_184_000))),
    ] {
        scene.graph.fail(Failure::body(200, body).times(1));
        let granted = scene.api.long_lived(&app(), &token()).await.unwrap();
        assert_eq!((shown(&granted.token), granted.expires_in), ("EAAB", expires_in), "{body}");
    }
}
