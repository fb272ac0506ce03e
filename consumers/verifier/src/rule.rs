//! What counts as a purchase of an ad account, and which ad accounts there are.

use std::collections::HashMap;

use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::json::{self, Object};

/// A purchase rule.
#[derive(Debug, Clone)]
pub struct Rule {
    pub version: i32,
    /// In order of preference; the types of one alternative are added.
    alternatives: Vec<Vec<String>>,
    /// `unified`, or one of Meta's windows.
    pub window: String,
}

/// What an ad sold by a rule.
#[derive(Debug, Default, Clone)]
pub struct Purchases {
    pub count: Option<Decimal>,
    pub value: Option<Decimal>,
    pub action_type: Option<String>,
}

impl Rule {
    fn new(version: i32, alternatives: &[impl AsRef<str>], window: &str) -> Self {
        let types = |alternative: &str| alternative.split('+').map(str::to_owned).collect();
        let alternatives = alternatives.iter().map(|alternative| types(alternative.as_ref())).collect();
        Rule { version, alternatives, window: window.to_owned() }
    }

    /// The rule of an ad account for which nobody set another.
    fn first() -> Self {
        let alternatives = [
            "omni_purchase",
            "purchase",
            "offsite_conversion.fb_pixel_purchase",
            "app_custom_event.fb_mobile_purchase+onsite_conversion.purchase",
        ];
        Rule::new(1, &alternatives, "unified")
    }

    /// Whether a request that asked for these windows could bring what the rule counts.
    pub fn is_known(&self, windows: &[String]) -> bool {
        self.window == "unified" || windows.contains(&self.window)
    }

    /// Reads a row's two lists: the first alternative of which either has a number counts, in both.
    pub fn purchases(&self, row: &Object<'_>) -> Result<Purchases, String> {
        let counts = self.numbers(row, "actions")?;
        let values = self.numbers(row, "action_values")?;
        for types in &self.alternatives {
            let sent: Vec<&String> =
                types.iter().filter(|name| counts.contains_key(*name) || values.contains_key(*name)).collect();
            if !sent.is_empty() {
                let sum = |of: &HashMap<String, Decimal>| {
                    types.iter().filter_map(|name| of.get(name)).copied().reduce(|a, b| a + b)
                };
                let action_type = sent.iter().map(|name| name.as_str()).collect::<Vec<_>>().join("+");
                return Ok(Purchases { count: sum(&counts), value: sum(&values), action_type: Some(action_type) });
            }
        }
        Ok(Purchases::default())
    }

    /// Meta's number of each type that the rule names. A type that is there without a number of the rule's window had
    /// none in it: Meta leaves an empty window out. The unified value it always sends.
    fn numbers(&self, row: &Object<'_>, field: &str) -> Result<HashMap<String, Decimal>, String> {
        let key = if self.window == "unified" { "value" } else { &self.window };
        let mut numbers = HashMap::new();
        for entry in json::list(row.get(field)?)? {
            let entry = Object::read(entry)?;
            let action_type = entry.get("action_type")?.and_then(json::text).ok_or("an action has no type")?;
            let number = entry.get(key)?;
            if !self.alternatives.iter().flatten().any(|name| *name == action_type) {
                continue;
            }
            match (number, json::amount(number)?) {
                (_, Some(number)) => {
                    numbers.insert(action_type, number);
                }
                (None, None) if self.window != "unified" => {
                    numbers.entry(action_type).or_insert(Decimal::ZERO);
                }
                _ => {}
            }
        }
        Ok(numbers)
    }
}

/// An ad account as far as its days depend on it.
#[derive(Debug, Clone)]
pub struct AdAccount {
    /// That of its tenant.
    pub currency: String,
    pub rule: Rule,
}

impl AdAccount {
    /// One that is not there: what stands in the tables of it is nobody's.
    pub fn unknown() -> Self {
        AdAccount { currency: String::new(), rule: Rule::first() }
    }
}

/// The ad accounts of a tenant, each with its newest rule.
pub async fn ad_accounts(db: &mut PgConnection, account_id: Uuid) -> sqlx::Result<HashMap<Uuid, AdAccount>> {
    let rows = sqlx::query!(
        r#"select ad.id, a.currency, r.version as "version?", r.alternatives as "alternatives?",
                  r.attribution_window as "attribution_window?"
           from accounts a
           join ad_accounts ad on ad.account_id = a.id
           left join purchase_rules r on r.account_id = a.id
               and r.integration_id in (
                   select i.id from integrations i
                   where i.account_id = a.id and i.ad_account_id = ad.id and i.type = 'meta')
           where a.id = $1
           order by r.version nulls first"#,
        account_id,
    )
    .fetch_all(db)
    .await?;
    let mut all = HashMap::new();
    // In the order of the versions: the newest stays.
    for r in rows {
        let rule = match (r.version, r.alternatives, r.attribution_window) {
            (Some(version), Some(alternatives), Some(window)) => Rule::new(version, &alternatives, &window),
            _ => Rule::first(),
        };
        all.insert(r.id, AdAccount { currency: r.currency, rule });
    }
    Ok(all)
}
