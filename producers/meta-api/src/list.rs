//! Lists of Meta's: `data`, and the cursor of the next page. `paging.next` says only whether there is another page: the
//! URL in it can hold the token, so that the next page is asked for with its cursor, on our own URL.

use std::collections::HashSet;

use crate::authorization::Authorization;
use crate::client::MetaApi;
use crate::errors::Error;
use crate::json::Object;
use crate::patience::Patience;
use crate::transport::Answer;

/// What is wrong with an answer: the field, and the problem in words that follow its name.
pub(crate) type Problem = (String, String);

pub(crate) struct Page<'a> {
    /// The JSON of each entry.
    pub(crate) rows: Vec<&'a str>,
    /// The cursor of the next page; `None` on the last.
    pub(crate) after: Option<String>,
}

impl<'a> Page<'a> {
    /// Reads an answer, given its text.
    pub(crate) fn read(answer: &Answer, text: &'a str) -> Result<Page<'a>, Problem> {
        let problem = |field: &str, text: &str| (field.to_owned(), text.to_owned());
        let Some(entries) = &answer.entries else {
            let is_object = Object::parse(text).is_some();
            let problems = [("the answer", "is not a JSON object"), ("data", "is missing or no list")];
            let (field, said) = problems[usize::from(is_object)];
            return Err(problem(field, said));
        };
        // What is beside the entries is short, and mostly behind them.
        let (first, last) = (entries.first().map_or(0, |e| e.start), entries.last().map_or(0, |e| e.end));
        let around = format!("{}{}", &text[..first], &text[last..]);
        let around = Object::parse(&around).ok_or_else(|| problem("the answer", "has a key that cannot be read"))?;
        // Rows would be lost behind a word about the next page that is not understood.
        let paging = around.get("paging").map(|paging| {
            let paging = Object::parse(paging.get()).ok_or_else(|| problem("paging", "is not a JSON object"))?;
            let after = paging.object("cursors").and_then(|cursors| cursors.text("after"));
            Ok::<_, Problem>((paging.get("next").is_some(), after))
        });
        let paging = paging.transpose()?;
        let after = match paging {
            None | Some((false, _)) => None,
            Some((true, Some(cursor))) if !cursor.is_empty() => Some(cursor),
            Some((true, _)) => return Err(problem("paging.cursors.after", "is missing, though there is a next page")),
        };
        Ok(Page { rows: entries.iter().map(|entry| &text[entry.clone()]).collect(), after })
    }
}

/// A list that is read to its end.
pub(crate) struct List<'a> {
    pub(crate) auth: &'a Authorization,
    pub(crate) path: &'a str,
    pub(crate) fields: &'a str,
    pub(crate) page_limit: u32,
    pub(crate) max_pages: u32,
}

impl List<'_> {
    /// Every row of every page, in Meta's order.
    pub(crate) async fn read(&self, api: &MetaApi, patience: &mut Patience<'_>) -> Result<Vec<String>, Error> {
        let about = patience.about.clone();
        let mut rows = Vec::new();
        let mut cursors = HashSet::new();
        let mut after: Option<String> = None;
        for page in 1..=self.max_pages {
            let mut query = vec![("fields", self.fields.to_owned()), ("limit", self.page_limit.to_string())];
            query.extend(after.map(|after| ("after", after)));
            let answer = api.ask(self.auth, self.path, &query, patience).await.map_err(|error| match error {
                Error::TooMuchData { about, refusal, .. } => {
                    Error::TooMuchData { about, page_limit: Some(self.page_limit), refusal }
                }
                error => error,
            })?;
            let text = answer.text();
            let found = Page::read(&answer, &text.text).map_err(|(field, problem)| Error::Unreadable {
                about: about.clone(),
                field: self.auth.clean(&field),
                problem: self.auth.clean(&problem),
            })?;
            rows.extend(found.rows.into_iter().map(ToOwned::to_owned));
            after = match found.after {
                None => return Ok(rows),
                Some(cursor) if !cursors.insert(cursor.clone()) => return Err(Error::PagingLoop { about, page }),
                cursor => cursor,
            };
        }
        Err(Error::TooManyPages { about, max_pages: self.max_pages, page_limit: self.page_limit })
    }
}
