//! The strange rows, a day each, and what becomes of them.

use chrono::NaiveDate;

pub struct Case {
    /// What Meta sends, and what the tables say then: the words of `docs/STRANGE.md`.
    pub sends: &'static str,
    pub says: &'static str,
    /// `$DAY` in them becomes the day.
    rows: Vec<Vec<u8>>,
    pub ends: Ends,
}

pub enum Ends {
    Folded {
        metrics: &'static str,
        /// Ad id, spend and impressions of each ad; a dash is unknown.
        facts: &'static str,
        /// Of the first ad.
        name: Option<String>,
    },
    Parked {
        reason: &'static str,
    },
}

impl Case {
    pub fn rows_on(&self, date: NaiveDate) -> Vec<Vec<u8>> {
        let (mark, date) = (b"$DAY", date.to_string());
        let fill = |row: &Vec<u8>| match row.windows(mark.len()).position(|bytes| bytes == mark) {
            Some(at) => [&row[..at], date.as_bytes(), &row[at + mark.len()..]].concat(),
            None => row.clone(),
        };
        self.rows.iter().map(fill).collect()
    }
}

/// A row of the day with these members.
fn row(members: impl AsRef<[u8]>) -> Vec<u8> {
    [b"{", members.as_ref(), b",\"date_start\":\"$DAY\",\"date_stop\":\"x\"}"].concat()
}

fn folded(
    sends: &'static str,
    says: &'static str,
    rows: Vec<Vec<u8>>,
    metrics: &'static str,
    facts: &'static str,
) -> Case {
    Case { sends, says, rows, ends: Ends::Folded { metrics, facts, name: None } }
}

