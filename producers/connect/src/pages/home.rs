//! The status page of a tenant: its integrations, how fresh they are, and what needs a person.

use std::collections::HashMap;

use accounts::Tenant;
use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::days::{self, Span};
use super::freshness::{self, Freshness, Said};
use super::needs::{Need, needs};
use super::words::{Level, Moment, Now, count};
use super::{Page, heat, page, timeline};
use crate::access::session::Chosen;
use crate::problem::Problem;
use crate::web::Web;

/// Integrations that are shown at a time, each with its days.
const SHOWN: usize = 50;
const DAYS_SHOWN: u64 = 35;
/// Lines of what needs a person: whoever has more begins with these.
const MOST_NEEDS: usize = 50;

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    page: Page,
    tenant: Tenant,
    now: Moment,
    verdict: Said,
    needs: Vec<Line>,
    needs_left: usize,
    cards: Vec<Shown>,
    /// "1 – 50 of 120", where there are more than a page shows.
    part: Option<Part>,
    columns: Vec<heat::Column>,
    rows: Vec<heat::Row>,
}

/// A need with whose it is.
struct Line {
    href: String,
    reconnect_href: String,
    name: String,
    need: Need,
}

struct Part {
    words: String,
    before: Option<usize>,
    after: Option<usize>,
}

/// An integration as a card.
struct Shown {
    href: String,
    /// The worst of what the card says.
    level: Level,
    of: Freshness,
    status: Said,
    days: Said,
    token: Said,
    owed: Option<String>,
    fetched: Option<Moment>,
    newest_run: Option<NewestRun>,
}

struct NewestRun {
    job: &'static str,
    status: Said,
    at: Moment,
}

#[derive(Deserialize)]
pub(crate) struct From {
    /// The first integration to show, counted from zero.
    #[serde(default)]
    from: usize,
}

pub(crate) async fn home(
    State(web): State<Web>,
    chosen: Chosen,
    Query(From { from }): Query<From>,
) -> Result<Response, Problem> {
    let mut tx = chosen.session.scope().begin(&web.pool).await?;
    let tenant = accounts::tenant(&mut *tx, chosen.account_id).await?;
    let now = freshness::now(&mut tx, &tenant.timezone).await?;
    let all = freshness::read(&mut *tx, None).await?;

    let mut lines: Vec<Line> = all.iter().flat_map(|of| lines(of, &now)).collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.need.level));
    let needs_left = lines.len().saturating_sub(MOST_NEEDS);
    lines.truncate(MOST_NEEDS);

    let from = if from < all.len() { from } else { 0 };
    let shown: Vec<&Freshness> = all.iter().skip(from).take(SHOWN).collect();
    let (columns, rows) = heat_map(&mut tx, &shown, &now).await?;
    let newest = newest_runs(&mut tx, &shown, &now).await?;
    let of_tenant = Page::of_tenant(&web, &chosen, &tenant, "Status");
    page(&HomePage {
        page: of_tenant,
        now: now.moment(now.at),
        verdict: verdict(&all, &now),
        needs: lines,
        needs_left,
        part: part(from, shown.len(), all.len()),
        cards: cards(&shown, newest, &now),
        columns,
        rows,
        tenant,
    })
}

fn href(integration_id: Uuid) -> String {
    format!("/integrations/{integration_id}")
}

fn lines(of: &Freshness, now: &Now) -> Vec<Line> {
    let line = |need| Line {
        href: href(of.integration_id),
        reconnect_href: format!("/connect/meta?reconnect={}", of.integration_id),
        name: of.name.clone(),
        need,
    };
    needs(of, now).into_iter().map(line).collect()
}

fn cards(shown: &[&Freshness], mut newest: HashMap<Uuid, NewestRun>, now: &Now) -> Vec<Shown> {
    let card = |of: &&Freshness| {
        let (status, days, token) = (of.status_words(), of.days(now), of.token(now));
        let needed = needs(of, now).into_iter().map(|need| need.level).max();
        let level = [status.level, days.level, needed.unwrap_or(Level::Good)].into_iter().max();
        Shown {
            href: href(of.integration_id),
            level: level.unwrap_or(status.level),
            status,
            days,
            token,
            owed: (of.days_owed > 0).then(|| count(of.days_owed, "day owed", "days owed")),
            fetched: of.newest_fetched_at.map(|at| now.moment(at)),
            newest_run: newest.remove(&of.integration_id),
            of: (*of).clone(),
        }
    };
    shown.iter().map(card).collect()
}

