//! Days as cells: how complete they are and how old they were when they were fetched last. Colour says it at a glance,
//! and a number or a mark says it to whoever sees no colour.

use chrono::{Datelike, NaiveDate, Weekday};
use rust_decimal::Decimal;

use super::amount::percent;
use super::days::{Day, Figures, Missing, Span};
use super::words::day;

/// Coverage that is this far from one is no matter of rounding.
const COVERAGE_TOLERANCE: Decimal = Decimal::from_parts(5, 0, 0, false, 3);

/// One cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) class: &'static str,
    /// Whether coverage is away from one: a corner is turned down then.
    pub(crate) is_off: bool,
    pub(crate) mark: String,
    /// The day and all of it in words.
    pub(crate) words: String,
}

/// An ad account and its cells.
pub(crate) struct Row {
    pub(crate) href: String,
    pub(crate) name: String,
    pub(crate) cells: Vec<Cell>,
}

/// A column of [`Row`]s.
pub(crate) struct Column {
    /// "24 November".
    pub(crate) words: String,
    pub(crate) number: u32,
    /// Where a month begins: its name.
    pub(crate) month: Option<String>,
    pub(crate) is_weekend: bool,
}

pub(crate) fn columns(span: Span) -> Vec<Column> {
    let column = |date: NaiveDate| Column {
        words: date.format("%-d %B").to_string(),
        number: date.day(),
        month: (date == span.since || date.day() == 1).then(|| date.format("%b").to_string()),
        is_weekend: is_weekend(date),
    };
    span.days().map(column).collect()
}

fn is_weekend(date: NaiveDate) -> bool {
    matches!(date.weekday(), Weekday::Sat | Weekday::Sun)
}

/// A day that is not over where the ad account is: nobody can know it yet.
pub(crate) fn not_over(date: NaiveDate) -> Cell {
    let words = format!("{}: not over yet in the ad account's zone", day(date));
    Cell { class: "ahead", is_off: false, mark: String::new(), words }
}

/// What a day looks like. A failure and a day that is stuck show themselves over an older answer; what is merely to
/// come does not.
pub(crate) fn cell(date: NaiveDate, known: Option<&Day>) -> Cell {
    let plain = |class, mark: &str, words: &str| Cell {
        class,
        is_off: false,
        mark: mark.to_owned(),
        words: format!("{}: {words}", day(date)),
    };
    let Some(known) = known else { return plain("none", "", "not fetched") };
    let before = known.figures.as_ref().map(|figures| format!("; the tables have {}", in_words(figures)));
    let before = before.unwrap_or_default();
    match (&known.missing, &known.figures) {
        (Some(Missing::Failed { reason }), _) => plain("failed", "✕", &format!("failed: {reason}{before}")),
        (Some(Missing::Stuck), _) => plain("stuck", "!", &format!("fetched, and not in the tables{before}")),
        (_, Some(figures)) => {
            let class = match figures.age_days {
                _ if !figures.provisional => "settled",
                Some(..=1) => "young",
                Some(..=7) => "growing",
                _ => "ripe",
            };
            let age = figures.age_days.map_or("?".to_owned(), |age| age.to_string());
            let mark = if figures.coverage.is_none() && !is_empty(figures) { format!("{age}?") } else { age };
            Cell { is_off: is_off(figures), ..plain(class, &mark, &in_words(figures)) }
        }
        (Some(Missing::OnItsWay), None) => plain("due", "…", "fetched, on its way into the tables"),
        (Some(Missing::Due), None) => plain("due", "○", "owed, not fetched yet"),
        (None, None) => plain("none", "", "not fetched"),
    }
}

fn in_words(figures: &Figures) -> String {
    let age = match figures.age_days {
        Some(1) => "the answer of when it was 1 day old".to_owned(),
        Some(age) => format!("the answer of when it was {age} days old"),
        None => "an answer of an unknown age".to_owned(),
    };
    let coverage = match figures.coverage {
        Some(_) => format!("coverage {}", percent(figures.coverage)),
        None if is_empty(figures) => "no delivery".to_owned(),
        None => "coverage unknown".to_owned(),
    };
    let rest = if figures.provisional { "provisional" } else { "settled" };
    format!("{age}, {coverage}, {rest}")
}

/// A day without delivery has no coverage, and needs none.
fn is_empty(figures: &Figures) -> bool {
    figures.spend.is_some_and(|spend| spend.is_zero())
}

pub(crate) fn is_off(figures: &Figures) -> bool {
    figures.coverage.is_some_and(|coverage| (coverage - Decimal::ONE).abs() > COVERAGE_TOLERANCE)
}

/// A calendar of one ad account: seven rows, Monday first, a column a week.
pub(crate) struct Calendar {
    /// The Monday of each week, where a month begins with its name.
    pub(crate) weeks: Vec<Option<String>>,
    pub(crate) rows: Vec<CalendarRow>,
}

pub(crate) struct CalendarRow {
    pub(crate) weekday: &'static str,
    /// `None` outside of the span.
    pub(crate) cells: Vec<Option<Cell>>,
}

