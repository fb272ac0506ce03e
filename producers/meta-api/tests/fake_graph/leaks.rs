use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use testkit::graph::Failure;

use crate::{ACCOUNT, Scene, TOKEN, date};

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
        for error in [
            scene.day().await.err(),
            scene.control_total(date()).await.err(),
            scene.api.ad_account(&crate::token(), ACCOUNT, &|_| ()).await.err(),
        ]
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
        for part in [TOKEN, percent, lower, "aB-cD_eF"] {
            assert!(!text.contains(part), "{part} is in {text}");
        }
    }
    assert!(texts.iter().any(|text| text.contains("you sent [token] as")), "the errors say what Meta said");

    for message in
        ["waiting: Meta throttles", "abuse limits", "asking again", "starting over with smaller pages", "read a page"]
    {
        assert!(log.contains(message), "{message:?} was not logged");
    }
    let warnings = log.matches("Meta warns of the API version").count();
    assert_eq!(warnings, 1, "an old version is warned of once a client");
    assert!(scene.graph.requests().iter().all(|question| !question.token_in_url));
}

/// What every test of this process logged, down to the HTTP library's traces. One subscriber for all, in place before
/// the first line: one of a single test's would lose lines that another test's thread reaches first.
pub(crate) fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
        let subscriber = subscriber.with_writer(move || writer.clone()).finish();
        tracing::subscriber::set_global_default(subscriber).expect("no other is installed");
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
