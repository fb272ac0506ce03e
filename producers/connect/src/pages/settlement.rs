//! How days mature: the share of a day's end that was known at each age, as a picture and in a table; and where days will
//! end that Meta may still restate.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use settlement::{Curve, Estimate, FEWEST_DAYS, Metric, Observation, RESTATED_FOR_DAYS, Settlement};

use super::amount::{UNKNOWN, amount, number, percent};
use super::words::{count, day};

/// In units of the picture; its numbers are on the left, where it begins on a small screen.
const LEFT: f64 = 52.0;
const TOP: f64 = 26.0;
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 190.0;
const RIGHT: f64 = 8.0;
const BELOW: f64 = 46.0;

/// The metrics that are offered, in this order.
const OFFERED: [Metric; 3] = [Metric::Purchases, Metric::PurchaseValue, Metric::Spend];

/// What the page says of how days mature.
pub(crate) struct Settling {
    pub(crate) title: String,
    /// The metric's, and whether it is another one than that of who chooses none.
    pub(crate) name: &'static str,
    pub(crate) is_chosen: bool,
    pub(crate) choices: Vec<Choice>,
    /// Instead of a picture, while too few days have settled.
    pub(crate) too_few: Option<String>,
    pub(crate) picture: Option<Picture>,
    pub(crate) shares: Vec<[String; 4]>,
    pub(crate) estimates: Vec<[String; 5]>,
}

pub(crate) struct Choice {
    pub(crate) name: &'static str,
    pub(crate) words: &'static str,
    pub(crate) is_shown: bool,
}

/// Everything with its place, as text for the attributes of an SVG.
pub(crate) struct Picture {
    pub(crate) width: String,
    pub(crate) height: String,
    pub(crate) left: String,
    pub(crate) right: String,
    pub(crate) title_y: String,
    pub(crate) ages_y: String,
    pub(crate) ages_title_y: String,
    /// The places of the area of the band, and of the line of the medians.
    pub(crate) band: String,
    pub(crate) median: String,
    pub(crate) ticks: Vec<Tick>,
    pub(crate) ages: Vec<(String, i32)>,
    pub(crate) columns: Vec<Column>,
}

/// A line across, with its share.
pub(crate) struct Tick {
    pub(crate) y: String,
    pub(crate) text_y: String,
    pub(crate) text: String,
    /// Where a day ends.
    pub(crate) is_whole: bool,
}

/// An age, for the pointer.
pub(crate) struct Column {
    pub(crate) x: String,
    pub(crate) width: String,
    pub(crate) words: String,
}

/// The metric that was asked for; purchases, where none was.
pub(crate) fn asked(name: Option<&str>) -> Metric {
    OFFERED.into_iter().find(|metric| Some(metric.name()) == name).unwrap_or(Metric::Purchases)
}

pub(crate) fn settling(observations: &[Observation], metric: Metric, currency: &str) -> Settling {
    let Settlement { curve, provisional, .. } = Settlement::of(observations, metric);
    let enough = curve.settled_days >= FEWEST_DAYS;
    let verb = if metric == Metric::Purchases { "were" } else { "was" };
    let shown = |value: Option<Decimal>| match metric {
        Metric::Spend | Metric::PurchaseValue => amount(value, currency),
        Metric::Impressions | Metric::Purchases => number(value.map(|value| value.round_dp(1))),
    };
    let estimate = |estimate: Estimate| {
        let band = match estimate.band {
            Some((low, Some(high))) => format!("{} – {}", shown(Some(low)), shown(Some(high))),
            Some((low, None)) => format!("{} or more", shown(Some(low))),
            None => UNKNOWN.to_owned(),
        };
        let age = count(estimate.age_days.into(), "day", "days");
        [day(estimate.date), age, shown(Some(estimate.value)), shown(estimate.end), band]
    };
    let share = |point: &settlement::Point| {
        let (low, high) = point.band.unzip();
        [
            count(point.age_days.into(), "day", "days"),
            percent(Some(point.median)),
            format!("{} – {}", percent(low), percent(high)),
            point.days.to_string(),
        ]
    };
    Settling {
        title: format!("What a day's {} {verb} known to be, by its age", metric.words()),
        name: metric.name(),
        is_chosen: metric != Metric::Purchases,
        choices: OFFERED
            .map(|offered| Choice { name: offered.name(), words: offered.words(), is_shown: offered == metric })
            .into(),
        too_few: (!enough).then(|| too_few(curve.settled_days)),
        picture: enough.then(|| picture(&curve)),
        shares: curve.points.iter().filter(|_| enough).map(share).collect(),
        // The newest first, which most are asked for.
        estimates: provisional.into_iter().rev().filter(|_| enough).map(estimate).collect(),
    }
}

fn too_few(settled: usize) -> String {
    let so_far = match settled {
        0 => "No day has settled yet that was watched until it did".to_owned(),
        1 => "1 day has settled so far".to_owned(),
        many => format!("{many} days have settled so far"),
    };
    format!(
        "{so_far}: Meta restates a day until it is {RESTATED_FOR_DAYS} days old. From {FEWEST_DAYS} settled days on, this \
         shows how much of a day's end is known at each age, and where days will end that Meta may still restate."
    )
}

fn units(number: f64) -> String {
    format!("{number:.1}")
}

