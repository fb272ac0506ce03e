//! The rows of `daily_summary`, one a day.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::PgExecutor;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::access::caller::Caller;
use crate::asked::Query;
use crate::past::{PastDay, PastError};
use crate::problem::Problem;
use crate::web::Web;

/// Three years, and some.
const MAX_DAYS: i64 = 1_100;
/// Of the past, which is folded for each question.
const MAX_PAST_DAYS: i64 = 366;
/// How soon to ask again for what could not be folded.
const RETRY_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Range {
    /// The tenant. It is the credential's anyway; another one is not found.
    account_id: Option<Uuid>,
    /// The first day.
    #[param(example = "2026-11-01")]
    since: NaiveDate,
    /// The last day; at most 1,100 days in all.
    #[param(example = "2026-11-30")]
    until: NaiveDate,
    /// The summary as it was known at an instant, RFC 3339 (a `+` in it as `%2B`), or at the first moment of a date in UTC:
    /// by the answers that had been fetched by then, and today's purchase rules. At most 366 days then; the columns of other sources are null.
    #[param(example = "2026-11-20T06:00:00Z")]
    as_of: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DailySummary {
    account_id: Uuid,
    /// ISO 4217; all money is in it.
    currency: String,
    since: NaiveDate,
    until: NaiveDate,
    /// Where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<DateTime<Utc>>,
    /// In the order of dates. A day that was never fetched has no row.
    rows: Vec<Day>,
}

/// A row of the table `daily_summary`. Null is what nobody said, which is not zero; decimals are exact, as text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Day {
    date: NaiveDate,
    #[schema(example = "416.87")]
    meta_spend: Option<String>,
    meta_impressions: Option<i64>,
    meta_clicks: Option<i64>,
    #[schema(example = "13")]
    meta_purchases: Option<String>,
    #[schema(example = "870.37")]
    meta_purchase_value: Option<String>,
    #[schema(example = "2.0879")]
    meta_roas: Option<String>,
    shopify_orders: Option<i64>,
    shopify_revenue: Option<String>,
    updated_at: Option<DateTime<Utc>>,
}

/// Read the daily summary
///
/// The answer has a strong `ETag`; sent back as `If-None-Match`, it is answered with 304 until something in the rows
/// changes: a number, or `updated_at`, which a newer answer of Meta's moves.
#[utoipa::path(
    get, path = "/api/daily-summary", operation_id = "get_daily_summary", tag = "results",
    params(Range, ("If-None-Match" = Option<String>, Header, description = "The `ETag` of the answer that is there")),
    security(("api_token" = []), ("session" = [])),
    responses(
        (status = 200, description = "The rows", body = DailySummary, headers(("ETag" = String, description = "Of the content")),
         example = json!({
            "account_id": "0192f0c0-1111-7abc-8def-0123456789ab", "currency": "EUR", "since": "2026-11-13", "until": "2026-11-13",
            "rows": [{
                "date": "2026-11-13", "meta_spend": "416.87", "meta_impressions": 45281, "meta_clicks": 724,
                "meta_purchases": "13", "meta_purchase_value": "870.37", "meta_roas": "2.0879",
                "shopify_orders": null, "shopify_revenue": null, "updated_at": "2026-11-14T06:00:09Z",
            }],
        })),
        (status = 304, description = "Nothing has changed"),
        (status = 400, description = "A date or time cannot be read, the range is backwards or too long, or `as_of` has not been yet"),
        (status = 404, description = "The account is not the credential's"),
        (status = 409, description = "A session that has chosen no tenant"),
        (status = 500, description = "`as_of` was asked for, and an event of the range is lost: for the operator"),
        (status = 503, description = "`as_of` was asked for, and the past cannot be folded now"),
    ),
)]
pub(crate) async fn daily_summary(
    State(web): State<Web>,
    caller: Caller,
    headers: HeaderMap,
    Query(range): Query<Range>,
) -> Result<Response, Problem> {
    check(&range)?;
    let as_of = range.as_of.as_deref().map(instant).transpose()?;
    if range.account_id.is_some_and(|wanted| wanted != caller.account_id) {
        return Err(Problem::not_found(
            "the credential is of another tenant than account_id: leave account_id out, or send a token of that tenant's",
        ));
    }
    let mut tx = caller.scope.begin(&web.pool).await?;
    let tenant = accounts::tenant(&mut *tx, caller.account_id).await?;
    let rows = match as_of {
        None => {
            let rows = known_now(&mut *tx, caller.account_id, &range).await?;
            tx.commit().await?;
            rows
        }
        Some(at) => {
            let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(&mut *tx).await?;
            tx.commit().await?;
            if at > now {
                return Err(Problem::bad_request(format!("as_of {at} has not been yet")));
            }
            known_at(&web, caller.account_id, &range, at).await?
        }
    };
    let (account_id, currency) = (tenant.id, tenant.currency);
    let Range { since, until, .. } = range;
    // A browser keeps nothing of it: its next visitor may be another person.
    let caching = if caller.scope.session_sha256.is_some() { "no-store" } else { "private, no-cache" };
    answer(&headers, caching, &DailySummary { account_id, currency, since, until, as_of, rows })
}

