use std::collections::HashSet;

use meta_api::{Access, Error, Progress, Shape, Way};
use rust_decimal::Decimal;
use testkit::graph::Failure;

use crate::{ACCOUNT, Scene, date, days, query, texts};

#[tokio::test]
async fn every_row_comes_once_byte_for_byte() {
    for page_limit in [1, 7, 40, 41, 500] {
        let scene = Scene::with(40, |config| config.page_limit = page_limit).await;
        for date in days().start().iter_days().take(7) {
            let sent = scene.rows_sent(date, &query());
            let answer = scene.ask(date, &query()).await.unwrap();
            assert_eq!(texts(&answer), sent);
            assert_eq!(answer.pages as usize, sent.len().div_ceil(page_limit as usize));
            let unique: HashSet<_> = sent.iter().collect();
            assert!(unique.len() == sent.len() && sent.len() > 30);
        }
        assert_eq!(scene.trouble(), []);
    }
}

#[tokio::test]
async fn what_no_rust_string_holds_travels_on() {
    let scene = Scene::new(10).await;
    let days = days().start().iter_days().take(7);
    let mut all = String::new();
    for date in days {
        all.extend(texts(&scene.ask(date, &query()).await.unwrap()));
    }
    for slice in
        [r"\u0000", r"\ud83d\ude80", r#"half an emoji \ud83d 6""#, r"\u0639", r#"\"Best\" \\"#, r#""impressions":"#]
    {
        assert!(all.contains(slice), "{slice} is not in {all}");
    }
    let bare = all.matches(r#""impressions":"#).count() - all.matches(r#""impressions":""#).count();
    assert!(bare > 0, "no bare number in {all}");
}

#[tokio::test]
async fn each_page_is_told_with_its_rows() {
    let scene = Scene::with(40, |config| config.page_limit = 15).await;
    let rows = scene.day().await.unwrap().rows.len();
    let told = scene.told.lock().unwrap().clone();
    let pages: Vec<_> = told
        .iter()
        .map(|progress| match progress {
            Progress::Page { number, rows, usage_percent: Some(_) } => (*number, *rows),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(pages, [(1, 15), (2, 30), (3, rows)]);
}

#[tokio::test]
async fn a_day_without_rows_is_one_page_of_none() {
    let scene = Scene::new(10).await;
    let day_before = *days().start() - chrono::Days::new(1);
    let answer = scene.ask(day_before, &query()).await.unwrap();
    assert_eq!((answer.rows.len(), answer.pages), (0, 1));
}

#[tokio::test]
async fn the_rows_add_up_to_the_world() {
    let scene = Scene::with(40, |config| config.page_limit = 7).await;
    for date in days().start().iter_days().take(7) {
        let answer = scene.ask(date, &query()).await.unwrap();
        let totals = scene.graph.edit(|world| world.totals(ACCOUNT, date, None));
        let sum = |of: fn(&serde_json::Value) -> Decimal| {
            // A lone surrogate stops serde_json, so the names go first.
            answer
                .rows
                .iter()
                .map(|row| of(&serde_json::from_str(&crate::text(row).replace(r"\ud83d ", "")).unwrap()))
                .sum::<Decimal>()
        };
        assert_eq!(sum(|row| number(&row["spend"])), totals.spend);
        assert_eq!(sum(|row| number(&row["impressions"])), totals.impressions.into());
        assert_eq!(sum(|row| number(&row["clicks"])), totals.clicks.into());
        assert_eq!(sum(|row| purchases(&row["actions"])), totals.purchases.into());
        assert_eq!(sum(|row| purchases(&row["action_values"])), totals.purchase_value);
    }
}

fn number(value: &serde_json::Value) -> Decimal {
    match value {
        serde_json::Value::Null => Decimal::ZERO,
        serde_json::Value::String(text) => text.parse().expect("a number"),
        other => other.to_string().parse().expect("a number"),
    }
}

/// omni_purchase, or else the pixel's: never both.
fn purchases(actions: &serde_json::Value) -> Decimal {
    let list = actions.as_array().map(Vec::as_slice).unwrap_or_default();
    let of_type = |action_type| list.iter().find(|action| action["action_type"] == action_type);
    let found = of_type("omni_purchase").or_else(|| of_type("offsite_conversion.fb_pixel_purchase"));
    found.map_or(Decimal::ZERO, |action| number(&action["value"]))
}

#[tokio::test]
async fn a_circle_of_cursors_ends() {
    let scene = Scene::with(40, |config| config.page_limit = 10).await;
    scene.graph.fail(Failure::cursor_loop());
    let error = scene.day().await.unwrap_err();
    assert!(matches!(error, Error::PagingLoop { page: 2, .. }), "{error}");
    assert_eq!(error.class(), "paging_loop");
    assert_eq!(scene.graph.requests().len(), 2);
}

#[tokio::test]
async fn too_many_pages_are_an_error_and_no_answer() {
    let scene = Scene::with(40, |config| (config.page_limit, config.max_pages) = (10, 2)).await;
    let error = scene.day().await.unwrap_err();
    assert!(matches!(error, Error::TooManyPages { max_pages: 2, page_limit: 10, .. }), "{error}");
}

#[tokio::test]
async fn rows_that_move_between_pages_start_the_day_over() {
    let scene = Scene::with(40, |config| config.page_limit = 10).await;
    scene.graph.fail(Failure::rows_moved().times(1));
    let answer = scene.day().await.unwrap();
    assert_eq!(texts(&answer), scene.rows_sent(date(), &query()));
    assert!(matches!(scene.trouble()[..], [Progress::StartedOver { .. }]), "{:?}", scene.trouble());

    // Meta insists: each row counts once, and none is lost.
    scene.graph.fail(Failure::rows_moved());
    let mut answer = scene.day().await.unwrap();
    let (mut sent, once) = (scene.rows_sent(date(), &query()), answer.rows.len());
    sent.sort();
    sent.dedup();
    answer.rows.sort();
    assert_eq!(once, texts(&answer).into_iter().collect::<HashSet<_>>().len());
    assert!(texts(&answer).iter().all(|row| sent.iter().any(|s| s == row)));
}

#[tokio::test]
async fn too_much_data_is_said_and_not_asked_for_again() {
    let scene = Scene::with(40, |config| config.page_limit = 200).await;
    scene.graph.fail(Failure::too_much_data_above(30));
    let error = scene.day().await.unwrap_err();
    assert!(matches!(error, Error::TooMuchData { page_limit: Some(200), .. }), "{error}");
    assert_eq!((error.class(), scene.limits_asked()), ("too_much_data", vec!["200".to_owned()]));
}

#[tokio::test]
async fn a_body_that_is_too_large_counts_as_too_much_data() {
    let scene = Scene::with(40, |config| (config.page_limit, config.max_body_bytes) = (50, 40_000)).await;
    let bytes = scene.rows_sent(date(), &query()).iter().map(String::len).sum::<usize>();
    assert!(bytes > 40_000, "the limit must lie below {bytes}");
    assert!(matches!(scene.day().await, Err(Error::TooMuchData { page_limit: Some(50), .. })));
}

#[tokio::test]
async fn a_window_that_proves_too_long_is_given_up() {
    let scene = Scene::with(40, |config| config.page_limit = 10).await;
    let token = crate::token();
    let access = Access { token: &token, external_id: ACCOUNT, gate: None, observer: &|_| () };
    let shape = Shape { page_limit: 10, way: Way::Pages, max_pages: Some(2) };
    let error = scene.api.insights(&access, days(), &query(), shape).await.unwrap_err();
    assert!(matches!(error, Error::LargeWindow { rows: 20, .. }), "{error}");
    assert_eq!(scene.graph.requests().len(), 2);
    let shape = Shape { max_pages: None, ..shape };
    let day = scene.api.insights(&access, date()..=date(), &query(), shape).await.unwrap();
    assert!(day[0].rows.len() > 30);
}
