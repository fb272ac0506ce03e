//! Migrations are numbered without a gap, and each starts with a sentence of prose.

use crate::tree::{TextFile, text_files_in};
use crate::{Findings, nothing_in};

/// The number in `NNNN_words.sql`, or `None` for any other name.
fn number(name: &str) -> Option<usize> {
    let (number, words) = name.strip_suffix(".sql")?.split_once('_')?;
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let fits = number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit()) && words.split('_').all(is_word);
    fits.then(|| number.parse().ok()).flatten()
}

fn starts_with_a_sentence(text: &str) -> bool {
    let lines: Vec<_> = text.lines().map_while(|line| line.strip_prefix("--")).map(str::trim).collect();
    lines.first().is_some_and(|first| !first.is_empty()) && lines.join(" ").trim_end().ends_with('.')
}

/// `files` are the SQL files in the order of their names.
fn check(files: &[TextFile]) -> Findings {
    let mut findings = Findings::new();
    let mut last = 0;
    for file in files {
        match number(file.name()) {
            None => findings.push(format!("{}: name it NNNN_words.sql", file.path)),
            Some(number) => {
                if number != last + 1 {
                    findings.push(format!("{}: the number after {last:04} is {:04}; rename it", file.path, last + 1));
                }
                last = number;
            }
        }
        if !starts_with_a_sentence(&file.text) {
            findings
                .push(format!("{}: start it with a `--` comment that says in a sentence what it is for", file.path));
        }
    }
    findings
}

#[test]
fn migrations_are_in_order_and_say_what_they_are_for() -> anyhow::Result<()> {
    let mut files = text_files_in("migrations")?;
    files.retain(|file| file.path.ends_with(".sql"));
    anyhow::ensure!(!files.is_empty(), "migrations/ holds no SQL file: is this test reading the right folder?");
    nothing_in(check(&files))
}

#[test]
fn a_migration_out_of_order_or_without_prose_is_found() {
    const PROSE: &str = "-- What it is for.\n\ncreate table a ();\n";
    for (names, text, expected) in [
        (["0001_a.sql", "0002_b_2.sql"], PROSE, 0),
        (["0002_a.sql", "0003_b.sql"], PROSE, 1),
        (["0001_a.sql", "0003_b.sql"], PROSE, 1),
        (["0001_a.sql", "0001_b.sql"], PROSE, 1),
        (["0001_a.sql", "2_b.sql"], PROSE, 1),
        (["0001_a.sql", "0002_B.sql"], PROSE, 1),
        (["0001_a.sql", "0002.sql"], PROSE, 1),
        (["0001_a.sql", "0002_b.sql"], "create table a ();\n", 2),
        (["0001_a.sql", "0002_b.sql"], "-- no sentence\ncreate table a ();\n", 2),
        (["0001_a.sql", "0002_b.sql"], "-- A sentence\n-- of two lines.\n", 0),
    ] {
        let said = check(&names.map(|name| TextFile::new(&format!("migrations/{name}"), text)));
        assert_eq!(said.len(), expected, "{names:?} {text:?}: {said:?}");
    }
}
