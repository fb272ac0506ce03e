//! Why a day's counted spend is not its control total, from what the tables know of it: pure.

use chrono::NaiveDate;
use rust_decimal::Decimal;
use serde::Serialize;
use uuid::Uuid;

/// A day of an ad account, as `days.sql` finds it.
#[derive(Debug, Clone)]
pub struct Day {
    pub account_id: Uuid,
    pub ad_account_id: Uuid,
    pub integration_id: Uuid,
    pub external_id: String,
    pub currency: String,
    pub date: NaiveDate,
    /// In the ad account's time zone.
    pub not_over: bool,
    /// Whether an answer for it was folded.
    pub has_numbers: bool,
    pub counted_spend: Option<Decimal>,
    pub control_spend: Option<Decimal>,
    pub coverage: Option<Decimal>,
    pub provisional: Option<bool>,
    pub purchases_known: Option<bool>,
    /// Rows of the newest answer that do not count, because it has a later one for the same ad.
    pub superseded_rows: i32,
    /// The sum over the rows of the newest answer alone.
    pub answered_spend: Option<Decimal>,
    /// The statuses that the newest answer was asked with; `None` is every status.
    pub status_filter: Option<String>,
    pub age_days: Option<i32>,
    /// Ads that count and are not in the newest answer.
    pub kept_ads: i64,
    pub kept_spend: Option<Decimal>,
    /// Ads that a complete answer proved to be gone, and that do not count.
    pub gone_ads: i64,
    pub gone_spend: Option<Decimal>,
    pub state: Option<String>,
    pub last_error: Option<String>,
    /// An answer was published, and is not in the tables.
    pub unfolded: bool,
    /// It has not been for ten minutes.
    pub stuck: bool,
    pub run_status: Option<String>,
    pub run_wait_reason: Option<String>,
    pub run_error: Option<String>,
    pub rule_version: i32,
    pub rule_window: String,
    pub rule_behind: bool,
}

/// Why a day does not add up, or what else has to be known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Ads that count, and are not in the newest answer.
    NotReturned,
    /// Meta insisted on rows that differ for one ad, of which one counts.
    SeveralRows,
    /// What belongs to ads in statuses that were not asked for.
    StatusFilter,
    /// Spend and control total were not of one moment, or Meta may still restate the day.
    LateData,
    /// The last attempt failed.
    Failed,
    /// It is to be fetched, or fetched again.
    Waiting,
    /// An answer was published, and is not in the tables.
    NotFolded,
    /// Nobody has asked for it.
    NeverAsked,
    /// It is today, or later.
    NotOver,
    /// Meta gave no control total.
    NoControlTotal,
    /// Meta gave no spend.
    NoSpend,
    /// The attribution window of the purchase rule was not asked for.
    WindowNotAsked,
    /// Folded by an older purchase rule.
    RuleBehind,
    /// Ads that are proven to be gone; they are no part of the gap.
    Deleted,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    pub cause: Kind,
    /// Money in the ad account's currency, where the cause is one of an amount.
    pub amount: Option<Decimal>,
    pub sentence: String,
}

impl Day {
    /// Control total less counted spend; what is missing is above zero.
    pub fn gap(&self) -> Option<Decimal> {
        Some(self.control_spend? - self.counted_spend?)
    }

    /// Whether the gap is known and small enough, in percent of the control total, and nothing newer failed or got
    /// lost.
    pub fn is_within(&self, tolerance_percent: Decimal) -> bool {
        let small =
            self.gap().zip(self.control_spend).is_some_and(|(gap, control)| is_small(gap, control, tolerance_percent));
        small && !self.has_failed() && !self.stuck && !self.not_over
    }

    fn has_failed(&self) -> bool {
        self.state.as_deref() == Some("failed")
    }

    /// Every cause that the tables know, the amounts first.
    pub fn causes(&self) -> Vec<Cause> {
        let mut causes = Vec::new();
        if self.has_numbers {
            self.of_numbers(&mut causes);
        }
        self.of_work(&mut causes);
        if self.has_numbers {
            self.of_purchases(&mut causes);
        }
        if self.gone_ads > 0 {
            let spend = self.gone_spend.unwrap_or_default();
            causes.push(Cause {
                cause: Kind::Deleted,
                amount: Some(spend),
                sentence: format!(
                    "{} do not count: a newer answer, equal to its control total, proves that they are gone; they had spent {}.",
                    ads(self.gone_ads),
                    self.money(spend)
                ),
            });
        }
        causes
    }

