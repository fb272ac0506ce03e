//! Lists of Meta's: `data`, and the cursor of the next page. `paging.next` says only whether there is another page: the
//! URL in it can hold the token, so that the next page is asked for with its cursor, on our own URL.

use std::collections::HashSet;

use serde_json::value::RawValue;

use crate::authorization::Authorization;
use crate::client::MetaApi;
use crate::errors::Error;
use crate::json::Object;
use crate::patience::Patience;

/// What is wrong with an answer: the field, and the problem in words that follow its name.
pub(crate) type Problem = (String, String);

pub(crate) struct Page<'a> {
    pub(crate) rows: Vec<&'a RawValue>,
    /// The cursor of the next page; `None` on the last.
    pub(crate) after: Option<String>,
}

impl<'a> Page<'a> {
    pub(crate) fn parse(body: &'a str) -> Result<Page<'a>, Problem> {
        let problem = |field: &str, text: &str| (field.to_owned(), text.to_owned());
        let object = Object::parse(body).ok_or_else(|| problem("the answer", "is not a JSON object"))?;
        let rows = object.get("data").and_then(|raw| serde_json::from_str(raw.get()).ok());
        let rows = rows.ok_or_else(|| problem("data", "is missing or no list"))?;
        let paging = object.object("paging");
        let has_next = paging.as_ref().is_some_and(|paging| paging.get("next").is_some());
        let after = match paging.and_then(|paging| paging.object("cursors")?.text("after")) {
            _ if !has_next => None,
            Some(cursor) if !cursor.is_empty() => Some(cursor),
            _ => return Err(problem("paging.cursors.after", "is missing, though there is a next page")),
        };
        Ok(Page { rows, after })
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
    pub(crate) async fn read(&self, api: &MetaApi, patience: &mut Patience<'_>) -> Result<Vec<Box<RawValue>>, Error> {
        let about = patience.about.clone();
        let mut rows = Vec::new();
        let mut cursors = HashSet::new();
        let mut after: Option<String> = None;
        for page in 1..=self.max_pages {
            let mut query = vec![("fields", self.fields.to_owned()), ("limit", self.page_limit.to_string())];
            query.extend(after.map(|after| ("after", after)));
            let answer = api.ask(self.auth, self.path, &query, patience).await.map_err(|error| match error {
                Error::TooMuchData { about, refusal, .. } => {
                    Error::TooMuchData { about, page_limit: self.page_limit, refusal }
                }
                error => error,
            })?;
            let found = Page::parse(&answer.body).map_err(|(field, problem)| Error::Unreadable {
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
