//! One integration: how it stands, its runs, its days, its numbers.

use accounts::Tenant;
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::Days;
use rust_decimal::Decimal;
use serde::Deserialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::amount::{amount, number, percent, ratio};
use super::card::{self, Card};
use super::days::{self, Figures, Span};
use super::freshness::{self, Freshness, Said};
use super::needs::{Need, needs};
use super::plot::{Plot, PlotDay, plot};
use super::settlement::{self as maturing, Settling, settling};
use super::timeline::{self, Shown};
use super::words::{Moment, count, day};
use super::{Page, heat, page};
use crate::access::session::Chosen;
use crate::asked::{Id, Query};
use crate::asking::is_answered_for;
use crate::problem::Problem;
use crate::web::Web;

/// Days of the calendar: a quarter.
const DAYS_OF_CALENDAR: u64 = 91;
const DAYS_OF_PLOT: u64 = 35;

#[derive(Template)]
#[template(path = "integration.html")]
struct IntegrationPage {
    page: Page,
    now: Moment,
    tenant_zone: String,
    id: Uuid,
    of: Freshness,
    status: Said,
    freshness: Said,
    token: Said,
    fetched: Option<Moment>,
    cursor: Option<String>,
    owes: String,
    card: Option<Card>,
    needs: Vec<Need>,
    /// Runs can be asked for.
    may_sync: bool,
    /// What became of a run that was asked for.
    notice: Option<&'static str>,
    runs: Vec<Shown>,
    calendar: heat::Calendar,
    coverage_note: Option<String>,
    days_of_plot: u64,
    plot: Plot,
    totals: Totals,
    table: Vec<TableRow>,
    settling: Settling,
}

/// Sums over the days that are known.
struct Totals {
    spend: String,
    value: String,
    roas: String,
    known: String,
}

struct TableRow {
    date: String,
    /// `None` where the tables have no such day.
    cells: Option<[String; 7]>,
}

#[derive(Deserialize, Default)]
pub(crate) struct Asked {
    /// How many days the plot shows: 35, or 91.
    #[serde(default)]
    days: Option<u64>,
    /// Of which metric it is shown how days mature.
    #[serde(default)]
    settled: Option<String>,
    /// What became of a run that was asked for here.
    #[serde(default)]
    sync: Option<String>,
}

async fn found(conn: &mut PgConnection, id: Uuid) -> Result<Freshness, Problem> {
    let found = freshness::read(conn, Some(id)).await?.pop();
    found.ok_or_else(|| Problem::not_found("this tenant has no such integration"))
}

pub(crate) async fn integration(
    State(web): State<Web>,
    chosen: Chosen,
    Id(id): Id,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let mut tx = chosen.session.scope().begin(&web.pool).await?;
    let tenant: Tenant = accounts::tenant(&mut *tx, chosen.account_id).await?;
    let now = freshness::now(&mut tx, &tenant.timezone).await?;
    let of = found(&mut tx, id).await?;
    let runs = timeline::read(&mut tx, id, &now).await?;

    let span = Span::up_to(now.yesterday(&of.timezone_name), DAYS_OF_CALENDAR);
    let mut known = days::read(&mut tx, &[of.ad_account_id], span).await?;
    let calendar = heat::calendar(span, |date| heat::cell(date, known.get(&(of.ad_account_id, date))));
    let days_of_plot = if asked.days == Some(DAYS_OF_CALENDAR) { DAYS_OF_CALENDAR } else { DAYS_OF_PLOT };
    let plotted: Vec<PlotDay> = Span::up_to(span.until, days_of_plot)
        .days()
        .map(|date| (date, known.remove(&(of.ad_account_id, date)).and_then(|day| day.figures)))
        .collect();

    let since = span.until - Days::new(::settlement::HISTORY_DAYS);
    let observed = ::settlement::observations(&mut *tx, chosen.account_id, of.ad_account_id, since).await?;
    let metric = maturing::asked(asked.settled.as_deref());

    let page_of = Page::of_tenant(&web, &chosen, &tenant, &of.name);
    page(&IntegrationPage {
        page: page_of,
        now: now.moment(now.at),
        tenant_zone: tenant.timezone,
        id,
        status: of.status_words(),
        freshness: of.days(&now),
        token: of.token(&now),
        fetched: of.newest_fetched_at.map(|at| now.moment(at)),
        cursor: of.sync_cursor.map(day),
        owes: owes(&of),
        card: card::of_status(&of.status, of.status_reason.as_deref()),
        // A status that stops everything has a card of its own.
        needs: needs(&of, &now).into_iter().filter(|_| of.is_connected()).collect(),
        may_sync: web.settings.jobs_enabled && of.is_connected() && is_answered_for(&web, of.origin()),
        notice: notice(asked.sync.as_deref()),
        runs,
        calendar,
        coverage_note: coverage_note(&plotted),
        days_of_plot,
        plot: plot(&plotted, &of.currency),
        totals: totals(&plotted, &of.currency),
        table: plotted.iter().rev().map(|(date, figures)| row(day(*date), figures.as_ref(), &of.currency)).collect(),
        settling: settling(&observed, metric, &of.currency),
        of,
    })
}

