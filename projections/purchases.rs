//! Which of Meta's overlapping action types is "a purchase".

use rust_decimal::Decimal;

/// A versioned rule. Its version stands on every fact folded by it; a changed rule is a new version and a replay.
#[derive(Debug)]
pub struct PurchaseRule {
    pub version: i32,
    /// Alternatives in order of preference. The types within one alternative do not overlap and are added.
    pub alternatives: &'static [&'static [&'static str]],
}

/// `omni_purchase` holds web, app and on-Meta purchases; where Meta does not send it, the narrower types follow. Adding
/// types of different alternatives would count a purchase twice.
pub const RULE_V1: PurchaseRule = PurchaseRule {
    version: 1,
    alternatives: &[
        &["omni_purchase"],
        &["purchase"],
        &["offsite_conversion.fb_pixel_purchase"],
        &["app_custom_event.fb_mobile_purchase", "onsite_conversion.purchase"],
    ],
};

/// How many types a rule may name; see [`PurchaseRule::index`].
pub(crate) const MOST_TYPES: usize = 8;

/// The purchases of one row under a rule.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Purchases {
    pub count: Option<Decimal>,
    pub value: Option<Decimal>,
    /// The type both were read from; types that were added are joined by `+`.
    pub action_type: Option<String>,
}

impl PurchaseRule {
    /// The place of an action type in this rule, counted through all alternatives.
    pub(crate) fn index(&self, action_type: &str) -> Option<usize> {
        self.alternatives.iter().flat_map(|types| types.iter()).position(|&t| t == action_type)
    }

    /// Chooses the first alternative of which Meta sent a type, and reads count and value from the same types.
    /// `counts` and `values` hold, at each [`index`](Self::index), what Meta sent.
    pub(crate) fn choose(
        &self,
        counts: &[Option<Decimal>; MOST_TYPES],
        values: &[Option<Decimal>; MOST_TYPES],
    ) -> Purchases {
        let mut first = 0;
        for types in self.alternatives {
            let range = first..first + types.len();
            first = range.end;
            let sent = |i: &usize| counts[*i].is_some() || values[*i].is_some();
            if !range.clone().any(|i| sent(&i)) {
                continue;
            }
            let sum =
                |of: &[Option<Decimal>; MOST_TYPES]| of[range.clone()].iter().flatten().copied().reduce(|a, b| a + b);
            let names: Vec<_> = range.clone().filter(sent).map(|i| types[i - range.start]).collect();
            return Purchases { count: sum(counts), value: sum(values), action_type: Some(names.join("+")) };
        }
        Purchases::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(actions: &[(&str, i64)], values: &[(&str, i64)]) -> (Option<i64>, Option<i64>, Option<String>) {
        let place = |list: &[(&str, i64)]| {
            let mut at = [None; MOST_TYPES];
            for (name, n) in list {
                if let Some(i) = RULE_V1.index(name) {
                    at[i] = Some(Decimal::from(*n));
                }
            }
            at
        };
        let chosen = RULE_V1.choose(&place(actions), &place(values));
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
}
