//! What went wrong, for people: what happened, who mends it, what happens by itself.

use super::words::Level;

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever looks at the page.
    You,
    /// Whom the token belongs to.
    TokensUser,
    AdAccountAdmin,
    Operator,
    Meta,
    Nobody,
}

impl Who {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Who::You => "You",
            Who::TokensUser => "The person whom the token belongs to",
            Who::AdAccountAdmin => "An admin of the ad account, in Meta's Business settings",
            Who::Operator => "Whoever runs this service",
            Who::Meta => "Nobody here, it is up to Meta",
            Who::Nobody => "Nobody yet",
        }
    }
}

/// An error as a page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Card {
    pub(crate) level: Level,
    pub(crate) title: &'static str,
    /// What was written down when it happened.
    pub(crate) message: String,
    pub(crate) who: Who,
    /// What they do.
    pub(crate) to_do: &'static str,
    /// What happens next if nobody does anything.
    pub(crate) next: &'static str,
    /// Connecting again helps.
    pub(crate) reconnect: bool,
    /// What Meta's support asks for.
    pub(crate) fbtrace_id: Option<String>,
}

/// What a code means. A code that a worker of a newer version writes is shown with its message alone.
struct Meaning {
    level: Level,
    title: &'static str,
    who: Who,
    to_do: &'static str,
    next: &'static str,
}

const RETRIED: &str = "The days stay owed, and the next run of fresh days tries them again.";
const STOPPED: &str = "Nothing is fetched until then. Afterwards the days that were missed are fetched by themselves.";

/// The card of an integration's status; none where its jobs may run.
pub(crate) fn of_status(status: &str, reason: Option<&str>) -> Option<Card> {
    let known = matches!(status, "needs_reconnect" | "blocked" | "disconnected");
    known.then(|| card(status, reason.unwrap_or_default()))
}

/// The card of a run that waits.
pub(crate) fn of_wait(wait_reason: &str, message: &str) -> Card {
    let code = match wait_reason {
        "throttled" => "wait_throttled",
        other => other,
    };
    card(code, message)
}

/// The card of `sync_runs.error_code` with its message.
pub(crate) fn card(code: &str, message: &str) -> Card {
    let Meaning { level, title, who, to_do, next } = meaning(code, message);
    Card {
        level,
        title,
        message: sentence(message),
        who,
        to_do,
        next,
        reconnect: matches!(code, "needs_reconnect" | "token" | "permission" | "sign_in" | "disconnected" | "blocked"),
        fbtrace_id: fbtrace_id(message),
    }
}

