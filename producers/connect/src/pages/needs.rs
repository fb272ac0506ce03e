//! What needs a person, and which one.

use accounts::EndOf;

use super::card::{self, Who};
use super::freshness::Freshness;
use super::words::{Level, Now, count};

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) level: Level,
    pub(crate) what: String,
    pub(crate) who: Who,
    pub(crate) to_do: String,
    /// One of the reasons, where there are several and a page has room for it.
    pub(crate) example: Option<String>,
    /// Connecting again is what they do.
    pub(crate) reconnect: bool,
}

/// What an integration needs, the worst first. One that was disconnected needs nothing.
pub(crate) fn needs(of: &Freshness, now: &Now) -> Vec<Need> {
    if of.status == "disconnected" {
        return Vec::new();
    }
    let mut needs = Vec::new();
    let mut need = |level, what: String, who, to_do: &str, reconnect| {
        needs.push(Need { level, what, who, to_do: to_do.to_owned(), example: None, reconnect });
    };
    if let Some(card) = card::of_status(&of.status, of.status_reason.as_deref()) {
        need(card.level, card.title.to_owned(), card.who, card.to_do, card.reconnect);
    } else {
        let token = of.token(now);
        if !of.is_made_up() && !of.has_token {
            need(Level::Bad, "There is no token".to_owned(), Who::You, "Reconnect with one.", true);
        } else if token.level >= Level::Warn {
            let (who, to_do) = match of.known_token().end().map(|end| end.of) {
                Some(EndOf::DataAccess) => {
                    (Who::TokensUser, "They sign in and reconnect before that. A system user's token needs nobody.")
                }
                _ => (
                    Who::You,
                    "Reconnect before that: a token that has expired cannot be prolonged. A system user's token need not expire.",
                ),
            };
            need(token.level, format!("Its token: {}", lower(&token.words)), who, to_do, true);
        }
    }
    if of.runs_waiting_for_log > 0 {
        let card = card::of_wait(of.log_wait_reason.as_deref().unwrap_or_default(), "");
        let waiting = count(of.runs_waiting_for_log, "run waits", "runs wait");
        need(Level::Bad, format!("{}: {waiting}", card.title), card.who, card.to_do, false);
    }
    if of.days_unfolded > 0 {
        let days = count(of.days_unfolded, "day was", "days were");
        let what = format!("{days} fetched more than 10 minutes ago and cannot be seen in the tables");
        let to_do = "See that the projector runs, and what adledger dead-letters list says.";
        need(Level::Bad, what, Who::Operator, to_do, false);
    }
    // Under a status that stops everything, failed days are no matter of their own.
    if of.days_failed > 0 && of.is_connected() {
        let what = format!("{} could not be fetched", count(of.days_failed, "day", "days"));
        let to_do = "The next run tries again. If it stays so, the integration's page says why.";
        need(Level::Warn, what, Who::Nobody, to_do, false);
        if let Some(need) = needs.last_mut() {
            need.example = of.last_error.clone();
        }
    }
    needs.sort_by_key(|need| std::cmp::Reverse(need.level));
    needs
}

/// To go on within a sentence.
fn lower(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use uuid::Uuid;

    use super::super::freshness::tests::now;
    use super::*;

    pub(in crate::pages) fn connected() -> Freshness {
        Freshness {
            integration_id: Uuid::nil(),
            ad_account_id: Uuid::nil(),
            source: "meta".into(),
            status: "connected".into(),
            status_reason: None,
            external_id: "act_1".into(),
            name: "Shop".into(),
            currency: "USD".into(),
            timezone_name: "UTC".into(),
            sync_cursor: None,
            newest_day: None,
            newest_fetched_at: None,
            days_owed: 0,
            days_failed: 0,
            last_error: None,
            days_unfolded: 0,
            has_token: true,
            token_expires_at: None,
            token_never_expires: true,
            data_access_expires_at: None,
            runs_waiting_for_log: 0,
            log_wait_reason: None,
        }
    }

    #[test]
    fn each_trouble_is_somebodys() {
        let at = |text: &str| Some(text.parse().unwrap());
        let status = |status: &str| Freshness { status: status.into(), ..connected() };
        for (name, of, expected) in [
            ("well", connected(), vec![]),
            ("a stub", Freshness { source: "stub".into(), has_token: false, ..connected() }, vec![]),
            ("refused", status("needs_reconnect"), vec![Who::You]),
            (
                "not allowed",
                Freshness {
                    status_reason: Some("Meta does not let this token read ad account act_1 (code 200)".into()),
                    ..status("needs_reconnect")
                },
                vec![Who::AdAccountAdmin],
            ),
            ("changed", status("blocked"), vec![Who::AdAccountAdmin]),
            ("ended", Freshness { days_failed: 3, days_unfolded: 1, ..status("disconnected") }, vec![]),
            ("no token", Freshness { has_token: false, ..connected() }, vec![Who::You]),
            ("soon", Freshness { token_expires_at: at("2026-12-01T00:00:00Z"), ..connected() }, vec![Who::You]),
            (
                "unseen",
                Freshness { data_access_expires_at: at("2026-12-01T00:00:00Z"), ..connected() },
                vec![Who::TokensUser],
            ),
            ("late", Freshness { token_expires_at: at("2027-01-24T00:00:00Z"), ..connected() }, vec![]),
            ("failed", Freshness { days_failed: 2, ..connected() }, vec![Who::Nobody]),
            ("failed and refused", Freshness { days_failed: 2, ..status("needs_reconnect") }, vec![Who::You]),
            ("parked", Freshness { days_unfolded: 1, days_failed: 1, ..connected() }, vec![Who::Operator, Who::Nobody]),
            ("log", Freshness { runs_waiting_for_log: 1, ..connected() }, vec![Who::Operator]),
        ] {
            let found = needs(&of, &now());
            assert_eq!(found.iter().map(|need| need.who).collect::<Vec<_>>(), expected, "{name}: {found:?}");
        }
    }
}
