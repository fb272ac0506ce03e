//! A picture of daily spend, purchase value and ROAS: where its lines and bars go. Amounts stay decimals until they are
//! pixels.

use chrono::{Datelike, NaiveDate, Weekday};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::amount::{amount, ratio};
use super::days::Figures;
use super::words::{day, grouped};

/// In units of the picture; its box is as wide as its days.
const LEFT: f64 = 8.0;
const AXIS_WIDTH: f64 = 64.0;
const MONEY_TOP: f64 = 26.0;
const MONEY_HEIGHT: f64 = 170.0;
const ROAS_TOP: f64 = 236.0;
const ROAS_HEIGHT: f64 = 70.0;
const HEIGHT: f64 = 336.0;

/// A day of the picture; `None` for one that the tables do not have.
pub(crate) type PlotDay = (NaiveDate, Option<Figures>);

/// Everything with its place, as text for the attributes of an SVG.
pub(crate) struct Plot {
    pub(crate) width: String,
    pub(crate) height: String,
    pub(crate) money_ticks: Vec<Tick>,
    pub(crate) roas_ticks: Vec<Tick>,
    pub(crate) dates: Vec<Label>,
    pub(crate) days: Vec<Bar>,
    pub(crate) value_segments: Vec<Segment>,
    pub(crate) roas_segments: Vec<Segment>,
    pub(crate) money_title_y: String,
    pub(crate) roas_title_y: String,
    /// Where the days end and the axes' numbers begin.
    pub(crate) axis_x: String,
    pub(crate) left: String,
    pub(crate) base_y: String,
}

/// A line across, and its number.
pub(crate) struct Tick {
    pub(crate) y: String,
    pub(crate) text_y: String,
    pub(crate) text: String,
}

pub(crate) struct Label {
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) text: String,
}

/// A day: its column, its bar of spend, its points.
pub(crate) struct Bar {
    pub(crate) words: String,
    pub(crate) is_missing: bool,
    pub(crate) provisional: bool,
    /// The whole column, for the pointer.
    pub(crate) column_x: String,
    pub(crate) column_width: String,
    pub(crate) x: String,
    pub(crate) width: String,
    pub(crate) middle: String,
    /// Top and height of the bar; `None` where spend is not known.
    pub(crate) spend: Option<(String, String)>,
    pub(crate) value_y: Option<String>,
    pub(crate) roas_y: Option<String>,
}

/// A line between the points of two days that follow each other.
pub(crate) struct Segment {
    pub(crate) x1: String,
    pub(crate) y1: String,
    pub(crate) x2: String,
    pub(crate) y2: String,
    pub(crate) provisional: bool,
}

/// A scale from zero to a round number, in steps that people count in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scale {
    top: Decimal,
    step: Decimal,
}

impl Scale {
    /// With four steps or fewer above zero.
    fn over(largest: Decimal) -> Scale {
        let four = Decimal::from(4);
        if largest <= Decimal::ZERO {
            return Scale { top: Decimal::ONE, step: Decimal::ONE };
        }
        let mut step = Decimal::new(1, 4);
        // Of three factors that make 1, 2, 5, 10, 20, …; the largest amount of a day has less than 20 digits.
        for factor in [Decimal::TWO, Decimal::new(25, 1), Decimal::TWO].into_iter().cycle().take(72) {
            if step * four >= largest {
                break;
            }
            step *= factor;
        }
        let steps = (largest / step).ceil();
        Scale { top: step * steps, step: step.normalize() }
    }

    /// From the baseline up, as a part of the height.
    fn part(self, value: Decimal) -> f64 {
        (value / self.top).to_f64().unwrap_or_default().clamp(0.0, 1.0)
    }

    fn ticks(self, top: f64, height: f64) -> Vec<Tick> {
        let mut ticks = Vec::new();
        let mut value = Decimal::ZERO;
        while value <= self.top {
            let y = top + height * (1.0 - self.part(value));
            let text = grouped(&value.normalize().to_string());
            ticks.push(Tick { y: units(y), text_y: units(y + 4.0), text });
            value += self.step;
        }
        ticks
    }
}

