//! What a token is and may do.

use meta_api::{App, Error, ToldBy};
use secrecy::SecretString;
use testkit::graph::{Failure, Token};

use crate::{ACCOUNT, APP_ID, APP_SECRET, PROOF, Scene, TOKEN, app, date, now, token};

#[tokio::test]
async fn what_meta_knows_of_a_token() {
    let scene = Scene::new(3).await;
    let never = scene.api.debug_token(&app(), &token()).await.unwrap();
    assert_eq!((never.is_valid, never.expires_at, never.never_expires), (true, None, true));
    assert_eq!(never.scopes, ["ads_read", "public_profile"]);

    scene.graph.edit(|world| world.token(TOKEN).expires_at = Some(now()));
    let expired = scene.api.debug_token(&app(), &token()).await.unwrap();
    assert_eq!((expired.is_valid, expired.expires_at, expired.scopes.len()), (false, Some(now()), 0));
    let problem = expired.problem.clone().unwrap();
    assert!(problem.message.contains("Session has expired"), "{problem}");
    assert_eq!((problem.code, problem.subcode), (Some(190), Some(463)));
    let said = expired.trouble("ad account act_1").unwrap().to_string();
    assert!(said.contains("it has expired") && said.contains("must connect again"), "{said}");

    scene.graph.edit(|world| world.revoke(TOKEN));
    let revoked = scene.api.debug_token(&app(), &token()).await.unwrap();
    let problem = "Error validating access token: the session was ended (token [token])";
    let said = revoked.problem.unwrap();
    assert_eq!((revoked.is_valid, said.message.as_str(), said.subcode), (false, problem, Some(460)));

    let unknown = scene.api.debug_token(&app(), &"EAAB-unknown".to_owned().into()).await.unwrap();
    assert_eq!((unknown.is_valid, unknown.app_id), (false, None));
}

#[tokio::test]
async fn a_token_of_another_app_is_no_fault_of_the_token() {
    let scene = Scene::new(3).await;
    scene.graph.edit(|world| world.tokens.insert("EAAB-pasted".into(), Token::default()));
    let pasted: SecretString = "EAAB-pasted".to_owned().into();
    let error = scene.api.debug_token(&app(), &pasted).await.unwrap_err();
    assert!(matches!(&error, Error::OtherApp { app_id, .. } if app_id == APP_ID), "{error}");
    assert_eq!(error.class(), "other_app");
    let granted = scene.api.permissions(&pasted.clone().into()).await.unwrap();
    assert_eq!(granted, ["ads_read", "public_profile"]);
    let facts = scene.api.token_facts(Some(&app()), &pasted).await.unwrap();
    assert_eq!((facts.told_by, facts.is_valid, facts.app_id), (ToldBy::OtherApp, true, None));
    assert!(facts.expires_at.is_none() && !facts.never_expires, "nobody said when it expires");
    let error = scene.api.long_lived(&app(), &pasted).await.unwrap_err();
    assert_eq!(error.class(), "token", "{error}");
}

#[tokio::test]
async fn a_wrong_secret_names_its_setting_in_each_call() {
    let scene = Scene::new(3).await;
    for (app_id, app_secret) in [(APP_ID, "another"), ("1", APP_SECRET)] {
        let app = App { app_id: app_id.into(), app_secret: app_secret.to_owned().into() };
        scene.graph.forget_requests();
        for error in [
            scene.api.debug_token(&app, &token()).await.map(drop).unwrap_err(),
            scene.api.long_lived(&app, &token()).await.map(drop).unwrap_err(),
        ] {
            assert!(matches!(error, Error::App { .. }), "{error}");
            assert!(error.to_string().contains("META_APP_SECRET"), "{error}");
        }
        assert_eq!(scene.graph.requests().len(), 2, "a secret that is wrong is not tried again");
    }
}

/// Unlike a code, a token can be asked about, and exchanged, again.
#[tokio::test]
async fn a_broken_answer_about_a_token_is_asked_for_again() {
    let scene = Scene::new(3).await;
    for failure in
        [Failure::html(500), Failure::cut(), Failure::account_throttle(0), Failure::refusal(500, 2, None, "")]
    {
        scene.graph.forget_requests();
        scene.graph.fail(failure.clone().times(1));
        scene.api.debug_token(&app(), &token()).await.unwrap();
        scene.graph.fail(failure.clone().times(1));
        scene.api.long_lived(&app(), &token()).await.unwrap();
        scene.graph.fail(failure.clone().times(1));
        scene.api.permissions(&token()).await.unwrap();
        assert_eq!(scene.graph.requests().len(), 6, "{failure:?}");
    }
}

