//! A strict reader of the OpenMetrics text format, as far as adledger uses it: what it refuses, Prometheus may refuse.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result, bail, ensure};

type Labels = BTreeMap<String, String>;

/// Every sample of an answer.
#[derive(Debug)]
pub struct Samples(Vec<(String, Labels, f64)>);

impl Samples {
    /// The one sample of that name with these labels, among others.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let fits = |found: &Labels| labels.iter().all(|(key, value)| found.get(*key).is_some_and(|v| v == value));
        let mut found = self.0.iter().filter(|(known, with, _)| known == name && fits(with));
        let (_, _, value) = found.next().with_context(|| format!("no {name}{labels:?}"))?;
        ensure!(found.next().is_none(), "more than one {name}{labels:?}");
        Ok(*value)
    }
}

/// What the lines before a family's samples say of it.
struct Family {
    name: String,
    kind: String,
}

/// Reads an answer, or says what is wrong with it.
pub fn read(text: &str) -> Result<Samples> {
    let lines = text.strip_suffix("# EOF\n").context("it does not end with # EOF")?;
    let (mut samples, mut families, mut seen) = (Vec::new(), HashSet::new(), HashSet::new());
    let mut help: Option<String> = None;
    let mut family: Option<Family> = None;
    for line in lines.lines() {
        let problem = || format!("in {line:?}");
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let mut word = || words.next().with_context(problem);
            let (keyword, name, rest) = (word()?, word()?, word()?);
            ensure!(is_name(name), "{name:?} is no name, {}", problem());
            match keyword {
                "HELP" => {
                    let is_sentence = rest.ends_with('.') && rest.starts_with(|c: char| !c.is_lowercase());
                    ensure!(is_sentence, "no sentence, {}", problem());
                    ensure!(families.insert(name.to_owned()), "a family comes twice, {}", problem());
                    (help, family) = (Some(name.to_owned()), None);
                }
                "TYPE" => {
                    ensure!(help.as_deref() == Some(name), "a type without help, {}", problem());
                    ensure!(["gauge", "counter", "histogram"].contains(&rest), "an unknown type, {}", problem());
                    family = Some(Family { name: name.to_owned(), kind: rest.to_owned() });
                }
                "UNIT" => {
                    let of_family = family.as_ref().is_some_and(|family| family.name == name);
                    ensure!(of_family && name.ends_with(&format!("_{rest}")), "a stray unit, {}", problem());
                }
                _ => bail!("an unknown comment, {}", problem()),
            }
            continue;
        }
        let family = family.as_ref().with_context(|| format!("a sample without a type, {}", problem()))?;
        let (name, labels, value) = sample(line).with_context(problem)?;
        let suffix = name.strip_prefix(family.name.as_str()).with_context(problem)?;
        let fits = match family.kind.as_str() {
            "gauge" => suffix.is_empty(),
            "counter" => suffix == "_total" && value >= 0.0,
            _ => ["_bucket", "_sum", "_count"].contains(&suffix) && (suffix == "_bucket") == labels.contains_key("le"),
        };
        ensure!(fits && value.is_finite(), "not as its type wants it, {}", problem());
        ensure!(seen.insert((name.clone(), labels.clone())), "it comes twice, {}", problem());
        samples.push((name, labels, value));
    }
    let samples = Samples(samples);
    check_histograms(&samples)?;
    Ok(samples)
}

/// Buckets grow, and the last one holds all.
fn check_histograms(samples: &Samples) -> Result<()> {
    for (name, labels, count) in &samples.0 {
        let Some(family) = name.strip_suffix("_count") else { continue };
        let mut before = (f64::NEG_INFINITY, 0.0);
        for (bucket, with, value) in &samples.0 {
            let mut others = with.clone();
            let Some(bound) = others.remove("le") else { continue };
            if *bucket != format!("{family}_bucket") || others != *labels {
                continue;
            }
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse()? };
            ensure!(bound > before.0 && *value >= before.1, "{family}{labels:?} shrinks at {bound}");
            before = (bound, *value);
        }
        ensure!(before == (f64::INFINITY, *count), "{family}{labels:?} counts {count} and holds {before:?}");
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn sample(line: &str) -> Result<(String, Labels, f64)> {
    let end = line.find(['{', ' ']).context("no value")?;
    let (name, mut rest) = line.split_at(end);
    ensure!(is_name(name), "{name:?} is no name");
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (key, value) = rest.split_once("=\"").context("a label without a value")?;
            ensure!(is_name(key), "{key:?} is no label");
            let (mut text, mut chars) = (String::new(), value.char_indices());
            let end = loop {
                match chars.next().context("a label without an end")? {
                    (at, '"') => break at + 1,
                    (_, '\\') => text.push(match chars.next() {
                        Some((_, 'n')) => '\n',
                        Some((_, escaped @ ('\\' | '"'))) => escaped,
                        other => bail!("{other:?} is escaped"),
                    }),
                    (_, other) => text.push(other),
                }
            };
            ensure!(labels.insert(key.to_owned(), text).is_none(), "label {key} comes twice");
            rest = &value[end..];
            ensure!(rest.starts_with([',', '}']), "{rest:?} follows a label");
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').context("no value")?;
    Ok((name.to_owned(), labels, value.parse().with_context(|| format!("{value:?} is no number"))?))
}

#[test]
fn what_is_no_openmetrics_is_refused() {
    let good = "# HELP a_b_seconds A thing.\n# TYPE a_b_seconds gauge\n# UNIT a_b_seconds seconds\n\
                a_b_seconds{x=\"1\\n\\\"\"} 1.5\na_b_seconds{x=\"\"} 0\n# EOF\n";
    let read_good = read(good).expect("it is good");
    assert_eq!(read_good.value("a_b_seconds", &[("x", "1\n\"")]).expect("it is there"), 1.5);
    for (from, to) in [
        ("# EOF\n", ""),
        ("A thing.", "a thing."),
        ("A thing.", "A thing"),
        ("gauge", "counter"),
        ("gauge", "histogram"),
        ("gauge", "thing"),
        ("seconds seconds", "seconds bytes"),
        ("x=\"\"", "x=\"1\\n\\\"\""),
        ("x=\"\"", "1x=\"\""),
        ("x=\"\"", "x=\"\\t\""),
        (" 0\n", " NaN\n"),
        (" 0\n", " \n"),
        ("# TYPE a_b_seconds gauge\n", ""),
    ] {
        assert!(read(&good.replace(from, to)).is_err(), "{from:?} became {to:?}");
    }
}