fn units(number: f64) -> String {
    format!("{number:.1}")
}

/// Draws the days, oldest first.
pub(crate) fn plot(days: &[PlotDay], currency: &str) -> Plot {
    let column = if days.len() > 45 { 8.0 } else { 18.0 };
    let gap = if days.len() > 45 { 1.0 } else { 3.0 };
    let axis_x = LEFT + column * days.len() as f64;
    let largest = |of: fn(&Figures) -> Option<Decimal>| {
        days.iter().filter_map(|(_, figures)| figures.as_ref().and_then(of)).max().unwrap_or_default()
    };
    let money = Scale::over(largest(|f| f.spend).max(largest(|f| f.purchase_value)));
    // The line at one, where the ads bring in what they cost, is always in the picture.
    let roas = Scale::over(largest(|f| f.roas).max(Decimal::ONE));
    let money_y = |value: Decimal| MONEY_TOP + MONEY_HEIGHT * (1.0 - money.part(value));
    let roas_y = |value: Decimal| ROAS_TOP + ROAS_HEIGHT * (1.0 - roas.part(value));
    let middle = |at: usize| LEFT + column * (at as f64 + 0.5);

    let bars = days.iter().enumerate().map(|(at, (date, figures))| {
        let x = LEFT + column * at as f64;
        let spend = figures.as_ref().and_then(|f| f.spend).map(|spend| {
            // A day without spend is a line on the ground, a day that is not known is none.
            let top = money_y(spend).min(MONEY_TOP + MONEY_HEIGHT - 1.5);
            (units(top), units(MONEY_TOP + MONEY_HEIGHT - top))
        });
        Bar {
            words: words(*date, figures.as_ref(), currency),
            is_missing: figures.is_none(),
            provisional: figures.as_ref().is_some_and(|f| f.provisional),
            column_x: units(x),
            column_width: units(column),
            x: units(x + gap / 2.0),
            width: units(column - gap),
            middle: units(middle(at)),
            spend,
            value_y: figures.as_ref().and_then(|f| f.purchase_value).map(|value| units(money_y(value))),
            roas_y: figures.as_ref().and_then(|f| f.roas).map(|value| units(roas_y(value))),
        }
    });
    let is_labelled = |date: NaiveDate| date.weekday() == Weekday::Mon && (days.len() <= 45 || date.day() <= 14);
    Plot {
        width: units(axis_x + AXIS_WIDTH),
        height: units(HEIGHT),
        money_ticks: money.ticks(MONEY_TOP, MONEY_HEIGHT),
        roas_ticks: roas.ticks(ROAS_TOP, ROAS_HEIGHT),
        dates: days
            .iter()
            .enumerate()
            .filter(|(_, (date, _))| is_labelled(*date))
            .map(|(at, (date, _))| Label { x: units(middle(at)), y: units(HEIGHT - 8.0), text: day(*date) })
            .collect(),
        days: bars.collect(),
        value_segments: segments(days, middle, |f| f.purchase_value.map(money_y)),
        roas_segments: segments(days, middle, |f| f.roas.map(roas_y)),
        money_title_y: units(MONEY_TOP - 12.0),
        roas_title_y: units(ROAS_TOP - 10.0),
        axis_x: units(axis_x),
        left: units(LEFT),
        base_y: units(MONEY_TOP + MONEY_HEIGHT),
    }
}

fn segments(days: &[PlotDay], x: impl Fn(usize) -> f64, y: impl Fn(&Figures) -> Option<f64>) -> Vec<Segment> {
    let point = |at: usize| {
        let figures = days[at].1.as_ref()?;
        Some((x(at), y(figures)?, figures.provisional))
    };
    let between = |at: usize| {
        let ((x1, y1, _), (x2, y2, provisional)) = (point(at - 1)?, point(at)?);
        Some(Segment { x1: units(x1), y1: units(y1), x2: units(x2), y2: units(y2), provisional })
    };
    (1..days.len()).filter_map(between).collect()
}

