use std::time::Duration;

use meta_api::{Class, Error, Progress};
use testkit::graph::{Endpoint, Failure};

use crate::{Scene, date, query, texts};

const CAP: Duration = Duration::from_millis(20);

#[tokio::test]
async fn a_throttle_is_waited_for_and_counted() {
    let scene = Scene::with(40, |config| config.page_limit = 10).await;
    scene.graph.fail(Failure::account_throttle(7).on(Endpoint::AdRows).times(2));
    scene.graph.fail(Failure::account_throttle(7).on(Endpoint::AdRows).on_later_pages().times(1));
    let answer = scene.day().await.unwrap();
    assert_eq!(texts(&answer), scene.rows_sent(date(), &query()));
    // Seven minutes are longer than the longest wait.
    let throttled = |attempt| Progress::Throttled {
        class: Class::AccountThrottle,
        code: Some(17),
        subcode: Some(2_446_079),
        attempt,
        wait: CAP,
        asked_for: Some(Duration::from_secs(7 * 60)),
        may_be_abuse_limit: false,
    };
    assert_eq!(scene.trouble(), [throttled(1), throttled(2), throttled(1)]);
}

#[tokio::test]
async fn every_throttle_is_one() {
    let throttles = [
        (Failure::app_throttle(1), Class::AppThrottle),
        (Failure::refusal(400, 4, Some(1_504_039), ""), Class::AppThrottle),
        (Failure::abuse_throttle(), Class::AccountThrottle),
        (Failure::refusal(400, 613, Some(1_487_742), ""), Class::AccountThrottle),
        (Failure::refusal(400, 80000, None, ""), Class::AccountThrottle),
        (Failure::refusal(400, 80004, None, ""), Class::AccountThrottle),
        (Failure::refusal(400, 32, None, ""), Class::OtherThrottle),
        (Failure::html(429), Class::AccountThrottle),
        (Failure::body(429, r#"{"oops":1}"#), Class::AccountThrottle),
    ];
    let scene = Scene::new(3).await;
    for (failure, expected) in throttles {
        scene.graph.fail(failure.clone().times(1));
        scene.control_total(date()).await.unwrap();
        let told = scene.trouble();
        assert!(matches!(told.last(), Some(Progress::Throttled { class, .. }) if *class == expected), "{failure:?}");
    }
    let abuse =
        scene.trouble().iter().filter(|p| matches!(p, Progress::Throttled { may_be_abuse_limit: true, .. })).count();
    assert_eq!(abuse, 1);
}

#[tokio::test]
async fn a_short_wait_of_the_header_is_obeyed() {
    let scene = Scene::new(3).await;
    let usage = r#"{"acc_id_util_pct":100,"reset_time_duration":0.005}"#;
    scene.graph.fail(Failure::refusal(400, 17, None, "").header("x-ad-account-usage", usage).times(1));
    scene.day().await.unwrap();
    let told = scene.trouble();
    assert!(matches!(told[..], [Progress::Throttled { wait, .. }] if wait == Duration::from_millis(5)), "{told:?}");
}

#[tokio::test]
async fn the_number_of_attempts_has_an_end() {
    let scene = Scene::with(3, |config| config.max_attempts = 3).await;
    scene.graph.fail(Failure::account_throttle(7));
    let error = scene.day().await.unwrap_err();
    let Error::Throttled { class, attempts, waited, retry_after, .. } = &error else { panic!("{error}") };
    assert_eq!((*class, *attempts, *waited), (Class::AccountThrottle, 3, CAP * 2));
    assert_eq!(*retry_after, Some(Duration::from_secs(7 * 60)), "the run may wait as long as Meta says");
    assert_eq!(error.class(), "throttled");
    assert_eq!(scene.graph.requests().len(), 3);

    scene.graph.heal();
    assert!(scene.day().await.is_ok(), "the next call is patient again");
}

#[tokio::test]
async fn the_sum_of_waits_has_an_end() {
    let scene = Scene::with(40, |config| {
        config.page_limit = 5;
        config.max_total_wait = CAP * 5 / 2;
    })
    .await;
    scene.graph.fail(Failure::account_throttle(7).times(1));
    scene.graph.fail(Failure::account_throttle(7).on_later_pages().times(2));
    let error = scene.day().await.unwrap_err();
    assert!(matches!(&error, Error::Throttled { waited, .. } if *waited == CAP * 2), "{error}");
}
