//! The flow's first page: how a token comes here.

use accounts::{Integration, Tenant};
use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use uuid::Uuid;

use super::draft::{self, KeptFacts};
use super::{Ground, check_tenant, oauth, scope};
use crate::access::posted::Posted;
use crate::access::session::Chosen;
use crate::checks::{CheckName, CheckState, is_token_text, of_token};
use crate::pages::{Page, page};
use crate::problem::Problem;
use crate::web::Web;

#[derive(Template)]
#[template(path = "connect_start.html")]
struct StartPage {
    page: Page,
    tenant: Tenant,
    /// The one that is to be connected again.
    reconnect: Option<Integration>,
    has_dialog: bool,
    /// The dialog leads back there, and finds the session that began there.
    base_url: String,
    is_stub: bool,
    /// Why the last attempt led back here.
    refused: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Start {
    #[serde(default)]
    reconnect: String,
    #[serde(default)]
    ended: String,
}

impl Start {
    /// The integration that is to be connected again.
    pub(super) fn reconnect(&self) -> Option<Uuid> {
        self.reconnect.parse().ok()
    }
}

/// How an attempt ended that left no token. An address names it, so that nothing else of the attempt has to be in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ending {
    Declined,
    Dialog,
    /// No trip of this session's, or none any more.
    Over,
    Code,
    Token,
    Scope,
    App,
    RedirectAddress,
    NoAnswer,
    Database,
    NoDraft,
}

impl Ending {
    const ALL: [Ending; 11] = [
        Ending::Declined,
        Ending::Dialog,
        Ending::Over,
        Ending::Code,
        Ending::Token,
        Ending::Scope,
        Ending::App,
        Ending::RedirectAddress,
        Ending::NoAnswer,
        Ending::Database,
        Ending::NoDraft,
    ];

    pub(super) fn of_check(failed: CheckName) -> Ending {
        if failed == CheckName::Scope { Ending::Scope } else { Ending::Token }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Ending::Declined => "declined",
            Ending::Dialog => "dialog",
            Ending::Over => "over",
            Ending::Code => "code",
            Ending::Token => "token",
            Ending::Scope => "scope",
            Ending::App => "app",
            Ending::RedirectAddress => "redirect_address",
            Ending::NoAnswer => "no_answer",
            Ending::Database => "database",
            Ending::NoDraft => "no_draft",
        }
    }

    fn of(text: &str) -> Option<Ending> {
        Ending::ALL.into_iter().find(|ending| ending.as_str() == text)
    }

    fn sentence(self, web: &Web) -> String {
        let text = match self {
            Ending::Declined => {
                "You cancelled in Facebook's dialog, and nothing was granted or connected. To connect after all, continue with \
                 Facebook again."
            }
            Ending::Dialog => {
                "Facebook's dialog ended without a grant; this service's log has what it said. Continue with Facebook again."
            }
            Ending::Over => {
                "This way back from Facebook is not good any more: it serves once, for ten minutes, and in the browser that it \
                 began in. Continue with Facebook again."
            }
            Ending::Code => {
                "Meta gave no token for this sign-in: its code serves once, and for a few minutes. Continue with Facebook again."
            }
            Ending::Token => "Meta says that the token it gave is not valid. Continue with Facebook again.",
            Ending::Scope => {
                "The permission to read ads (ads_read) was kept back, and without it nothing can be read. Continue with Facebook \
                 again, and leave it on."
            }
            Ending::App => {
                "Meta does not take the id and the secret of this service's Meta app: whoever runs it sets META_APP_ID and \
                 META_APP_SECRET to what the app's settings show. A token can be pasted meanwhile."
            }
            Ending::RedirectAddress => {
                return format!(
                    "Meta does not take {} as the address to come back to: an admin of the Meta app enters it, exactly so, as a \
                     valid OAuth redirect URI in the settings of Facebook Login.",
                    web.settings.redirect_uri()
                );
            }
            Ending::NoAnswer => "Meta did not answer in time, and nothing was connected. Continue with Facebook again.",
            Ending::Database => "The database did not answer, and nothing was connected. Continue with Facebook again.",
            Ending::NoDraft => {
                "There is no token of this session's for this tenant: one is kept for half an hour, and until its ad accounts are \
                 connected. Bring it again."
            }
        };
        text.to_owned()
    }
}