fn picture(curve: &Curve) -> Picture {
    let part = |share: Decimal| share.to_f64().unwrap_or_default();
    let highest = curve.points.iter().map(|point| part(point.band.map_or(point.median, |(_, high)| high)));
    // In fifths, up to the whole at least, and at most thrice as high.
    let fifths = (highest.fold(1.0, f64::max) * 5.0).ceil().clamp(5.0, 15.0);
    let y = |share: f64| TOP + HEIGHT * (1.0 - (share * 5.0 / fifths).clamp(0.0, 1.0));
    let column = WIDTH / f64::from(RESTATED_FOR_DAYS);
    let x = |age: i32| LEFT + column * (f64::from(age) - 0.5);
    let at = |age: i32, share: Decimal| format!("{},{}", units(x(age)), units(y(part(share))));

    let banded: Vec<_> =
        curve.points.iter().filter_map(|point| Some((point.age_days, point.band?.0, point.band?.1))).collect();
    let above = banded.iter().map(|(age, _, high)| at(*age, *high));
    let below = banded.iter().rev().map(|(age, low, _)| at(*age, *low));
    let median = curve.points.iter().map(|point| at(point.age_days, point.median));
    let tick = |fifth: u32| {
        let place = y(f64::from(fifth) / 5.0);
        Tick { y: units(place), text_y: units(place + 4.0), text: format!("{} %", fifth * 20), is_whole: fifth == 5 }
    };
    let words = |point: &settlement::Point| {
        let band = point.band.map_or_else(String::new, |(low, high)| {
            format!(", of eight days in ten {} to {}", percent(Some(low)), percent(Some(high)))
        });
        let age = count(point.age_days.into(), "day", "days");
        format!("{age} old: {} of the end{band}", percent(Some(point.median)))
    };
    Picture {
        width: units(LEFT + WIDTH + RIGHT),
        height: units(TOP + HEIGHT + BELOW),
        left: units(LEFT),
        right: units(LEFT + WIDTH),
        title_y: units(TOP - 12.0),
        ages_y: units(TOP + HEIGHT + 18.0),
        ages_title_y: units(TOP + HEIGHT + 38.0),
        band: above.chain(below).collect::<Vec<_>>().join(" "),
        median: median.collect::<Vec<_>>().join(" "),
        ticks: (0..=fifths as u32).map(tick).collect(),
        ages: [1, 7, 14, 21, 28].map(|age| (units(x(age)), age)).into(),
        columns: curve
            .points
            .iter()
            .map(|point| Column {
                x: units(x(point.age_days) - column / 2.0),
                width: units(column),
                words: words(point),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use uuid::Uuid;

    use super::*;

    /// So many days that sold 100 in the end, of which the first half was known at once and the rest after a week; and one
    /// that is a day old.
    fn observed(settled: i64) -> Vec<Observation> {
        let first: NaiveDate = "2026-03-01".parse().unwrap();
        let known = |day: i64, age: i64, purchases: i64| {
            let date = first + chrono::Duration::days(day);
            Observation {
                date,
                event_id: Uuid::now_v7(),
                fetched_at: (date + chrono::Duration::days(age)).and_hms_opt(6, 0, 0).unwrap().and_utc(),
                age_days: i32::try_from(age).unwrap(),
                spend: None,
                impressions: None,
                purchases: Some(purchases.into()),
                purchase_value: None,
            }
        };
        let whole = (0..settled).flat_map(|day| [known(day, 1, 50 + day), known(day, 7, 120), known(day, 29, 100)]);
        whole.chain([known(90, 1, 30)]).collect()
    }

    #[test]
    fn a_picture_takes_ten_settled_days() {
        for (settled, words) in [(0, "No day has settled yet"), (1, "1 day has settled"), (9, "9 days have settled")] {
            let settling = settling(&observed(settled), Metric::Purchases, "EUR");
            assert!(settling.too_few.is_some_and(|sentence| sentence.contains(words)), "{settled}");
            assert!(settling.picture.is_none() && settling.shares.is_empty() && settling.estimates.is_empty());
        }
        let settling = settling(&observed(10), Metric::Purchases, "EUR");
        assert!(settling.too_few.is_none());
        assert_eq!(settling.title, "What a day's purchases were known to be, by its age");
        assert_eq!(settling.shares[0], ["1 day", "54.5 %", "50.1 % – 58.9 %", "10"]);
        assert_eq!(settling.estimates, [["30 May", "1 day", "30", "55", "50.9 – 59.9"]]);
        let picture = settling.picture.unwrap();
        assert_eq!((picture.columns.len(), picture.ticks.len()), (28, 7), "the highest share is 120 percent");
        assert_eq!(picture.median.split(' ').count() * 2, picture.band.split(' ').count());
        for place in picture.band.split([' ', ',']).chain(picture.median.split([' ', ','])) {
            assert!((0.0..LEFT + WIDTH).contains(&place.parse().unwrap()), "{place}");
        }
    }

    #[test]
    fn purchases_are_shown_where_nothing_else_is_asked_for() {
        for (name, metric) in [
            (None, Metric::Purchases),
            (Some("spend"), Metric::Spend),
            (Some("purchase_value"), Metric::PurchaseValue),
            (Some("<script>"), Metric::Purchases),
        ] {
            assert_eq!(asked(name), metric);
        }
    }
}
