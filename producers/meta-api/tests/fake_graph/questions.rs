use chrono::Days;
use meta_api::{InsightsQuery, Progress};
use rust_decimal::Decimal;
use testkit::graph::{Name, Recorded, STATUSES};

use crate::{ACCOUNT, Scene, TOKEN, date, days, query, texts};

#[tokio::test]
async fn the_day_is_asked_for_as_documented() {
    let scene = Scene::with(10, |config| config.page_limit = 6).await;
    let query = InsightsQuery { effective_status: Some(vec!["ACTIVE".into(), "PAUSED".into()]), ..query() };
    let answer = scene.ask(date(), &query).await.unwrap();
    assert_eq!(texts(&answer), scene.rows_sent(date(), &query));

    let asked = scene.graph.requests();
    let [question] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((question.method.as_str(), question.path.as_str()), ("GET", "/v25.0/act_1234567890/insights"));
    assert_eq!(
        pairs(question),
        [
            ("level", "ad"),
            ("time_increment", "1"),
            ("time_range", r#"{"since":"2026-11-01","until":"2026-11-01"}"#),
            ("fields", &query.fields.join(",")),
            ("filtering", r#"[{"field":"ad.effective_status","operator":"IN","value":["ACTIVE","PAUSED"]}]"#),
            ("action_attribution_windows", r#"["1d_click","7d_click","1d_view"]"#),
            ("limit", "6"),
        ]
    );
}

#[tokio::test]
async fn no_filter_and_no_windows_are_no_parameters() {
    let scene = Scene::new(10).await;
    let fields = vec!["spend".to_owned()];
    let query = InsightsQuery { fields, effective_status: None, attribution_windows: Vec::new() };
    let answer = scene.ask(date(), &query).await.unwrap();
    let asked = scene.graph.requests();
    let keys: Vec<&str> = asked[0].query.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["level", "time_increment", "time_range", "fields", "limit"]);
    assert_eq!(asked[0].parameter("fields"), Some("ad_id,spend"), "the id is needed to know one row from another");
    assert!(answer.rows.iter().all(|row| row.starts_with(br#"{"ad_id":"1202"#)));
}

#[tokio::test]
async fn a_filter_leaves_rows_out_and_every_status_is_known() {
    let scene = Scene::new(40).await;
    let with = |statuses: &[&str]| InsightsQuery {
        effective_status: Some(statuses.iter().map(|&status| status.to_owned()).collect()),
        ..query()
    };
    let totals = |statuses: Option<&[&str]>| scene.graph.edit(|world| world.totals(ACCOUNT, date(), statuses));
    for statuses in [&["ACTIVE", "PAUSED"][..], &["ARCHIVED"], &["IN_PROCESS"], &STATUSES] {
        let answer = scene.ask(date(), &with(statuses)).await.unwrap();
        assert_eq!(answer.rows.len(), totals(Some(statuses)).ads, "{statuses:?}");
    }
    assert!(totals(Some(&["ACTIVE", "PAUSED"])).spend < totals(None).spend);
    assert_eq!(totals(Some(&STATUSES)), totals(None));
}

#[tokio::test]
async fn each_window_that_was_asked_for_is_in_the_row() {
    let scene = Scene::new(40).await;
    let rows = scene.day().await.unwrap().rows;
    let all: String = rows.iter().map(crate::text).collect();
    for key in [r#""1d_click":""#, r#""7d_click":""#, r#""1d_view":""#] {
        assert!(all.contains(key), "{key}");
    }
    assert!(!all.contains("28d_click"));
}

#[tokio::test]
async fn the_control_total_is_the_whole_account_whatever_the_filter() {
    let scene = Scene::new(40).await;
    for day in days().start().iter_days().take(7) {
        let control = scene.control_total(day).await.unwrap();
        let totals = scene.graph.edit(|world| world.totals(ACCOUNT, day, None));
        assert_eq!(control.spend.parse::<Decimal>().unwrap(), totals.spend);
        assert_eq!(u64::try_from(control.impressions).unwrap(), totals.impressions);
    }
    let asked = scene.graph.requests();
    let last = asked.last().unwrap();
    assert_eq!(
        pairs(last),
        [
            ("level", "account"),
            ("time_increment", "1"),
            ("time_range", r#"{"since":"2026-11-01","until":"2026-11-01"}"#),
            ("fields", "spend,impressions,account_currency"),
            ("limit", "1"),
        ]
    );
}

#[tokio::test]
async fn the_control_total_of_a_day_without_delivery_is_zero() {
    let scene = Scene::new(40).await;
    let control = scene.control_total(date() + Days::new(1)).await.unwrap();
    assert_eq!((control.spend.as_str(), control.impressions), ("0", 0));
}

#[tokio::test]
async fn the_ad_account_is_read_with_a_name_that_postgresql_takes() {
    let scene = Scene::new(1).await;
    scene.graph.edit(|world| {
        let account = world.ad_account(ACCOUNT);
        account.name = Name::escaped(r"Shop \ud83d\u0000\/ \u0639");
        account.account_status = 9;
    });
    let account = scene.ad_account().await.unwrap();
    assert_eq!(account.external_id, ACCOUNT);
    assert!(account.name.starts_with("Shop \u{fffd}") && account.name.ends_with("/ ع"), "{:?}", account.name);
    assert!(!account.name.contains('\0'));
    assert_eq!((account.currency.as_str(), account.timezone_name.as_str()), ("EUR", "Europe/Berlin"));
    assert_eq!(account.account_status, Some(9));
    assert_eq!(scene.graph.requests()[0].path, "/v25.0/act_1234567890");
}

#[tokio::test]
async fn the_token_is_in_the_header_and_nowhere_else() {
    let scene = Scene::with(40, |config| config.page_limit = 7).await;
    scene.ad_account().await.unwrap();
    scene.control_total(date()).await.unwrap();
    scene.day().await.unwrap();
    let asked = scene.graph.requests();
    assert!(asked.len() > 6, "there are pages, whose `next` holds the token");
    for question in asked {
        assert!(!question.token_in_url, "{question:?}");
        assert_eq!(question.authorization, Some(format!("Bearer {TOKEN}")));
    }
}

#[tokio::test]
async fn usage_headers_are_told() {
    let scene = Scene::new(3).await;
    for _ in 0..25 {
        scene.control_total(date()).await.unwrap();
    }
    scene.day().await.unwrap();
    let told = scene.told.lock().unwrap().clone();
    assert!(matches!(told[..], [Progress::Page { usage_percent: Some(2), .. }]), "{told:?}");
}

fn pairs(question: &Recorded) -> Vec<(&str, &str)> {
    question.query.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}
