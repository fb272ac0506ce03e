use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hasher};
use std::ops::RangeInclusive;

use chrono::NaiveDate;
use serde_json::value::RawValue;

use crate::authorization::Authorization;
use crate::client::MetaApi;
use crate::errors::Error;
use crate::insights::DayAnswer;
use crate::json::unquoted;
use crate::list::{Page, Problem};
use crate::patience::{Patience, Progress};
use crate::secrets::Secrets;
use crate::transport::Answer;
use crate::usage::Usage;

/// A window of days, asked for in pages of one size.
pub(crate) struct Question<'a> {
    pub(crate) auth: &'a Authorization,
    /// Of the ad account, or of a report about it.
    pub(crate) path: &'a str,
    /// Without those of the page. A report knows what it is about.
    pub(crate) parameters: &'a [(&'static str, String)],
    pub(crate) window: RangeInclusive<NaiveDate>,
    pub(crate) page_limit: u32,
    /// After which the window is given up, though there are more.
    pub(crate) most_pages: Option<u32>,
}

/// Why a window was not read to its end.
pub(crate) enum Stop {
    Error(Error),
    /// An ad came twice on one day. Then the rows moved while they were paged through, and another may have been
    /// missed.
    RowsMoved {
        ad_id: String,
        date: NaiveDate,
    },
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

/// Whether an ad may come twice on a day.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubles {
    /// The window starts over.
    StartOver,
    /// It has started over often enough: Meta stands by it. What is repeated byte for byte is one row; rows that differ
    /// are both kept, because nobody but Meta could say which of them is wrong.
    Keep,
}

/// What is read of a window so far. Meta promises no order across days, so that no day is complete before the last
/// page.
struct Window {
    days: BTreeMap<NaiveDate, DayAnswer>,
    /// Day and hash of each ad, to see that none comes twice. Two ads with one hash would be taken for one that does,
    /// which costs a second look and no row.
    seen: HashSet<(NaiveDate, u64)>,
    pages: u32,
}

/// Reads a window from its first page to its last; every day of it is in the answer, also one without rows.
pub(crate) async fn read_window(
    api: &MetaApi,
    question: &Question<'_>,
    doubles: Doubles,
    patience: &mut Patience<'_>,
) -> Result<Vec<DayAnswer>, Stop> {
    let mut window = Window::new(&question.window);
    let mut cursors = HashSet::new();
    let mut after: Option<String> = None;
    loop {
        if window.pages >= api.config.max_pages {
            return Err(Stop::Error(Error::TooManyPages {
                about: patience.about.clone(),
                max_pages: api.config.max_pages,
                page_limit: question.page_limit,
            }));
        }
        if question.most_pages.is_some_and(|most| window.pages >= most) {
            let (about, rows) = (patience.about.clone(), window.rows());
            return Err(Stop::Error(Error::LargeWindow { about, rows }));
        }
        let mut query = question.parameters.to_vec();
        query.push(("limit", question.page_limit.to_string()));
        if let Some(after) = after {
            query.push(("after", after));
        }
        let answer = api.ask(question.auth, question.path, &query, patience).await?;
        let usage_percent = answer.usage.percent();
        let reading =
            Reading { window: &question.window, secrets: &question.auth.secrets, about: &patience.about, doubles };
        after = window.add(&answer, &reading)?;
        (patience.observer)(Progress::Page { number: window.pages, rows: window.rows(), usage_percent });
        match &after {
            None => return Ok(window.end()),
            Some(cursor) if !cursors.insert(cursor.clone()) => {
                return Err(Stop::Error(Error::PagingLoop { about: patience.about.clone(), page: window.pages }));
            }
            Some(_) => {}
        }
    }
}

/// How the pages of a window are read.
struct Reading<'a> {
    window: &'a RangeInclusive<NaiveDate>,
    /// What is taken out of Meta's texts.
    secrets: &'a Secrets,
    about: &'a str,
    doubles: Doubles,
}

