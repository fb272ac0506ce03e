//! What commands print: tables for people, JSON for programs.

use std::io::Write;

use anyhow::Result;
use chrono::{DateTime, Utc};
use comfy_table::{CellAlignment, Table};
use rust_decimal::Decimal;
use serde::Serialize;

/// One line below the header, and otherwise only room between the columns.
const LIGHT: &str = "     ─             ";

/// A table with a header.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(LIGHT).set_header(header);
    table
}

/// Aligns columns to the right: numbers.
pub fn right(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// One JSON document on standard output.
pub fn json(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// One line on standard output. A reader that has gone away is no failure of the command's.
pub fn line(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// What stands for nothing in a table.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

/// An instant, as tables show it.
pub fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Text of others on one line of a terminal: what would move its cursor or colour it is escaped.
pub fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// The same, of so many characters at most.
pub fn shortened(text: &str, most: usize) -> String {
    let cut = text.char_indices().nth(most).map(|(end, _)| format!("{}…", &text[..end]));
    printable(cut.as_deref().unwrap_or(text))
}

/// A number with a comma between thousands and so many decimals.
pub fn thousands(number: &Decimal, decimals: u32) -> String {
    let text = format!("{:.*}", decimals as usize, number.round_dp(decimals));
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), String::new()), |(w, r)| (w, format!(".{r}")));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    format!("{sign}{}{rest}", groups.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_moves_no_cursor() {
        for (text, most, shown) in [("ä\u{1b}[31m\nb", 20, "ä\\u{1b}[31m\\nb"), ("äöüß", 3, "äöü…"), ("äöü", 3, "äöü")]
        {
            assert_eq!(shortened(text, most), shown);
        }
    }

    #[test]
    fn thousands_are_told_apart() {
        for (number, decimals, text) in
            [("0", 0, "0"), ("999.5", 2, "999.50"), ("1234567.891", 2, "1,234,567.89"), ("-1000", 0, "-1,000")]
        {
            assert_eq!(thousands(&number.parse().expect("a number"), decimals), text);
        }
    }
}
