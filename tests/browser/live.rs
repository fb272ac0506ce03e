//! A fill, watched while it happens.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use testkit::browser::{Browser, Options};
use testkit::graph::{Endpoint, Failure};

use crate::house::{BERLIN, House, SOON};
use crate::numbers;
use crate::visit::Visit;

/// How long Meta takes for each day here, so that somebody sees them come.
const A_DAY_TAKES: Duration = Duration::from_millis(400);

pub async fn a_fill_is_watched_from_connect_to_numbers(browser: &Browser) -> Result<()> {
    let house = House::open().await?;
    let visit = Visit::begin(browser, &house, Options::default()).await?;
    visit.make_tenant("Blumen & Söhne", "EUR").await?;
    visit.paste_token().await?;
    house.graph.fail(Failure::slow(A_DAY_TAKES).on(Endpoint::AdRows));
    // No two days in one answer.
    house.graph.edit(|world| world.limits.max_rows_a_call = Some(12));
    visit.connect(&[BERLIN]).await?;
    visit.to_its_page(BERLIN).await?;
    visit.evaluate::<()>("() => { window.isStillThisPage = true }", &json!([])).await?;

    // The run is made by what follows from a connection: the page may be there before it, and hears of it.
    visit.wait_visible("[data-live]").await?;
    let seen = RefCell::new(BTreeSet::new());
    testkit::wait::until("every day is in the tables", SOON, async || {
        let steps = visit.texts("[data-step='folded'] .step-count").await?;
        seen.borrow_mut().extend(steps);
        Ok(!visit.is_visible("[data-live]").await?)
    })
    .await?;
    let seen = seen.into_inner();
    let between = (1..7).map(|days| format!("{days} of 7")).filter(|step| seen.contains(step)).count();
    ensure!(between >= 2, "the progress did not move by itself: {seen:?}");
    visit.wait_text(".run [data-status]", "Done").await?;
    // The numbers have come to the page, too.
    visit.wait_visible("svg.plot rect.spend").await?;
    numbers::check(&house, &visit, BERLIN).await?;
    let is_still: bool = visit.evaluate("() => window.isStillThisPage === true", &json!([])).await?;
    ensure!(is_still, "the page was loaded again");
    visit.look("integration-filled").await
}