fn meaning(code: &str, message: &str) -> Meaning {
    let says = |level, title, who, to_do, next| Meaning { level, title, who, to_do, next };
    use Level::{Bad, Calm, Warn};
    match code {
        "token" if !message.starts_with("Meta ") => says(
            Bad,
            "The stored token cannot be used",
            Who::You,
            "Reconnect with a new token. If its key is missing here, whoever runs the service can bring the key back.",
            STOPPED,
        ),
        // A status that a missing permission led to: its reason begins as the error does.
        "needs_reconnect" if message.starts_with("Meta does not let") => says(
            Bad,
            "The token may not read this ad account",
            Who::AdAccountAdmin,
            "They give the token's user a role on the ad account; then you reconnect, and grant ads_read.",
            STOPPED,
        ),
        "token" | "needs_reconnect" => says(
            Bad,
            "Meta no longer accepts the token",
            Who::You,
            "Reconnect, as somebody who has a role on the ad account.",
            STOPPED,
        ),
        "permission" => says(
            Bad,
            "The token may not read this ad account",
            Who::AdAccountAdmin,
            "They give the token's user a role on the ad account; or you reconnect and grant ads_read.",
            RETRIED,
        ),
        "blocked" => says(
            Bad,
            "The ad account is not what it was when it was connected",
            Who::AdAccountAdmin,
            "They set currency and time zone back, then you reconnect. An account that stays changed needs a tenant of its own.",
            "Nothing is fetched or published, so that no number here becomes wrong.",
        ),
        "disconnected" => says(
            Calm,
            "The integration is disconnected",
            Who::Nobody,
            "Reconnect if it was not meant so.",
            "Nothing is fetched. What was fetched stays.",
        ),
        "wait_throttled" => says(
            Calm,
            "Meta asked to slow down",
            Who::Meta,
            "Nothing. Asking more often makes the wait longer.",
            "The run goes on by itself when the wait is over.",
        ),
        "throttled" => says(
            Warn,
            "Meta kept throttling until the run gave up",
            Who::Meta,
            "Nothing at first. If it happens each day, ask Meta for a higher access tier of the app.",
            RETRIED,
        ),
        "log_full" => says(
            Bad,
            "The event log is full",
            Who::Operator,
            "Give the stream more room or trim it (adledger doctor says how).",
            "The run asks again every half minute and goes on when there is room. Nothing is lost.",
        ),
        "log_unreachable" => says(
            Bad,
            "The event log cannot be reached",
            Who::Operator,
            "See that NATS runs and can be reached (adledger doctor tells).",
            "The run asks again every few seconds and goes on when the log is back. Nothing is lost.",
        ),
        "too_much_data" => says(
            Bad,
            "Meta finds the question too large",
            Who::Operator,
            "Ask for fewer attribution windows (META_ATTRIBUTION_WINDOWS).",
            RETRIED,
        ),
        "wrong_request" => says(
            Bad,
            "Meta refuses the request",
            Who::Operator,
            "Correct what the message names, then ask for the run again.",
            "It would be refused again, until that is done.",
        ),
        "unreadable" => says(
            Bad,
            "Meta's answer is not as documented",
            Who::Meta,
            "Nothing at first. If it stays so, whoever runs this service reports it.",
            RETRIED,
        ),
        "paging_loop" => says(
            Bad,
            "Meta's pages do not come to an end",
            Who::Meta,
            "Nothing at first. If it stays so, whoever runs this service reports it.",
            RETRIED,
        ),
        "report" => says(
            Warn,
            "A report that Meta made came to nothing",
            Who::Meta,
            "Nothing at first. If it stays so, whoever runs this service asks for fewer attribution windows.",
            RETRIED,
        ),
        "gate" => says(
            Bad,
            "It is not known whether Meta may be asked",
            Who::Operator,
            "See that PostgreSQL runs and can be reached (adledger doctor tells).",
            RETRIED,
        ),
        "unreachable" => says(
            Warn,
            "Meta gave no usable answer",
            Who::Operator,
            "If it stays so, see that this machine reaches Meta (and META_API_BASE_URL).",
            RETRIED,
        ),
        "meta_unreachable" => says(
            Warn,
            "Meta gave no usable answer",
            Who::Operator,
            "If it stays so, see that this machine reaches Meta (and META_API_BASE_URL).",
            "The run asks again every minute and goes on when Meta is back. Nothing is lost.",
        ),
        "publish" => says(
            Bad,
            "The event log refused a day",
            Who::Operator,
            "Do what the message says (adledger streams check compares the log with its settings).",
            RETRIED,
        ),
        "encode" => says(Bad, "A day could not be written as an event", Who::Operator, "Report it.", RETRIED),
        "clock" => says(
            Bad,
            "A clock is wrong",
            Who::Operator,
            "Set the clock of the database's machine right.",
            "Nothing is fetched before its time is above that of the last answer: no answer gets a wrong place.",
        ),
        "takeovers" => says(
            Bad,
            "Workers kept ending in the middle of the run",
            Who::Operator,
            "See why in the workers' logs, then ask for the run again.",
            RETRIED,
        ),
        "days_failed" => says(
            Warn,
            "Some days could not be fetched",
            Who::Nobody,
            "Nothing, unless the same days fail again: then the message says what is wrong.",
            RETRIED,
        ),
        "parked" => says(
            Bad,
            "A fetched day could not be put into the tables",
            Who::Operator,
            "Look at adledger dead-letters list: retry it, or drop it.",
            "The day is owed again, and the next run of fresh days fetches a new answer.",
        ),
        "sign_in" => says(Warn, "The sign-in with Meta was not finished", Who::You, "Connect again.", STOPPED),
        "app" | "other_app" => says(
            Bad,
            "Meta does not take this service's app",
            Who::Operator,
            "Correct META_APP_ID, META_APP_SECRET or the app's settings.",
            STOPPED,
        ),
        _ => says(Bad, "The run stopped", Who::Operator, "Read the message.", RETRIED),
    }
}

/// With a capital at its beginning and a full stop at its end.
pub(super) fn sentence(message: &str) -> String {
    let message = message.trim();
    let mut letters = message.chars();
    let Some(first) = letters.next() else { return String::new() };
    let stop = if message.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{}{}{stop}", first.to_uppercase(), letters.as_str())
}

