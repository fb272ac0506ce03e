use std::collections::HashSet;

use chrono::NaiveDate;
use serde_json::value::RawValue;

use crate::authorization::Authorization;
use crate::client::MetaApi;
use crate::errors::Error;
use crate::json::unquoted;
use crate::list::{Page, Problem};
use crate::patience::{Patience, Progress};

/// One day, asked for in pages of one size.
pub(crate) struct Question<'a> {
    pub(crate) auth: &'a Authorization,
    pub(crate) path: &'a str,
    pub(crate) parameters: &'a [(&'static str, String)],
    pub(crate) date: NaiveDate,
    pub(crate) page_limit: u32,
}

pub(crate) struct Read {
    pub(crate) rows: Vec<Box<RawValue>>,
    pub(crate) pages: u32,
}

/// Why a day was not read to its end.
pub(crate) enum Stop {
    Error(Error),
    /// An ad came twice. Then the rows moved while they were paged through, and another ad may have been missed.
    RowsMoved {
        ad_id: String,
    },
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

/// Reads a day from its first page to its last.
pub(crate) async fn read_day(
    api: &MetaApi,
    question: &Question<'_>,
    patience: &mut Patience<'_>,
) -> Result<Read, Stop> {
    let mut read = Read { rows: Vec::new(), pages: 0 };
    let mut ads = HashSet::new();
    let mut cursors = HashSet::new();
    let mut after: Option<String> = None;
    loop {
        if read.pages >= api.config.max_pages {
            return Err(Stop::Error(Error::TooManyPages {
                about: patience.about.clone(),
                max_pages: api.config.max_pages,
                page_limit: question.page_limit,
            }));
        }
        let mut query = question.parameters.to_vec();
        query.push(("limit", question.page_limit.to_string()));
        if let Some(after) = after {
            query.push(("after", after));
        }
        let answer = api.ask(question.auth, question.path, &query, patience).await?;
        let page = read_page(&answer.body, question.date).map_err(|(field, problem)| Error::Unreadable {
            about: patience.about.clone(),
            field: question.auth.clean(&field),
            problem: question.auth.clean(&problem),
        })?;
        read.pages += 1;
        let rows = page.rows.len();
        for (ad_id, row) in page.rows {
            if !ads.insert(ad_id.to_owned()) {
                return Err(Stop::RowsMoved { ad_id: question.auth.clean(ad_id) });
            }
            read.rows.push(row.to_owned());
        }
        tracing::debug!(about = patience.about, page = read.pages, rows, "read a page");
        (patience.observer)(Progress::Page { number: read.pages, rows, usage_percent: answer.usage.percent });
        after = match page.after {
            None => return Ok(read),
            Some(cursor) if !cursors.insert(cursor.clone()) => {
                return Err(Stop::Error(Error::PagingLoop { about: patience.about.clone(), page: read.pages }));
            }
            cursor => cursor,
        };
    }
}

struct DayPage<'a> {
    /// Ad id and row.
    rows: Vec<(&'a str, &'a RawValue)>,
    /// The cursor of the next page; `None` on the last.
    after: Option<String>,
}

fn read_page(body: &str, date: NaiveDate) -> Result<DayPage<'_>, Problem> {
    let page = Page::parse(body)?;
    let mut rows = Vec::with_capacity(page.rows.len());
    for (i, row) in page.rows.into_iter().enumerate() {
        let of_row = |field: &str, text: String| (format!("{field} of row {} of the page", i + 1), text);
        let keys: RowKeys = serde_json::from_str(row.get())
            .map_err(|_| (format!("row {} of the page", i + 1), "is not a JSON object with sound keys".to_owned()))?;
        let ad_id = keys.ad_id.and_then(id).ok_or_else(|| of_row("ad_id", "is missing or no id".into()))?;
        check_date(keys.date_start, date).map_err(|text| of_row("date_start", format!("{text} (ad {ad_id})")))?;
        rows.push((ad_id, row));
    }
    Ok(DayPage { rows, after: page.after })
}

/// The two keys that every row must have. The rest of a row is not decoded: names hold lone surrogates, and nothing but
/// the slice itself is to travel on.
#[derive(serde::Deserialize)]
struct RowKeys<'a> {
    #[serde(borrow)]
    ad_id: Option<&'a RawValue>,
    #[serde(borrow)]
    date_start: Option<&'a RawValue>,
}

/// An id as text, never through a number: 18 digits do not survive a float.
fn id(raw: &RawValue) -> Option<&str> {
    let text = unquoted(raw);
    let is_string = text.len() != raw.get().len();
    let is_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (is_digits || (is_string && !text.is_empty())).then_some(text)
}

/// The row is of the day that was asked for. One that does not say is: nothing else was asked for.
pub(crate) fn check_date(found: Option<&RawValue>, date: NaiveDate) -> Result<(), String> {
    match found.map(unquoted) {
        Some(found) if found != date.to_string() => Err(format!("is {found:?}, but {date} was asked for")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_page_is_named() {
        let date = NaiveDate::from_ymd_opt(2026, 11, 1).unwrap();
        for (body, field, problem) in [
            ("[]", "the answer", "is not a JSON object"),
            ("{}", "data", "is missing or no list"),
            (r#"{"data":{}}"#, "data", "is missing or no list"),
            (r#"{"data":[7]}"#, "row 1 of the page", "is not a JSON object"),
            (r#"{"data":[{"date_start":"2026-11-01"}]}"#, "ad_id of row 1 of the page", "is missing"),
            (r#"{"data":[{"ad_id":"","date_start":"2026-11-01"}]}"#, "ad_id of row 1 of the page", "no id"),
            (r#"{"data":[{"ad_id":1.5,"date_start":"2026-11-01"}]}"#, "ad_id of row 1 of the page", "no id"),
            (r#"{"data":[{"ad_id":null,"date_start":"2026-11-01"}]}"#, "ad_id of row 1 of the page", "is missing"),
            (
                r#"{"data":[{"ad_id":"1","date_start":"2026-11-02"}]}"#,
                "date_start of row 1 of the page",
                "is \"2026-11-02\", but 2026-11-01 was asked for (ad 1)",
            ),
            (r#"{"data":[],"paging":{"next":"x"}}"#, "paging.cursors.after", "is missing"),
        ] {
            let Err((found, text)) = read_page(body, date) else { panic!("{body} was read") };
            assert_eq!(found, field, "{body}");
            assert!(text.contains(problem), "{body}: {text}");
        }
    }

    #[test]
    fn the_last_page_has_no_next_though_it_has_a_cursor() {
        let date = NaiveDate::from_ymd_opt(2026, 11, 1).unwrap();
        let row = r#"{"ad_id":120210000000000123,"date_start":"2026-11-01"}"#;
        for (paging, after) in [
            ("", None),
            (r#","paging":{"cursors":{"after":"c"}}"#, None),
            (r#","paging":{"cursors":{"after":"c"},"next":null}"#, None),
            (r#","paging":{"cursors":{"after":"c"},"next":"http://evil"}"#, Some("c")),
        ] {
            let body = format!(r#"{{"data":[ {row} ]{paging}}}"#);
            let Ok(page) = read_page(&body, date) else { panic!("{body}") };
            assert_eq!(page.after.as_deref(), after);
            assert_eq!(page.rows[0].0, "120210000000000123");
            assert_eq!(page.rows[0].1.get(), row);
        }
    }
}
