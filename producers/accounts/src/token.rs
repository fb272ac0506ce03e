//! The token of an integration: sealed, and what is known of it.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use sqlx::PgPool;
use uuid::Uuid;

use crate::integration::Integration;
use crate::key_ring::{KeyRing, Owner, SealError, Sealed};

/// When a token expires.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Expiry {
    /// Nobody said: Meta tells an app about its own tokens only.
    #[default]
    Unknown,
    /// Meta said that it does not, as of many tokens of system users.
    Never,
    At(DateTime<Utc>),
}

/// What is known of a token beside itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownToken {
    /// The Meta app that it was made for, where Meta said so.
    pub app_id: Option<String>,
    pub expiry: Expiry,
    /// From when on Meta gives no data to it, though it may be good otherwise.
    pub data_access_expires_at: Option<DateTime<Utc>>,
}

/// A token as it is kept.
#[derive(Debug)]
pub struct KeptToken {
    pub token: SecretString,
    /// The Meta app that it was made for, where that is known.
    pub app_id: Option<String>,
    /// Which sealed text it was opened from: who writes something down about it says so of this one and no other.
    pub seal: Seal,
}

/// One sealed text. A token that is replaced or sealed anew is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal(pub(crate) Vec<u8>);

/// What ends first, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub at: DateTime<Utc>,
    pub of: EndOf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOf {
    Token,
    /// Its access to data; the token may be good for longer.
    DataAccess,
}

/// How many days before an end somebody is warned, the earliest warning first.
pub const THRESHOLDS_DAYS: [i32; 3] = [14, 7, 1];

impl End {
    /// Days until then, begun ones as whole ones; 0 when it is over.
    pub fn days_left(&self, now: DateTime<Utc>) -> i64 {
        let day = TimeDelta::days(1).num_seconds();
        let seconds = (self.at - now).num_seconds().max(0);
        seconds / day + i64::from(seconds % day > 0)
    }

    /// The nearest threshold that has been reached, in days; `None` while the end is further away than the earliest.
    pub fn threshold(&self, now: DateTime<Utc>) -> Option<i32> {
        let left = self.days_left(now);
        THRESHOLDS_DAYS.into_iter().rev().find(|threshold| left <= i64::from(*threshold))
    }

    /// Who must do what, as long as somebody has to.
    pub fn warning(&self, now: DateTime<Utc>) -> Option<String> {
        self.threshold(now)?;
        let (days, date) = (self.days_left(now), self.at.format("%Y-%m-%d"));
        let days = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
        let over = self.at <= now;
        Some(match (self.of, over) {
            (EndOf::Token, false) => format!(
                "the token expires in {days}, on {date}: somebody with a role on the ad account connects it again before \
                 then, or a system user's token takes its place, which need not expire"
            ),
            (EndOf::Token, true) => {
                format!("the token expired on {date}: somebody with a role on the ad account connects it again")
            }
            (EndOf::DataAccess, false) => format!(
                "Meta ends the token's access to data in {days}, on {date}: the person it belongs to connects the ad account \
                 again before then"
            ),
            (EndOf::DataAccess, true) => format!(
                "Meta ended the token's access to data on {date}: the person it belongs to connects the ad account again"
            ),
        })
    }
}

impl KnownToken {
    /// What ends first, as far as it is known.
    pub fn end(&self) -> Option<End> {
        let token = match self.expiry {
            Expiry::At(at) => Some(End { at, of: EndOf::Token }),
            Expiry::Never | Expiry::Unknown => None,
        };
        let data = self.data_access_expires_at.map(|at| End { at, of: EndOf::DataAccess });
        token.into_iter().chain(data).min_by_key(|end| end.at)
    }

    /// How long it lasts, in words that follow "the token".
    pub fn words(&self, now: DateTime<Utc>) -> String {
        let Some(end) = self.end() else {
            return match self.expiry {
                Expiry::Never => "never expires".to_owned(),
                _ => "unknown: nobody here is told when it expires".to_owned(),
            };
        };
        let (days, date) = (end.days_left(now), end.at.format("%Y-%m-%d"));
        let days = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
        let again = if end.threshold(now).is_some() { ": connect again before then" } else { "" };
        match (end.of, end.at <= now) {
            (EndOf::Token, true) => format!("expired on {date}: connect again"),
            (EndOf::Token, false) => format!("expires in {days}, on {date}{again}"),
            (EndOf::DataAccess, true) => format!("has had no access to data since {date}: connect again"),
            (EndOf::DataAccess, false) => format!("loses its access to data in {days}, on {date}{again}"),
        }
    }

    pub(crate) fn columns(&self) -> (Option<DateTime<Utc>>, bool) {
        match self.expiry {
            Expiry::At(at) => (Some(at), false),
            Expiry::Never => (None, true),
            Expiry::Unknown => (None, false),
        }
    }

    pub(crate) fn of_columns(
        app_id: Option<String>,
        expires_at: Option<DateTime<Utc>>,
        never_expires: bool,
        data_access_expires_at: Option<DateTime<Utc>>,
    ) -> KnownToken {
        let expiry = match expires_at {
            Some(at) => Expiry::At(at),
            None if never_expires => Expiry::Never,
            None => Expiry::Unknown,
        };
        KnownToken { app_id, expiry, data_access_expires_at }
    }
}

/// The integration's token; `None` when it has none.
pub async fn token(
    pool: &PgPool,
    keys: &KeyRing,
    integration: &Integration,
) -> sqlx::Result<Option<Result<KeptToken, SealError>>> {
    let row = sqlx::query!(
        "select kid, nonce, ciphertext, app_id from integration_secrets where account_id = $1 and integration_id = $2",
        integration.account_id,
        integration.id,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| {
        let sealed = Sealed { kid: row.kid, nonce: row.nonce, ciphertext: row.ciphertext };
        let token = keys.open(&integration.owner(), &sealed)?;
        Ok(KeptToken { token, app_id: row.app_id, seal: Seal(sealed.nonce) })
    }))
}

