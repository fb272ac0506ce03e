//! Every crate takes its lints and edition from the workspace and is published nowhere.

use crate::cargo::{Metadata, Package};
use crate::tree::root;
use crate::{Findings, nothing_in};

fn check(member: &Package, manifest: &toml::Table) -> Findings {
    let of_workspace = |path: &[&str]| {
        let mut value = manifest.get(path[0]);
        for key in &path[1..] {
            value = value.and_then(|value| value.get(key));
        }
        value.and_then(toml::Value::as_bool) == Some(true)
    };
    let rules = [
        (of_workspace(&["lints", "workspace"]), "add [lints] workspace = true"),
        (of_workspace(&["package", "edition", "workspace"]), "write edition.workspace = true"),
        (member.publish.as_ref().is_some_and(Vec::is_empty), "write publish.workspace = true"),
    ];
    let broken = rules.iter().filter(|(holds, _)| !holds);
    broken.map(|(_, advice)| format!("{}: {advice} in its Cargo.toml", member.name)).collect()
}

#[test]
fn crates_follow_the_workspace() -> anyhow::Result<()> {
    let mut findings = Findings::new();
    for member in Metadata::read()?.members() {
        if member.manifest_path.starts_with(root()) {
            let manifest = std::fs::read_to_string(&member.manifest_path)?.parse()?;
            findings.extend(check(&member, &manifest));
        } else {
            findings.push(format!("{}: it is a crate of the workspace outside its folder; move it in", member.name));
        }
    }
    nothing_in(findings)
}

#[test]
fn a_crate_that_goes_its_own_way_is_found() -> anyhow::Result<()> {
    const GOOD: &str = "package.edition.workspace = true\nlints.workspace = true";
    let nowhere = Some(Vec::new());
    for (manifest, publish, expected) in [
        (GOOD, nowhere.clone(), 0),
        (GOOD, None, 1),
        (GOOD, Some(vec!["somewhere".to_owned()]), 1),
        ("package.edition.workspace = true", nowhere.clone(), 1),
        ("package.edition = '2021'\nlints.workspace = true", nowhere, 1),
        ("lints.rust.unsafe_code = 'allow'", None, 3),
    ] {
        let member = Package { name: "raw".to_owned(), publish: publish.clone(), ..Package::default() };
        assert_eq!(check(&member, &manifest.parse()?).len(), expected, "{manifest:?} {publish:?}");
    }
    Ok(())
}
