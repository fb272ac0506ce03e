//! Days, times and durations as people say them.

use chrono::{DateTime, Datelike, Days, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;

/// How good something is, told by a word and a mark, and by colour only besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Good,
    Calm,
    Warn,
    Bad,
}

impl Level {
    pub(crate) fn class(self) -> &'static str {
        match self {
            Level::Good => "good",
            Level::Calm => "calm",
            Level::Warn => "warn",
            Level::Bad => "bad",
        }
    }

    pub(crate) fn mark(self) -> &'static str {
        match self {
            Level::Good => "✓",
            Level::Calm => "·",
            Level::Warn => "!",
            Level::Bad => "✕",
        }
    }
}

/// When somebody looks, and in which zone they read times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) at: DateTime<Utc>,
    pub(crate) zone: Tz,
}

/// An instant for a `<time>` element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    /// For programs.
    pub(crate) utc: String,
    /// With its zone; the day only where it is another one than that of who looks.
    pub(crate) text: String,
    /// "4 min ago", "in 2 h".
    pub(crate) distance: String,
}

impl Now {
    pub(crate) fn moment(&self, at: DateTime<Utc>) -> Moment {
        let (local, here) = (at.with_timezone(&self.zone), self.at.with_timezone(&self.zone));
        let form = if local.date_naive() == here.date_naive() {
            "%H:%M %Z"
        } else if local.year() == here.year() {
            "%-d %b, %H:%M %Z"
        } else {
            "%-d %b %Y, %H:%M %Z"
        };
        let gap = at - self.at;
        let distance = if gap > TimeDelta::zero() {
            format!("in {}", duration(gap))
        } else if gap > TimeDelta::seconds(-5) {
            "just now".to_owned()
        } else {
            format!("{} ago", duration(-gap))
        };
        Moment { utc: at.format("%Y-%m-%dT%H:%M:%SZ").to_string(), text: local.format(form).to_string(), distance }
    }

    /// The last complete day of a zone. A zone that this program does not know is taken for UTC.
    pub(crate) fn yesterday(&self, zone: &str) -> NaiveDate {
        let zone = zone.parse().unwrap_or(Tz::UTC);
        self.at.with_timezone(&zone).date_naive() - Days::new(1)
    }
}

/// The two largest units of it.
pub(crate) fn duration(length: TimeDelta) -> String {
    let seconds = length.num_seconds().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    };
    match (days, hours, minutes) {
        (1, 0, _) => "1 day".to_owned(),
        (1, ..) => format!("1 day {hours} h"),
        (2.., ..) => format!("{days} days"),
        (_, 1.., _) => two(hours, "h", minutes, "min"),
        (_, _, 1..10) => two(minutes, "min", seconds % 60, "s"),
        (_, _, 10..) => format!("{minutes} min"),
        _ if seconds == 0 => "under 1 s".to_owned(),
        _ => format!("{seconds} s"),
    }
}

/// "1 day", "3 days".
pub(crate) fn count(number: i64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(&number.to_string()), if number == 1 { one } else { many })
}

/// "24 Nov".
pub(crate) fn day(date: NaiveDate) -> String {
    date.format("%-d %b").to_string()
}

/// "24 Nov 2026", and of two days of a year the first without it.
pub(crate) fn range(since: NaiveDate, until: NaiveDate) -> String {
    let until_text = until.format("%-d %b %Y");
    match since {
        _ if since == until => until_text.to_string(),
        _ if since.year() == until.year() => format!("{} – {until_text}", day(since)),
        _ => format!("{} – {until_text}", since.format("%-d %b %Y")),
    }
}

/// Digits in groups of three, up to the decimal point.
pub(crate) fn grouped(number: &str) -> String {
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |rest| ("−", rest));
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut text = String::from(sign);
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_its_two_largest_units() {
        for (seconds, text) in [
            (-3, "under 1 s"),
            (0, "under 1 s"),
            (59, "59 s"),
            (60, "1 min"),
            (130, "2 min 10 s"),
            (645, "10 min"),
            (3600, "1 h"),
            (3900, "1 h 5 min"),
            (86_400, "1 day"),
            (100_000, "1 day 3 h"),
            (400_000, "4 days"),
        ] {
            assert_eq!(duration(TimeDelta::seconds(seconds)), text, "{seconds} s");
        }
    }

    #[test]
    fn a_moment_is_told_in_the_readers_zone() {
        let now = Now { at: "2026-11-25T13:00:00Z".parse().unwrap(), zone: Tz::Europe__Berlin };
        for (at, text, distance) in [
            ("2026-11-25T13:04:00Z", "14:04 CET", "in 4 min"),
            ("2026-11-25T12:59:58Z", "13:59 CET", "just now"),
            ("2026-11-24T23:30:00Z", "00:30 CET", "13 h 30 min ago"),
            ("2026-11-24T22:30:00Z", "24 Nov, 23:30 CET", "14 h 30 min ago"),
            ("2025-07-01T10:00:00Z", "1 Jul 2025, 12:00 CEST", "512 days ago"),
        ] {
            let moment = now.moment(at.parse().unwrap());
            assert_eq!((moment.text.as_str(), moment.distance.as_str()), (text, distance), "{at}");
            assert_eq!(moment.utc, at);
        }
        assert_eq!(now.yesterday("Pacific/Auckland"), NaiveDate::from_ymd_opt(2026, 11, 25).unwrap());
        assert_eq!(now.yesterday("America/New_York"), NaiveDate::from_ymd_opt(2026, 11, 24).unwrap());
        assert_eq!(now.yesterday("Atlantis"), NaiveDate::from_ymd_opt(2026, 11, 24).unwrap());
    }

    #[test]
    fn numbers_are_grouped_and_ranges_name_a_year_once() {
        for (plain, text) in [("0", "0"), ("999", "999"), ("1000", "1,000"), ("-1234567.5", "−1,234,567.5")] {
            assert_eq!(grouped(plain), text);
        }
        let date = |text: &str| text.parse::<NaiveDate>().unwrap();
        assert_eq!(range(date("2026-11-18"), date("2026-11-24")), "18 Nov – 24 Nov 2026");
        assert_eq!(range(date("2025-12-30"), date("2026-01-02")), "30 Dec 2025 – 2 Jan 2026");
        assert_eq!(range(date("2026-11-24"), date("2026-11-24")), "24 Nov 2026");
    }
}
