//! One check of one ad account, asked again.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use serde::Deserialize;
use uuid::Uuid;

use super::connecting::{Outcome, ResultsPage};
use super::start::Ending;
use super::{Ground, back_to_start, check_tenant, draft};
use crate::access::posted::Posted;
use crate::access::session::Chosen;
use crate::checks::{Check, CheckName, Examination, Examined};
use crate::pages::{Page, page};
use crate::problem::Problem;
use crate::web::Web;

/// The item of a check list, for a page that is there already.
#[derive(Template)]
#[template(path = "connect_check.html")]
struct Item {
    page: Page,
    tenant: accounts::Tenant,
    external_id: String,
    check: Check,
    can_repeat: bool,
}

#[derive(Deserialize)]
pub(super) struct Again {
    account_id: Uuid,
    ad_account: String,
    check: CheckName,
}

pub(super) async fn recheck(
    State(web): State<Web>,
    chosen: Chosen,
    headers: HeaderMap,
    posted: Posted<Again>,
) -> Result<Response, Problem> {
    let Again { account_id, ad_account: external_id, check: name } = posted.form;
    check_tenant(&chosen, account_id)?;
    meta_api::check_ad_account_id(&external_id).map_err(|error| Problem::bad_request(error.to_string()))?;
    let is_part = headers.contains_key("hx-request");
    let Some(draft) = draft::open(&web, &chosen.session, account_id).await? else {
        let mut back = back_to_start(Ending::NoDraft);
        // A script that follows a redirect would put a page into a list: this one goes to the page itself.
        if let (true, Some(address)) = (is_part, back.headers().get("location").cloned()) {
            *back.status_mut() = axum::http::StatusCode::OK;
            back.headers_mut().remove("location");
            back.headers_mut().insert("hx-redirect", address);
        }
        return Ok(back);
    };
    let Ground { tenant, date, .. } = Ground::of(&web, &chosen.session, account_id).await?;
    let examination = Examination { directory: web.directory(), tenant: &tenant, token: &draft.token, date };
    let check = examination.one(&external_id, name).await;
    let frame = Page::of_tenant(&web, &chosen, &tenant, "Checks");
    if is_part {
        let mut item = page(&Item { page: frame, tenant: tenant.clone(), external_id, check, can_repeat: true })?;
        item.headers_mut().insert("vary", HeaderValue::from_static("hx-request"));
        return Ok(item);
    }
    let checks =
        CheckName::ALL.map(|other| if other == name { check.clone() } else { other.not_asked("Not asked now.") });
    let examined = Examined::without_answers(&external_id, checks.to_vec(), "");
    let results = vec![Outcome { examined, connected: None, refused: None }];
    page(&ResultsPage { page: frame, tenant: tenant.clone(), results })
}