/// A day of one ad that spent 1.00, whose name is the matter.
fn named(sends: &'static str, says: &'static str, name_json: impl AsRef<[u8]>, found: &str) -> Case {
    let rows = vec![row([br#""ad_id":"1","spend":"1.00","ad_name":"#, name_json.as_ref()].concat())];
    let ends = Ends::Folded { metrics: ONE, facts: "1 1.00 -", name: Some(found.to_owned()) };
    Case { sends, says, rows, ends }
}

fn parked(sends: &'static str, says: &'static str, members: &str, reason: &'static str) -> Case {
    Case { sends, says, rows: vec![row(r#""ad_id":"2","spend":"1.00""#), row(members)], ends: Ends::Parked { reason } }
}

const ONE: &str = "1 ads, spend 1.00, impressions -, clicks -, cpc -, cpm -, roas -";
const UNKNOWN: &str = "1 ads, spend -, impressions -, clicks -, cpc -, cpm -, roas -";

pub fn cases() -> Vec<Case> {
    [numbers(), texts(), shapes(), refused()].into_iter().flatten().collect()
}

fn numbers() -> Vec<Case> {
    vec![
        folded(
            "bare numbers instead of strings",
            "the numbers",
            vec![row(r#""ad_id":7,"spend":12.5,"impressions":1000,"clicks":3"#)],
            "1 ads, spend 12.5, impressions 1000, clicks 3, cpc 4.166667, cpm 12.500000, roas -",
            "7 12.5 1000",
        ),
        folded(
            "no field but the id",
            "every metric is unknown (null), the ad counts as one",
            vec![br#"{"ad_id":"8"}"#.into()],
            UNKNOWN,
            "8 - -",
        ),
        folded(
            "`null` in place of a metric",
            "unknown, as if it were left out",
            vec![row(
                r#""ad_id":"9","spend":null,"impressions":null,"actions":null,"ad_name":null,"account_currency":null"#,
            )],
            UNKNOWN,
            "9 - -",
        ),
        folded(
            "`\"\"` in place of a number or a currency",
            "unknown, as if it were left out: never zero",
            vec![row(r#""ad_id":"9","spend":"","impressions":"","account_currency":"""#)],
            UNKNOWN,
            "9 - -",
        ),
        folded(
            "a negative correction",
            "it is subtracted",
            vec![
                row(r#""ad_id":"1","spend":"100.00","impressions":"1000","clicks":"10""#),
                row(r#""ad_id":"2","spend":"-30.50","impressions":"-10""#),
            ],
            "2 ads, spend 69.50, impressions 990, clicks 10, cpc 6.950000, cpm 70.202020, roas -",
            "1 100.00 1000, 2 -30.50 -10",
        ),
        folded(
            "a correction that makes the day negative",
            "the day is negative, and so is its roas; a ratio to zero is unknown",
            vec![row(
                r#""ad_id":"1","spend":"-12.34","impressions":"0","clicks":"0","action_values":[{"action_type":"omni_purchase","value":"24.68"}]"#,
            )],
            "1 ads, spend -12.34, impressions 0, clicks 0, cpc -, cpm -, roas -2.000000",
            "1 -12.34 0",
        ),
        folded(
            "ids of 20 digits, as texts or bare",
            "every digit; neighbours stay two ads",
            vec![
                row(r#""ad_id":"12021000000000012345","spend":"1.00""#),
                row(r#""ad_id":12021000000000012346,"spend":"2.00""#),
            ],
            "2 ads, spend 3.00, impressions -, clicks -, cpc -, cpm -, roas -",
            "12021000000000012345 1.00 -, 12021000000000012346 2.00 -",
        ),
        folded(
            "a spend of 12 digits before the point",
            "to the cent, in the sum too",
            vec![row(r#""ad_id":"1","spend":"999999999999.99""#), row(r#""ad_id":"2","spend":"999999999999.99""#)],
            "2 ads, spend 1999999999999.98, impressions -, clicks -, cpc -, cpm -, roas -",
            "1 999999999999.99 -, 2 999999999999.99 -",
        ),
        folded(
            "counts past 32 bits",
            "the numbers, in the sum too",
            vec![row(r#""ad_id":"1","impressions":"4294967296""#), row(r#""ad_id":"2","impressions":4294967296"#)],
            "2 ads, spend -, impressions 8589934592, clicks -, cpc -, cpm -, roas -",
            "1 - 4294967296, 2 - 4294967296",
        ),
        folded(
            "a number with an exponent",
            "its value, exactly",
            vec![row(r#""ad_id":"1","spend":1.25e2,"impressions":"1E3""#)],
            "1 ads, spend 125, impressions 1000, clicks -, cpc -, cpm 125.000000, roas -",
            "1 125 1000",
        ),
        folded(
            "a count written `3.0`",
            "3",
            vec![row(r#""ad_id":"1","spend":"1.00","impressions":"3.0","clicks":2.00"#)],
            "1 ads, spend 1.00, impressions 3, clicks 2, cpc 0.500000, cpm 333.333333, roas -",
            "1 1.00 3",
        ),
    ]
}

fn texts() -> Vec<Case> {
    let long = "n".repeat(100_000);
    vec![
        named(
            "emoji and right-to-left names",
            "as they are",
            "\"\u{1f680} \u{645}\u{631}\u{62d}\u{628}\u{627}\"",
            "\u{1f680} \u{645}\u{631}\u{62d}\u{628}\u{627}",
        ),
        named(
            "`\\u0000` in a name",
            "U+FFFD in its place, which PostgreSQL takes",
            r#""cut\u0000off""#,
            "cut\u{fffd}off",
        ),
        named(
            "half of a surrogate pair in a name",
            "three times U+FFFD in its place",
            r#""half \ud83d""#,
            "half \u{fffd}\u{fffd}\u{fffd}",
        ),
        named(
            "bytes that are no UTF-8",
            "U+FFFD in place of each sequence",
            b"\"caf\xe9 \xf0\x9f\"",
            "caf\u{fffd} \u{fffd}",
        ),
        named("tabs, line breaks and backslashes in a name", "as they are", r#""a\tb\nc\\N""#, "a\tb\nc\\N"),
        named("an empty name", "an empty text", r#""""#, ""),
        named("a name of 100 kB", "all of it", format!("\"{long}\""), &long),
        named("a name that is no text", "the JSON that stands there", r#"{"a":[1,null]}"#, r#"{"a":[1,null]}"#),
    ]
}

fn shapes() -> Vec<Case> {
    let deep = |levels: usize| format!(r#""wish_bid":{}1{}"#, "[".repeat(levels), "]".repeat(levels));
    vec![
        folded(
            "no `account_currency`",
            "the amounts are in the ad account's currency, which is asked for before each run",
            vec![row(r#""ad_id":"1","spend":"1.00""#)],
            ONE,
            "1 1.00 -",
        ),
        folded(
            "an ad id with letters",
            "an id like any other",
            vec![row(r#""ad_id":"ad_7-x","spend":"1.00""#)],
            ONE,
            "ad_7-x 1.00 -",
        ),
        folded(
            "an unknown field, 200 or 5,000 levels deep",
            "it is passed over",
            vec![
                row(format!(r#""ad_id":"1","spend":"1.00",{}"#, deep(200))),
                row(format!(r#""ad_id":"2","spend":"2.00",{}"#, deep(5000))),
            ],
            "2 ads, spend 3.00, impressions -, clicks -, cpc -, cpm -, roas -",
            "1 1.00 -, 2 2.00 -",
        ),
        folded(
            "an action type that is no text PostgreSQL takes",
            "it is no purchase; those beside it count",
            vec![row(
                r#""ad_id":"1","spend":"1.00","action_values":[{"action_type":"x\ud83d","value":"9"},{"action_type":"purchase","value":"3.00"}]"#,
            )],
            "1 ads, spend 1.00, impressions -, clicks -, cpc -, cpm -, roas 3.000000",
            "1 1.00 -",
        ),
        folded(
            "one row twice in an answer, byte for byte",
            "it is asked for twice more, and counts once",
            vec![row(r#""ad_id":"1","spend":"1.00""#), row(r#""ad_id":"1","spend":"1.00""#)],
            ONE,
            "1 1.00 -",
        ),
    ]
}

fn refused() -> Vec<Case> {
    vec![
        parked(
            "a number of 30 digits",
            "the day is parked: it would have to be rounded",
            r#""ad_id":"1","spend":"123456789012345678901234567890""#,
            "ad 1: spend \"123456789012345678901234567890\" is not a number this version can hold",
        ),
        parked(
            "an amount of 10^15 or more",
            "the day is parked: no sum with it would be certain",
            r#""ad_id":"1","spend":1e15"#,
            "ad 1: spend 1e15 is larger than any amount",
        ),
        parked(
            "a count of 10^12 or more",
            "the day is parked: sums with it could leave 64 bits",
            r#""ad_id":"1","impressions":"1000000000000""#,
            "ad 1: impressions \"1000000000000\" is larger than any count",
        ),
        parked(
            "a count that is not whole",
            "the day is parked",
            r#""ad_id":"1","impressions":"3.5""#,
            "ad 1: impressions \"3.5\" is not whole",
        ),
        parked(
            "something else in place of a number",
            "the day is parked",
            r#""ad_id":"1","clicks":true"#,
            "ad 1: clicks true is not a number this version can hold",
        ),
        parked(
            "a number as people write it",
            "the day is parked: `12,34` could be two numbers",
            r#""ad_id":"1","spend":"12,34""#,
            "ad 1: spend \"12,34\" is not a number this version can hold",
        ),
        parked(
            "one key twice in a row",
            "the day is parked: nobody knows which is meant",
            r#""ad_id":"1","spend":"1","spend":"2""#,
            "ad 1: spend stands twice in the row",
        ),
        parked(
            "an ad id with a space, or of 200 characters",
            "the day is parked",
            r#""ad_id":"1 2""#,
            "ad_id \"1 2\" is not an id",
        ),
    ]
}

/// What becomes of whole answers, each tried by a test of its own.
pub const ANSWERS: [(&str, &str); 10] = [
    ("a row again on the next page, byte for byte", "the window is asked for twice more; then it counts once"),
    (
        "two different rows of one ad on one day",
        "the window is asked for twice more; then both are kept, and the last in the order of their bytes counts: the log names the \
         ad, and `adledger reconcile` the day, with the gap to the control total",
    ),
    ("an ad under another campaign than before", "it is the same ad: its row is replaced, its spend counts once"),
    ("whole yen, without decimals", "the numbers, in JPY"),
    ("a page without rows that leads to another", "the next page is read"),
    (
        "HTML with status 200",
        "it is asked for again; then the day fails, the run is `partial`, and the next run asks again",
    ),
    ("a row without an ad id", "the day fails with a sentence: nothing of it is published, the next run asks again"),
    ("a row of a day that was not asked for", "the same"),
    ("a next page that is named in no known way", "the same: rows would be missing"),
    (
        "an answer about several days with one of these",
        "each day is asked for by itself, and only its own rows stop it",
    ),
];
