use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use testkit::graph::Failure;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::{APP_SECRET, PROOF, Scene, TOKEN, VERIFIER, date, shown};

/// Whatever the server quotes, and wherever, no text that leaves the crate holds the token.
#[tokio::test]
async fn the_token_is_in_no_error_no_debug_text_and_no_log() {
    let url = "https://graph.facebook.com/v25.0/me?access_token=";
    let (percent, lower) = ("123456789%7CaB-cD_eF%2FgH%2BiJ%3D", "123456789%7caB-cD_eF%2fgH%2biJ%3d");
    // As PHP writes a slash in JSON.
    let escaped = TOKEN.replace('/', r"\/");
    let long = format!("{}{{token}}{}", "x".repeat(290), "y".repeat(90));
    let said = |status, code, subcode| {
        Failure::refusal(status, code, subcode, &format!("you sent {{token}} as {url}{percent} or {lower}"))
    };
    let user_message =
        r#"{"error":{"message":"no","error_user_msg":"it was {token}","code":10,"fbtrace_id":"{token}"}}"#;
    let failures = [
        Failure::token_expired(),
        said(400, 190, Some(467)),
        said(400, 17, Some(2_446_079)),
        said(400, 613, None),
        said(500, 2, None),
        said(400, 100, None),
        said(403, 10, None),
        said(500, 1, None),
        said(400, 100, Some(1_487_534)),
        Failure::refusal(400, 100, None, &long),
        Failure::html(500),
        Failure::html(429),
        Failure::not_json(),
        Failure::cut(),
        Failure::body(400, user_message),
        Failure::body(200, r#"{"data":[{"ad_id":"1","date_start":"{token}","{token}":1}]}"#),
        Failure::body(
            200,
            r#"{"data":[{"ad_id":"{token}","date_start":"2026-11-01"},{"ad_id":"{token}","date_start":"2026-11-01"}]}"#,
        ),
        Failure::body(200, r#"{"id":"{token}","name":"{token}"}"#),
        Failure::body(200, r#"{"data":[{"spend":"{token}","date_start":"2026-11-01"}]}"#),
        Failure::body(200, &format!(r#"{{"data":[{{"ad_id":"1","date_start":"{escaped}"}}]}}"#)),
        Failure::body(200, &format!(r#"{{"data":[{{"spend":"{escaped}","date_start":"2026-11-01"}}]}}"#)),
        Failure::redirect("https://example.com/?access_token={token}"),
        Failure::cursor_loop(),
    ];
    let scene = Scene::with(70, |config| (config.page_limit, config.max_attempts) = (40, 2)).await;
    let mut texts = Vec::new();
    for failure in failures {
        let failure =
            failure.header("x-ad-api-version-warning", "{token} uses an old version").header("x-app-usage", "{token}");
        scene.graph.fail(failure.clone());
        let mut errors = 0;
        for error in [scene.day().await.err(), scene.control_total(date()).await.err(), scene.ad_account().await.err()]
            .into_iter()
            .flatten()
        {
            errors += 1;
            texts.extend([error.to_string(), format!("{error:?}"), format!("{error:#?}")]);
            let chain = anyhow::Error::new(error);
            texts.extend([format!("{chain:#}"), format!("{chain:?}")]);
        }
        assert!(errors > 0, "{failure:?} did no harm");
        scene.graph.heal();
    }
    scene.day().await.unwrap();

    texts.push(format!("{:?} {:?} {:?}", scene.api, scene.trouble(), crate::token()));
    let log = log().text();
    for text in texts.iter().map(String::as_str).chain(log.lines()) {
        // The middle of the token is in none of the names and texts of these tests.
        for part in [TOKEN, percent, lower, "aB-cD_eF", PROOF] {
            assert!(!text.contains(part), "{part} is in {text}");
        }
    }
    assert!(texts.iter().any(|text| text.contains("you sent [token] as")), "the errors say what Meta said");

    for message in ["waiting: Meta throttles", "abuse limits", "asking again", "read a page"] {
        assert!(log.contains(message), "{message:?} was not logged");
    }
    let warns = |line: &&str| line.contains("Meta warns of the API version") && line.contains("[token] uses an old");
    let warnings = log.lines().filter(warns).count();
    assert_eq!(warnings, 1, "an old version is warned of once a client");
    assert!(scene.graph.requests().iter().all(|question| !question.token_in_url));
}

/// The same for the calls of the connect flow, which carry more secrets, and carry them elsewhere.
#[tokio::test]
async fn no_secret_of_the_connect_flow_is_in_an_error_a_debug_text_or_a_log() {
    let all = "{token} {code} {secret} {verifier}";
    let body = |status, text: &str| Failure::body(status, &text.replace("ALL", all));
    let failures = [
        Failure::refusal(400, 190, Some(463), all),
        Failure::refusal(400, 100, Some(36_008), &format!("redirect_uri {all}")),
        Failure::refusal(400, 100, Some(36_009), all),
        Failure::refusal(400, 100, None, &format!("did not match the Viewing App {all}")),
        Failure::refusal(400, 1, None, &format!("Error validating client secret {all}")),
        Failure::refusal(400, 101, None, all),
        Failure::refusal(400, 191, None, all),
        Failure::refusal(400, 4, None, all),
        Failure::refusal(403, 10, None, all),
        Failure::refusal(500, 2, None, all),
        Failure::html(500),
        Failure::not_json(),
        Failure::cut(),
        body(200, "[\"ALL\"]"),
        body(200, r#"{"data":"ALL","access_token":["ALL"],"id":"ALL","expires_in":"ALL"}"#),
        body(
            200,
            r#"{"access_token":"EAAB-of-the-answer ALL","data":[{"id":"ALL","permission":"ALL","status":"granted"}]}"#,
        ),
        body(200, r#"{"data":{"is_valid":"ALL","expires_at":"ALL","scopes":"ALL"}}"#),
        body(200, r#"{"data":{"is_valid":false,"app_id":"ALL","scopes":["ALL"],"error":{"message":"ALL"}}}"#),
        body(400, r#"{"error":{"message":"no","error_user_msg":"ALL","code":100,"fbtrace_id":"ALL"}}"#),
        Failure::redirect("https://example.com/?access_token={token}&code={code}"),
        Failure::cursor_loop(),
    ];
    let scene = Scene::with(3, |config| (config.page_limit, config.max_attempts) = (1, 2)).await;
    let mut texts = Vec::new();
    let mut secrets: Vec<String> = [TOKEN, APP_SECRET, VERIFIER, PROOF].map(str::to_owned).into();
    for failure in failures {
        scene.graph.fail(failure.header("x-ad-api-version-warning", all));
        for (call, result) in scene.every_call().await {
            let Err(error) = result else { continue };
            texts.extend([format!("{call}: {error}"), format!("{error:?}"), format!("{error:#?}")]);
            texts.push(format!("{:?}", anyhow::Error::new(error)));
        }
        // What is no error may hold what the server quotes, too.
        texts.push(format!("{:?}", scene.api.debug_token(&crate::app(), &crate::token()).await));
        texts.push(format!("{:?}", scene.api.permissions(&crate::own_token()).await));
        scene.graph.heal();
        let granted = scene.api.long_lived(&crate::app(), &crate::token()).await.unwrap();
        texts.push(format!("{granted:?} {:?}", crate::app()));
        secrets.push(shown(&granted.token).to_owned());
    }
    // Nobody listens: such an error of the HTTP library's has the URL in it.
    let scene_of_nobody = Scene::with(1, |config| config.base_url = "http://127.0.0.1:9".into()).await;
    for (call, result) in scene_of_nobody.every_call().await {
        let error = result.expect_err(call);
        texts.extend([format!("{call}: {error}"), format!("{error:?}")]);
    }
    texts.push(format!("{:?}", scene.trouble()));
    secrets.extend(scene.graph.edit(|world| world.codes.keys().cloned().collect::<Vec<_>>()));
    // The middle of each is in none of the names and texts of these tests.
    secrets.extend(["aB-cD_eF", "sEcReT", "mB92K27uhbUJU1p1r", "EAAB-of-the-answer"].map(str::to_owned));
    // No URL with a query is in them either, cleaned or not.
    secrets.push("input_token=".into());
    assert!(secrets.len() > 40 && texts.len() > 400, "{} secrets, {} texts", secrets.len(), texts.len());

    let log = log().text();
    for text in texts.iter().map(String::as_str).chain(log.lines()) {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} is in {text}");
        }
    }
    for said in [" [code] [app secret] [code verifier]", "[token]  [app secret] ", "exchange_code: ", "debug_token: "] {
        assert!(texts.iter().any(|text| text.contains(said)), "{said} is in none of them");
    }
    assert!(log.contains("reqwest::connect"), "the HTTP library is heard");
    let in_urls: Vec<_> = scene.graph.requests().into_iter().filter(|question| question.token_in_url).collect();
    assert_eq!(in_urls, []);
}

/// What every test of this process logged, down to the HTTP library's traces. One subscriber for all, in place before
/// the first line: one of a single test's would lose lines that another test's thread reaches first.
pub(crate) fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        // Installed so that it hears the HTTP library too, which logs in another way.
        subscriber.with_writer(move || writer.clone()).finish().try_init().expect("no other is installed");
        log
    })
}

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("nobody panicked with it")).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
