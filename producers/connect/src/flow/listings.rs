//! What a draft's token sees, kept for a moment: a search asks Meta once, and not with every letter.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use accounts::Tenant;
use tokio::time::Instant;
use uuid::Uuid;

use super::draft::Draft;
use crate::checks::{Check, of_token};
use crate::directory::{Directory, Listing};

const KEPT_FOR: Duration = Duration::from_secs(60);
/// Those of so many drafts are kept at a time.
const MAX_KEPT: usize = 32;

/// The newest last.
#[derive(Default)]
pub(super) struct Listings {
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    draft_id: Uuid,
    at: Instant,
    listed: Arc<Listed>,
}

/// What was said about a token.
pub(super) struct Listed {
    pub(super) token: Vec<Check>,
    /// In words, where there is none.
    pub(super) listing: Result<Listing, String>,
}

impl Listings {
    /// What the draft's token sees: asked now if `anew`, or if it was not asked a moment ago.
    pub(super) async fn of(&self, directory: Directory<'_>, draft: &Draft, tenant: &Tenant, anew: bool) -> Arc<Listed> {
        if let Some(listed) = self.kept(draft.id).filter(|_| !anew) {
            return listed;
        }
        let (known, listing) = tokio::join!(directory.token(&draft.token), directory.list(&draft.token, tenant));
        let listed = Listed { token: of_token(&known), listing: listing.map_err(|error| error.to_string()) };
        let listed = Arc::new(listed);
        if listed.listing.is_ok() {
            self.keep(draft.id, &listed);
        }
        listed
    }

    fn kept(&self, draft_id: Uuid) -> Option<Arc<Listed>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| kept.at.elapsed() < KEPT_FOR);
        kept.iter().find(|kept| kept.draft_id == draft_id).map(|kept| kept.listed.clone())
    }

    fn keep(&self, draft_id: Uuid, listed: &Arc<Listed>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| kept.draft_id != draft_id);
        if kept.len() >= MAX_KEPT {
            kept.remove(0);
        }
        kept.push(Kept { draft_id, at: Instant::now(), listed: listed.clone() });
    }
}
