//! Scenarios in a real browser, each listed by name: `cargo test --test browser [-- FILTER]`.
//!
//! They share one browser process, and each page has cookies of its own. Where the machine has no browser they are
//! ignored, and say so; where `ADLEDGER_CI` is set, they fail.

mod currency;
mod house;
mod live;
mod looks;
mod numbers;
mod oauth;
mod orphans;
mod pasted;
mod pictures;
mod revoked;
mod run;
mod self_test;
#[expect(dead_code, reason = "the watch's tests use all of it")]
#[path = "../watch/service.rs"]
mod service;
#[expect(dead_code, reason = "the spine's tests use all of it")]
#[path = "../spine/shop.rs"]
mod shop;
mod stage;
#[expect(dead_code, reason = "the spine's tests use all of it")]
#[path = "../spine/tables.rs"]
mod tables;
mod visit;

use std::process::ExitCode;

fn main() -> ExitCode {
    if orphans::is_doomed() {
        return orphans::doomed();
    }
    // Those that take longest come first.
    let mut scenarios = run::scenarios![
        looks::every_page_is_fit_for_everybody,
        pictures::those_of_the_readme,
        live::a_fill_is_watched_from_connect_to_numbers,
        revoked::a_revoked_token_is_explained_and_mended_without_losing_a_day,
        oauth::the_dialog_leads_to_a_connected_ad_account,
        pasted::a_pasted_token_connects_on_a_phone_in_the_dark,
        pasted::everything_works_without_scripts,
        pasted::a_keyboard_is_enough,
        currency::an_ad_account_of_another_currency_needs_a_tenant_of_its_own,
        self_test::it_fills_in_clicks_and_follows,
        self_test::it_hears_an_event_stream,
        self_test::it_runs_no_script_where_there_is_to_be_none,
        self_test::it_tells_light_from_dark_and_phone_from_desktop,
        self_test::it_walks_by_keyboard,
        self_test::it_finds_what_goes_wrong,
        self_test::it_finds_where_the_basics_fail,
        self_test::it_keeps_cookies_apart_and_shows_their_attributes,
        self_test::it_says_so_when_it_has_ended,
        self_test::it_waits_for_no_longer_than_a_deadline,
    ];
    if cfg!(target_os = "linux") {
        scenarios.extend(run::scenarios![orphans::a_browser_ends_with_a_process_that_is_killed]);
    }
    run::all(scenarios)
}
