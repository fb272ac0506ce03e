//! What commands that read the logs say of events and days, in the same words and in the same JSON.

use std::collections::HashSet;

use events::subject::AccountDay;
use projector::{AllNotFolded, NotFolded};
use serde_json::{Value, json};
use uuid::Uuid;

use super::names::Names;
use crate::output;

/// Says on standard error which events are not folded. Those of `left` were folded once, and can be read no more.
pub fn say_not_folded(events: &AllNotFolded, left: &HashSet<Uuid>, names: &Names) {
    for NotFolded { day, event_id, reason } in events.named() {
        let event = event_id.map_or_else(|| "An event".to_owned(), |id| format!("Event {id}"));
        let verb = if event_id.is_some_and(|id| left.contains(&id)) { "read" } else { "folded, as when it came" };
        eprintln!("{event} of {} cannot be {verb}: {}", names.day(day), output::printable(reason));
    }
    match events.count - events.named().len() as u64 {
        0 => {}
        more => eprintln!("… and {more} more events that cannot be folded"),
    }
}

/// Why a day is left as it is: an event of it was folded once, and …
pub fn why_left(event_id: Uuid, not_folded: &AllNotFolded, both: bool) -> &'static str {
    let is_there = not_folded.named().iter().any(|event| event.event_id == Some(event_id));
    match (is_there, both) {
        (true, true) => "cannot be read any more; `adledger audit --heal` mends what was damaged",
        (true, false) => {
            "cannot be read in meta_insights_raw any more; `adledger audit --heal` mends what was damaged there"
        }
        (false, true) => "neither log holds it",
        (false, false) => "meta_insights_raw does not hold it, or not yet; the stream may: --from stream reads both",
    }
}

/// The first of them.
pub fn not_folded_json(events: &AllNotFolded) -> Value {
    let one =
        |event: &NotFolded| json!({ "day": day_json(&event.day), "event_id": event.event_id, "reason": event.reason });
    events.named().iter().map(one).collect()
}

/// Days that are left as they are, each with the event that is the reason.
pub fn left_json<'l>(left: impl IntoIterator<Item = &'l (AccountDay, Uuid)>) -> Value {
    left.into_iter().map(|(day, event_id)| json!({ "day": day_json(day), "event_id": event_id })).collect()
}

/// A summary is of no ad account.
pub fn day_json(day: &AccountDay) -> Value {
    let ad_account_id = (!day.ad_account_id.is_nil()).then_some(day.ad_account_id);
    json!({ "account_id": day.account_id, "ad_account_id": ad_account_id, "date": day.date })
}
