//! Money and ratios in text. They are decimals all the way.

use rust_decimal::{Decimal, RoundingStrategy};

use super::words::grouped;

/// What is not known.
pub(crate) const UNKNOWN: &str = "–";

/// Currencies in which amounts have no decimals, as Meta counts them.
const WITHOUT_DECIMALS: [&str; 11] = ["CLP", "COP", "CRC", "HUF", "ISK", "IDR", "JPY", "KRW", "PYG", "TWD", "VND"];

fn rounded(value: Decimal, places: u32) -> String {
    let value = value.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero);
    grouped(&format!("{value:.*}", places as usize))
}

/// An amount with as many decimals as its currency has, without the currency.
pub(crate) fn amount(value: Option<Decimal>, currency: &str) -> String {
    let places = if WITHOUT_DECIMALS.contains(&currency) { 0 } else { 2 };
    value.map_or(UNKNOWN.to_owned(), |value| rounded(value, places))
}

pub(crate) fn ratio(value: Option<Decimal>) -> String {
    value.map_or(UNKNOWN.to_owned(), |value| rounded(value, 2))
}

/// A part of one as "99.8 %".
pub(crate) fn percent(value: Option<Decimal>) -> String {
    value.map_or(UNKNOWN.to_owned(), |value| format!("{} %", rounded(value * Decimal::ONE_HUNDRED, 1)))
}

/// A number of things, which Meta may give as a part of one.
pub(crate) fn number(value: Option<Decimal>) -> String {
    value.map_or(UNKNOWN.to_owned(), |value| grouped(&value.normalize().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        let decimal = |text: &str| Some(text.parse::<Decimal>().unwrap());
        for (value, currency, text) in [
            (decimal("1234.5"), "USD", "1,234.50"),
            (decimal("0.005"), "EUR", "0.01"),
            (decimal("0"), "EUR", "0.00"),
            (decimal("1234567"), "JPY", "1,234,567"),
            (decimal("-3.10"), "USD", "−3.10"),
            (None, "USD", "–"),
        ] {
            assert_eq!(amount(value, currency), text);
        }
        assert_eq!(ratio(decimal("3.14159")), "3.14");
        assert_eq!(percent(decimal("0.9984")), "99.8 %");
        assert_eq!(number(decimal("12.00")), "12");
    }
}
