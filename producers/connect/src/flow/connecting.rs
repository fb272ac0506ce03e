//! Checks the chosen ad accounts, and connects each one that passes, in a transaction of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use accounts::{ConnectError, Connected, Expiry, KnownToken, Tenant};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::draft::Draft;
use super::start::Ending;
use super::{Ground, back_to_start, check_tenant, draft, scope};
use crate::access::posted::Posted;
use crate::access::session::Chosen;
use crate::checks::{Examination, Examined, Known};
use crate::pages::{Page, page};
use crate::problem::Problem;
use crate::web::Web;

/// The most that are connected in one go.
const MAX_AT_ONCE: usize = 50;
/// Meta is asked about so many at a time.
const EXAMINED_AT_A_TIME: usize = 4;
/// What is not examined by then is left for another go: less than any answer may take.
const WITHIN: Duration = Duration::from_secs(45);

#[derive(Template)]
#[template(path = "connect_results.html")]
pub(super) struct ResultsPage {
    pub(super) page: Page,
    pub(super) tenant: Tenant,
    pub(super) results: Vec<Outcome>,
}

/// What became of one ad account.
pub(super) struct Outcome {
    pub(super) examined: Examined,
    pub(super) connected: Option<Connected>,
    /// Why it was not connected though every check passed.
    pub(super) refused: Option<String>,
}

impl ResultsPage {
    fn connected(&self) -> usize {
        self.results.iter().filter(|outcome| outcome.connected.is_some()).count()
    }
}

#[derive(Deserialize)]
pub(super) struct Choice {
    account_id: Uuid,
    #[serde(default)]
    ad_account: Vec<String>,
}

pub(super) async fn connect(
    State(web): State<Web>,
    chosen: Chosen,
    posted: Posted<Choice>,
) -> Result<Response, Problem> {
    check_tenant(&chosen, posted.form.account_id)?;
    let wanted: BTreeSet<String> = posted.form.ad_account.into_iter().collect();
    if wanted.is_empty() {
        return Err(Problem::bad_request("no ad account was chosen: go back, and tick one or several"));
    }
    if wanted.len() > MAX_AT_ONCE {
        let detail = format!("{} were chosen: connect at most {MAX_AT_ONCE} in one go", wanted.len());
        return Err(Problem::bad_request(detail));
    }
    for external_id in &wanted {
        meta_api::check_ad_account_id(external_id).map_err(|error| Problem::bad_request(error.to_string()))?;
    }
    let (session, account_id) = (&chosen.session, chosen.account_id);
    let Some(draft) = draft::open(&web, session, account_id).await? else {
        return Ok(back_to_start(Ending::NoDraft));
    };
    let Ground { tenant, date, .. } = Ground::of(&web, session, account_id).await?;
    let deadline = Instant::now() + WITHIN;
    let examination = Examination { directory: web.directory(), tenant: &tenant, token: &draft.token, date };
    let Ok(known) = timeout_at(deadline, examination.token()).await else {
        let detail = "Meta did not answer in time, and nothing was connected: try again in a moment";
        return Err(Problem::new(axum::http::StatusCode::GATEWAY_TIMEOUT, detail));
    };
    let (web, chosen, draft, known, examination) = (&web, &chosen, &draft, &known, &examination);
    let each = stream::iter(wanted).map(|external_id| async move {
        match timeout_at(deadline, examination.ad_account(known, &external_id)).await {
            Ok(examined) => connect_one(web, chosen, draft, known, examined).await,
            Err(_) => {
                let why = "Not asked: Meta did not answer in time. Check again.";
                Outcome {
                    examined: Examined::without_answers(&external_id, Vec::new(), why),
                    connected: None,
                    refused: None,
                }
            }
        }
    });
    let results: Vec<Outcome> = each.buffered(EXAMINED_AT_A_TIME).collect().await;
    if results.iter().all(|outcome| outcome.connected.is_some()) {
        // What is done is done: a draft that stays behind ends by itself.
        draft::forget(web, session, account_id, draft).await.ok();
    }
    page(&ResultsPage { page: Page::of_tenant(web, chosen, &tenant, "Connected ad accounts"), tenant, results })
}

/// Connects an ad account if every check passed: all of its rows at once, or none.
async fn connect_one(web: &Web, chosen: &Chosen, draft: &Draft, known: &Known, examined: Examined) -> Outcome {
    let Some(found) = examined.passed() else {
        return Outcome { examined, connected: None, refused: None };
    };
    let token = match known {
        Ok(facts) => facts.known.clone(),
        Err(_) => KnownToken::default(),
    };
    // What Meta's dialog, or an earlier answer, said where there is none now.
    let expiry = match (token.expiry, draft.token_expires_at) {
        (Expiry::Unknown, Some(at)) => Expiry::At(at),
        (expiry, _) => expiry,
    };
    let token = KnownToken { app_id: token.app_id.or_else(|| draft.app_id.clone()), expiry, ..token };
    let connected: Result<Connected, ConnectError> = async {
        let mut tx = scope(&chosen.session, chosen.account_id).begin(&web.pool).await?;
        let connected = accounts::connect(&mut *tx, &web.keys, chosen.account_id, found, &draft.token, &token).await?;
        tx.commit().await?;
        Ok(connected)
    }
    .await;
    match connected {
        Ok(connected) => Outcome { examined, connected: Some(connected), refused: None },
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "an ad account was not connected");
            Outcome { examined, connected: None, refused: Some(format!("{error}.")) }
        }
    }
}
