//! The README's pictures: `target/screenshots/readme-*.png`, which CONTRIBUTING says how to put in place.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use testkit::browser::{Browser, Options};
use testkit::graph::{Endpoint, Failure};

use crate::house::{BERLIN, House, SOON, VIENNA, days_ago};
use crate::visit::Visit;

/// A shop whose numbers look like one's: nearly all of its ads are counted, and one day of one ad account is missing.
pub async fn those_of_the_readme(browser: &Browser) -> Result<()> {
    let house = House::open().await?;
    house.graph.edit(|world| {
        for (external_id, archived) in [(BERLIN, 3), (VIENNA, 5)] {
            for (number, ad) in world.ad_account(external_id).ads.iter_mut().enumerate() {
                if number != archived {
                    ad.effective_status = "ACTIVE".into();
                } else {
                    ad.effective_status = "ARCHIVED".into();
                    ad.days.retain(|date, _| (days_ago(19)..days_ago(12)).contains(date));
                }
            }
        }
    });
    house.graph.fail(Failure::html(502).about(VIENNA).on_date(days_ago(3)));
    let visit = Visit::begin(browser, &house, Options::default()).await?;
    visit.make_tenant("Blumen & Söhne", "EUR").await?;
    visit.paste_token().await?;
    visit.connect(&[BERLIN, VIENNA]).await?;
    let (berlin, vienna) = (house.integration(BERLIN).await?, house.integration(VIENNA).await?);
    house.backfill(&berlin, days_ago(35), days_ago(8)).await?;
    house.backfill(&vienna, days_ago(26), days_ago(8)).await?;
    house.until_folded(BERLIN, 35).await?;
    house.until_folded(VIENNA, 25).await?;
    testkit::wait::until("the missing day is given up", SOON, async || {
        visit.go("/").await?;
        Ok(visit.texts("[aria-labelledby=needs]").await?.concat().contains("could not be fetched")
            && visit.texts(".account dl").await?.concat().contains("Owes"))
    })
    .await?;
    visit.look("readme-home").await?;

    // A run that is under way; the calendar is left out, because the other picture has one.
    house.graph.fail(Failure::slow(Duration::from_millis(700)).on(Endpoint::AdRows).about(BERLIN));
    house.graph.edit(|world| world.limits.max_rows_a_call = Some(12));
    visit.go(&format!("/integrations/{berlin}")).await?;
    visit.click("button[value=meta_fresh]").await?;
    visit.evaluate::<()>("() => document.querySelector('[aria-labelledby=days]').remove()", &json!([])).await?;
    visit
        .evaluate::<()>(
            "() => document.querySelectorAll('.notice, #settlement').forEach((part) => part.remove())",
            &json!([]),
        )
        .await?;
    testkit::wait::until("some of its days are in the tables", SOON, async || {
        let folded = visit.texts("[data-step=folded] .step-count").await?;
        Ok(["3 of 6", "4 of 6", "5 of 6"].iter().any(|some| folded.iter().any(|step| step == some)))
    })
    .await?;
    visit.look("readme-integration").await
}
