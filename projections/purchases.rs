//! Which of Meta's overlapping action types is "a purchase", and by which attribution window it is counted.

use events::subject::AccountDay;
use rust_decimal::Decimal;
use sqlx::PgExecutor;
use uuid::Uuid;

/// A versioned rule. Its version stands on every fact folded by it; a changed rule is a new version and a replay.
#[derive(Debug, PartialEq, Eq)]
pub struct PurchaseRule {
    pub version: i32,
    /// `None` is Meta's `value`: what the ad account's unified setting counts.
    window: Option<String>,
    /// The types of all alternatives, one alternative after the other.
    types: Vec<String>,
    /// Where each alternative ends among the types. Alternatives are in order of preference; the types within one do
    /// not overlap and are added.
    ends: Vec<usize>,
}

/// How many types a rule may name; see [`PurchaseRule::index`].
pub(crate) const MOST_TYPES: usize = 8;

/// The name of the unified attribution setting.
pub const UNIFIED: &str = "unified";

/// The first rule, which is that of every ad account for which nobody set another. `omni_purchase` holds web, app and
/// on-Meta purchases; where Meta does not send it, the narrower types follow. Adding types of different alternatives
/// would count a purchase twice.
pub const FIRST: [&str; 4] = [
    "omni_purchase",
    "purchase",
    "offsite_conversion.fb_pixel_purchase",
    "app_custom_event.fb_mobile_purchase+onsite_conversion.purchase",
];

impl Default for PurchaseRule {
    fn default() -> Self {
        PurchaseRule::new(1, FIRST, UNIFIED)
    }
}

/// The purchases of one row under a rule.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Purchases {
    pub count: Option<Decimal>,
    pub value: Option<Decimal>,
    /// The type both were read from; types that were added are joined by `+`.
    pub action_type: Option<String>,
}

impl PurchaseRule {
    /// A rule as `purchase_rules` holds it: alternatives such as `purchase` or `a+b`, and a window or `unified`. Types
    /// past the eighth, which the table does not take, are passed over.
    pub fn new(version: i32, alternatives: impl IntoIterator<Item = impl AsRef<str>>, window: &str) -> Self {
        let (mut types, mut ends) = (Vec::new(), Vec::new());
        for alternative in alternatives {
            types.extend(alternative.as_ref().split('+').map(str::to_owned));
            types.truncate(MOST_TYPES);
            ends.push(types.len());
        }
        PurchaseRule { version, window: (window != UNIFIED).then(|| window.to_owned()), types, ends }
    }

    /// The value of the columns that name it.
    pub fn window(&self) -> &str {
        self.window.as_deref().unwrap_or(UNIFIED)
    }

    /// Whether a request that asked for these windows brought what the rule counts. Meta always sends `value`.
    pub(crate) fn is_answered_by(&self, asked: &[impl AsRef<str>]) -> bool {
        self.window.as_ref().is_none_or(|window| asked.iter().any(|a| a.as_ref() == window))
    }

    /// The key of an action at which its number stands.
    pub(crate) fn key(&self) -> &str {
        self.window.as_deref().unwrap_or("value")
    }

    /// What an action stands for that is there and has no number at the key: Meta leaves a window out that is empty.
    pub(crate) fn left_out(&self) -> Option<Decimal> {
        self.window.as_ref().map(|_| Decimal::ZERO)
    }

    /// The place of an action type in this rule, counted through all alternatives.
    pub(crate) fn index(&self, action_type: &str) -> Option<usize> {
        self.types.iter().position(|t| t == action_type)
    }

    /// Chooses the first alternative of which Meta sent a type, and reads count and value from the same types.
    /// `counts` and `values` hold, at each [`index`](Self::index), what Meta sent.
    pub(crate) fn choose(
        &self,
        counts: &[Option<Decimal>; MOST_TYPES],
        values: &[Option<Decimal>; MOST_TYPES],
    ) -> Purchases {
        let mut first = 0;
        for &end in &self.ends {
            let range = first..end;
            first = end;
            let sent = |i: &usize| counts[*i].is_some() || values[*i].is_some();
            if !range.clone().any(|i| sent(&i)) {
                continue;
            }
            let sum =
                |of: &[Option<Decimal>; MOST_TYPES]| of[range.clone()].iter().flatten().copied().reduce(|a, b| a + b);
            let names: Vec<&str> = range.clone().filter(sent).map(|i| self.types[i].as_str()).collect();
            return Purchases { count: sum(counts), value: sum(values), action_type: Some(names.join("+")) };
        }
        Purchases::default()
    }
}

