//! Rules about text: what modules are called, what they say about themselves, how long they are, and what no file
//! names.

use std::collections::BTreeMap;

use crate::cargo::{Metadata, Package};
use crate::tree::{TextFile, root, text_files};
use crate::{Findings, nothing_in};

/// Names that say nothing, so that everything fits in.
const NOT_NAMES: [&str; 12] =
    ["base", "common", "core", "helper", "helpers", "manager", "misc", "shared", "stuff", "types", "util", "utils"];

/// A file past this is asking to become a folder.
const MOST_LINES: usize = 400;

/// Folders of one machine. Taken apart, so that this file does not name them.
const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

fn check_names(files: &[TextFile]) -> Findings {
    let mut findings = Findings::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for name in file.path.trim_end_matches(".rs").split('/').filter(|name| NOT_NAMES.contains(name)) {
            findings.push(format!("{}: \"{name}\" says nothing; name it after what is in it", file.path));
        }
    }
    findings
}

/// The leading `//!` comment as one line of text, or `None` where a file starts otherwise.
fn opening(text: &str) -> Option<String> {
    let lines: Vec<_> = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    lines.first().is_some_and(|first| !first.is_empty()).then(|| lines.join(" "))
}

fn check_openings(files: &[TextFile], libraries: &[String], programs: &[String]) -> Findings {
    let mut findings = Findings::new();
    for file in files {
        let is_library = libraries.contains(&file.path);
        if !is_library && !programs.contains(&file.path) && !["lib.rs", "main.rs"].contains(&file.name()) {
            continue;
        }
        match opening(&file.text) {
            None => findings.push(format!("{}: start it with a //! sentence that says what lives here", file.path)),
            Some(text) if is_library && !text.contains("must not") => {
                findings.push(format!("{}: say in its //! what must not live here (\"must not\")", file.path));
            }
            Some(_) => {}
        }
    }
    findings
}

/// The paths, in the tree, of what the members build; by kind of target.
fn built(members: &[Package]) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut paths: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for target in members.iter().flat_map(|member| &member.targets) {
        let path = target.src_path.strip_prefix(root())?.to_string_lossy().replace('\\', "/");
        for kind in &target.kind {
            paths.entry(kind.clone()).or_default().push(path.clone());
        }
    }
    Ok(paths)
}

fn check_lengths(files: &[TextFile]) -> Findings {
    let too_long = |file: &&TextFile| file.is_rust() && file.text.lines().count() > MOST_LINES;
    let say = |file: &TextFile| {
        let lines = file.text.lines().count();
        format!("{}: {lines} lines, more than {MOST_LINES}; make it a folder of files with one matter each", file.path)
    };
    files.iter().filter(too_long).map(say).collect()
}

/// Whether `path` is in `line` from its root on, and not as the middle of a longer one.
fn names(line: &str, path: &str) -> bool {
    let goes_on = |before: &str| before.ends_with(|last: char| last.is_alphanumeric() || "}_.-~".contains(last));
    line.match_indices(path).any(|(at, _)| !goes_on(&line[..at]))
}

fn check_machine_paths(files: &[TextFile]) -> Findings {
    let mut findings = Findings::new();
    for file in files {
        for (number, line) in (1..).zip(file.text.lines()) {
            for path in MACHINE_PATHS.iter().filter(|path| names(line, path)) {
                findings.push(format!("{}:{number}: names {path}, a folder of one machine; take it out", file.path));
            }
        }
    }
    findings
}

#[test]
fn module_names_say_what_is_inside() -> anyhow::Result<()> {
    nothing_in(check_names(&text_files()?))
}

#[test]
fn libraries_and_programs_say_what_lives_there() -> anyhow::Result<()> {
    let built = built(&Metadata::read()?.members())?;
    let (Some(libraries), Some(programs)) = (built.get("lib"), built.get("bin")) else {
        anyhow::bail!("cargo metadata names no library or no program");
    };
    nothing_in(check_openings(&text_files()?, libraries, programs))
}

#[test]
fn files_are_short() -> anyhow::Result<()> {
    nothing_in(check_lengths(&text_files()?))
}

#[test]
fn no_file_names_a_folder_of_one_machine() -> anyhow::Result<()> {
    nothing_in(check_machine_paths(&text_files()?))
}

mod violations {
    use super::*;

    #[test]
    fn a_name_that_says_nothing_is_found() {
        for path in ["src/utils.rs", "nats/common/mod.rs", "producers/core/src/lib.rs"] {
            assert_eq!(check_names(&[TextFile::new(path, "")]).len(), 1, "{path}");
        }
        for path in ["src/typesetting.rs", "docs/core/notes.md", "src/command/account.rs"] {
            assert_eq!(check_names(&[TextFile::new(path, "")]), Findings::new(), "{path}");
        }
    }

    #[test]
    fn an_opening_that_is_missing_is_found() {
        let library = "raw/src/lib.rs".to_owned();
        let program = "kit/src/bin/fake.rs".to_owned();
        for (path, text, expected) in [
            ("raw/src/lib.rs", "use std::fs;", "//! sentence"),
            ("raw/src/lib.rs", "//!\n//! Late.", "//! sentence"),
            ("raw/src/lib.rs", "//! The log.", "must not"),
            ("raw/src/lib.rs", "//! The log. What must\n//! not live here: SQL.\n", ""),
            ("kit/src/bin/fake.rs", "fn main() {}", "//! sentence"),
            ("kit/src/bin/fake.rs", "//! A server.", ""),
            ("raw/tests/wire/main.rs", "mod event;", "//! sentence"),
            ("raw/src/append.rs", "use std::fs;", ""),
        ] {
            let file = TextFile::new(path, text);
            let said = check_openings(&[file], std::slice::from_ref(&library), std::slice::from_ref(&program)).concat();
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{path} {text:?}: {said:?}");
        }
    }

    #[test]
    fn a_long_file_is_found() {
        let long = TextFile::new("src/long.rs", "line\n".repeat(MOST_LINES + 1));
        let full = TextFile::new("src/full.rs", "line\n".repeat(MOST_LINES));
        let prose = TextFile::new("docs/long.md", "line\n".repeat(MOST_LINES + 1));
        let said = check_lengths(&[long, full, prose]);
        assert!(said.len() == 1 && said[0].starts_with("src/long.rs: 401 lines"), "{said:?}");
    }

    #[test]
    fn a_machine_path_is_found() {
        let path = MACHINE_PATHS[0];
        let named = TextFile::new("docs/a.md", format!("fine\nsee `{path}notes`"));
        let longer = TextFile::new("docs/b.md", format!("$folder{path}notes and ${{folder}}{path}notes"));
        let said = check_machine_paths(&[named, longer]);
        assert!(said.len() == 1 && said[0].starts_with("docs/a.md:2: "), "{said:?}");
    }
}
