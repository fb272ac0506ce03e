//! Misbehaviour at random: the same seed, and the same number of a call, have the same misfortune.

use super::refusal::Refusal;
use super::reports::ReportFate;
use crate::history::Random;

/// How often what goes wrong. The shares are of the calls for insights, reports and ad accounts, from 0 to 1, and
/// together at most 1; throttles befall only insights and reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    pub seed: u64,
    pub throttles: f64,
    /// HTTP 5xx, as a page for people or as Meta's JSON with code 2.
    pub server_errors: f64,
    /// The connection ends in the middle of the good answer.
    pub cut_bodies: f64,
    /// Code 2, or `is_transient` with an unknown code.
    pub transient: f64,
    /// Share of the reports that meet another fate than [`ReportFate::Good`].
    pub reports: f64,
    /// How long a throttle blocks the ad account or the app.
    pub block_seconds: u32,
    /// The kinds of throttles that are drawn from; a kind that is in here twice comes twice as often.
    pub kinds: Vec<Throttle>,
    /// What a throttle says of its end, drawn from in the same way. Minutes come only with blocks of a minute or more.
    pub hints: Vec<Hint>,
}

/// A throttle as Meta sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// 4/1504022: of the app, which blocks all of its ad accounts.
    App,
    /// 17/2446079: of the ad account, as all that follow.
    User,
    /// 613/1487742.
    Calls,
    /// 80004.
    BusinessUseCase,
    /// 32, a page's.
    Page,
    /// HTTP 429 and a page for people, without any code.
    Status429,
    /// 613 without a subcode, as HTTP 400.
    Abuse,
    /// The same as HTTP 429.
    Abuse429,
}

/// The header of a throttle that says something of its end; it is the only usage header of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// `x-ad-account-usage`, seconds.
    AdAccountUsage,
    /// `Retry-After`, seconds.
    RetryAfter,
    /// `x-business-use-case-usage`, minutes; becomes `x-ad-account-usage` in a block shorter than one.
    BusinessUseCaseUsage,
    /// `x-app-usage`: full, and no word of an end.
    AppUsage,
    /// `x-fb-ads-insights-throttle`: full, and no word of an end.
    InsightsThrottle,
    /// No header at all.
    Nothing,
}

pub(super) const THROTTLES: [Throttle; 8] = [
    Throttle::App,
    Throttle::User,
    Throttle::Calls,
    Throttle::BusinessUseCase,
    Throttle::Page,
    Throttle::Status429,
    Throttle::Abuse,
    Throttle::Abuse429,
];
const HINTS: [Hint; 6] = [
    Hint::AdAccountUsage,
    Hint::RetryAfter,
    Hint::BusinessUseCaseUsage,
    Hint::AppUsage,
    Hint::InsightsThrottle,
    Hint::Nothing,
];
const BAD_FATES: [ReportFate; 7] = [
    ReportFate::Failed,
    ReportFate::Skipped,
    ReportFate::Stuck,
    ReportFate::Expired,
    ReportFate::EarlyCompleted,
    ReportFate::NotReady(2601),
    ReportFate::NotReady(2637),
];

impl Default for Faults {
    /// None.
    fn default() -> Self {
        Faults {
            seed: 0,
            throttles: 0.0,
            server_errors: 0.0,
            cut_bodies: 0.0,
            transient: 0.0,
            reports: 0.0,
            block_seconds: 2,
            kinds: THROTTLES.into(),
            hints: HINTS.into(),
        }
    }
}

/// What befalls a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mishap {
    Throttle(Throttle, Hint),
    /// Status, and whether Meta itself says so.
    ServerError(u16, bool),
    Cut,
    /// Whether it is told by `is_transient` alone.
    Transient(bool),
}

