//! The colours of the pages beside each other, measured: as WCAG 2 does it, in light and in dark.

use std::collections::HashMap;

const STYLES: &str = include_str!("../../assets/app.css");
/// Text on its ground (level AA), and pictures and marks beside what they stand on.
const TEXT: f64 = 4.5;
const PICTURE: f64 = 3.0;

/// The custom properties that are colours, up to the end of the block they begin in.
fn colours(block: &str) -> HashMap<&str, [f64; 3]> {
    let block = block.split('}').next().unwrap_or_default();
    let declarations = block.split(['{', ';', '/']).filter_map(|line| line.trim().split_once(": #"));
    let channel = |hex: &str, at: usize| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
    declarations.map(|(name, hex)| (name, [channel(hex, 0), channel(hex, 2), channel(hex, 4)])).collect()
}

fn luminance(colour: [f64; 3]) -> f64 {
    let linear = colour.map(|c| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn black_on_white_is_the_most_there_is() {
    assert!((contrast([0.0; 3], [1.0; 3]) - 21.0).abs() < 0.01);
}

#[test]
fn colours_can_be_told_apart_in_light_and_dark() {
    let (light, dark) = STYLES.split_once("prefers-color-scheme: dark").expect("the styles have a dark part");
    let (_, dark) = dark.split_once(":root").expect("the dark part has colours");
    let (light, dark) = (colours(light), colours(dark));
    assert!(light.len() > 20, "is this the right part? {light:?}");
    assert_eq!(light.len(), dark.len(), "a colour is missing in one of them");
    let pairs = [
        ("text", "ground", TEXT),
        ("text", "card", TEXT),
        ("muted", "ground", TEXT),
        ("muted", "card", TEXT),
        ("accent", "ground", TEXT),
        ("accent", "card", TEXT),
        ("on-accent", "accent", TEXT),
        ("good", "card", TEXT),
        ("warn", "card", TEXT),
        ("warn", "ground", TEXT),
        ("bad", "card", TEXT),
        ("bad", "ground", TEXT),
        ("good", "good-ground", TEXT),
        ("warn", "warn-ground", TEXT),
        ("bad", "bad-ground", TEXT),
        ("on-mark", "good", TEXT),
        ("on-mark", "warn", TEXT),
        ("on-mark", "bad", TEXT),
        ("on-mark", "muted", TEXT),
        ("on-young", "young", TEXT),
        ("on-growing", "growing", TEXT),
        ("on-ripe", "ripe", TEXT),
        ("on-settled", "settled", TEXT),
        ("corner", "growing", PICTURE),
        ("corner", "card", PICTURE),
        ("spend", "card", PICTURE),
        ("spend", "spend-soft", PICTURE),
        ("value", "card", PICTURE),
        ("roas", "card", PICTURE),
    ];
    for (theme, colours) in [("light", &light), ("dark", &dark)] {
        for (over, under, least) in pairs {
            let named = |name: &str| colours[format!("--{name}").as_str()];
            let found = contrast(named(over), named(under));
            assert!(found >= least, "{theme}: --{over} on --{under} is {found:.2}, less than {least}");
        }
    }
}