/// Whether the data is good, in one sentence.
fn verdict(all: &[Freshness], now: &Now) -> Said {
    let fetched: Vec<&Freshness> = all.iter().filter(|of| of.status != "disconnected").collect();
    let fresh = fetched.iter().filter(|of| of.days(now).level == Level::Good).count();
    let (level, words) = match (fetched.len(), fresh) {
        (0, _) => (Level::Calm, "No ad account is fetched.".to_owned()),
        (1, 1) => (Level::Good, "Yesterday's numbers are in.".to_owned()),
        (1, _) => (Level::Warn, "Yesterday's numbers are not in yet.".to_owned()),
        (total, 0) => (Level::Bad, format!("None of {total} ad accounts has yesterday's numbers.")),
        (2, 2) => (Level::Good, "Both ad accounts have yesterday's numbers.".to_owned()),
        (total, fresh) if total == fresh => (Level::Good, format!("All {total} ad accounts have yesterday's numbers.")),
        (total, fresh) => (Level::Warn, format!("{fresh} of {total} ad accounts have yesterday's numbers.")),
    };
    Said { level, words }
}

fn part(from: usize, shown: usize, all: usize) -> Option<Part> {
    (shown < all).then(|| Part {
        words: format!("{} – {} of {all}", from + 1, from + shown),
        before: (from > 0).then(|| from.saturating_sub(SHOWN)),
        after: (from + shown < all).then_some(from + shown),
    })
}

async fn heat_map(
    conn: &mut PgConnection,
    shown: &[&Freshness],
    now: &Now,
) -> Result<(Vec<heat::Column>, Vec<heat::Row>), Problem> {
    let Some(until) = shown.iter().map(|of| now.yesterday(&of.timezone_name)).max() else {
        return Ok((Vec::new(), Vec::new()));
    };
    let span = Span::up_to(until, DAYS_SHOWN);
    let ad_accounts: Vec<Uuid> = shown.iter().map(|of| of.ad_account_id).collect();
    let known = days::read(conn, &ad_accounts, span).await?;
    let row = |of: &&Freshness| {
        let yesterday = now.yesterday(&of.timezone_name);
        let cell = |date| match known.get(&(of.ad_account_id, date)) {
            None if date > yesterday => heat::not_over(date),
            day => heat::cell(date, day),
        };
        heat::Row { href: href(of.integration_id), name: of.name.clone(), cells: span.days().map(cell).collect() }
    };
    Ok((heat::columns(span), shown.iter().map(row).collect()))
}

async fn newest_runs(
    conn: &mut PgConnection,
    shown: &[&Freshness],
    now: &Now,
) -> Result<HashMap<Uuid, NewestRun>, Problem> {
    let ids: Vec<Uuid> = shown.iter().map(|of| of.integration_id).collect();
    let rows = sqlx::query!(
        r#"select i.id as "integration_id!", r.job_type, r.status, coalesce(r.finished_at, r.requested_at) as "at!"
           from unnest($1::uuid[]) as i (id)
           cross join lateral (
               select job_type, status, finished_at, requested_at from sync_runs
               where account_id = web_account() and integration_id = i.id
               order by requested_at desc limit 1) r"#,
        &ids,
    );
    let rows = rows.fetch_all(conn).await?.into_iter();
    Ok(rows
        .map(|r| {
            let (job, status) = (timeline::job_words(&r.job_type), timeline::status_words(&r.status));
            (r.integration_id, NewestRun { job, status, at: now.moment(r.at) })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_counts_who_has_yesterday() {
        let (now, of) = (super::super::freshness::tests::now(), super::super::needs::tests::connected);
        let fresh = || Freshness { newest_day: "2026-11-24".parse().ok(), ..of() };
        let gone = || Freshness { status: "disconnected".into(), ..of() };
        for (all, level, words) in [
            (vec![fresh()], Level::Good, "Yesterday's numbers are in."),
            (vec![fresh(), gone()], Level::Good, "Yesterday's numbers are in."),
            (vec![of()], Level::Warn, "Yesterday's numbers are not in yet."),
            (vec![fresh(), fresh()], Level::Good, "Both ad accounts have yesterday's numbers."),
            (vec![fresh(), of()], Level::Warn, "1 of 2 ad accounts have yesterday's numbers."),
            (vec![of(), of()], Level::Bad, "None of 2 ad accounts has yesterday's numbers."),
            (vec![gone()], Level::Calm, "No ad account is fetched."),
        ] {
            assert_eq!(verdict(&all, &now), Said { level, words: words.to_owned() });
        }
    }

    #[test]
    fn a_page_of_many_integrations_leads_to_the_others() {
        for (from, shown, all, expected) in [
            (0, 50, 50, None),
            (0, 50, 120, Some(("1 – 50 of 120", None, Some(50)))),
            (50, 50, 120, Some(("51 – 100 of 120", Some(0), Some(100)))),
            (100, 20, 120, Some(("101 – 120 of 120", Some(50), None))),
        ] {
            let part = part(from, shown, all);
            assert_eq!(part.as_ref().map(|p| (p.words.as_str(), p.before, p.after)), expected);
        }
    }
}