fn notice(sync: Option<&str>) -> Option<&'static str> {
    match sync? {
        "asked" => Some("The run is asked for. It begins as soon as a worker is free."),
        "already" => Some("A run of this kind waits or works already: it is the one below, and none was added."),
        _ => None,
    }
}

fn owes(of: &Freshness) -> String {
    match (of.days_owed, of.days_failed) {
        (0, 0) => "Nothing".to_owned(),
        (owed, 0) => count(owed, "day", "days"),
        (owed, failed) => format!("{}, {failed} of them failed", count(owed.max(failed), "day", "days")),
    }
}

/// What it means that the ads' spend is not the ad account's.
fn coverage_note(days: &[PlotDay]) -> Option<String> {
    let known = days.iter().filter_map(|(date, figures)| Some((date, figures.as_ref()?)));
    let off: Vec<_> = known.filter(|(_, figures)| heat::is_off(figures)).collect();
    let (date, worst) = off.iter().min_by_key(|(_, figures)| figures.coverage)?;
    let all = count(i64::try_from(off.len()).unwrap_or_default(), "day", "days");
    Some(format!(
        "On {all} the ads that are counted do not add up to what Meta counts for the whole ad account; the least is {} on {}. \
         By default only ads that are active or paused today are asked for, so that those that were archived or deleted since \
         are missing: META_EFFECTIVE_STATUS=all asks for every ad.",
        percent(worst.coverage),
        day(**date),
    ))
}

fn totals(days: &[PlotDay], currency: &str) -> Totals {
    let known: Vec<&Figures> = days.iter().filter_map(|(_, figures)| figures.as_ref()).collect();
    let sum = |of: fn(&Figures) -> Option<Decimal>| {
        known.iter().filter_map(|figures| of(figures)).try_fold(Decimal::ZERO, |sum, value| sum.checked_add(value))
    };
    let any = !known.is_empty();
    let (spend, value) = (sum(|f| f.spend).filter(|_| any), sum(|f| f.purchase_value).filter(|_| any));
    Totals {
        spend: amount(spend, currency),
        value: amount(value, currency),
        roas: ratio(value.zip(spend).and_then(|(value, spend)| value.checked_div(spend))),
        known: format!("{} of {} days are in", known.len(), days.len()),
    }
}

fn row(date: String, figures: Option<&Figures>, currency: &str) -> TableRow {
    let cells = figures.map(|f| {
        [
            amount(f.spend, currency),
            number(f.purchases),
            amount(f.purchase_value, currency),
            ratio(f.roas),
            percent(f.coverage),
            f.age_days.map_or(super::amount::UNKNOWN.to_owned(), |age| count(age.into(), "day", "days")),
            if f.provisional { "provisional" } else { "settled" }.to_owned(),
        ]
    });
    TableRow { date, cells }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(spend: Option<i64>, value: Option<i64>, coverage: Option<&str>) -> Option<Figures> {
        Some(Figures {
            spend: spend.map(Decimal::from),
            purchases: None,
            purchase_value: value.map(Decimal::from),
            roas: None,
            coverage: coverage.map(|text| text.parse().unwrap()),
            provisional: true,
            age_days: Some(3),
        })
    }

    fn days(figures: Vec<Option<Figures>>) -> Vec<PlotDay> {
        let first: chrono::NaiveDate = "2026-11-16".parse().unwrap();
        first.iter_days().zip(figures).collect()
    }

    #[test]
    fn totals_count_what_is_known_and_say_how_much_that_is() {
        for (figures, spend, value, roas, known) in [
            (vec![figures(Some(10), Some(30), None), None], "10.00", "30.00", "3.00", "1 of 2 days are in"),
            (vec![None, None], "–", "–", "–", "0 of 2 days are in"),
            (vec![figures(Some(0), Some(0), None)], "0.00", "0.00", "–", "1 of 1 days are in"),
        ] {
            let totals = totals(&days(figures), "USD");
            assert_eq!((&*totals.spend, &*totals.value, &*totals.roas, &*totals.known), (spend, value, roas, known));
        }
    }

    #[test]
    fn a_gap_to_the_account_is_put_into_words() {
        let whole = || figures(Some(1), None, Some("0.999"));
        assert_eq!(coverage_note(&days(vec![whole(), None, figures(Some(0), None, None)])), None);
        let note = coverage_note(&days(vec![whole(), figures(Some(1), None, Some("0.75"))]));
        assert!(
            note.as_ref().is_some_and(|note| note.contains("On 1 day ") && note.contains("75.0 % on 17 Nov")),
            "{note:?}"
        );
    }
}