/// An integration of which some days have to be folded again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    pub integration_id: Uuid,
    /// `act_…`.
    pub external_id: String,
    /// Version of its newest rule.
    pub version: i32,
    pub days: i64,
}

/// Every integration of which an older rule than the newest is still in the tables.
pub async fn behind(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Behind>> {
    sqlx::query_as!(
        Behind,
        r#"select b.integration_id as "integration_id!", a.external_id, b.version as "version!", count(*) as "days!"
           from purchase_rule_days_behind b
           join ad_accounts a on a.account_id = b.account_id and a.id = b.ad_account_id
           group by 1, 2, 3 order by 1"#,
    )
    .fetch_all(db)
    .await
}

/// Days of an ad account with an event that was folded by an older rule than the newest: those that have to be folded
/// again.
pub async fn days_behind(
    db: impl PgExecutor<'_>,
    account_id: Uuid,
    ad_account_id: Uuid,
) -> sqlx::Result<Vec<AccountDay>> {
    let dates = sqlx::query_scalar!(
        r#"select date as "date!" from purchase_rule_days_behind where account_id = $1 and ad_account_id = $2"#,
        account_id,
        ad_account_id,
    )
    .fetch_all(db)
    .await?;
    Ok(dates.into_iter().map(|date| AccountDay { account_id, ad_account_id, date }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(actions: &[(&str, i64)], values: &[(&str, i64)]) -> (Option<i64>, Option<i64>, Option<String>) {
        let rule = PurchaseRule::default();
        let place = |list: &[(&str, i64)]| {
            let mut at = [None; MOST_TYPES];
            for (name, n) in list {
                if let Some(i) = rule.index(name) {
                    at[i] = Some(Decimal::from(*n));
                }
            }
            at
        };
        let chosen = rule.choose(&place(actions), &place(values));
        let whole = |d: Option<Decimal>| d.map(|d| i64::try_from(d).expect("whole"));
        (whole(chosen.count), whole(chosen.value), chosen.action_type)
    }

    #[test]
    fn the_first_present_type_gives_count_and_value() {
        let pixel = "offsite_conversion.fb_pixel_purchase";
        let (app, onsite) = ("app_custom_event.fb_mobile_purchase", "onsite_conversion.purchase");
        type Actions<'a> = &'a [(&'a str, i64)];
        type Chosen<'a> = (Option<i64>, Option<i64>, Option<&'a str>);
        let cases: [(Actions<'_>, Actions<'_>, Chosen<'_>); 6] = [
            (&[], &[], (None, None, None)),
            (&[("link_click", 9)], &[], (None, None, None)),
            (
                &[(pixel, 2), ("omni_purchase", 3)],
                &[(pixel, 20), ("omni_purchase", 30)],
                (Some(3), Some(30), Some("omni_purchase")),
            ),
            // A value of another type is never put beside the count.
            (&[("purchase", 2)], &[(pixel, 20)], (Some(2), None, Some("purchase"))),
            (
                &[(app, 1), (onsite, 2)],
                &[(app, 10)],
                (Some(3), Some(10), Some("app_custom_event.fb_mobile_purchase+onsite_conversion.purchase")),
            ),
            (&[(onsite, 2)], &[], (Some(2), None, Some(onsite))),
        ];
        for (actions, values, (count, value, action_type)) in cases {
            assert_eq!(
                choose(actions, values),
                (count, value, action_type.map(str::to_owned)),
                "{actions:?} {values:?}"
            );
        }
    }

    #[test]
    fn a_window_is_answered_where_it_was_asked_for() {
        for (window, asked, answered, key, left_out) in [
            (UNIFIED, &[][..], true, "value", None),
            ("7d_click", &["1d_view", "7d_click"], true, "7d_click", Some(Decimal::ZERO)),
            ("7d_click", &["1d_view"], false, "7d_click", Some(Decimal::ZERO)),
        ] {
            let rule = PurchaseRule::new(2, ["lead"], window);
            assert_eq!((rule.is_answered_by(asked), rule.key(), rule.left_out()), (answered, key, left_out));
            assert_eq!(rule.window(), window);
        }
    }

    /// Whatever stands in the table, no row is read beyond its end.
    #[test]
    fn types_past_the_last_place_are_passed_over() {
        let rule = PurchaseRule::new(2, ["a+b+c+d+e+f+g", "h+i", "j"], UNIFIED);
        assert_eq!((rule.index("h"), rule.index("i"), rule.index("j")), (Some(7), None, None));
        let mut counts = [None; MOST_TYPES];
        counts[7] = Some(Decimal::ONE);
        assert_eq!(rule.choose(&counts, &[None; MOST_TYPES]).action_type.as_deref(), Some("h"));
    }
}
