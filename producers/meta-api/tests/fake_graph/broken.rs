use std::time::Duration;

use meta_api::{Access, Error, Progress};
use testkit::graph::Failure;

use crate::{ACCOUNT, Scene, date, query, texts};

#[tokio::test]
async fn a_broken_answer_is_asked_for_again_a_few_times() {
    for (failure, said) in [
        (Failure::html(500), "HTTP 500, \"the answer is not JSON but a page of HTML\""),
        (Failure::html(502), "HTTP 502, \"the answer is not JSON but a page of HTML\""),
        (Failure::html(200), "HTTP 200, \"the answer is not JSON but a page of HTML\""),
        (Failure::body(503, ""), "HTTP 503"),
        (Failure::not_json(), "HTTP 200, \"the answer is not JSON\""),
        (Failure::cut(), "the answer was cut"),
        (Failure::refusal(400, 2, None, "Service temporarily unavailable"), "HTTP 400, code 2, \"Service temporarily"),
        (Failure::refusal(500, 1, Some(99), "An unknown error occurred"), "HTTP 500, code 1/99"),
        (Failure::refusal(400, 2601, Some(1_815_107), "not ready"), "code 2601/1815107"),
        (Failure::refusal(200, 2, None, "an error with a good status"), "HTTP 200, code 2"),
    ] {
        let scene = Scene::with(40, |config| config.page_limit = 30).await;
        scene.graph.fail(failure.clone().times(2));
        scene.graph.fail(failure.clone().on_later_pages().times(3));
        let answer = scene.day().await.unwrap_or_else(|error| panic!("{failure:?}: {error}"));
        assert_eq!(texts(&answer), scene.rows_sent(date(), &query()), "{failure:?}");
        let told = scene.trouble();
        assert_eq!(told.len(), 5, "{failure:?}: {told:?}");
        for progress in told {
            let Progress::Retrying { reason, wait, .. } = progress else { panic!("{failure:?}: {progress:?}") };
            assert!(reason.contains(said) && wait <= Duration::from_millis(20), "{failure:?}: {reason}");
        }

        scene.graph.forget_requests();
        scene.graph.fail(failure.clone());
        let error = scene.day().await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { attempts: 4, .. }), "{failure:?}: {error}");
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!((error.class(), scene.graph.requests().len()), ("unreachable", 4), "{failure:?}");
    }
}

#[tokio::test]
async fn no_answer_in_time_is_asked_for_again() {
    let scene = Scene::with(3, |config| config.request_timeout = Duration::from_millis(200)).await;
    scene.graph.fail(Failure::slow(Duration::MAX).times(1));
    assert!(scene.day().await.is_ok());
    let told = scene.trouble();
    assert!(
        matches!(&told[..], [Progress::Retrying { reason, .. }] if reason.contains("no answer in time")),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_slow_answer_is_an_answer() {
    let scene = Scene::new(3).await;
    scene.graph.fail(Failure::slow(Duration::from_millis(30)).times(1));
    assert!(scene.day().await.is_ok());
    assert_eq!(scene.trouble(), []);
}

#[tokio::test]
async fn a_server_that_is_gone_is_unreachable() {
    let scene = Scene::new(3).await;
    let address = scene.graph.address().to_string();
    drop(scene.graph);
    let token = crate::token();
    let access = Access { token: &token, external_id: ACCOUNT, gate: None, observer: &|_| () };
    let error = loop {
        // The listener is closed by a task of the server's, soon after.
        match scene.api.ad_account(&access).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    let Error::Unreachable { host, attempts: 4, .. } = &error else { panic!("{error}") };
    assert_eq!(*host, address);
    assert!(error.to_string().contains("check the network and META_API_BASE_URL"), "{error}");
}

#[tokio::test]
async fn json_that_is_no_answer_is_named_and_not_asked_for_again() {
    for (body, field) in [
        ("[]", "the answer"),
        ("{}", "data"),
        (r#"{"data":null}"#, "data"),
        (r#"{"data":[{"date_start":"2026-11-01"}]}"#, "ad_id of row 1 of the page"),
        (r#"{"data":[{"ad_id":"1","date_start":"2026-10-31"}]}"#, "date_start of row 1 of the page"),
        (r#"{"data":[{"ad_id":"1","date_start":"2026-11-01"}],"paging":{"next":"x"}}"#, "paging.cursors.after"),
    ] {
        let scene = Scene::new(3).await;
        scene.graph.fail(Failure::body(200, body));
        let error = scene.day().await.unwrap_err();
        assert!(matches!(&error, Error::Unreadable { field: found, .. } if found == field), "{body}: {error}");
        assert_eq!(scene.graph.requests().len(), 1, "{body}");
    }
}

#[tokio::test]
async fn a_control_total_that_cannot_be_read_is_no_zero() {
    for (row, field) in [
        (r#"{"spend":"1","impressions":"2","date_start":"2026-10-31"}"#, "date_start"),
        (r#"{"spend":"much","impressions":"2","date_start":"2026-11-01"}"#, "spend"),
        (r#"{"spend":"1","impressions":"2.5","date_start":"2026-11-01"}"#, "impressions"),
        (r#"{"date_start":"2026-11-01"},{"date_start":"2026-11-01"}"#, "data"),
    ] {
        let scene = Scene::new(3).await;
        scene.graph.fail(Failure::body(200, &format!(r#"{{"data":[{row}]}}"#)));
        let error = scene.control_total(date()).await.unwrap_err();
        assert!(matches!(&error, Error::Unreadable { field: found, .. } if found == field), "{row}: {error}");
    }
}
