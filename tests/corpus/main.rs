//! The corpus of the fuzz targets, replayed on stable: each file as it is, and many times a little changed. The
//! properties are those that `fuzz/` holds against whatever a fuzzer thinks of; a file that it finds goes into
//! `fuzz/corpus` and is tried here.

#[path = "../../fuzz/properties/answer.rs"]
mod answer;
#[path = "../../fuzz/properties/event.rs"]
mod event;
mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use mutate::Mutator;

/// How often each file is changed and tried again.
const ROUNDS: usize = 200;

/// Each file's name and bytes, in the order of the names.
fn corpus(target: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?));
    }
    files.sort();
    ensure!(files.len() >= 30, "{} files in {}: is this the right folder?", files.len(), folder.display());
    Ok(files)
}

/// Tries each file. Its name says whether it is read, or refused with a reason (`refused-…`).
fn replay(target: &str, check: fn(&[u8]) -> bool) -> Result<()> {
    let files = corpus(target)?;
    for (name, input) in &files {
        let read = catch_unwind(AssertUnwindSafe(|| check(input)))
            .map_err(|_| anyhow::anyhow!("fuzz/corpus/{target}/{name}: see the panic above"))?;
        ensure!(read != name.starts_with("refused-"), "fuzz/corpus/{target}/{name}: read is {read}");
    }
    let mut mutator = Mutator::new(2_026, files.iter().map(|(_, input)| input.clone()).collect());
    for (name, input) in &files {
        for round in 0..ROUNDS {
            let changed = mutator.change(input);
            catch_unwind(AssertUnwindSafe(|| check(&changed))).map_err(|_| {
                let text = changed.escape_ascii();
                anyhow::anyhow!("fuzz/corpus/{target}/{name}, change {round}: see the panic above; it is b\"{text}\"")
            })?;
        }
    }
    Ok(())
}

#[test]
fn answers() -> Result<()> {
    replay("answer", answer::check)
}

#[test]
fn events() -> Result<()> {
    replay("event", event::check)
}

#[test]
fn events_in_parts() -> Result<()> {
    corpus("event")?.iter().for_each(|(_, input)| event::check_in_parts(input));
    Ok(())
}