impl Faults {
    /// What befalls a call of this number; `may_throttle` whether it is of a kind that is throttled.
    pub(super) fn draw(&self, call: u64, may_throttle: bool) -> Option<Mishap> {
        let mut random = self.random(call);
        let mut share = share(&mut random);
        let mut within = |part: f64| {
            let is_within = (0.0..part).contains(&share);
            share -= part;
            is_within
        };
        if within(self.throttles) {
            let (kind, hint) = (pick(&mut random, &self.kinds)?, pick(&mut random, &self.hints)?);
            let hint = match hint {
                Hint::BusinessUseCaseUsage if self.block_seconds < 60 => Hint::AdAccountUsage,
                hint => hint,
            };
            return may_throttle.then_some(Mishap::Throttle(kind, hint));
        }
        if within(self.server_errors) {
            return Some(Mishap::ServerError(pick(&mut random, &[500, 502, 503])?, random.one_in(2)));
        }
        if within(self.cut_bodies) {
            return Some(Mishap::Cut);
        }
        within(self.transient).then(|| Mishap::Transient(random.one_in(2)))
    }

    /// What becomes of a report that is started by the call of this number.
    pub(super) fn draw_fate(&self, call: u64) -> ReportFate {
        let mut random = self.random(!call);
        let is_bad = share(&mut random) < self.reports;
        pick(&mut random, &BAD_FATES).filter(|_| is_bad).unwrap_or_default()
    }

    fn random(&self, call: u64) -> Random {
        Random::new(self.seed.rotate_left(32) ^ call.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }
}

impl Throttle {
    pub(super) fn is_of_app(self) -> bool {
        self == Throttle::App
    }

    /// The error; `None` for a bare status 429.
    pub(super) fn refusal(self) -> Option<Refusal> {
        let (status, code, subcode, message) = match self {
            Throttle::Status429 => return None,
            Throttle::App => (403, 4, Some(1_504_022), "There have been too many calls from this app."),
            Throttle::User => (400, 17, Some(2_446_079), "User request limit reached"),
            Throttle::Calls => (400, 613, Some(1_487_742), "There have been too many calls from this ad-account."),
            Throttle::BusinessUseCase => (400, 80_004, None, "There have been too many calls to this ad-account."),
            Throttle::Page => (400, 32, None, "(#32) Page request limit reached"),
            Throttle::Abuse => (400, 613, None, "(#613) Calls to this api have exceeded the rate limit."),
            Throttle::Abuse429 => (429, 613, None, "(#613) Calls to this api have exceeded the rate limit."),
        };
        Some(Refusal::new(status, code, subcode, message))
    }
}

impl Hint {
    /// Whether a client can know from it when the block ends.
    pub fn tells_end(self) -> bool {
        matches!(self, Hint::AdAccountUsage | Hint::RetryAfter | Hint::BusinessUseCaseUsage)
    }

