//! Which of the token's ad accounts are to be connected.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use accounts::{FoundAdAccount, Integration, Tenant};
use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use axum_extra::extract::Form;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::listings::Listings;
use super::start::{Ending, to_reconnect};
use super::{Ground, back_to_start, draft, scope};
use crate::access::session::Chosen;
use crate::checks::{Check, CheckState, Examination};
use crate::pages::{Page, page};
use crate::problem::Problem;
use crate::web::Web;

/// The most that a page shows; a search finds the others.
const MAX_SHOWN: usize = 200;

#[derive(Template)]
#[template(path = "connect_accounts.html")]
struct AccountsPage {
    page: Page,
    tenant: Tenant,
    q: String,
    /// The one that is to be connected again, and whether the token sees it.
    reconnect: Option<(Integration, bool)>,
    token_expires_at: Option<DateTime<Utc>>,
    ends_soon: bool,
    /// What the token lacks.
    token_checks: Vec<Check>,
    /// Why there is no list.
    trouble: Option<String>,
    rows: Vec<Row>,
    matching: usize,
    total: usize,
    left_out: Vec<(String, String)>,
}

struct Row {
    found: FoundAdAccount,
    /// Where it is connected already.
    integration: Option<Integration>,
    /// Why it cannot be.
    foreign: Option<String>,
    is_chosen: bool,
}

/// What the page is asked for.
#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    reconnect: String,
    /// Those that are ticked already: a search does not lose them.
    #[serde(default)]
    ad_account: Vec<String>,
    /// Asks Meta again.
    #[serde(default)]
    anew: String,
}

pub(super) async fn choose(
    State(web): State<Web>,
    chosen: Chosen,
    Extension(listings): Extension<Arc<Listings>>,
    Form(asked): Form<Asked>,
) -> Result<Response, Problem> {
    let (session, account_id) = (&chosen.session, chosen.account_id);
    let Some(draft) = draft::open(&web, session, account_id).await? else {
        return Ok(back_to_start(Ending::NoDraft));
    };
    let tenant = Ground::of(&web, session, account_id).await?.tenant;
    let reconnect = to_reconnect(&web, &chosen, asked.reconnect.parse().ok()).await?;
    let mut tx = scope(session, account_id).begin(&web.pool).await?;
    let connected = accounts::integrations(&mut *tx).await?;
    // No connection waits for Meta.
    drop(tx);
    let listed = listings.of(web.directory(), &draft, &tenant, !asked.anew.is_empty()).await;
    let (listing, trouble) = match &listed.listing {
        Ok(listing) => (listing.clone(), None),
        Err(why) => (Default::default(), Some(why.clone())),
    };

    let mut ticked: HashSet<String> = asked.ad_account.into_iter().collect();
    ticked.extend(reconnect.as_ref().map(|integration| integration.external_id.clone()));
    let mut connected: HashMap<String, Integration> =
        connected.into_iter().map(|integration| (integration.external_id.clone(), integration)).collect();
    let total = listing.ad_accounts.len();
    let is_seen = |id: &str| listing.ad_accounts.iter().any(|found| found.external_id == id);
    let reconnect = reconnect.map(|integration| {
        let is_seen = is_seen(&integration.external_id);
        (integration, is_seen)
    });
    let words: Vec<String> = asked.q.split_whitespace().map(str::to_lowercase).collect();
    let mut rows: Vec<Row> = listing
        .ad_accounts
        .into_iter()
        .filter(|found| ticked.contains(&found.external_id) || matches(found, &words))
        .map(|found| {
            let foreign = Examination::foreign_currency(&tenant, &found);
            let is_chosen = foreign.is_none() && ticked.contains(&found.external_id);
            Row { integration: connected.remove(&found.external_id), foreign, is_chosen, found }
        })
        .collect();
    let matching = rows.len();
    // What can be chosen before what cannot, and what is ticked before all.
    rows.sort_by_key(|row| (!row.is_chosen, row.foreign.is_some()));
    rows.truncate(MAX_SHOWN);
    page(&AccountsPage {
        page: Page::of_tenant(&web, &chosen, &tenant, "Choose ad accounts"),
        tenant,
        q: asked.q,
        reconnect,
        token_expires_at: draft.token_expires_at,
        ends_soon: draft.ends_soon,
        token_checks: listed.token.iter().filter(|check| check.state == CheckState::Failed).cloned().collect(),
        trouble,
        rows,
        matching,
        total,
        left_out: listing.left_out,
    })
}

/// Whether each word is in something that is shown of it.
fn matches(found: &FoundAdAccount, words: &[String]) -> bool {
    let FoundAdAccount { external_id, name, currency, timezone_name, status, .. } = found;
    let text = format!("{external_id} {name} {currency} {timezone_name} {status}").to_lowercase();
    words.iter().all(|word| text.contains(word))
}