async fn known_now(db: impl PgExecutor<'_>, account_id: Uuid, range: &Range) -> sqlx::Result<Vec<Day>> {
    sqlx::query_as!(
        Day,
        "select date, meta_spend::text, meta_impressions, meta_clicks, meta_purchases::text, meta_purchase_value::text,
                meta_roas::text, shopify_orders, shopify_revenue::text, updated_at
         from daily_summary where account_id = $1 and date between $2 and $3 order by date",
        account_id,
        range.since,
        range.until,
    )
    .fetch_all(db)
    .await
}

async fn known_at(web: &Web, account_id: Uuid, range: &Range, at: DateTime<Utc>) -> Result<Vec<Day>, Problem> {
    let unavailable = |detail: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER);
    let past = web.past.as_ref().ok_or_else(|| unavailable("nobody here knows the past".to_owned()))?;
    let days = past.summary(account_id, range.since, range.until, at).await.map_err(|error| {
        tracing::warn!(%error, "the past is not answered");
        match error {
            PastError::Busy => unavailable(format!("{error}: ask again in a moment")),
            PastError::Failed(_) => unavailable("the past could not be folded: ask again in a moment".to_owned()),
            PastError::Incomplete(reason) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, reason),
        }
    })?;
    let day = |day: PastDay| Day {
        date: day.date,
        meta_spend: day.meta_spend,
        meta_impressions: day.meta_impressions,
        meta_clicks: day.meta_clicks,
        meta_purchases: day.meta_purchases,
        meta_purchase_value: day.meta_purchase_value,
        meta_roas: day.meta_roas,
        shopify_orders: None,
        shopify_revenue: None,
        updated_at: day.updated_at,
    };
    Ok(days.into_iter().map(day).collect())
}

/// An instant as the command line takes it.
fn instant(text: &str) -> Result<DateTime<Utc>, Problem> {
    let at = DateTime::parse_from_rfc3339(text).map(|at| at.to_utc());
    let day = || text.parse::<NaiveDate>().map(|date| date.and_time(NaiveTime::MIN).and_utc());
    at.or_else(|_| day()).map_err(|_| {
        Problem::bad_request(format!(
            "as_of {text:?} is no time: write 2026-11-20T06:00:00Z or a date; a + in a time travels as %2B"
        ))
    })
}

fn check(range: &Range) -> Result<(), Problem> {
    let Range { since, until, as_of, .. } = range;
    // What is no year of anybody's data is also more than PostgreSQL's dates hold.
    if let Some(date) = [since, until].into_iter().find(|date| !(1..=9999).contains(&date.year())) {
        return Err(Problem::bad_request(format!("{date} is no day that there are results of: write YYYY-MM-DD")));
    }
    if since > until {
        return Err(Problem::bad_request(format!("since {since} is after until {until}: give the earlier day first")));
    }
    let days = (*until - *since).num_days() + 1;
    let most = if as_of.is_some() { MAX_PAST_DAYS } else { MAX_DAYS };
    if days > most {
        return Err(Problem::bad_request(format!("{since} to {until} is {days} days: ask for {most} at most")));
    }
    Ok(())
}

/// The document with its tag, or that it is the one that the caller has.
fn answer(headers: &HeaderMap, caching: &'static str, summary: &DailySummary) -> Result<Response, Problem> {
    let unwritable = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written: report it");
    let body = serde_json::to_vec(summary).map_err(unwritable)?;
    let hash = Sha256::digest(&body);
    let tag = hash[..16].iter().fold(String::from("\""), |tag, byte| format!("{tag}{byte:02x}")) + "\"";
    let kept = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_kept = has_tag(kept, &tag);
    let tag = HeaderValue::from_str(&tag).map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer's tag could not be written: report it")
    })?;
    let said = [(header::ETAG, tag), (header::CACHE_CONTROL, HeaderValue::from_static(caching))];
    if is_kept {
        return Ok((StatusCode::NOT_MODIFIED, said).into_response());
    }
    Ok((said, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Whether one of the tags of `If-None-Match` is this one. A proxy may have weakened it on the way, which does not
/// matter here.
fn has_tag<'a>(mut lists: impl Iterator<Item = &'a str>, tag: &str) -> bool {
    lists.any(|list| {
        list.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_any_list() {
        for (lists, found) in [
            (&["\"a\""][..], true),
            (&["W/\"a\""], true),
            (&["\"b\", W/\"a\""], true),
            (&["\"b\"", "\"a\""], true),
            (&["*"], true),
            (&["\"b\""], false),
            (&["a"], false),
            (&[], false),
        ] {
            assert_eq!(has_tag(lists.iter().copied(), "\"a\""), found, "{lists:?}");
        }
    }

    #[test]
    fn a_range_has_an_order_a_length_and_real_years() {
        let day = |text: &str| text.parse().unwrap();
        for (since, until, refused) in [
            ("2026-11-01", "2026-11-01", None),
            ("2023-01-01", "2026-01-04", None),
            ("2023-01-01", "2026-01-05", Some("is 1101 days")),
            ("2026-11-02", "2026-11-01", Some("after until")),
            ("+12026-11-02", "+12026-11-02", Some("no day")),
            ("-0001-01-01", "0001-01-01", Some("no day")),
        ] {
            let range = Range { account_id: None, since: day(since), until: day(until), as_of: None };
            let said = check(&range).err().map(|problem| problem.detail);
            match (&said, refused) {
                (None, None) => {}
                (Some(said), Some(refused)) => assert!(said.contains(refused), "{said}"),
                _ => panic!("{since} {until}: {said:?}"),
            }
        }
    }
}
