use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    pub id: Uuid,
    pub name: String,
    /// ISO 4217; every sum of the tenant's is in it.
    pub currency: String,
    /// IANA name, for showing times; days are those of each ad account.
    pub timezone: String,
}

#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    #[error("the name is empty: give the tenant a name with --name")]
    NoName,
    #[error(
        "the name is longer than {MAX_NAME_CHARS} characters or holds a control character: give the tenant a plain one"
    )]
    Name,
    #[error("{value:?} is no currency code: write three capital letters, such as USD (ISO 4217)")]
    Currency { value: String },
    #[error("{value:?} is no time zone: write an IANA name, such as Europe/Berlin or America/New_York")]
    Timezone { value: String },
    #[error("account {id} does not exist: `adledger account create` makes one and prints its id")]
    Unknown { id: Uuid },
    #[error("PostgreSQL did not do it, and nothing is half-written: see why, and repeat the command")]
    Database(#[from] sqlx::Error),
}

const MAX_NAME_CHARS: usize = 200;

/// Three capital letters; which codes exist is for Meta to say.
pub fn check_currency(value: &str) -> Result<(), TenantError> {
    let is_code = value.len() == 3 && value.bytes().all(|b| b.is_ascii_uppercase());
    if is_code { Ok(()) } else { Err(TenantError::Currency { value: value.to_owned() }) }
}

pub fn check_timezone(value: &str) -> Result<(), TenantError> {
    let known = value.parse::<chrono_tz::Tz>();
    known.map(drop).map_err(|_| TenantError::Timezone { value: value.to_owned() })
}

/// Makes a tenant of that id.
pub async fn create_account(
    db: impl PgExecutor<'_>,
    id: Uuid,
    name: &str,
    currency: &str,
    timezone: &str,
) -> Result<(), TenantError> {
    let name = name.trim();
    if name.is_empty() {
        return Err(TenantError::NoName);
    }
    if name.chars().count() > MAX_NAME_CHARS || name.contains(char::is_control) {
        return Err(TenantError::Name);
    }
    check_currency(currency)?;
    check_timezone(timezone)?;
    sqlx::query!(
        "insert into accounts (id, name, currency, timezone) values ($1, $2, $3, $4)",
        id,
        name,
        currency,
        timezone
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Who the ids of tenants and of ad accounts are.
#[derive(Debug)]
pub struct Names {
    pub tenants: Vec<(Uuid, String)>,
    /// Meta's ids, `act_…`.
    pub ad_accounts: Vec<(Uuid, String)>,
}

/// Every tenant's name, and Meta's id of every ad account.
pub async fn names(pool: &PgPool) -> sqlx::Result<Names> {
    let tenants = sqlx::query!("select id, name from accounts").fetch_all(pool).await?;
    let ad_accounts = sqlx::query!("select id, external_id from ad_accounts").fetch_all(pool).await?;
    Ok(Names {
        tenants: tenants.into_iter().map(|row| (row.id, row.name)).collect(),
        ad_accounts: ad_accounts.into_iter().map(|row| (row.id, row.external_id)).collect(),
    })
}

/// A tenant by its id.
pub async fn tenant(db: impl PgExecutor<'_>, id: Uuid) -> Result<Tenant, TenantError> {
    let found = sqlx::query_as!(Tenant, "select id, name, currency, timezone from accounts where id = $1", id);
    found.fetch_optional(db).await?.ok_or(TenantError::Unknown { id })
}