/// What the client makes of one body that came with status 200, as the first page of a window, and the cursor that it
/// leads on with. It asks nobody: it is for those who try the reader with bodies that no server has sent.
///
/// # Errors
/// Why the body is no such page, in the words of the client's own errors.
#[doc(hidden)]
pub fn decode_page(
    body: Vec<u8>,
    window: &RangeInclusive<NaiveDate>,
) -> Result<(Vec<DayAnswer>, Option<String>), String> {
    let secrets = Secrets::new([]);
    let answer = Answer::read(body.into(), 200, Usage::default(), &secrets);
    let answer = answer.map_err(|failure| failure.refusal.to_string())?;
    let reading = Reading { window, secrets: &secrets, about: "a body", doubles: Doubles::Keep };
    let mut days = Window::new(window);
    match days.add(&answer, &reading) {
        Ok(after) => Ok((days.end(), after)),
        Err(Stop::Error(error)) => Err(error.to_string()),
        Err(Stop::RowsMoved { ad_id, date }) => Err(format!("ad {ad_id} came twice on {date}")),
    }
}

impl Window {
    /// Of these days, none of which has a row yet.
    fn new(window: &RangeInclusive<NaiveDate>) -> Self {
        let days = window.start().iter_days().take_while(|day| day <= window.end());
        Window {
            days: days.map(|date| (date, DayAnswer { date, ..DayAnswer::default() })).collect(),
            seen: HashSet::new(),
            pages: 0,
        }
    }

    fn rows(&self) -> usize {
        self.days.values().map(|day| day.rows.len()).sum()
    }

    /// Adds the rows of a page; returns the cursor of the next one.
    fn add(&mut self, answer: &Answer, reading: &Reading<'_>) -> Result<Option<String>, Stop> {
        let Reading { window, secrets, about, doubles } = *reading;
        let unreadable = |(field, problem): Problem| Error::Unreadable {
            about: about.to_owned(),
            field: secrets.clean(&field),
            problem: secrets.clean(&problem),
        };
        let text = answer.text();
        let page = Page::read(answer, &text.text).map_err(unreadable)?;
        self.pages += 1;
        tracing::debug!(about, page = self.pages, rows = page.rows.len(), "read a page");
        for (number, row) in (1..).zip(page.rows) {
            let keys = Keys::read(row, number, window).map_err(unreadable)?;
            let Some((span, ad_id)) = text.span(row).zip(text.span(keys.ad_id)) else {
                return Err(unreadable((format!("row {number} of the page"), "is too far inside it".into())).into());
            };
            let Some(day) = self.days.get_mut(&keys.date) else { continue };
            if !self.seen.insert((keys.date, hash(keys.ad_id))) {
                let (ad_id, date) = (secrets.clean(keys.ad_id), keys.date);
                if doubles == Doubles::StartOver {
                    return Err(Stop::RowsMoved { ad_id, date });
                }
                if day.rows.iter().any(|known| known == span.of(&answer.body)) {
                    tracing::warn!(about, ad_id, %date, "Meta repeats a row; it counts once");
                    continue;
                }
                tracing::warn!(about, ad_id, %date, "Meta has two rows for one ad and day; both are kept");
            }
            day.rows.push(&answer.body, span, ad_id);
            if let Some(currency) = keys.currency
                && !day.currencies.iter().any(|known| known == currency)
            {
                day.currencies.push(secrets.clean(currency));
            }
        }
        Ok(page.after)
    }

    fn end(self) -> Vec<DayAnswer> {
        self.days.into_values().map(|day| DayAnswer { pages: self.pages, ..day }).collect()
    }
}

fn hash(ad_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(ad_id.as_bytes());
    hasher.finish()
}

/// What decides the place of a row. The rest of it is not decoded: names hold lone surrogates, and nothing but the
/// slice itself is to travel on.
struct Keys<'a> {
    ad_id: &'a str,
    date: NaiveDate,
    currency: Option<&'a str>,
}

#[derive(serde::Deserialize)]
struct RowKeys<'a> {
    #[serde(borrow)]
    ad_id: Option<&'a RawValue>,
    #[serde(borrow)]
    date_start: Option<&'a RawValue>,
    #[serde(borrow)]
    account_currency: Option<&'a RawValue>,
}

