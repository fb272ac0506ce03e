//! The files of the working tree, without what is built, downloaded or generated.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;

/// Built, downloaded or generated: at the top of the tree, or (the data folders of servers) anywhere.
const SKIPPED_AT_THE_TOP: [&str; 3] = ["target", ".git", ".sqlx"];
const SKIPPED_ANYWHERE: &str = ".adledger";
/// What fuzzers leave, and the corpus, which is data.
const SKIPPED_OF_FUZZING: [&str; 4] = ["artifacts", "corpus", "coverage", "target"];

/// A text file; its path is relative to the tree, with forward slashes.
pub struct TextFile {
    pub path: String,
    pub text: String,
}

impl TextFile {
    pub fn new(path: &str, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), text: text.into() }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| format!("reading {path}"))
}

/// Every text file of the tree, in the order of paths. Files that are not UTF-8 are no text.
pub fn text_files() -> anyhow::Result<Vec<TextFile>> {
    let mut found = Vec::new();
    walk("", &mut found)?;
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// The text files right in `folder`.
pub fn text_files_in(folder: &str) -> anyhow::Result<Vec<TextFile>> {
    let prefix = format!("{folder}/");
    let inside = |path: &str| path.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('/'));
    Ok(text_files()?.into_iter().filter(|file| inside(&file.path)).collect())
}

fn walk(folder: &str, found: &mut Vec<TextFile>) -> anyhow::Result<()> {
    for entry in fs::read_dir(root().join(folder)).with_context(|| format!("listing {folder:?}"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let kind = entry.file_type()?;
        // In a second working tree, `.git` is a file.
        if is_skipped(folder, &name) {
            continue;
        }
        if kind.is_dir() {
            walk(&path, found)?;
        } else if kind.is_file() {
            match fs::read_to_string(entry.path()) {
                Ok(text) => found.push(TextFile { path, text }),
                // No text, or an editor's file that is gone again.
                Err(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::NotFound) => {}
                Err(error) => return Err(error).with_context(|| format!("reading {path}")),
            }
        }
    }
    Ok(())
}

fn is_skipped(folder: &str, name: &str) -> bool {
    name == SKIPPED_ANYWHERE
        || (folder.is_empty() && SKIPPED_AT_THE_TOP.contains(&name))
        || (folder == "fuzz" && SKIPPED_OF_FUZZING.contains(&name))
}

#[test]
fn the_walk_sees_the_tree_and_not_what_is_built() -> anyhow::Result<()> {
    let files = text_files()?;
    assert!(files.iter().any(|file| file.path == "tests/tidy/tree.rs"));
    assert!(!files.iter().any(|file| file.path.starts_with("target/") || file.path.starts_with(".git/")));
    assert!(is_skipped("docs", ".adledger") && is_skipped("fuzz", "target") && !is_skipped("docs", "target"));
    Ok(())
}
