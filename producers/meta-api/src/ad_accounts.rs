use std::collections::HashSet;

use crate::account::AdAccount;
use crate::authorization::Authorization;
use crate::client::{MetaApi, check_ad_account_id};
use crate::errors::Error;
use crate::json::Object;
use crate::list::List;
use crate::patience::{Observer, Progress};
use crate::proof::AccessToken;

/// Ad accounts a page, and what is asked for where Meta finds that too much; 25 is what Meta takes itself.
const PAGE_LIMITS: [u32; 2] = [100, 25];
/// Ten thousand ad accounts: more than anybody picks from.
const MAX_PAGES: u32 = 100;

impl MetaApi {
    /// The ad accounts that the token's user may see, each once, in Meta's order.
    ///
    /// One that cannot be connected for what Meta says of it (no currency, no time zone, no sound id) is left out, and
    /// told as [`Progress::LeftOut`] and in the log: the others are good. An entry that moves between two pages comes
    /// once; one that moves out of sight is missing until somebody asks again.
    pub async fn ad_accounts(&self, token: &AccessToken, observer: Observer<'_>) -> Result<Vec<AdAccount>, Error> {
        let about = "the token's ad accounts";
        let auth = Authorization::new(token, about)?;
        let mut patience = self.short_patience(about.into(), observer);
        let mut limits = PAGE_LIMITS.into_iter();
        let rows = loop {
            let page_limit = limits.next().unwrap_or(PAGE_LIMITS[1]).min(self.config.page_limit.max(1));
            let list = List {
                auth: &auth,
                path: "me/adaccounts",
                fields: AdAccount::FIELDS,
                page_limit,
                max_pages: self.config.max_pages.min(MAX_PAGES),
            };
            match list.read(self, &mut patience).await {
                Ok(rows) => break rows,
                // Cursors belong to a page size, so the list starts over.
                Err(Error::TooMuchData { .. }) if limits.len() > 0 => {}
                Err(error) => return Err(error),
            }
        };

        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        for row in &rows {
            match read(row) {
                Ok(ad_account) if !seen.insert(ad_account.external_id.clone()) => {}
                Ok(ad_account) => found.push(ad_account),
                Err((entry, reason)) => {
                    let (entry, reason) = (auth.clean(&entry), auth.clean(&reason));
                    tracing::warn!(entry, reason, "an ad account is left out");
                    observer(Progress::LeftOut { entry, reason });
                }
            }
        }
        Ok(found)
    }
}

/// The ad account of a row; else its id, or what stands in its place, and what is wrong.
fn read(row: &str) -> Result<AdAccount, (String, String)> {
    let nameless = |problem: &str| ("an ad account".to_owned(), problem.to_owned());
    let object = Object::parse(row).ok_or_else(|| nameless("is not a JSON object"))?;
    let external_id = object.text("id").ok_or_else(|| nameless("has no id"))?;
    check_ad_account_id(&external_id).map_err(|error| (external_id.clone(), error.to_string()))?;
    AdAccount::read(&object, &external_id)
        .map_err(|(field, problem)| (external_id.clone(), format!("{field} {problem}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_row_is_named_with_its_id() {
        for (row, entry, reason) in [
            ("7", "an ad account", "is not a JSON object"),
            (r#"{"currency":"EUR"}"#, "an ad account", "has no id"),
            (r#"{"id":"act_1/../me"}"#, "act_1/../me", "is not the id of a Meta ad account"),
            (r#"{"id":"1"}"#, "1", "is not the id of a Meta ad account"),
            (r#"{"id":"act_1","timezone_name":"UTC"}"#, "act_1", "currency is missing"),
            (r#"{"id":"act_1","timezone_name":"UTC","currency":null}"#, "act_1", "currency is missing"),
            (r#"{"id":"act_1","timezone_name":"","currency":"EUR"}"#, "act_1", "timezone_name is missing"),
            (r#"{"id":"act_1","timezone_name":[],"currency":"EUR"}"#, "act_1", "timezone_name is missing"),
        ] {
            let (found, text) = read(row).unwrap_err();
            assert_eq!(found, entry, "{row}");
            assert!(text.contains(reason), "{row}: {text}");
        }
    }
}