impl<'a> Keys<'a> {
    fn read(row: &'a str, number: usize, window: &RangeInclusive<NaiveDate>) -> Result<Self, Problem> {
        let of_row = |field: &str, text: String| (format!("{field} of row {number} of the page"), text);
        let keys: RowKeys<'a> = serde_json::from_str(row)
            .map_err(|_| (format!("row {number} of the page"), "is not a JSON object with sound keys".to_owned()))?;
        let ad_id = keys.ad_id.and_then(id).ok_or_else(|| of_row("ad_id", "is missing or no id".into()))?;
        let date =
            day_of(keys.date_start, window).map_err(|text| of_row("date_start", format!("{text} (ad {ad_id})")))?;
        // Meta leaves out what is empty; where it does not, an empty text says as little.
        let currency = keys.account_currency.map(unquoted).filter(|currency| !["", "null"].contains(currency));
        Ok(Keys { ad_id, date, currency })
    }
}

/// An id as text, never through a number: 18 digits do not survive a float.
fn id(raw: &RawValue) -> Option<&str> {
    let text = unquoted(raw);
    let is_string = text.len() != raw.get().len();
    let is_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (is_digits || (is_string && !text.is_empty())).then_some(text)
}

/// The day of a row, which must be one that was asked for. A row that does not say is of the one day that was asked
/// for.
pub(crate) fn day_of(found: Option<&RawValue>, window: &RangeInclusive<NaiveDate>) -> Result<NaiveDate, String> {
    let asked = || match (window.start(), window.end()) {
        (since, until) if since == until => since.to_string(),
        (since, until) => format!("{since} to {until}"),
    };
    match found.map(unquoted) {
        None if window.start() == window.end() => Ok(*window.start()),
        None => Err(format!("is missing, though {} was asked for", asked())),
        Some(found) => match found.parse() {
            Ok(date) if window.contains(&date) => Ok(date),
            _ => Err(format!("is {found:?}, but {} was asked for", asked())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_wrong_with_a_row_is_named() {
        let one = day("2026-11-01")..=day("2026-11-01");
        let two = day("2026-11-01")..=day("2026-11-02");
        for (row, window, field, problem) in [
            ("7", &one, "row 3 of the page", "is not a JSON object"),
            (r#"{"date_start":"2026-11-01"}"#, &one, "ad_id of row 3 of the page", "is missing"),
            (r#"{"ad_id":"","date_start":"2026-11-01"}"#, &one, "ad_id of row 3 of the page", "no id"),
            (r#"{"ad_id":1.5,"date_start":"2026-11-01"}"#, &one, "ad_id of row 3 of the page", "no id"),
            (r#"{"ad_id":null,"date_start":"2026-11-01"}"#, &one, "ad_id of row 3 of the page", "is missing"),
            (
                r#"{"ad_id":"1","date_start":"2026-11-02"}"#,
                &one,
                "date_start of row 3 of the page",
                "is \"2026-11-02\", but 2026-11-01 was asked for (ad 1)",
            ),
            (
                r#"{"ad_id":"1"}"#,
                &two,
                "date_start of row 3 of the page",
                "is missing, though 2026-11-01 to 2026-11-02",
            ),
            (r#"{"ad_id":"1","date_start":"soon"}"#, &two, "date_start of row 3 of the page", "is \"soon\", but"),
        ] {
            let Err((found, text)) = Keys::read(row, 3, window) else { panic!("{row} was read") };
            assert_eq!(found, field, "{row}");
            assert!(text.contains(problem), "{row}: {text}");
        }
    }

    #[test]
    fn ids_keep_all_their_digits() {
        let window = day("2026-11-01")..=day("2026-11-01");
        for (row, ad_id) in [
            (r#"{"ad_id":12021000000000012345}"#, "12021000000000012345"),
            (r#"{"ad_id":"12021000000000012345","account_currency":"EUR"}"#, "12021000000000012345"),
        ] {
            assert_eq!(Keys::read(row, 1, &window).unwrap_or_else(|_| panic!("{row}")).ad_id, ad_id);
        }
    }
}