/// As errors of Meta's name it: `fbtrace_id A1b2C3`.
fn fbtrace_id(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("fbtrace_id ")?;
    let id: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every code that a worker writes, and whose turn it is then.
    const CODES: [(&str, Who); 23] = [
        ("needs_reconnect", Who::You),
        ("blocked", Who::AdAccountAdmin),
        ("disconnected", Who::Nobody),
        ("token", Who::You),
        ("permission", Who::AdAccountAdmin),
        ("throttled", Who::Meta),
        ("too_much_data", Who::Operator),
        ("wrong_request", Who::Operator),
        ("unreadable", Who::Meta),
        ("paging_loop", Who::Meta),
        ("report", Who::Meta),
        // No run is given up for it: the worker leaves the run to another one.
        ("gate", Who::Operator),
        ("unreachable", Who::Operator),
        ("publish", Who::Operator),
        ("encode", Who::Operator),
        ("clock", Who::Operator),
        ("takeovers", Who::Operator),
        ("days_failed", Who::Nobody),
        ("parked", Who::Operator),
        ("sign_in", Who::You),
        ("app", Who::Operator),
        ("other_app", Who::Operator),
        ("log_full", Who::Operator),
    ];

    #[test]
    fn every_code_says_who_and_what_next() {
        let unknown = card("some_new_word", "a message");
        assert_eq!((unknown.who, unknown.message.as_str()), (Who::Operator, "A message."));
        for (code, who) in CODES {
            let card = card(code, "Meta refuses it (HTTP 400, fbtrace_id AbC-12_x): see");
            assert_eq!(card.who, who, "{code}");
            assert_ne!(card.title, unknown.title, "{code} has no card of its own");
            assert_eq!(card.fbtrace_id.as_deref(), Some("AbC-12_x"));
            assert!(card.to_do.ends_with('.') && card.next.ends_with('.'), "{code}");
        }
    }

    /// The words between quotes that follow `before` in a file of the workers'.
    fn written_in(file: &str, before: &str) -> BTreeSet<String> {
        let path = format!("{}/../{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap();
        let found = text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned);
        found.filter(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).collect()
    }

    #[test]
    fn no_code_of_the_workers_is_forgotten() {
        let mut written = written_in("insights/src/work.rs", "give_up(\"");
        written.append(&mut written_in("insights/src/work.rs", " => \""));
        written.append(&mut written_in("meta-api/src/errors.rs", "} => \""));
        written.append(&mut written_in("runs/src/days.rs", "error_code = '"));
        written.insert("days_failed".into());
        assert!(written.len() > 12 && written.contains("paging_loop"), "is this the right place? {written:?}");
        let known: BTreeSet<_> = CODES.map(|(code, _)| code.to_owned()).into();
        assert_eq!(written.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "codes without a card");
    }

    #[test]
    fn waits_and_statuses_have_cards() {
        let reasons = [
            ("throttled", Who::Meta),
            ("log_full", Who::Operator),
            ("log_unreachable", Who::Operator),
            ("meta_unreachable", Who::Operator),
        ];
        let known: BTreeSet<_> = reasons.map(|(reason, _)| reason.to_owned()).into();
        assert_eq!(written_in("runs/src/lease.rs", " => \""), known, "what the workers wait for");
        for (reason, who) in reasons {
            assert_eq!(of_wait(reason, "").who, who, "{reason}");
            assert_eq!(of_wait(reason, "").message, "");
        }
        for (status, reconnect) in [("needs_reconnect", true), ("blocked", true), ("disconnected", true)] {
            assert_eq!(of_status(status, Some("why")).map(|card| card.reconnect), Some(reconnect), "{status}");
        }
        assert_eq!(of_status("connected", None), None);
        let sealed = card("token", "the key \"a\" is not in the key ring");
        assert_eq!(sealed.title, "The stored token cannot be used");
    }

    #[test]
    fn a_trace_is_found_wherever_it_stands() {
        for (message, found) in [
            ("x (code 4, \"slow\", fbtrace_id A1): y", Some("A1")),
            ("fbtrace_id AbCd", Some("AbCd")),
            ("fbtrace_id ", None),
            ("no such thing", None),
        ] {
            assert_eq!(fbtrace_id(message).as_deref(), found, "{message}");
        }
    }
}