pub(crate) fn calendar(span: Span, mut cell: impl FnMut(NaiveDate) -> Cell) -> Calendar {
    let first_monday = span.since.week(Weekday::Mon).first_day();
    let last_sunday = span.until.week(Weekday::Mon).last_day();
    let days: Vec<_> = Span { since: first_monday, until: last_sunday }.days().collect();
    let weeks: Vec<&[NaiveDate]> = days.chunks(7).collect();
    let names_month = |(at, week): (usize, &&[NaiveDate])| {
        let first = week.iter().find(|date| date.day() == 1).filter(|date| **date <= span.until);
        // A month's first week takes the place of the one that the span begins in the last days of.
        let first = first.or_else(|| week.last().filter(|_| at == 0));
        first.map(|date| date.format("%b").to_string())
    };
    let rows = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].into_iter().enumerate();
    Calendar {
        weeks: weeks.iter().enumerate().map(names_month).collect(),
        rows: rows
            .map(|(at, weekday)| CalendarRow {
                weekday,
                cells: weeks
                    .iter()
                    .map(|week| Some(week[at]).filter(|date| (span.since..=span.until).contains(date)).map(&mut cell))
                    .collect(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(age_days: i32, coverage: Option<&str>) -> Figures {
        Figures {
            spend: Some(Decimal::TEN),
            purchases: None,
            purchase_value: None,
            roas: None,
            coverage: coverage.map(|text| text.parse().unwrap()),
            provisional: age_days <= 28,
            age_days: Some(age_days),
        }
    }

    #[test]
    fn a_cell_tells_coverage_and_age_without_colour() {
        let whole = |age| Some(figures(age, Some("0.998")));
        let failed = Missing::Failed { reason: "no answer".into() };
        let empty = Figures { spend: Some(Decimal::ZERO), ..figures(3, None) };
        for (figures, missing, class, mark, is_off, words) in [
            (None, None, "none", "", false, "24 Nov: not fetched"),
            (whole(1), None, "young", "1", false, "1 day old, coverage 99.8 %, provisional"),
            (whole(2), None, "growing", "2", false, "2 days old"),
            (whole(8), None, "ripe", "8", false, "8 days old"),
            (whole(28), None, "ripe", "28", false, "provisional"),
            (whole(29), None, "settled", "29", false, "settled"),
            (Some(figures(3, Some("0.75"))), None, "growing", "3", true, "coverage 75.0 %"),
            (Some(figures(3, Some("1.02"))), None, "growing", "3", true, "coverage 102.0 %"),
            (Some(figures(3, None)), None, "growing", "3?", false, "coverage unknown"),
            (Some(empty), None, "growing", "3", false, "no delivery"),
            (None, Some(Missing::Due), "due", "○", false, "owed"),
            (whole(2), Some(Missing::Due), "growing", "2", false, "2 days old"),
            (None, Some(Missing::OnItsWay), "due", "…", false, "on its way"),
            (None, Some(failed.clone()), "failed", "✕", false, "24 Nov: failed: no answer"),
            (whole(2), Some(failed), "failed", "✕", false, "the tables have the answer of when it was 2 days old"),
            (whole(2), Some(Missing::Stuck), "stuck", "!", false, "not in the tables"),
        ] {
            let date = "2026-11-24".parse().unwrap();
            let found = cell(date, Some(&Day { figures, missing }));
            assert_eq!((found.class, found.mark.as_str(), found.is_off), (class, mark, is_off), "{found:?}");
            assert!(found.words.contains(words), "{found:?}");
        }
        assert_eq!(cell("2026-11-24".parse().unwrap(), None).class, "none");
    }

    #[test]
    fn a_calendar_has_every_day_of_its_span_once() {
        let span = Span::up_to("2026-11-24".parse().unwrap(), 91);
        assert_eq!(span.since, "2026-08-26".parse().unwrap());
        let mut seen = Vec::new();
        let calendar = calendar(span, |date| {
            seen.push(date);
            cell(date, None)
        });
        seen.sort_unstable();
        assert_eq!(seen, span.days().collect::<Vec<_>>());
        assert_eq!(calendar.weeks.len(), 14);
        let months: Vec<_> = calendar.weeks.iter().flatten().map(String::as_str).collect();
        assert_eq!(months, ["Aug", "Sep", "Oct", "Nov"]);
        // The 24th is a Tuesday: what follows in its week is not there.
        assert!(calendar.rows[1].cells[13].is_some() && calendar.rows[2].cells[13].is_none());
    }

    #[test]
    fn columns_name_the_month_where_it_begins() {
        let columns = columns(Span { since: "2026-10-30".parse().unwrap(), until: "2026-11-02".parse().unwrap() });
        let said: Vec<_> = columns.iter().map(|c| (c.number, c.month.as_deref(), c.is_weekend)).collect();
        assert_eq!(said, [(30, Some("Oct"), false), (31, None, true), (1, Some("Nov"), true), (2, None, false)]);
    }
}