pub(super) async fn start(
    State(web): State<Web>,
    chosen: Chosen,
    Query(query): Query<Start>,
) -> Result<Response, Problem> {
    let refused = Ending::of(&query.ended).map(|ending| ending.sentence(&web));
    if !query.reconnect.is_empty() && query.reconnect().is_none() {
        return Err(nothing_to_reconnect());
    }
    show(&web, &chosen, query.reconnect(), refused).await
}

async fn show(
    web: &Web,
    chosen: &Chosen,
    reconnect: Option<Uuid>,
    refused: Option<String>,
) -> Result<Response, Problem> {
    let tenant = Ground::of(web, &chosen.session, chosen.account_id).await?.tenant;
    page(&StartPage {
        page: Page::of_tenant(web, chosen, &tenant, "Connect ad accounts"),
        tenant,
        reconnect: to_reconnect(web, chosen, reconnect).await?,
        base_url: web.settings.base_url(),
        has_dialog: oauth::dialog(web).is_some(),
        is_stub: web.meta.is_none(),
        refused,
    })
}

/// The integration of that id, if one is named.
pub(super) async fn to_reconnect(web: &Web, chosen: &Chosen, id: Option<Uuid>) -> Result<Option<Integration>, Problem> {
    let Some(id) = id else { return Ok(None) };
    let mut tx = scope(&chosen.session, chosen.account_id).begin(&web.pool).await?;
    accounts::integration(&mut *tx, id).await?.ok_or_else(nothing_to_reconnect).map(Some)
}

fn nothing_to_reconnect() -> Problem {
    Problem::not_found("this tenant has no such integration to connect again: see the list at /")
}

#[derive(Deserialize)]
pub(super) struct Brought {
    account_id: Uuid,
    token: SecretString,
    #[serde(default)]
    reconnect: String,
}

/// Keeps a pasted token, once it has shown that it is one.
pub(super) async fn token(
    State(web): State<Web>,
    chosen: Chosen,
    posted: Posted<Brought>,
) -> Result<Response, Problem> {
    let brought = posted.form;
    check_tenant(&chosen, brought.account_id)?;
    let reconnect: Option<Uuid> = brought.reconnect.parse().ok();
    let refuse = async |why: String| {
        let shown = show(&web, &chosen, reconnect, Some(why)).await?;
        Ok((StatusCode::UNPROCESSABLE_ENTITY, shown).into_response())
    };
    let text = brought.token.expose_secret().trim();
    if !is_token_text(text) {
        return refuse(
            "That is no token: it is empty, holds a space or a line break, or is longer than any. Paste the token alone."
                .to_owned(),
        )
        .await;
    }
    let token = SecretString::from(text.to_owned());
    let known = web.directory().token(&token).await;
    let checks = of_token(&known);
    if let Some(failed) = checks.iter().find(|check| check.state == CheckState::Failed) {
        return refuse(format!("The token was not kept. {}", failed.sentence)).await;
    }
    let (mut token, mut facts) = (token, known.ok());
    if let Some(brought) = &facts {
        let now = Ground::of(&web, &chosen.session, chosen.account_id).await?.now;
        if let Some((longer, known)) = web.directory().prolonged(&token, brought, now).await {
            (token, facts) = (longer, Some(known));
        }
    }
    let kept = facts.map(|facts| KeptFacts::of(facts.known)).unwrap_or_default();
    draft::keep(&web, &chosen.session, chosen.account_id, &token, kept).await?;
    let query = reconnect.map(|id| format!("?reconnect={id}")).unwrap_or_default();
    Ok(Redirect::to(&format!("/connect/meta/accounts{query}")).into_response())
}
