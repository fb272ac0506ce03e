//! Documents that point to files: each is there.

use crate::{Findings, nothing_in, tree};

/// The targets of Markdown links in a text, but for those that leave the tree.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
}

fn broken<'a>(document: &str, text: &'a str, exists: impl Fn(&str) -> bool) -> Vec<&'a str> {
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    targets(text)
        .filter(|target| {
            let mut path: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
            for part in target.split('/').filter(|part| !part.is_empty()) {
                if part == ".." {
                    path.pop();
                } else {
                    path.push(part);
                }
            }
            !exists(&path.join("/"))
        })
        .collect()
}

#[test]
fn links_lead_to_files_that_are_there() -> anyhow::Result<()> {
    let mut findings = Findings::new();
    for file in tree::text_files()?.iter().filter(|file| file.path.ends_with(".md")) {
        for target in broken(&file.path, &file.text, |path| tree::root().join(path).exists()) {
            findings.push(format!("{} links to {target}, which is not there", file.path));
        }
    }
    nothing_in(findings)
}

mod violations {
    use super::broken;

    #[test]
    fn a_broken_link_is_found() {
        let text = "[a](b.md) [c](../d.md#part) [gone](gone.md) [out](https://example.com/x) [here](#part)";
        let exists = |path: &str| ["docs/b.md", "d.md"].contains(&path);
        assert_eq!(broken("docs/page.md", text, exists), ["gone.md"]);
    }
}