    /// The header's name and value, with so many seconds to go.
    pub(super) fn header(self, seconds: u64) -> Option<(&'static str, String)> {
        const TIER: &str = r#""ads_api_access_tier":"standard_access""#;
        Some(match self {
            Hint::AdAccountUsage => {
                ("x-ad-account-usage", format!(r#"{{"acc_id_util_pct":100,"reset_time_duration":{seconds},{TIER}}}"#))
            }
            Hint::RetryAfter => ("retry-after", seconds.to_string()),
            Hint::BusinessUseCaseUsage => {
                let minutes = seconds.div_ceil(60);
                let value = format!(
                    r#"{{"1001":[{{"type":"ads_insights","call_count":100,"total_cputime":30,"total_time":30,"estimated_time_to_regain_access":{minutes},{TIER}}}]}}"#
                );
                ("x-business-use-case-usage", value)
            }
            Hint::AppUsage => ("x-app-usage", r#"{"call_count":100,"total_time":30,"total_cputime":30}"#.into()),
            Hint::InsightsThrottle => {
                ("x-fb-ads-insights-throttle", format!(r#"{{"app_id_util_pct":100,"acc_id_util_pct":100,{TIER}}}"#))
            }
            Hint::Nothing => return None,
        })
    }
}

fn share(random: &mut Random) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a float holds")]
    let share = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
    share
}

fn pick<T: Copy>(random: &mut Random, of: &[T]) -> Option<T> {
    of.get(usize::try_from(random.below(of.len() as u64)).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::asking::{self, ACCOUNT, Answer};
    use super::super::{AdAccount, Graph};
    use super::*;

    const INSIGHTS: &str = "act_1001/insights";

    fn throttles(kind: Throttle, hint: Hint) -> Faults {
        Faults { throttles: 1.0, kinds: vec![kind], hints: vec![hint], ..Faults::default() }
    }

    #[test]
    fn shares_are_kept_and_a_seed_is_a_fate() {
        let faults = Faults {
            seed: 7,
            throttles: 0.2,
            server_errors: 0.1,
            cut_bodies: 0.05,
            transient: 0.05,
            reports: 0.3,
            ..Faults::default()
        };
        let drawn = |faults: &Faults| -> Vec<_> { (0..10_000).map(|call| faults.draw(call, true)).collect() };
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut kinds = BTreeMap::new();
        for mishap in drawn(&faults).iter().flatten() {
            let name = match mishap {
                Mishap::Throttle(kind, hint) => {
                    *kinds.entry(format!("{kind:?} {hint:?}")).or_insert(0) += 1;
                    "throttle"
                }
                Mishap::ServerError(..) => "server error",
                Mishap::Cut => "cut",
                Mishap::Transient(_) => "transient",
            };
            *counts.entry(name).or_default() += 1;
        }
        for (name, wanted) in [("throttle", 2_000), ("server error", 1_000), ("cut", 500), ("transient", 500)] {
            assert!(counts[name].abs_diff(wanted) < wanted / 8, "{counts:?}");
        }
        assert_eq!(
            kinds.len(),
            THROTTLES.len() * (HINTS.len() - 1),
            "short blocks have no header of minutes: {kinds:?}"
        );
        assert_eq!(drawn(&faults), drawn(&faults.clone()));
        assert_ne!(drawn(&faults), drawn(&Faults { seed: 8, ..faults.clone() }));
        let fates: Vec<_> = (0..1_000).map(|call| faults.draw_fate(call)).collect();
        assert!(fates.iter().filter(|fate| **fate != ReportFate::Good).count().abs_diff(300) < 50);
        assert!(BAD_FATES.iter().all(|fate| fates.contains(fate)));
        assert!(drawn(&Faults::default()).iter().all(Option::is_none));
    }

    #[tokio::test]
    async fn every_throttle_is_worded_as_metas_and_says_its_end_in_one_header_or_not_at_all() {
        let graph = asking::graph(3, 1, |_| ()).await;
        for (kind, wanted) in [
            (Throttle::App, (403, 4, Some(1_504_022))),
            (Throttle::User, (400, 17, Some(2_446_079))),
            (Throttle::Calls, (400, 613, Some(1_487_742))),
            (Throttle::BusinessUseCase, (400, 80_004, None)),
            (Throttle::Page, (400, 32, None)),
            (Throttle::Abuse, (400, 613, None)),
            (Throttle::Abuse429, (429, 613, None)),
        ] {
            graph.edit(|world| world.faults = Faults { block_seconds: 0, ..throttles(kind, Hint::Nothing) });
            assert_eq!(graph.get(INSIGHTS, &asking::ads(1, 10)).await.error(), wanted);
        }
        graph.edit(|world| world.faults = Faults { block_seconds: 0, ..throttles(Throttle::Status429, Hint::Nothing) });
        let answer = graph.get(INSIGHTS, &asking::ads(1, 10)).await;
        assert_eq!((answer.status, answer.header("content-type")), (429, Some("text/html; charset=utf-8")));

        let headers = [
            "x-ad-account-usage",
            "retry-after",
            "x-business-use-case-usage",
            "x-app-usage",
            "x-fb-ads-insights-throttle",
        ];
        for (i, (hint, wanted)) in [
            (Hint::AdAccountUsage, Some(r#""reset_time_duration":120,"#)),
            (Hint::RetryAfter, Some("120")),
            (Hint::BusinessUseCaseUsage, Some(r#""estimated_time_to_regain_access":2,"#)),
            (Hint::AppUsage, Some(r#""call_count":100,"#)),
            (Hint::InsightsThrottle, Some(r#""acc_id_util_pct":100,"#)),
            (Hint::Nothing, None),
        ]
        .into_iter()
        .enumerate()
        {
            let graph = asking::graph(3, 1, |world| {
                world.faults = Faults { block_seconds: 120, ..throttles(Throttle::User, hint) };
            })
            .await;
            let answer = graph.get(INSIGHTS, &asking::ads(1, 10)).await;
            for (j, header) in headers.iter().enumerate() {
                let value = answer.header(header);
                assert_eq!(value.is_some(), i == j, "{hint:?}: {header} {value:?}");
            }
            let value = headers.get(i).and_then(|header| answer.header(header));
            assert!(wanted.is_none_or(|wanted| value.unwrap().contains(wanted)), "{hint:?}: {value:?}");
        }
    }

    #[tokio::test]
    async fn a_block_is_real_counts_who_comes_in_it_and_ends() {
        let other = "act_2";
        for (kind, other_is_blocked) in [(Throttle::User, false), (Throttle::App, true)] {
            let graph = asking::graph(3, 1, |world| {
                world.insert(asking::TOKEN, other, AdAccount::demo(other, "UTC", "EUR", asking::window(1), 3));
                world.faults = Faults { block_seconds: 1, ..throttles(kind, Hint::RetryAfter) };
            })
            .await;
            let start = Instant::now();
            assert_eq!(graph.get(INSIGHTS, &asking::ads(1, 10)).await.header("retry-after"), Some("1"));
            // Nothing new goes wrong.
            graph.edit(|world| world.faults.throttles = 0.0);
            let mut statuses = Vec::new();
            while start.elapsed() < Duration::from_millis(1_500) && statuses.last() != Some(&200) {
                statuses.push(graph.get(INSIGHTS, &asking::ads(1, 10)).await.status);
                if statuses.len() == 1 {
                    let status = graph.get("act_2/insights", &asking::ads(1, 10)).await.status;
                    assert_eq!(status != 200, other_is_blocked, "{kind:?}");
                    assert_eq!(graph.get(ACCOUNT, &[]).await.status, 200, "the ad account itself is no insight");
                }
            }
            assert!(start.elapsed() >= Duration::from_secs(1), "it ended too early");
            assert_eq!(statuses.pop(), Some(200), "it ended");
            let counts = graph.counts();
            let throttled = statuses.len() as u64 + u64::from(other_is_blocked) + 1;
            assert_eq!(counts.throttles, throttled);
            assert_eq!(counts.during_block + counts.before_warning, throttled - 1);
            assert!(counts.during_block > 0 && counts.during_silent_block == 0, "{counts:?}");
        }
    }

    #[tokio::test]
    async fn other_misfortunes_befall_ad_accounts_too_and_nothing_befalls_tokens() {
        let all = |change: fn(&mut Faults)| {
            let mut faults = Faults::default();
            change(&mut faults);
            faults
        };
        let is_error = |answer: &Answer| answer.status >= 500;
        let is_transient = |answer: &Answer| {
            let error = &answer.json()["error"];
            answer.status == 400 && (error["code"] == 2 || error["is_transient"] == true)
        };
        let is_cut = |answer: &Answer| {
            answer.status == 200 && serde_json::from_slice::<serde_json::Value>(&answer.body).is_err()
        };
        type Check<'a> = &'a dyn Fn(&Answer) -> bool;
        for (faults, check) in [
            (all(|faults| faults.server_errors = 1.0), &is_error as Check<'_>),
            (all(|faults| faults.transient = 1.0), &is_transient),
            (all(|faults| faults.cut_bodies = 1.0), &is_cut),
        ] {
            let graph: Graph = asking::graph(3, 1, |world| world.faults = faults.clone()).await;
            for _ in 0..8 {
                for (path, parameters) in [(INSIGHTS, asking::ads(1, 10)), (ACCOUNT, vec![])] {
                    let answer = graph.get(path, &parameters).await;
                    assert!(check(&answer), "{faults:?} {answer:?}");
                }
                assert_eq!(graph.get("me", &[]).await.status, 200);
            }
            assert_eq!((graph.counts().needed, graph.counts().failures), (0, 16));
        }
    }
}
