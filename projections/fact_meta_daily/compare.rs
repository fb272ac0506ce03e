//! What the table holds of some days, held against the rows that a fold would write on empty days.

use std::collections::HashMap;
use std::fmt::Write as _;

use chrono::{DateTime, Timelike, Utc};
use futures_util::TryStreamExt;
use sqlx::PgConnection;

use super::Staged;
use crate::keys::Days;

/// Every column but those of the key that all rows of a day share: first the row as an event brings it, then what the
/// rows of one content have in common.
const COLUMNS: &str = "ad_id, adset_id, campaign_id, ad_name, adset_name, campaign_name, spend, impressions, clicks, \
     inline_link_clicks, purchases, purchase_value, purchase_action_type, currency, attribution_window, rule_version, \
     purchases_known, event_id, fetched_at, absent_since, absence";

/// How many rows of each of `days`, in their order, are not what `staged` says: others, too few, or too many.
///
/// The table's rows are read in the format of COPY, in which staged ones are kept, so that bytes are compared with
/// bytes; nothing is held of what was read.
pub(crate) async fn differing(conn: &mut PgConnection, days: &Days, staged: &[Staged<'_>]) -> sqlx::Result<Vec<u64>> {
    let places: HashMap<_, _> = days.iter().zip(0..).collect();
    let mut wanted: Vec<HashMap<&str, (usize, &str)>> = (0..days.len()).map(|_| HashMap::new()).collect();
    for (part, of) in staged.iter().enumerate() {
        if let Some(&place) = places.get(&of.day) {
            wanted[place].extend(of.rows.iter().map(|(ad_id, row)| (*ad_id, (part, *row))));
        }
    }
    let suffixes: Vec<String> = staged.iter().map(suffix).collect();
    let mut differing = vec![0; days.len()];
    // The text of an instant depends on these two.
    sqlx::raw_sql("set local datestyle = 'ISO'; set local timezone = 'UTC'").execute(&mut *conn).await?;
    let mut rows = conn.copy_out_raw(&statement(days)).await?;
    // The server sends each row as a message of its own.
    while let Some(line) = rows.try_next().await? {
        let (place, row) = std::str::from_utf8(&line).ok().and_then(placed).ok_or_else(unreadable)?;
        let ad_id = row.split('\t').next().unwrap_or_default();
        let same = wanted
            .get_mut(place)
            .and_then(|wanted| wanted.remove(ad_id))
            .is_some_and(|(part, staged)| row.strip_prefix(staged).is_some_and(|rest| rest == suffixes[part]));
        if !same {
            differing[place] += 1;
        }
    }
    for (count, missing) in differing.iter_mut().zip(wanted) {
        *count += missing.len() as u64;
    }
    Ok(differing)
}

/// Reads the days' rows, each behind the place of its day. Day by day: an index scan a day, however many days there
/// are. COPY takes no parameters; ids and dates are written by their types and hold nothing to escape.
fn statement(days: &Days) -> String {
    let list =
        |of: &mut dyn Iterator<Item = String>| of.map(|value| format!("'{value}'")).collect::<Vec<_>>().join(",");
    format!(
        "copy (select place - 1, f.* \
         from unnest(array[{}]::uuid[], array[{}]::uuid[], array[{}]::date[]) with ordinality as day (a, b, c, place) \
         cross join lateral (select {COLUMNS} from fact_meta_daily \
             where account_id = a and ad_account_id = b and date = c offset 0) f) to stdout",
        list(&mut days.account_ids.iter().map(ToString::to_string)),
        list(&mut days.ad_account_ids.iter().map(ToString::to_string)),
        list(&mut days.dates.iter().map(ToString::to_string)),
    )
}

/// A line's place, and its row.
fn placed(line: &str) -> Option<(usize, &str)> {
    let (place, row) = line.strip_suffix('\n')?.split_once('\t')?;
    Some((place.parse().ok()?, row))
}

fn unreadable() -> sqlx::Error {
    sqlx::Error::Protocol("a row of fact_meta_daily came in another form than COPY's".into())
}

/// The columns of a staged row behind those that the event brought, as PostgreSQL writes them.
fn suffix(part: &Staged<'_>) -> String {
    let Staged { snapshot, standing, .. } = part;
    let known = if snapshot.purchases_known { 't' } else { 'f' };
    let (rule, first) = (&snapshot.rule, standing.first);
    let mut text =
        format!("\t{}\t{}\t{}\t{known}\t{}\t", snapshot.currency, rule.window(), rule.version, first.event_id);
    push_instant(&mut text, first.fetched_at);
    match standing.absence {
        Some(absence) => {
            text.push('\t');
            push_instant(&mut text, absence.since);
            text.push('\t');
            text.push_str(absence.word());
        }
        None => text.push_str("\t\\N\t\\N"),
    }
    text
}

/// An instant as PostgreSQL writes it in UTC: of the fraction of its second no more digits than it needs.
fn push_instant(text: &mut String, at: DateTime<Utc>) {
    // Writing into a String does not fail.
    let _ = write!(text, "{}", at.format("%Y-%m-%d %H:%M:%S"));
    let micros = at.nanosecond() / 1000;
    if micros > 0 {
        let digits = format!("{micros:06}");
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
    text.push_str("+00");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_as_postgresql_does() {
        for (micros, text) in [
            (1_772_326_800_000_000, "2026-03-01 01:00:00+00"),
            (1_772_326_800_100_000, "2026-03-01 01:00:00.1+00"),
            (1_772_326_800_000_001, "2026-03-01 01:00:00.000001+00"),
        ] {
            let mut written = String::new();
            push_instant(&mut written, DateTime::from_timestamp_micros(micros).expect("a time"));
            assert_eq!(written, text);
        }
    }
}
