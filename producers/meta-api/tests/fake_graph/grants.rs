//! A person grants access in the dialog, and the grant becomes a token that reads.

use std::time::Duration;

use chrono::TimeDelta;
use meta_api::{AccessToken, Error, dialog_refusal};
use reqwest::header::LOCATION;
use reqwest::{Client, StatusCode, Url};
use testkit::graph::{Decision, LONG_LIVED_TOKEN_LIVES, TOKEN_LIVES};

use crate::{ACCOUNT, APP_ID, APP_SECRET, REDIRECT_URI, Scene, VERIFIER, app, date, now, shown, value};

#[tokio::test]
async fn a_grant_becomes_a_long_lived_token_that_reads() {
    let scene = Scene::new(10).await;
    scene.graph.edit(|world| world.user.name = "Ada <b>\"O'Neil\"".into());
    let browser = browser();
    let page = browser.get(scene.dialog_url()).send().await.unwrap().text().await.unwrap();
    for markup in ["id=\"continue\"", "id=\"cancel\"", "Continue as Ada &lt;b&gt;&quot;O'Neil&quot;", "method=\"post\""]
    {
        assert!(page.contains(markup), "{markup} is not in {page}");
    }
    assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
    let action = page.split("action=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let action = Url::parse(scene.graph.url()).unwrap().join(&action.replace("&amp;", "&")).unwrap();
    let answer = browser.post(action).form(&[("decision", "continue")]).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let back = answer.headers()[LOCATION].to_str().unwrap();
    assert!(back.starts_with(&format!("{REDIRECT_URI}&code=")) && back.ends_with("#_=_"), "{back}");
    assert_eq!(value(back, "state").as_deref(), Some("st/ate"));

    scene.graph.forget_requests();
    let (code, verifier) = (value(back, "code").unwrap().into(), VERIFIER.to_owned().into());
    let granted = scene.api.exchange_code(&app(), REDIRECT_URI, &code, &verifier).await.unwrap();
    assert_eq!(granted.expires_in, Some(Duration::from_secs(2 * 60 * 60)));
    let long_lived = scene.api.long_lived(&app(), &granted.token).await.unwrap();
    assert_eq!(long_lived.expires_in, Some(Duration::from_secs(60 * 24 * 60 * 60)));
    let facts = scene.api.debug_token(&app(), &long_lived.token).await.unwrap();
    assert_eq!((facts.is_valid, facts.app_id.as_deref(), facts.problem), (true, Some(APP_ID), None));
    assert_eq!(facts.expires_at, Some(now() + LONG_LIVED_TOKEN_LIVES));
    assert!(facts.scopes.contains(&"ads_read".to_owned()), "{:?}", facts.scopes);
    let long = AccessToken::of(long_lived.token.clone(), Some(APP_ID), Some(&app()));
    assert_eq!(scene.api.permissions(&long).await.unwrap(), ["ads_read", "public_profile"]);
    let seen = scene.api.ad_accounts(&long, &|_| ()).await.unwrap();
    assert_eq!(seen.iter().map(|account| account.external_id.as_str()).collect::<Vec<_>>(), [ACCOUNT]);
    scene.api.insights_readable(&long, ACCOUNT, date()).await.unwrap();

    let asked = scene.graph.requests();
    let [exchange, longer, check, ..] = &asked[..] else { panic!("{asked:?}") };
    for (question, keys) in [
        (exchange, ["client_id", "client_secret", "redirect_uri", "code", "code_verifier"].as_slice()),
        (longer, ["grant_type", "client_id", "client_secret", "fb_exchange_token"].as_slice()),
    ] {
        assert_eq!((question.method.as_str(), question.path.as_str()), ("POST", "/v25.0/oauth/access_token"));
        assert_eq!(question.form.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), keys);
        assert_eq!((&question.query, &question.authorization), (&vec![], &None));
    }
    assert_eq!(
        (exchange.parameter("code_verifier"), exchange.parameter("client_secret")),
        (Some(VERIFIER), Some(APP_SECRET))
    );
    assert_eq!((check.method.as_str(), check.path.as_str()), ("GET", "/v25.0/debug_token"));
    assert_eq!(check.query, [("input_token".to_owned(), shown(&long_lived.token).to_owned())]);
    assert_eq!(check.authorization, Some(format!("Bearer {APP_ID}|{APP_SECRET}")));
    assert!(asked.iter().all(|question| !question.token_in_url), "{asked:?}");
}

