//! What a page says of days, held against what Meta says.

use anyhow::{Result, ensure};
use rust_decimal::Decimal;
use serde_json::json;

use crate::house::{House, last_7_days};
use crate::visit::Visit;

/// Each day of a fill stands in the table with the spend, the purchases and the value that Meta has, to the cent; the
/// sums above it and the bars of the plot are those of the table. The page has it all by now.
pub async fn check(house: &House, visit: &Visit, external_id: &str) -> Result<()> {
    let shown = table(visit).await?;
    for date in last_7_days().start().iter_days().take(7) {
        let wanted = house.totals(external_id, date);
        let day = date.format("%-d %b").to_string();
        let cells = [day.clone(), money(wanted.spend), wanted.purchases.to_string(), money(wanted.purchase_value)];
        let row = shown.iter().find(|row| row.first() == Some(&day));
        ensure!(row.is_some_and(|row| row.starts_with(&cells)), "{day}: Meta has {cells:?}, the page {row:?}");
    }
    // The schedule fetches older days besides, in its own time.
    let known: Vec<_> = shown.iter().filter(|row| row.len() > 2).collect();
    let sum = |column: usize| -> Result<Decimal> {
        known.iter().map(|row| Ok(row[column].replace(',', "").parse::<Decimal>()?)).sum()
    };
    let wanted = [money(sum(1)?), money(sum(3)?)];
    let totals = visit.texts(".totals dd").await?;
    ensure!(totals.starts_with(&wanted), "the days sum up to {wanted:?}, the page says {totals:?}");
    let bars: usize =
        visit.evaluate("() => document.querySelectorAll('svg.plot rect.spend').length", &json!([])).await?;
    ensure!(bars == known.len(), "the plot has {bars} bars for {} days", known.len());
    Ok(())
}

/// The table under the plot, cell by cell, also where it is folded away.
pub async fn table(visit: &Visit) -> Result<Vec<Vec<String>>> {
    let rows = "() => [...document.querySelectorAll('table.numbers tbody tr')]
        .map(row => [...row.cells].map(cell => cell.textContent.trim()))";
    visit.evaluate(rows, &json!([])).await
}

/// As a page of ours writes an amount in euros.
pub fn money(amount: Decimal) -> String {
    let text = format!("{amount:.2}");
    let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
    let digits = whole.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = digits.map(String::from_utf8_lossy).collect();
    format!("{}.{cents}", groups.join(","))
}