#[tokio::test]
async fn a_throttle_of_minutes_is_said_instead_of_waited_for() {
    let scene = Scene::with(3, |config| config.max_backoff = std::time::Duration::from_secs(60)).await;
    scene.graph.fail(Failure::app_throttle(7));
    for error in [
        scene.api.debug_token(&app(), &token()).await.map(drop).unwrap_err(),
        scene.api.permissions(&token()).await.map(drop).unwrap_err(),
        scene.ad_accounts().await.map(drop).unwrap_err(),
        scene.api.insights_readable(&token(), ACCOUNT, date()).await.unwrap_err(),
    ] {
        let Error::Throttled { attempts: 1, retry_after: Some(after), .. } = &error else { panic!("{error}") };
        assert_eq!(after.as_secs(), 7 * 60);
    }
}

#[tokio::test]
async fn one_cheap_question_proves_that_insights_can_be_read() {
    let scene = Scene::new(40).await;
    scene.api.insights_readable(&token(), ACCOUNT, date()).await.unwrap();
    let asked = scene.graph.requests();
    let [question] = &asked[..] else { panic!("{asked:?}") };
    let query: Vec<_> = question.query.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(question.path, "/v25.0/act_1234567890/insights");
    assert_eq!(
        query,
        [
            ("level", "account"),
            ("time_increment", "1"),
            ("time_range", r#"{"since":"2026-11-01","until":"2026-11-01"}"#),
            ("fields", "impressions"),
            ("limit", "1"),
        ]
    );
    scene.api.insights_readable(&token(), ACCOUNT, date() + chrono::Days::new(1)).await.unwrap();

    scene.graph.edit(|world| world.insert_token("another"));
    let error = scene.api.insights_readable(&"another".to_owned().into(), ACCOUNT, date()).await.unwrap_err();
    assert!(matches!(error, Error::Permission { .. }), "{error}");
    scene.graph.fail(Failure::body(200, r#"{"data":"none"}"#));
    let error = scene.api.insights_readable(&token(), ACCOUNT, date()).await.unwrap_err();
    assert_eq!(error.class(), "unreadable", "{error}");
}

/// Every call that a token goes along with has the proof of it, and one of a token that is not the app's own has none.
#[tokio::test]
async fn the_proof_goes_along_with_every_call() {
    let scene = Scene::new(3).await;
    // An app can insist on it.
    scene.graph.edit(|world| world.apps.get_mut(APP_ID).unwrap().require_proof = true);
    for (call, result) in scene.every_call().await {
        result.unwrap_or_else(|error| panic!("{call}: {error}"));
    }
    let (mut with, mut without) = (0, 0);
    for question in scene.graph.requests() {
        match question.parameter("appsecret_proof") {
            Some(proof) => {
                assert_eq!(proof, PROOF, "{}", question.path);
                with += 1;
            }
            None => {
                assert!(["/oauth/access_token", "/debug_token"].iter().any(|end| question.path.ends_with(end)));
                without += 1;
            }
        }
    }
    assert!(with >= 6 && without >= 3, "{with} questions with a proof, {without} without");

    assert!(scene.day().await.is_err(), "without one it answers nothing");
    scene.graph.edit(|world| world.insert_token("EAAB-of-another"));
    scene.graph.forget_requests();
    scene.api.permissions(&"EAAB-of-another".to_owned().into()).await.unwrap();
    assert!(scene.graph.requests().iter().all(|question| question.parameter("appsecret_proof").is_none()));
}

#[tokio::test]
async fn who_used_the_token_without_its_app_knows_whether_it_is_good() {
    let scene = Scene::new(3).await;
    let facts = scene.api.token_facts(None, &token()).await.unwrap();
    assert_eq!((facts.told_by, facts.is_valid, facts.never_expires), (ToldBy::NoApp, true, false));
    scene.graph.edit(|world| world.token(TOKEN).scopes = ["public_profile".to_owned()].into());
    for app in [None, Some(app())] {
        let facts = scene.api.token_facts(app.as_ref(), &token()).await.unwrap();
        assert_eq!(facts.trouble("x").unwrap().class(), "permission", "{facts:?}");
    }
    scene.graph.edit(|world| world.revoke(TOKEN));
    for app in [None, Some(app())] {
        let facts = scene.api.token_facts(app.as_ref(), &token()).await.unwrap();
        let said = facts.trouble("x").unwrap().to_string();
        assert!(!facts.is_valid && said.contains("the password"), "{said}");
    }
}
