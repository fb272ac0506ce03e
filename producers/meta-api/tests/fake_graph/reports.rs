//! Reports: what Meta makes of a window that it does not answer at once, whatever becomes of it on the way.

use std::time::Duration;

use meta_api::{Error, Way};
use testkit::graph::{Endpoint, Failure, Recorded, ReportFate};

use crate::{Scene, date, days, query, texts};

impl Scene {
    fn calls(&self, endpoint: Endpoint) -> usize {
        self.graph.requests().iter().filter(|question| question.endpoint() == endpoint).count()
    }

    fn destine(&self, fate: ReportFate, times: usize) {
        self.graph.edit(|world| world.reports.destine(fate, times));
    }
}

#[tokio::test]
async fn a_report_has_every_row_of_every_day_whatever_becomes_of_it_first() {
    for (fate, times, orders) in [
        (ReportFate::Good, 0, 1),
        (ReportFate::Failed, 2, 3),
        (ReportFate::Skipped, 1, 2),
        (ReportFate::Expired, 1, 2),
        (ReportFate::Stuck, 1, 2),
        (ReportFate::EarlyCompleted, 1, 1),
        (ReportFate::NotReady(2601), 1, 1),
        (ReportFate::NotReady(2637), 1, 1),
    ] {
        let scene = Scene::with(40, |config| {
            config.page_limit = 30;
            config.report_stuck_after = Duration::from_millis(200);
        })
        .await;
        scene.destine(fate, times);
        let answer =
            scene.window(days(), &query(), Way::Report).await.unwrap_or_else(|error| panic!("{fate:?}: {error}"));
        assert_eq!(answer.len(), 7, "{fate:?}");
        for day in answer {
            let mut sent = scene.rows_sent(day.date, &query());
            let mut found: Vec<_> = texts(&day).into_iter().map(str::to_owned).collect();
            sent.sort();
            found.sort();
            assert_eq!(found, sent, "{fate:?} {}", day.date);
        }
        assert_eq!(scene.calls(Endpoint::ReportStart), orders, "{fate:?}");
        assert_eq!(scene.calls(Endpoint::AdRows), 0, "{fate:?}");
    }
}

#[tokio::test]
async fn a_report_is_ordered_as_a_window_is_asked_for() {
    let scene = Scene::with(10, |config| config.page_limit = 6).await;
    scene.window(date()..=date(), &query(), Way::Report).await.unwrap();
    scene.day().await.unwrap();
    let asked = scene.graph.requests();
    let of = |endpoint| {
        asked.iter().find(move |question: &&Recorded| question.endpoint() == endpoint).expect("it was asked")
    };
    let (order, rows, plain) = (of(Endpoint::ReportStart), of(Endpoint::ReportRows), of(Endpoint::AdRows));
    assert_eq!((order.method.as_str(), order.path.as_str()), ("POST", "/v25.0/act_1234567890/insights"));
    let (mut form, without_limit) = (order.form.clone(), plain.query.iter().filter(|(key, _)| key != "limit"));
    form.sort();
    let mut without_limit: Vec<_> = without_limit.cloned().collect();
    without_limit.sort();
    assert_eq!(form, without_limit);
    assert_eq!(rows.query, [("limit".to_owned(), "6".to_owned())]);
    assert!(asked.iter().all(|question| !question.token_in_url));
}

#[tokio::test]
async fn a_report_that_never_comes_about_ends_in_a_sentence() {
    for (fate, said) in [
        (ReportFate::Failed, "Meta gave it up"),
        (ReportFate::Skipped, "Meta skipped it"),
        (ReportFate::Stuck, "does not move"),
    ] {
        let scene = Scene::with(3, |config| config.report_stuck_after = Duration::from_millis(60)).await;
        scene.destine(fate, 99);
        let error = scene.window(date()..=date(), &query(), Way::Report).await.unwrap_err();
        assert!(matches!(error, Error::Report { attempts: 4, .. }), "{fate:?}: {error}");
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!((error.class(), scene.calls(Endpoint::ReportStart)), ("report", 4));
    }
    // One that is gone each time it is to be read.
    let scene = Scene::new(3).await;
    scene.destine(ReportFate::Expired, 99);
    let error = scene.window(date()..=date(), &query(), Way::Report).await.unwrap_err();
    assert_eq!(scene.calls(Endpoint::ReportStart), 4, "{error}");
}

#[tokio::test]
async fn what_a_report_is_refused_is_what_any_question_is() {
    for (failure, class) in [
        (Failure::token_expired(), "token"),
        (Failure::no_permission(), "permission"),
        (Failure::refusal(400, 100, None, "no"), "wrong_request"),
        (Failure::refusal(400, 100, Some(1_487_534), "too much"), "too_much_data"),
    ] {
        let scene = Scene::new(3).await;
        scene.graph.fail(failure.on(Endpoint::ReportStart));
        let error = scene.window(date()..=date(), &query(), Way::Report).await.unwrap_err();
        assert_eq!((error.class(), scene.graph.requests().len()), (class, 1), "{error}");
    }
}
