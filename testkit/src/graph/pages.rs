//! Lists, a page at a time.

use bytes::Bytes;

use super::ask::{self, Paging};
use super::counts::PageRead;
use super::percent;
use super::recorded::Recorded;
use super::refusal::Refusal;
use super::reports::{self, Readable, Report};
use super::row_set::{Rendered, RowSet};
use super::world::{AdAccount, World};

/// How a good answer is made worse.
#[derive(Default, Clone, Copy, PartialEq)]
pub(super) enum Twist {
    #[default]
    None,
    CursorLoop,
    RowsMoved,
}

/// What a page needs to know to lead to the next.
pub(super) struct Turn<'a> {
    pub(super) url: &'a str,
    pub(super) question: &'a Recorded,
    pub(super) token: &'a str,
    /// Its number, which chance goes by.
    pub(super) call: u64,
    pub(super) twist: Twist,
}

/// One ad account, with the fields that are asked for.
pub(super) fn ad_account(external_id: &str, account: &AdAccount, fields: &str) -> Result<String, Refusal> {
    // The id comes unasked.
    let fields = fields.split(',').filter(|field| !field.is_empty() && *field != "id");
    let mut members = Vec::new();
    for field in ["id"].into_iter().chain(fields) {
        let value = match field {
            "id" => format!(r#""{external_id}""#),
            "account_id" => format!(r#""{}""#, external_id.trim_start_matches("act_")),
            "name" => account.name.json().into(),
            "currency" if account.currency.is_empty() => continue,
            "currency" => format!(r#""{}""#, account.currency),
            "timezone_name" => format!(r#""{}""#, account.timezone_name.replace('/', "\\/")),
            "account_status" => account.account_status.to_string(),
            field => {
                let message = format!("Tried accessing nonexisting field ({field}) on node type (AdAccount)");
                return Err(Refusal::parameter(&message));
            }
        };
        members.push(format!(r#""{field}":{value}"#));
    }
    Ok(format!("{{{}}}", members.join(",")))
}

/// The answer about insights, and what it means for whoever counts.
pub(super) fn insights(
    world: &World,
    rendered: &mut Rendered,
    turn: &Turn<'_>,
) -> Result<(Bytes, Option<PageRead>), Refusal> {
    let external_id = turn.question.external_id();
    let (ask, paging) = ask::parse(turn.question.query.iter(), world)?;
    world.limits.check(world, external_id, (&ask, &paging))?;
    let rows = rendered.rows(world, external_id, &ask);
    let (body, is_last) = page(&rows, &paging, turn)?;
    let external_id = external_id.to_owned();
    Ok((body, Some(PageRead { external_id, ask, rows, limit: paging.limit, is_last, report: None })))
}

/// The wish for a report, with the parameters in the form or in the query.
pub(super) fn report_start(world: &mut World, turn: &Turn<'_>) -> Result<String, Refusal> {
    let question = turn.question;
    let (ask, _) = ask::parse(question.query.iter().chain(&question.form), world)?;
    let now = world.now().timestamp();
    let by_chance = world.faults.draw_fate(turn.call);
    Ok(world.reports.start(question.external_id(), ask, by_chance, now))
}

/// The rows of a report.
pub(super) fn report_rows(
    world: &mut World,
    rendered: &mut Rendered,
    turn: &Turn<'_>,
) -> Result<(Bytes, Option<PageRead>), Refusal> {
    let id = turn.question.external_id();
    let (_, paging) = list_parameters(turn)?;
    let readable = reports::read(&mut world.reports, id)?;
    let report = world.reports.get(id)?;
    let Report { external_id, ask, .. } = report;
    let rows = rendered.rows(world, external_id, ask);
    if readable == Readable::Half {
        let half: RowSet = (0..rows.len() / 2).map(|i| rows.row(i)).collect();
        return Ok((page(&half, &paging, turn)?.0, None));
    }
    let (body, is_last) = page(&rows, &paging, turn)?;
    let (external_id, ask) = (external_id.clone(), ask.clone());
    let report = Some((id.to_owned(), report.looks_needed()));
    Ok((body, Some(PageRead { external_id, ask, rows, limit: paging.limit, is_last, report })))
}

/// The answer about a list that hangs on the token; the rows are made for the fields that are asked for.
pub(super) fn list(turn: &Turn<'_>, rows: impl FnOnce(&str) -> Result<Vec<String>, Refusal>) -> Result<Bytes, Refusal> {
    let (fields, paging) = list_parameters(turn)?;
    Ok(page(&rows(fields)?.into_iter().collect(), &paging, turn)?.0)
}

/// The fields and the page that a list is asked for.
fn list_parameters<'a>(turn: &Turn<'a>) -> Result<(&'a str, Paging), Refusal> {
    let (mut fields, mut paging) = ("", Paging { limit: 25, after: None });
    for (key, value) in &turn.question.query {
        match key.as_str() {
            "fields" => fields = value,
            "limit" => paging.limit = ask::limit(value)?,
            "after" => paging.after = Some(value.clone()),
            "appsecret_proof" => {}
            key => return Err(Refusal::parameter(&format!("the fake Graph API does not know the parameter {key}"))),
        }
    }
    Ok((fields, paging))
}

/// A page, and whether it is the last one.
fn page(rows: &RowSet, paging: &Paging, turn: &Turn<'_>) -> Result<(Bytes, bool), Refusal> {
    let start = match &paging.after {
        None => 0,
        Some(after) => position(after).ok_or_else(|| Refusal::parameter("Invalid cursor in the parameter after"))?,
    };
    let shift = usize::from(turn.twist == Twist::RowsMoved);
    let first = start.saturating_sub(shift).min(rows.len());
    let end = (first + paging.limit).min(rows.len());
    if first >= end {
        return Ok((Bytes::from_static(br#"{"data":[]}"#), true));
    }
    let mut after = cursor(end);
    if let (Twist::CursorLoop, Some(came_with)) = (turn.twist, &paging.after) {
        after.clone_from(came_with);
    }
    let mut cursors = serde_json::json!({"cursors": {"before": cursor(first), "after": after}});
    let is_last = end == rows.len() && turn.twist != Twist::CursorLoop;
    if !is_last {
        cursors["next"] = next(turn, &after).into();
    }
    let (page, cursors) = (rows.slice(first, end), cursors.to_string());
    let body = [br#"{"data":["#.as_slice(), page, br#"],"paging":"#, cursors.as_bytes(), b"}"].concat();
    Ok((body.into(), is_last))
}

/// Opaque, and of the kind that changes when it is not encoded in a URL.
fn cursor(position: usize) -> String {
    format!("QVFI+{:x}/ZD==", position * 7919 + 104_729)
}

fn position(cursor: &str) -> Option<usize> {
    let number = usize::from_str_radix(cursor.strip_prefix("QVFI+")?.strip_suffix("/ZD==")?, 16).ok()?;
    let number = number.checked_sub(104_729)?;
    (number % 7919 == 0).then_some(number / 7919)
}

/// A full URL with the token in it, as Meta's is.
fn next(turn: &Turn<'_>, after: &str) -> String {
    let Turn { url, question, token, .. } = turn;
    let kept =
        question.query.iter().filter(|(key, _)| key != "after").map(|(key, value)| (key.as_str(), value.as_str()));
    let query: Vec<String> = [("access_token", *token)]
        .into_iter()
        .chain(kept)
        .chain([("after", after)])
        .map(|(key, value)| format!("{key}={}", percent(value)))
        .collect();
    format!("{url}{}?{}", question.path, query.join("&"))
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    #[test]
    fn pages_lead_on_by_cursor_and_by_a_url_with_the_token() {
        let day = NaiveDate::from_ymd_opt(2026, 11, 1).unwrap();
        let world = World::demo("a|b/c", "act_1", "UTC", "USD", day..=day, 12);
        let sent = world.totals("act_1", day, None).ads;
        let range = format!(r#"{{"since":"{day}","until":"{day}"}}"#);
        let mut query = vec![];
        for (key, value) in
            [("level", "ad"), ("time_increment", "1"), ("time_range", &range), ("fields", "ad_id"), ("limit", "5")]
        {
            query.push((key.to_owned(), value.to_owned()));
        }
        let mut ads = std::collections::BTreeSet::new();
        loop {
            let question = Recorded {
                method: "GET".into(),
                path: "/v25.0/act_1/insights".into(),
                query: query.clone(),
                form: vec![],
                authorization: None,
                token_in_url: false,
            };
            let turn = Turn { url: "http://here", question: &question, token: "a|b/c", call: 0, twist: Twist::None };
            let (page, _) = insights(&world, &mut Rendered::default(), &turn).unwrap();
            let page: serde_json::Value = serde_json::from_slice(&page).unwrap();
            ads.extend(page["data"].as_array().unwrap().iter().map(|row| row["ad_id"].as_str().unwrap().to_owned()));
            let Some(next) = page["paging"]["next"].as_str() else { break };
            assert!(next.starts_with("http://here/v25.0/act_1/insights?access_token=a%7Cb%2Fc&level=ad&"), "{next}");
            query.retain(|(key, _)| key != "after");
            query.push(("after".into(), page["paging"]["cursors"]["after"].as_str().unwrap().into()));
        }
        assert_eq!(ads.len(), sent);
        assert!(sent > 5);
    }
}
