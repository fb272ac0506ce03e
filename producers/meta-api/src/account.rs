use crate::client::{MetaApi, authorize};
use crate::errors::Error;
use crate::insights::Access;
use crate::json::Object;

/// An ad account as Meta knows it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdAccount {
    /// `act_…`, the one that was asked for.
    pub external_id: String,
    /// The id where Meta leaves the name out. Characters that PostgreSQL refuses are U+FFFD.
    pub name: String,
    /// ISO 4217.
    pub currency: String,
    /// IANA name.
    pub timezone_name: String,
    /// 1 active, 2 disabled, 3 unsettled, 7 risk review, 8 pending settlement, 9 grace period, 100 pending closure,
    /// 101 closed. `None` where Meta leaves it out.
    pub account_status: Option<i64>,
}

impl AdAccount {
    pub(crate) const FIELDS: &str = "id,account_id,name,currency,timezone_name,account_status";

    /// The account in an answer; else the field that spoils it, and what is wrong in words that follow its name.
    pub(crate) fn read(object: &Object<'_>, external_id: &str) -> Result<AdAccount, (&'static str, String)> {
        let text = |field| {
            let found = object.text(field).filter(|text| !text.is_empty());
            found.ok_or_else(|| (field, "is missing or no text".to_owned()))
        };
        if let Ok(id) = text("id")
            && id != external_id
        {
            return Err(("id", format!("is {id:?}, not the one asked for")));
        }
        Ok(AdAccount {
            external_id: external_id.into(),
            name: text("name").unwrap_or_else(|_| external_id.into()),
            currency: text("currency")?,
            timezone_name: text("timezone_name")?,
            account_status: object.integer("account_status"),
        })
    }
}

impl MetaApi {
    /// Reads one ad account: whether the token reaches it, and its currency and time zone.
    pub async fn ad_account(&self, access: &Access<'_>) -> Result<AdAccount, Error> {
        let external_id = access.external_id;
        let about = format!("ad account {external_id}");
        let auth = authorize(access.token, external_id, &about)?;
        let mut patience = self.patience(about.clone(), access.observer).behind(access.gate);
        let query = [("fields", AdAccount::FIELDS.to_owned())];
        let answer = self.ask(&auth, external_id, &query, &mut patience).await?;

        let unreadable = |(field, problem): (&str, String)| Error::Unreadable {
            about: about.clone(),
            field: field.into(),
            problem: auth.clean(&problem),
        };
        let text = answer.text();
        let object =
            Object::parse(&text.text).ok_or_else(|| unreadable(("the answer", "is not a JSON object".into())))?;
        AdAccount::read(&object, external_id).map_err(unreadable)
    }
}
