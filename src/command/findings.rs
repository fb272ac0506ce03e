//! What commands that read the logs say of events and days, in the same words and in the same JSON.

use events::subject::AccountDay;
use projector::{AllNotFolded, NotFolded};
use serde_json::{Value, json};

use super::names::Names;
use crate::output;

/// An event and its day.
pub fn event_named(event: &NotFolded, names: &Names) -> String {
    let day = names.day(&event.day);
    event.event_id.map_or_else(|| format!("An event of {day}"), |id| format!("Event {id} of {day}"))
}

/// Says on standard error which events are not folded.
pub fn say_not_folded(events: &AllNotFolded, names: &Names) {
    for event in events.named() {
        say_one(event, names);
    }
    say_more(events);
}

/// One of them.
pub fn say_one(event: &NotFolded, names: &Names) {
    let reason = output::printable(&event.reason);
    eprintln!("{} cannot be folded, as when it came: {reason}", event_named(event, names));
}

/// How many there are that are not named.
pub fn say_more(events: &AllNotFolded) {
    match events.count - events.named().len() as u64 {
        0 => {}
        more => eprintln!("… and {more} more events that cannot be folded"),
    }
}

/// The first of them.
pub fn not_folded_json(events: &AllNotFolded) -> Value {
    let one =
        |event: &NotFolded| json!({ "day": day_json(&event.day), "event_id": event.event_id, "reason": event.reason });
    events.named().iter().map(one).collect()
}

/// A summary is of no ad account.
pub fn day_json(day: &AccountDay) -> Value {
    let ad_account_id = (!day.ad_account_id.is_nil()).then_some(day.ad_account_id);
    json!({ "account_id": day.account_id, "ad_account_id": ad_account_id, "date": day.date })
}