/// What is known of an integration's token, and of the asking.
#[derive(Debug, Clone)]
pub struct TokenStanding {
    pub known: KnownToken,
    /// When Meta was last asked about it and answered.
    pub checked_at: Option<DateTime<Utc>>,
    /// Why it has not answered since.
    pub check_problem: Option<String>,
}

/// How an integration's token stands; `None` when it has none.
pub async fn token_standing(
    pool: &PgPool,
    account_id: Uuid,
    integration_id: Uuid,
) -> sqlx::Result<Option<TokenStanding>> {
    let row = sqlx::query!(
        "select app_id, expires_at, never_expires, data_access_expires_at, checked_at, check_problem
         from integration_secrets where account_id = $1 and integration_id = $2",
        account_id,
        integration_id,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| TokenStanding {
        known: KnownToken::of_columns(row.app_id, row.expires_at, row.never_expires, row.data_access_expires_at),
        checked_at: row.checked_at,
        check_problem: row.check_problem,
    }))
}

/// Puts a longer-lived token in the place of the one that it came from; `false` where that one is no longer the
/// integration's, because somebody connected it again meanwhile, or was as quick: then nothing changes.
pub async fn replace_token(
    pool: &PgPool,
    keys: &KeyRing,
    integration: &Integration,
    old: &Seal,
    token: &SecretString,
    known: &KnownToken,
) -> Result<bool, ReplaceError> {
    let sealed = keys.seal(&integration.owner(), token)?;
    let (expires_at, never_expires) = known.columns();
    let replaced = sqlx::query!(
        "update integration_secrets
         set kid = $4, nonce = $5, ciphertext = $6, expires_at = $7, never_expires = $8, data_access_expires_at = $9,
             app_id = $10, warned_threshold = null, warned_end_at = null
         where account_id = $1 and integration_id = $2 and nonce = $3",
        integration.account_id,
        integration.id,
        old.0,
        sealed.kid,
        sealed.nonce,
        sealed.ciphertext,
        expires_at,
        never_expires,
        known.data_access_expires_at,
        known.app_id,
    )
    .execute(pool)
    .await?;
    Ok(replaced.rows_affected() == 1)
}

/// Why a token was not replaced. The one that was there still is.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("PostgreSQL did not do it, and nothing is half-written")]
    Database(#[from] sqlx::Error),
}

impl Integration {
    pub(crate) fn owner(&self) -> Owner<'_> {
        Owner { account_id: self.account_id, holder_id: self.id, about: &self.external_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn thresholds_are_reached_to_the_second() {
        let now = at("2026-11-25T12:00:00Z");
        for (seconds, days_left, threshold) in [
            (-1, 0, Some(1)),
            (0, 0, Some(1)),
            (1, 1, Some(1)),
            (86_400, 1, Some(1)),
            (86_401, 2, Some(7)),
            (7 * 86_400, 7, Some(7)),
            (7 * 86_400 + 1, 8, Some(14)),
            (14 * 86_400, 14, Some(14)),
            (14 * 86_400 + 1, 15, None),
            (60 * 86_400, 60, None),
        ] {
            let end = End { at: now + TimeDelta::seconds(seconds), of: EndOf::Token };
            assert_eq!((end.days_left(now), end.threshold(now)), (days_left, threshold), "{seconds} s");
            assert_eq!(end.warning(now).is_some(), threshold.is_some(), "{seconds} s");
        }
    }

    #[test]
    fn a_token_says_how_long_it_lasts() {
        let now = at("2026-11-25T12:00:00Z");
        let (soon, late) = (at("2026-12-01T12:00:00Z"), at("2027-01-20T12:00:00Z"));
        for (expiry, data_access, words) in [
            (Expiry::Unknown, None, "unknown: nobody here is told when it expires"),
            (Expiry::Never, None, "never expires"),
            (Expiry::At(soon), None, "expires in 6 days, on 2026-12-01: connect again before then"),
            (Expiry::At(late), None, "expires in 56 days, on 2027-01-20"),
            (Expiry::At(now), None, "expired on 2026-11-25: connect again"),
            (Expiry::At(soon), Some(late), "expires in 6 days, on 2026-12-01: connect again before then"),
            (
                Expiry::At(late),
                Some(soon),
                "loses its access to data in 6 days, on 2026-12-01: connect again before then",
            ),
            (Expiry::Never, Some(now), "has had no access to data since 2026-11-25: connect again"),
        ] {
            let known = KnownToken { app_id: None, expiry, data_access_expires_at: data_access };
            assert_eq!(known.words(now), words);
        }
    }

    #[test]
    fn a_warning_says_who_must_do_what() {
        let now = at("2026-11-25T12:00:00Z");
        for (end, of, said) in [
            (
                "2026-11-26T12:00:00Z",
                EndOf::Token,
                "expires in 1 day, on 2026-11-26: somebody with a role on the ad account",
            ),
            ("2026-11-24T12:00:00Z", EndOf::Token, "expired on 2026-11-24: somebody with a role"),
            ("2026-12-01T12:00:00Z", EndOf::DataAccess, "in 6 days, on 2026-12-01: the person it belongs to connects"),
            ("2026-11-24T12:00:00Z", EndOf::DataAccess, "ended the token's access to data on 2026-11-24: the person"),
        ] {
            let warning = End { at: at(end), of }.warning(now).unwrap();
            assert!(warning.contains(said), "{warning}");
        }
    }
}
