//! Whose token is to be asked about, what came of it, and who is warned of an end.

use chrono::{DateTime, TimeDelta, Utc};
use events::TokenExpiring;
use sqlx::PgPool;
use uuid::Uuid;

use crate::token::{End, EndOf, KnownToken, Seal, THRESHOLDS_DAYS};

/// Once a day a token is asked about.
const EVERY: TimeDelta = TimeDelta::days(1);
/// How long after an attempt without an answer the next one is made; each time twice as long.
const FIRST_PAUSE: TimeDelta = TimeDelta::minutes(15);
/// Attempts a day: the last comes some eight hours after the first.
const MAX_ATTEMPTS: i32 = 6;
/// An end that moves away by more than this is another one.
const OTHER_END: TimeDelta = TimeDelta::days(1);

/// An integration whose token it is time to ask about. Whoever has it is the only one to ask.
#[derive(Debug, Clone)]
pub struct DueCheck {
    pub account_id: Uuid,
    pub integration_id: Uuid,
    attempts: i32,
    /// Which sealed text is asked about.
    nonce: Vec<u8>,
}

/// Takes the check that has been due for longest, of the connected integrations of Meta's; `None` when none is due.
///
/// The next attempt is put off before this one is made: of any number of processes one asks, and one that dies of it is
/// followed by another later the same day.
pub async fn take_due_check(pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<Option<DueCheck>> {
    let taken = sqlx::query!(
        r#"update integration_secrets s
         set check_attempts = case when s.check_attempts >= $3 then 1 else s.check_attempts + 1 end,
             next_check_at = $1::timestamptz + make_interval(
                 secs => $2 * case when s.check_attempts >= $3 then 1 else power(2, s.check_attempts) end)
         from (select d.account_id, d.integration_id
               from integration_secrets d
               join integrations i on i.account_id = d.account_id and i.id = d.integration_id
               where d.next_check_at <= $1 and i.status = 'connected' and i.source = 'meta'
               order by d.next_check_at limit 1 for update of d skip locked) due
         where s.account_id = due.account_id and s.integration_id = due.integration_id
         returning s.account_id, s.integration_id, s.check_attempts, s.nonce"#,
        now,
        FIRST_PAUSE.num_seconds() as f64,
        MAX_ATTEMPTS,
    )
    .fetch_optional(pool)
    .await?;
    Ok(taken.map(|row| DueCheck {
        account_id: row.account_id,
        integration_id: row.integration_id,
        attempts: row.check_attempts,
        nonce: row.nonce,
    }))
}

/// Meta answered: what is known of the token now, unless it was replaced meanwhile. The next check is tomorrow's. `None` leaves
/// what was known: whoever does not know the token's app is not told how long it lasts.
pub async fn checked(
    pool: &PgPool,
    due: &DueCheck,
    seal: &Seal,
    known: Option<&KnownToken>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let said = known.cloned().unwrap_or_default();
    let (expires_at, never_expires) = said.columns();
    sqlx::query!(
        "update integration_secrets
         set expires_at = case when $10 then $4 else expires_at end,
             never_expires = case when $10 then $5 else never_expires end,
             data_access_expires_at = case when $10 then $6 else data_access_expires_at end,
             app_id = case when $10 then $7 else app_id end,
             checked_at = $8, next_check_at = $9, check_problem = null
         where account_id = $1 and integration_id = $2 and nonce = $3",
        due.account_id,
        due.integration_id,
        seal.0,
        expires_at,
        never_expires,
        said.data_access_expires_at,
        said.app_id,
        now,
        now + EVERY,
        known.is_some(),
    )
    .execute(pool)
    .await
    .map(drop)
}

/// All that follows from an answer is done: from now on the token's end is worth a warning.
pub async fn check_done(pool: &PgPool, due: &DueCheck) -> sqlx::Result<()> {
    sqlx::query!(
        "update integration_secrets set check_attempts = 0 where account_id = $1 and integration_id = $2",
        due.account_id,
        due.integration_id,
    )
    .execute(pool)
    .await
    .map(drop)
}

/// There was no answer: why, and when it is tried again, which is tomorrow after the day's last attempt. `not_before`
/// is what Meta asked for.
pub async fn unanswered(
    pool: &PgPool,
    due: &DueCheck,
    why: &str,
    now: DateTime<Utc>,
    not_before: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    let tomorrow = (due.attempts >= MAX_ATTEMPTS).then(|| now + EVERY);
    sqlx::query!(
        "update integration_secrets
         set check_problem = $3, next_check_at = greatest(next_check_at, $4)
         where account_id = $1 and integration_id = $2 and nonce = $5",
        due.account_id,
        due.integration_id,
        why,
        tomorrow.max(not_before),
        due.nonce,
    )
    .execute(pool)
    .await
    .map(drop)
}

/// A warning that was written.
#[derive(Debug, Clone)]
pub struct Warned {
    pub external_id: String,
    pub threshold: i32,
    pub end: End,
}

/// Warns of each end that has come as near as a threshold: one event a threshold and token, in one transaction with the
/// mark that it was written. What is about to be asked about is left for afterwards: it may be prolonged, or known
/// better.
pub async fn warn_of_ends(pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<Vec<Warned>> {
    let near = sqlx::query!(
        r#"select s.account_id, s.integration_id, s.nonce, s.app_id, s.expires_at, s.never_expires, s.data_access_expires_at,
                s.warned_threshold, s.warned_end_at, a.id as ad_account_id, a.external_id, a.currency, a.timezone_name
         from integration_secrets s
         join integrations i on i.account_id = s.account_id and i.id = s.integration_id
         join ad_accounts a on a.account_id = i.account_id and a.id = i.ad_account_id
         where i.status = 'connected' and i.source = 'meta' and s.next_check_at > $1
           and (s.check_attempts = 0 or s.check_problem is not null)
           and least(s.expires_at, s.data_access_expires_at) <= $1::timestamptz + make_interval(days => $2)"#,
        now,
        THRESHOLDS_DAYS[0],
    )
    .fetch_all(pool)
    .await?;
    let mut warned = Vec::new();
    for row in near {
        let known = KnownToken::of_columns(row.app_id, row.expires_at, row.never_expires, row.data_access_expires_at);
        let Some(end) = known.end() else { continue };
        let before = row.warned_threshold.zip(row.warned_end_at);
        let Some(threshold) = due_warning(end, before, now) else { continue };
        let mut tx = pool.begin().await?;
        let marked = sqlx::query!(
            "update integration_secrets set warned_threshold = $4, warned_end_at = $5
             where account_id = $1 and integration_id = $2 and nonce = $3
               and warned_threshold is not distinct from $6 and warned_end_at is not distinct from $7",
            row.account_id,
            row.integration_id,
            row.nonce,
            threshold,
            end.at,
            row.warned_threshold,
            row.warned_end_at,
        )
        .execute(&mut *tx)
        .await?;
        if marked.rows_affected() == 0 {
            // Somebody else was as quick, or the token is another by now.
            continue;
        }
        let event = TokenExpiring {
            account_id: row.account_id,
            integration_id: row.integration_id,
            ad_account: events::AdAccount {
                id: row.ad_account_id,
                external_id: row.external_id.as_str().into(),
                currency: row.currency.as_str().into(),
                timezone_name: row.timezone_name.as_str().into(),
            },
            ends: match end.of {
                EndOf::Token => events::TokenEnd::Token,
                EndOf::DataAccess => events::TokenEnd::DataAccess,
            },
            expires_at: end.at,
            days_left: end.days_left(now),
            threshold,
        };
        let event = event.announce(Uuid::now_v7(), now).map_err(|error| sqlx::Error::Encode(error.into()))?;
        outbox::announce(&mut tx, row.account_id, &event).await?;
        tx.commit().await?;
        warned.push(Warned { external_id: row.external_id, threshold, end });
    }
    Ok(warned)
}

/// The threshold to warn of now, in days; of those that were passed while nobody looked only the nearest. `before` is
/// the last warning: its threshold, and the end that it was about.
fn due_warning(end: End, before: Option<(i32, DateTime<Utc>)>, now: DateTime<Utc>) -> Option<i32> {
    let threshold = end.threshold(now)?;
    let is_known = before.is_some_and(|(warned, of)| warned <= threshold && end.at - of < OTHER_END);
    (!is_known).then_some(threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_threshold_warns_once_and_of_another_end_afresh() {
        let now: DateTime<Utc> = "2026-11-25T12:00:00Z".parse().unwrap();
        let (in_days, of) = (|days| now + TimeDelta::days(days), EndOf::Token);
        for (days, before, due) in [
            (15, None, None),
            (14, None, Some(14)),
            (13, Some((14, 13)), None),
            (7, Some((14, 7)), Some(7)),
            (7, Some((7, 7)), None),
            // Nobody looked for a fortnight.
            (1, None, Some(1)),
            (1, Some((14, 1)), Some(1)),
            (0, Some((1, 0)), None),
            (-3, None, Some(1)),
            // It moved away, and comes near again.
            (13, Some((1, 1)), Some(14)),
            // It came nearer, or moved by hours.
            (6, Some((14, 13)), Some(7)),
            (5, Some((7, 5)), None),
        ] {
            let before = before.map(|(threshold, days)| (threshold, in_days(days)));
            assert_eq!(due_warning(End { at: in_days(days), of }, before, now), due, "{days} days, {before:?}");
        }
        let hours = now + TimeDelta::hours(20);
        assert_eq!(due_warning(End { at: hours, of }, Some((1, now)), now), None);
    }
}
