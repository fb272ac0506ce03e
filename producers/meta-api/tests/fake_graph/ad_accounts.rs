//! The list of the ad accounts that a token sees.

use meta_api::{Error, Progress};
use testkit::graph::{AdAccount, Failure, Name};

use crate::{ACCOUNT, Scene, TOKEN, date};

/// Ids that sort as they count.
fn id(number: usize) -> String {
    format!("act_9{number:03}")
}

async fn scene(accounts: usize, page_limit: u32) -> Scene {
    let scene = Scene::with(1, |config| (config.page_limit, config.max_pages) = (page_limit, 12)).await;
    scene.graph.edit(|world| {
        world.tokens.insert(TOKEN.into(), Default::default());
        for number in 0..accounts {
            let account = AdAccount::demo(&id(number), "Europe/Berlin", "EUR", date()..=date(), 0);
            world.insert(TOKEN, &id(number), account);
        }
    });
    scene
}

fn ids(found: &[meta_api::AdAccount]) -> Vec<&str> {
    found.iter().map(|account| account.external_id.as_str()).collect()
}

#[tokio::test]
async fn every_page_is_read_on_our_own_url() {
    for (accounts, page_limit, pages) in [(0, 500, 1), (1, 500, 1), (30, 7, 5), (28, 7, 4), (120, 500, 2)] {
        let scene = scene(accounts, page_limit).await;
        let found = scene.ad_accounts().await.unwrap();
        assert_eq!(ids(&found), (0..accounts).map(id).collect::<Vec<_>>());
        let asked = scene.graph.requests();
        assert_eq!(asked.len(), pages, "{accounts} at {page_limit} a page");
        assert!(asked.iter().all(|question| !question.token_in_url && question.path == "/v25.0/me/adaccounts"));
        assert_eq!(asked[0].parameter("limit"), Some(page_limit.min(100).to_string().as_str()));
        assert_eq!(scene.trouble(), []);
    }
}

#[tokio::test]
async fn accounts_are_as_if_each_was_asked_for_alone() {
    let scene = scene(3, 2).await;
    scene.graph.edit(|world| {
        let account = world.ad_account(&id(1));
        (account.currency, account.timezone_name) = ("USD".into(), "America/New_York".into());
        (account.account_status, account.name) = (2, Name::escaped(r"Shop \ud83d\u0000\/ \u0639"));
    });
    for account in scene.ad_accounts().await.unwrap() {
        let alone = scene.account_of(&crate::token(), &account.external_id).await.unwrap();
        assert_eq!(account, alone);
    }
}

#[tokio::test]
async fn an_account_that_says_too_little_loses_no_other() {
    let scene = scene(9, 4).await;
    scene.graph.edit(|world| world.ad_account(&id(3)).currency.clear());
    scene.graph.edit(|world| world.ad_account(&id(8)).timezone_name.clear());
    let found = scene.ad_accounts().await.unwrap();
    assert_eq!(ids(&found), [0, 1, 2, 4, 5, 6, 7].map(id));
    let left_out =
        |number, field| Progress::LeftOut { entry: id(number), reason: format!("{field} is missing or no text") };
    assert_eq!(scene.trouble(), [left_out(3, "currency"), left_out(8, "timezone_name")]);

    let odd = format!(
        r#"{{"data":[7,{{}},{{"id":"act_1/../me"}},{{"id":"{ACCOUNT}","currency":"EUR","timezone_name":"UTC"}}]}}"#
    );
    scene.graph.fail(Failure::body(200, &odd).times(1));
    assert_eq!(ids(&scene.ad_accounts().await.unwrap()), [ACCOUNT]);
    assert_eq!(scene.trouble().len(), 5);
}

#[tokio::test]
async fn lists_that_do_not_end_do() {
    let scene = scene(30, 7).await;
    scene.graph.fail(Failure::cursor_loop());
    let error = scene.ad_accounts().await.unwrap_err();
    assert!(matches!(error, Error::PagingLoop { page: 2, .. }), "{error}");
    scene.graph.heal();
    scene.graph.fail(Failure::body(200, r#"{"data":[],"paging":{"next":"https://evil.example/"}}"#));
    let error = scene.ad_accounts().await.unwrap_err();
    assert!(matches!(&error, Error::Unreadable { field, .. } if field == "paging.cursors.after"), "{error}");

    let scene = self::scene(30, 2).await;
    let error = scene.ad_accounts().await.unwrap_err();
    assert!(matches!(error, Error::TooManyPages { max_pages: 12, page_limit: 2, .. }), "{error}");
    assert_eq!(scene.graph.requests().len(), 12);
}

#[tokio::test]
async fn an_account_that_moves_between_pages_comes_once() {
    let scene = scene(30, 7).await;
    scene.graph.fail(Failure::rows_moved());
    assert_eq!(ids(&scene.ad_accounts().await.unwrap()), (0..30).map(id).collect::<Vec<_>>());
}

#[tokio::test]
async fn too_much_data_starts_over_with_smaller_pages_once() {
    let scene = scene(60, 500).await;
    scene.graph.fail(Failure::too_much_data_above(25));
    assert_eq!(scene.ad_accounts().await.unwrap().len(), 60);
    let limits: Vec<_> = scene.limits_asked();
    assert_eq!(limits, ["100", "25", "25", "25"]);
    scene.graph.heal();
    scene.graph.fail(Failure::too_much_data_above(1));
    let error = scene.ad_accounts().await.unwrap_err();
    assert!(matches!(error, Error::TooMuchData { page_limit: Some(25), .. }), "{error}");
}