fn words(date: NaiveDate, figures: Option<&Figures>, currency: &str) -> String {
    let Some(figures) = figures else { return format!("{}: not in the tables", day(date)) };
    format!(
        "{}: spend {} {currency}, value {} {currency}, ROAS {}{}",
        day(date),
        amount(figures.spend, currency),
        amount(figures.purchase_value, currency),
        ratio(figures.roas),
        if figures.provisional { ", provisional" } else { "" },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn figures(spend: Option<&str>, value: Option<&str>, provisional: bool) -> Figures {
        let (spend, purchase_value) = (spend.map(decimal), value.map(decimal));
        let roas = purchase_value.zip(spend).and_then(|(value, spend)| value.checked_div(spend));
        Figures { spend, purchases: None, purchase_value, roas, coverage: None, provisional, age_days: Some(1) }
    }

    fn days(figures: Vec<Option<Figures>>) -> Vec<PlotDay> {
        let first: NaiveDate = "2026-11-16".parse().unwrap();
        first.iter_days().zip(figures).collect()
    }

    #[test]
    fn scales_end_at_a_round_number_above_the_largest() {
        for (largest, top, step) in [
            ("0", "1", "1"),
            ("0.7", "0.8", "0.2"),
            ("1", "1", "0.5"),
            ("4", "4", "1"),
            ("4.01", "6", "2"),
            ("1234.56", "1500", "500"),
            ("99999999999999", "100000000000000", "50000000000000"),
        ] {
            let scale = Scale::over(decimal(largest));
            assert_eq!((scale.top.normalize(), scale.step), (decimal(top), decimal(step)), "{largest}");
            assert!((2..=5).contains(&scale.ticks(0.0, 100.0).len()), "{largest}");
        }
    }

    #[test]
    fn zero_is_on_the_ground_and_the_unknown_is_nowhere() {
        let drawn = plot(
            &days(vec![
                Some(figures(Some("100"), Some("200"), false)),
                Some(figures(Some("0"), Some("0"), false)),
                None,
                Some(figures(Some("50"), None, true)),
                Some(figures(Some("50"), Some("100"), true)),
                Some(figures(Some("50"), Some("100"), true)),
            ]),
            "USD",
        );
        let heights: Vec<_> = drawn.days.iter().map(|day| day.spend.as_ref().map(|(_, h)| h.as_str())).collect();
        assert_eq!(heights, [Some("85.0"), Some("1.5"), None, Some("42.5"), Some("42.5"), Some("42.5")]);
        let values: Vec<_> = drawn.days.iter().map(|day| day.value_y.as_deref()).collect();
        assert_eq!(values, [Some("26.0"), Some("196.0"), None, None, Some("111.0"), Some("111.0")]);
        // Nothing per nothing is no ratio; lines join days that follow each other, and no others.
        assert_eq!(drawn.days.iter().filter(|day| day.roas_y.is_some()).count(), 3);
        assert_eq!(drawn.value_segments.iter().map(|s| s.provisional).collect::<Vec<_>>(), [false, true]);
        assert_eq!(drawn.roas_segments.len(), 1);
        assert!(drawn.days[2].is_missing && drawn.days[2].words == "18 Nov: not in the tables");
        assert_eq!(drawn.days[3].words, "19 Nov: spend 50.00 USD, value – USD, ROAS –, provisional");
        assert_eq!(drawn.dates.iter().map(|label| label.text.as_str()).collect::<Vec<_>>(), ["16 Nov"]);
    }

    #[test]
    fn nothing_is_drawn_outside_of_the_picture() {
        let many = (0..91).map(|at| (at % 5 > 0).then(|| figures(Some("1000"), Some("70000.01"), at > 60)));
        for drawn in [plot(&days(many.collect()), "EUR"), plot(&[], "EUR")] {
            let width: f64 = drawn.width.parse().unwrap();
            for bar in &drawn.days {
                let (x, wide): (f64, f64) = (bar.x.parse().unwrap(), bar.width.parse().unwrap());
                assert!(x >= 0.0 && x + wide <= width - AXIS_WIDTH, "{x} + {wide}");
            }
            for tick in drawn.money_ticks.iter().chain(&drawn.roas_ticks) {
                assert!((0.0..HEIGHT).contains(&tick.y.parse().unwrap()), "{}", tick.y);
            }
        }
    }
}
