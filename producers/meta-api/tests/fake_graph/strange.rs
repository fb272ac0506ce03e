//! Strange rows, and what becomes of each: all that Meta sent goes on, byte for byte, or the window fails with a
//! sentence.

use meta_api::{Error, Way};
use testkit::graph::Failure;

use crate::{ACCOUNT, Scene, date, query};

fn page(rows: &[&[u8]]) -> Vec<u8> {
    [b"{\"data\":[".as_slice(), &rows.join(&b","[..]), b"]}"].concat()
}

#[tokio::test]
async fn rows_travel_on_as_they_are() {
    let rows: [(&str, &[u8]); 12] = [
        ("bare numbers", br#"{"ad_id":1,"spend":1.5,"impressions":7,"date_start":"2026-11-01"}"#),
        ("missing fields", br#"{"ad_id":"2"}"#),
        ("a negative correction", br#"{"ad_id":"3","spend":"-12.34","impressions":"-1"}"#),
        ("20 digits", br#"{"ad_id":"12021000000000012345","adset_id":12021000000000012346}"#),
        ("12 digits of money", br#"{"ad_id":"5","spend":"999999999999.99"}"#),
        ("yen", br#"{"ad_id":"6","spend":"123456","account_currency":"EUR"}"#),
        ("emoji", "{\"ad_id\":\"7\",\"ad_name\":\"\u{1f680}\"}".as_bytes()),
        ("NUL", br#"{"ad_id":"8","ad_name":"cut\u0000off"}"#),
        ("a lone surrogate", br#"{"ad_id":"9","ad_name":"half \ud83d"}"#),
        ("no UTF-8", b"{\"ad_id\":\"10\",\"ad_name\":\"caf\xe9 \xf0\x9f\"}"),
        ("spaces", br#"{ "ad_id" : "11" , "spend" : "1" }"#),
        ("unknown fields", br#"{"ad_id":"12","wish_bid":{"a":[null,{}]},"quality":null}"#),
    ];
    let scene = Scene::new(1).await;
    for (what, row) in rows {
        scene.graph.edit(|world| {
            world.ad_account(ACCOUNT).ads.clear();
            world.raw_rows.clear();
            world.raw_row(ACCOUNT, "1", date(), row);
        });
        let answer = scene.ask(date(), &query()).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(answer.rows.iter().collect::<Vec<_>>(), [row], "{what}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_utf8_do_not_shift_the_rows_behind_them() {
    let scene = Scene::new(1).await;
    let rows: Vec<Vec<u8>> = (0..50u8)
        .map(|n| {
            [format!("{{\"ad_id\":\"{n}\",\"ad_name\":\"").as_bytes(), &vec![0x80 | n; usize::from(n % 5)], b"\"}"]
                .concat()
        })
        .collect();
    scene.graph.edit(|world| {
        world.ad_account(ACCOUNT).ads.clear();
        for (n, row) in rows.iter().enumerate() {
            world.raw_row(ACCOUNT, &n.to_string(), date(), row.clone());
        }
    });
    let mut found: Vec<_> = scene.day().await.unwrap().rows.iter().map(<[u8]>::to_vec).collect();
    let mut sent = rows;
    found.sort();
    sent.sort();
    assert_eq!(found, sent);
}

#[tokio::test]
async fn an_ad_that_comes_twice_is_asked_for_again_and_then_believed() {
    let (a, b) = (&br#"{"ad_id":"1","spend":"1"}"#[..], &br#"{"ad_id":"1","spend":"2"}"#[..]);
    for (what, rows, kept) in [
        ("a row repeated", vec![a, a], vec![a]),
        ("two different rows", vec![a, b], vec![a, b]),
        ("both", vec![b, a, b], vec![a, b]),
    ] {
        let scene = Scene::new(3).await;
        let body = String::from_utf8(page(&rows)).expect("it is ASCII");
        scene.graph.fail(Failure::body(200, &body));
        let mut answer = scene.day().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        answer.rows.sort();
        assert_eq!(answer.rows.iter().collect::<Vec<_>>(), kept, "{what}");
        assert_eq!(scene.graph.requests().len(), 3, "{what}: it is asked for again, in case the rows moved");
    }
}

#[tokio::test]
async fn a_window_whose_rows_cannot_be_placed_fails_with_a_sentence() {
    let scene = Scene::new(3).await;
    let two_days = date().pred_opt().expect("there is a day before")..=date();
    for (row, said) in [
        (
            r#"{"ad_id":"1"}"#,
            "date_start of row 1 of the page is missing, though 2026-10-31 to 2026-11-01 was asked for",
        ),
        (r#"{"ad_id":"1","date_start":"2026-11-02"}"#, "is \"2026-11-02\", but"),
        (r#"{"spend":"1","date_start":"2026-11-01"}"#, "ad_id of row 1 of the page is missing or no id"),
    ] {
        scene.graph.fail(Failure::body(200, &format!(r#"{{"data":[{row}]}}"#)).times(1));
        let error = scene.window(two_days.clone(), &query(), Way::Pages).await.unwrap_err();
        assert!(matches!(error, Error::Unreadable { .. }) && error.to_string().contains(said), "{error}");
    }
}
