//! The rules of `deny.toml`: licences, crates that stay out, and where crates come from.

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cargo::{Lock, Locked, Metadata, Package};
use crate::{Findings, nothing_in, spdx, tree};

/// What `deny.toml` may say. A key that is not here is refused, so that no rule is believed to hold that is not
/// applied.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
    /// Security advisories are in a database on the network: `cargo deny check` alone reads this.
    #[serde(rename = "advisories")]
    _advisories: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
    #[serde(default)]
    clarify: Vec<Clarification>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clarification {
    #[serde(rename = "crate")]
    name: String,
    expression: String,
    /// `cargo deny check` alone compares the text with this.
    #[serde(rename = "license-files")]
    _license_files: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    #[serde(rename = "multiple-versions")]
    _multiple_versions: OnlyWarn,
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    #[serde(rename = "unknown-registry")]
    _unknown_registry: OnlyDeny,
    #[serde(rename = "unknown-git")]
    _unknown_git: OnlyDeny,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnlyWarn {
    Warn,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnlyDeny {
    Deny,
}

impl Rules {
    fn read() -> anyhow::Result<Self> {
        toml::from_str(&tree::read("deny.toml")?).context("deny.toml says something that this test does not apply")
    }
}

fn check_licences(rules: &Licenses, packages: &[Package]) -> Findings {
    let mut findings = Findings::new();
    for Package { name, license, .. } in packages {
        let clarified = rules.clarify.iter().find(|one| one.name == *name).map(|one| one.expression.as_str());
        let Some(expression) = clarified.or(license.as_deref()) else {
            findings
                .push(format!("{name} names no licence: read its texts, and add a [[licenses.clarify]] to deny.toml"));
            continue;
        };
        let own = rules.exceptions.iter().filter(|one| one.name == *name).flat_map(|one| &one.allow);
        let allowed: Vec<_> = rules.allow.iter().chain(own).collect();
        match spdx::is_met(expression, &|licence| allowed.iter().any(|one| *one == licence)) {
            Ok(true) => {}
            Ok(false) => findings.push(format!(
                "{name} is licensed {expression}, which deny.toml does not allow: do without it, or allow the licence"
            )),
            Err(error) => findings.push(format!(
                "{name} is licensed {expression:?}, which cannot be read ({}): add a [[licenses.clarify]]",
                error.0
            )),
        }
    }
    findings
}

fn check_bans(rules: &Bans, locked: &[Locked]) -> Findings {
    let is_locked = |ban: &&Ban| locked.iter().any(|package| package.name == ban.name);
    let say = |ban: &Ban| {
        format!(
            "{} is in Cargo.lock: {}. `cargo tree --invert {} --target all` says who wants it",
            ban.name, ban.reason, ban.name
        )
    };
    rules.deny.iter().filter(is_locked).map(say).collect()
}

/// Crates come from the public index, which is where `serde` comes from, or are `members` of the workspace.
fn check_sources(_: &Sources, locked: &[Locked], members: &[&str]) -> Findings {
    let index = locked.iter().find(|package| package.name == "serde").and_then(|serde| serde.source.as_deref());
    let mut findings = Findings::new();
    for Locked { name, source } in locked {
        match source.as_deref() {
            None if members.contains(&name.as_str()) => {}
            None => findings.push(format!("{name} is a path that is no member of the workspace: make it one")),
            Some(source) if Some(source) == index && source.starts_with("registry+") => {}
            Some(source) => findings.push(format!("{name} comes from {source}, not from the public index")),
        }
    }
    findings
}

/// Exceptions and clarifications that are about no crate any more.
fn check_leftovers(rules: &Licenses, locked: &[Locked]) -> Findings {
    let exceptions = rules.exceptions.iter().map(|one| &one.name);
    let named = exceptions.chain(rules.clarify.iter().map(|one| &one.name));
    let gone = named.filter(|name| !locked.iter().any(|package| package.name == **name));
    gone.map(|name| format!("deny.toml is about {name}, which is not in Cargo.lock: remove the entry")).collect()
}

#[test]
fn licences_are_allowed() -> anyhow::Result<()> {
    nothing_in(check_licences(&Rules::read()?.licenses, &Metadata::read()?.packages))
}

#[test]
fn banned_crates_stay_out() -> anyhow::Result<()> {
    nothing_in(check_bans(&Rules::read()?.bans, &Lock::read()?.package))
}

#[test]
fn crates_come_from_the_index_or_the_tree() -> anyhow::Result<()> {
    let members = Metadata::read()?.members();
    let members: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
    nothing_in(check_sources(&Rules::read()?.sources, &Lock::read()?.package, &members))
}

#[test]
fn deny_toml_is_about_crates_that_are_there() -> anyhow::Result<()> {
    nothing_in(check_leftovers(&Rules::read()?.licenses, &Lock::read()?.package))
}

mod violations {
    use super::*;

    const RULES: &str = r#"
        [licenses]
        allow = ["MIT"]
        exceptions = [{ crate = "roots", allow = ["Data-1.0"] }]
        clarify = [{ crate = "silent", expression = "MIT", license-files = [] }]
        [bans]
        multiple-versions = "warn"
        deny = [{ crate = "native-tls", reason = "one TLS" }]
        [sources]
        unknown-registry = "deny"
        unknown-git = "deny"
    "#;

    fn rules() -> Rules {
        toml::from_str(RULES).expect("the rules of this test are rules")
    }

    fn locked(name: &str, source: Option<&str>) -> Locked {
        Locked { name: name.to_owned(), source: source.map(str::to_owned) }
    }

    #[test]
    fn a_licence_that_is_not_allowed_is_found() {
        for (name, license, expected) in [
            ("a", Some("GPL-3.0 OR MIT"), ""),
            ("a", Some("GPL-3.0"), "does not allow"),
            ("a", Some("Data-1.0"), "does not allow"),
            ("roots", Some("MIT AND Data-1.0"), ""),
            ("a", None, "names no licence"),
            ("silent", None, ""),
            ("a", Some("MIT or so"), "cannot be read"),
        ] {
            let package = Package { name: name.to_owned(), license: license.map(str::to_owned), ..Package::default() };
            let said = check_licences(&rules().licenses, &[package]).concat();
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{name} {license:?}: {said:?}");
        }
    }

    #[test]
    fn a_banned_crate_is_found() {
        let said = check_bans(&rules().bans, &[locked("native-tls", None), locked("rustls", None)]);
        assert!(said.len() == 1 && said[0].contains("one TLS"), "{said:?}");
    }

    #[test]
    fn a_crate_from_elsewhere_is_found() {
        for (name, source, expected) in [
            ("raw", None, 0),
            ("neighbour", None, 1),
            ("anyhow", Some("registry+https://index"), 0),
            ("anyhow", Some("registry+https://other"), 1),
            ("anyhow", Some("git+https://index"), 1),
        ] {
            let serde = locked("serde", Some("registry+https://index"));
            let said = check_sources(&rules().sources, &[serde, locked(name, source)], &["raw"]);
            assert_eq!(said.len(), expected, "{name} {source:?}: {said:?}");
        }
    }

    #[test]
    fn a_leftover_is_found() {
        assert_eq!(
            check_leftovers(&rules().licenses, &[locked("roots", None), locked("silent", None)]),
            Findings::new()
        );
        assert_eq!(check_leftovers(&rules().licenses, &[locked("roots", None)]).len(), 1);
    }

    #[test]
    fn a_rule_that_would_not_be_applied_is_refused() {
        for (from, to) in [
            ("multiple-versions = \"warn\"", "multiple-versions = \"deny\""),
            ("multiple-versions = \"warn\"", "multiple-versions = \"warn\"\nwildcards = \"deny\""),
            (", reason = \"one TLS\"", ""),
            ("unknown-git = \"deny\"", "unknown-git = \"allow\""),
            ("[sources]", "[sources]\nallow-git = [\"https://git\"]"),
        ] {
            let changed = RULES.replacen(from, to, 1);
            assert!(changed != RULES && toml::from_str::<Rules>(&changed).is_err(), "{to}");
        }
        assert!(toml::from_str::<Rules>(&format!("{RULES}\n[advisories]\nyanked = \"deny\"")).is_ok());
    }
}
