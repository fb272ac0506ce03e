//! Scenarios in a real browser, each listed by name: `cargo test --test browser [-- FILTER]`.
//!
//! They share one browser process, and each page has cookies of its own. Where the machine has no browser they are
//! ignored, and say so; where `ADLEDGER_CI` is set, they fail.

mod orphans;
mod run;
mod self_test;
mod stage;

use std::process::ExitCode;

fn main() -> ExitCode {
    if orphans::is_doomed() {
        return orphans::doomed();
    }
    let mut scenarios = run::scenarios![
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