    fn of_numbers(&self, causes: &mut Vec<Cause>) {
        let mut say = |cause, amount, sentence| causes.push(Cause { cause, amount, sentence });
        if self.kept_ads > 0 {
            let spend = self.kept_spend.unwrap_or_default();
            let counted = self.money(spend);
            say(
                Kind::NotReturned,
                Some(spend),
                format!(
                    "{} count {counted} and are not in the newest answer: nothing proves them gone, and the gap is smaller \
                     by it.",
                    ads(self.kept_ads)
                ),
            );
        }
        if self.superseded_rows > 0 {
            say(
                Kind::SeveralRows,
                None,
                format!(
                    "The newest answer has {} more than ads: of an ad's rows that differ the last one counts, meta_insights_raw \
                     has them all, and fetching the day again helps once Meta has made up its mind.",
                    if self.superseded_rows == 1 {
                        "1 row".to_owned()
                    } else {
                        format!("{} rows", self.superseded_rows)
                    }
                ),
            );
        }
        let Some(control) = self.control_spend else {
            say(
                Kind::NoControlTotal,
                None,
                "Meta gave no control total with the newest answer, so nothing can be proven: fetch the day again."
                    .to_owned(),
            );
            return;
        };
        let Some(gap) = self.gap() else {
            say(Kind::NoSpend, None, "No row of the day has a spend: Meta sent none.".to_owned());
            return;
        };
        let beyond = control - self.answered_spend.unwrap_or_default();
        match &self.status_filter {
            Some(filter) if beyond > Decimal::ZERO => say(
                Kind::StatusFilter,
                Some(beyond),
                format!(
                    "It was asked with {filter}: {} of the control total belong to ads in other states by now (archived, \
                     paused above, …); META_EFFECTIVE_STATUS=all and a backfill of the day closes the gap.",
                    self.money(beyond)
                ),
            ),
            _ if beyond.is_zero() => {}
            _ => say(
                Kind::LateData,
                Some(beyond.abs()),
                format!(
                    "The newest answer and its control total differ by {}: Meta's numbers moved between the two questions; \
                     fetch the day again.",
                    self.money(beyond.abs())
                ),
            ),
        }
        if !gap.is_zero() && self.provisional == Some(true) {
            let age = self.age_days.unwrap_or_default();
            say(
                Kind::LateData,
                None,
                format!("The newest answer was fetched {age} days after the day, and Meta restates a day for 28."),
            );
        }
    }

    fn of_work(&self, causes: &mut Vec<Cause>) {
        let mut say = |cause, sentence| causes.push(Cause { cause, amount: None, sentence });
        let unfinished = matches!(self.run_status.as_deref(), Some("queued" | "running" | "waiting"));
        if self.not_over {
            say(Kind::NotOver, "The day is not over in the ad account's time zone: nobody asks for it yet.".to_owned());
        }
        match self.state.as_deref() {
            Some("failed") => {
                let reason = self.last_error.as_deref().unwrap_or("no reason was written down");
                say(Kind::Failed, format!("It could not be fetched: {reason}"));
            }
            Some("due") => say(Kind::Waiting, format!("It is due and not fetched yet{}.", self.why_waiting())),
            None if unfinished => {
                say(Kind::Waiting, format!("A run that covers it is not done{}.", self.why_waiting()))
            }
            None if self.run_status.as_deref() == Some("failed") && !self.has_numbers => {
                let reason = self.run_error.as_deref().unwrap_or("no reason was written down");
                say(Kind::Failed, format!("The run that covers it failed before it came to the day: {reason}"));
            }
            None if !self.has_numbers && !self.not_over => {
                say(Kind::NeverAsked, "Nobody has asked for it: `adledger backfill` fetches it.".to_owned());
            }
            _ => {}
        }
        if self.stuck {
            let sentence = "An answer was published more than ten minutes ago and is not in the tables: see `adledger status`, \
                            and `adledger dead-letters list` for a parked one.";
            say(Kind::NotFolded, sentence.to_owned());
        } else if self.unfolded {
            say(Kind::NotFolded, "An answer was published, and is on its way to the tables.".to_owned());
        }
    }

    fn of_purchases(&self, causes: &mut Vec<Cause>) {
        let mut say = |cause, sentence| causes.push(Cause { cause, amount: None, sentence });
        if self.rule_behind {
            say(
                Kind::RuleBehind,
                format!(
                    "It is not folded by version {} of the purchase rule yet: `adledger purchase-rule refold --integration {}` \
                     goes on.",
                    self.rule_version, self.integration_id
                ),
            );
        } else if self.purchases_known == Some(false) {
            say(
                Kind::WindowNotAsked,
                format!(
                    "Its purchases are unknown: {}, the window of version {} of the purchase rule, was not asked for.",
                    self.rule_window, self.rule_version
                ),
            );
        }
    }

    fn why_waiting(&self) -> String {
        self.run_wait_reason.as_ref().map_or_else(String::new, |reason| format!("; its run waits for {reason}"))
    }

    fn money(&self, amount: Decimal) -> String {
        format!("{} {}", amount.normalize(), self.currency)
    }
}

fn ads(number: i64) -> String {
    if number == 1 { "1 ad".to_owned() } else { format!("{number} ads") }
}

/// Whether a gap is at most so many percent of the control total.
pub fn is_small(gap: Decimal, control: Decimal, tolerance_percent: Decimal) -> bool {
    gap.abs() * Decimal::ONE_HUNDRED <= tolerance_percent * control.abs()
}

/// A gap in percent of the control total, to four places; `None` where the control total is zero and the gap is not.
pub fn percent(gap: Decimal, control: Decimal) -> Option<Decimal> {
    if gap.is_zero() {
        return Some(Decimal::ZERO);
    }
    Some((gap * Decimal::ONE_HUNDRED).checked_div(control)?.round_dp(4).normalize())
}