#[tokio::test]
async fn a_token_of_a_code_is_for_an_hour_or_two() {
    let scene = Scene::new(3).await;
    let token = scene.exchange(&scene.code()).await.unwrap();
    let facts = scene.api.debug_token(&app(), &token).await.unwrap();
    assert_eq!(facts.expires_at, Some(now() + TOKEN_LIVES));
    scene.graph.edit(|world| world.now = Some(now() + TOKEN_LIVES + TimeDelta::seconds(1)));
    let error = scene.api.long_lived(&app(), &token).await.unwrap_err();
    assert_eq!(error.class(), "token", "an expired one cannot be exchanged: {error}");
}

#[tokio::test]
async fn who_cancels_grants_nothing() {
    let scene = Scene::new(3).await;
    let answer = browser().post(scene.dialog_url()).form(&[("decision", "cancel")]).send().await.unwrap();
    let back = answer.headers()[LOCATION].to_str().unwrap();
    assert_eq!((value(back, "code"), value(back, "state").as_deref()), (None, Some("st/ate")));
    let said = |key| value(back, key);
    let (error, reason, description) = (said("error").unwrap(), said("error_reason"), said("error_description"));
    assert_eq!((error.as_str(), reason.as_deref()), ("access_denied", Some("user_denied")));
    let error = dialog_refusal(&error, reason.as_deref(), description.as_deref());
    assert!(matches!(error, Error::Declined), "{error}");
    assert_eq!(scene.graph.decide(&scene.dialog_url(), Decision::Cancel).unwrap(), back);
    assert!(scene.graph.edit(|world| world.codes.is_empty()));
}

#[tokio::test]
async fn who_keeps_the_permission_back_gets_a_token_that_reads_nothing() {
    let scene = Scene::new(3).await;
    let decision = Decision::ContinueWithout("ads_read".into());
    let back = scene.graph.decide(&scene.dialog_url(), decision).unwrap();
    let token = scene.exchange(&value(&back, "code").unwrap().into()).await.unwrap();
    assert_eq!(scene.api.permissions(&token.clone().into()).await.unwrap(), ["public_profile"]);
    let facts = scene.api.debug_token(&app(), &token).await.unwrap();
    assert_eq!((facts.is_valid, facts.scopes), (true, vec!["public_profile".to_owned()]));
    for error in [
        scene.api.ad_accounts(&token.clone().into(), &|_| ()).await.unwrap_err(),
        scene.api.insights_readable(&token.clone().into(), ACCOUNT, date()).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Permission { .. }), "{error}");
        assert!(error.to_string().contains("connect again") && error.to_string().contains("ads_read"), "{error}");
    }
}

#[tokio::test]
async fn the_dialog_sends_nobody_to_an_address_that_is_not_the_apps() {
    let scene = Scene::new(3).await;
    let good = Url::parse(&scene.dialog_url()).unwrap();
    let with = |key: &str, value: Option<&str>| {
        let mut url = good.clone();
        let pairs = good.query_pairs().filter_map(|(k, v)| match value {
            _ if k != key => Some((k, v)),
            value => Some((k, value?.to_owned().into())),
        });
        url.query_pairs_mut().clear().extend_pairs(pairs);
        url
    };
    for (url, said) in [
        (with("client_id", Some("1")), "Invalid App ID"),
        (with("client_id", None), "client_id is missing"),
        (with("redirect_uri", Some("https://evil.example/")), "URL blocked"),
        (with("redirect_uri", Some(&format!("{REDIRECT_URI}&"))), "URL blocked"),
        (with("redirect_uri", Some("\"><script>alert(1)</script>")), "URL blocked: &quot;&gt;&lt;script&gt;"),
        (with("redirect_uri", None), "redirect_uri is missing"),
        (with("state", None), "state is missing"),
        (with("state", Some("")), "state is missing"),
        (with("response_type", Some("token")), "response_type must be code"),
        (with("code_challenge", None), "code_challenge is missing"),
        (with("code_challenge", Some("short")), "PKCE"),
        (with("code_challenge_method", Some("plain")), "PKCE"),
        (with("scope", Some("ads_read,everything")), "Invalid Scopes: everything"),
        (Url::parse(&format!("{good}&redirect_uri=https://evil.example/")).unwrap(), "redirect_uri comes twice"),
    ] {
        for request in [browser().get(url.clone()), browser().post(url.clone()).form(&[("decision", "continue")])] {
            let answer = request.send().await.unwrap();
            assert_eq!((answer.status(), answer.headers().get(LOCATION)), (StatusCode::BAD_REQUEST, None), "{url}");
            let page = answer.text().await.unwrap();
            assert!(page.contains(said) && page.contains("id=\"problem\""), "{url}: {page}");
        }
        assert!(scene.graph.decide(url.as_str(), Decision::Continue).is_err(), "{url}");
    }
    assert!(scene.graph.edit(|world| world.codes.is_empty()));
}

/// One that does not follow: the address it is sent to is of a service that is not there.
fn browser() -> Client {
    Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().expect("it has nothing to fail at")
}
