use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgPool};

use crate::Integration;

/// Action types that a rule may name.
const MOST_TYPES: usize = 8;

/// The value by the ad account's own attribution setting.
const UNIFIED: &str = "unified";

/// What counts as a purchase of an integration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurchaseRule {
    pub version: i32,
    /// In order of preference; `a+b` are types that do not overlap and are added.
    pub alternatives: Vec<String>,
    /// `unified`, or one of Meta's windows.
    pub attribution_window: String,
    /// `None` for the one that every integration begins with.
    pub created_at: Option<DateTime<Utc>>,
}

/// A rule that nobody may set; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum PurchaseRuleError {
    #[error("a purchase rule without an action type counts nothing: name one with --action-type")]
    NoType,
    #[error("{alternative:?} names an empty action type: write it as Meta does, such as omni_purchase, or a+b for two")]
    EmptyType { alternative: String },
    #[error(
        "{action_type:?} is no action type: Meta's have letters, digits, dots and underscores, at most {MOST_CHARS}"
    )]
    Type { action_type: String },
    #[error("the action type {action_type} stands twice: name each once, or its purchases would be counted twice")]
    Twice { action_type: String },
    #[error("the rule names {found} action types: at most {MOST_TYPES} are read")]
    TooMany { found: usize },
    #[error("{window:?} is no attribution window of Meta's: write unified, or one such as 7d_click or 1d_view")]
    Window { window: String },
    #[error("PostgreSQL did not do it, and nothing is half-written: see why, and repeat the command")]
    Database(#[from] sqlx::Error),
}

const MOST_CHARS: usize = 200;

/// Whether Meta has an attribution window of that name.
pub fn is_attribution_window(name: &str) -> bool {
    name.split_once("d_")
        .is_some_and(|(days, kind)| matches!(days, "1" | "7" | "28") && matches!(kind, "click" | "view" | "ev"))
}

/// Refuses a rule that makes no sense.
pub fn check_purchase_rule(alternatives: &[String], attribution_window: &str) -> Result<(), PurchaseRuleError> {
    let mut types: Vec<&str> = Vec::new();
    for alternative in alternatives {
        for action_type in alternative.split('+') {
            if action_type.is_empty() {
                return Err(PurchaseRuleError::EmptyType { alternative: alternative.clone() });
            }
            let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b':');
            if action_type.len() > MOST_CHARS || !action_type.bytes().all(known) {
                return Err(PurchaseRuleError::Type { action_type: action_type.to_owned() });
            }
            if types.contains(&action_type) {
                return Err(PurchaseRuleError::Twice { action_type: action_type.to_owned() });
            }
            types.push(action_type);
        }
    }
    match types.len() {
        0 => return Err(PurchaseRuleError::NoType),
        found if found > MOST_TYPES => return Err(PurchaseRuleError::TooMany { found }),
        _ => {}
    }
    if attribution_window != UNIFIED && !is_attribution_window(attribution_window) {
        return Err(PurchaseRuleError::Window { window: attribution_window.to_owned() });
    }
    Ok(())
}

/// The rules that were set for an integration, newest first. None: it has the one that all begin with.
pub async fn purchase_rules(db: impl PgExecutor<'_>, integration: &Integration) -> sqlx::Result<Vec<PurchaseRule>> {
    let rows = sqlx::query!(
        "select version, alternatives, attribution_window, created_at from purchase_rules
         where account_id = $1 and integration_id = $2 order by version desc",
        integration.account_id,
        integration.id,
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| PurchaseRule {
            version: r.version,
            alternatives: r.alternatives,
            attribution_window: r.attribution_window,
            created_at: Some(r.created_at),
        })
        .collect())
}

/// Sets an integration's rule, as its next version; `first` is the one it begins with. Returns the rule that holds from
/// now on, and whether it is another than before.
///
/// When this returns, no transaction folds by the rule before any more (the table's trigger waits for those that do),
/// so that the days that have to be folded again are all to be seen.
pub async fn set_purchase_rule(
    pool: &PgPool,
    integration: &Integration,
    first: PurchaseRule,
    alternatives: Vec<String>,
    attribution_window: String,
) -> Result<(PurchaseRule, bool), PurchaseRuleError> {
    check_purchase_rule(&alternatives, &attribution_window)?;
    let mut tx = pool.begin().await?;
    // Two at once take turns here.
    sqlx::query!(
        "select from integrations where account_id = $1 and id = $2 for update",
        integration.account_id,
        integration.id,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let newest = purchase_rules(&mut *tx, integration).await?.into_iter().next().unwrap_or(first);
    if newest.alternatives == alternatives && newest.attribution_window == attribution_window {
        return Ok((newest, false));
    }
    let version = newest.version + 1;
    let created_at = sqlx::query_scalar!(
        "insert into purchase_rules (account_id, integration_id, version, alternatives, attribution_window)
         values ($1, $2, $3, $4, $5) returning created_at",
        integration.account_id,
        integration.id,
        version,
        &alternatives,
        attribution_window,
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok((PurchaseRule { version, alternatives, attribution_window, created_at: Some(created_at) }, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_makes_no_sense_is_refused_in_words() {
        let nine = "a+b+c+d+e+f+g+h+i";
        for (alternatives, window, refusal) in [
            (&["omni_purchase", "a+b"][..], "unified", None),
            (&["lead"], "28d_click", None),
            (&[], "unified", Some("counts nothing")),
            (&["a+"], "unified", Some("names an empty action type")),
            (&[""], "unified", Some("names an empty action type")),
            (&["a b"], "unified", Some("is no action type")),
            (&["a", "b+a"], "unified", Some("stands twice")),
            (&[nine], "unified", Some("names 9 action types")),
            (&["a"], "7d", Some("is no attribution window of Meta's")),
            (&["a"], "2d_click", Some("is no attribution window of Meta's")),
        ] {
            let alternatives: Vec<String> = alternatives.iter().map(|a| (*a).to_owned()).collect();
            let said = check_purchase_rule(&alternatives, window).err().map(|error| error.to_string());
            match refusal {
                None => assert_eq!(said, None, "{alternatives:?} {window}"),
                Some(words) => assert!(said.as_deref().is_some_and(|s| s.contains(words)), "{said:?}, not {words}"),
            }
        }
    }
}
