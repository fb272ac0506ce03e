//! Every role has its file in `nats/topology/permissions`, and each consumer is pulled in the file of who pulls it and
//! in no other. That the files say enough, and not too much, the tests of the wire ask a server.

use std::collections::{BTreeMap, BTreeSet};

use jetstream::topology::{Durable, durables};

use crate::durables::{ROOMS, durable};
use crate::tree::{self, TextFile};
use crate::{Findings, nothing_in};

const FOLDER: &str = "nats/topology/permissions";
const ALL: &str = "all";
/// Commands play no role.
const OPERATOR: &str = "operator";
/// What `sync --wait` and `backfill --wait` pull beside the services.
const PULLED_BY_COMMANDS: [&str; 2] = [raw::DURABLE, projector::DURABLE];

/// The roles of `src/roles.rs`, as the command line writes them: the variants of its enum.
fn roles(source: &str) -> Vec<String> {
    let lines = source.lines().skip_while(|line| !line.starts_with("pub enum Role {")).skip(1);
    let variants = lines.take_while(|line| *line != "}").map(str::trim).filter(|line| !line.starts_with("//"));
    variants.map(|line| line.trim_end_matches(',').to_lowercase()).collect()
}

/// The subjects that a file gives: its texts in quotes, but for comments.
fn subjects(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter_map(|line| line.split('#').next());
    lines.flat_map(|line| line.split('"').skip(1).step_by(2)).collect()
}

/// `pullers` says for each durable consumer which role pulls it.
fn check(files: &[TextFile], roles: &[String], pullers: &[(Durable, &str)]) -> Findings {
    let mut findings = Findings::new();
    let role_of = |file: &TextFile| file.name().strip_suffix(".conf").unwrap_or_default().to_owned();
    let given: BTreeMap<String, BTreeSet<&str>> =
        files.iter().map(|file| (role_of(file), subjects(&file.text))).collect();
    let wanted: BTreeSet<&str> = roles.iter().map(String::as_str).chain([OPERATOR]).collect();
    for role in wanted.iter().filter(|role| !given.contains_key(**role)) {
        findings.push(format!("{FOLDER}/{role}.conf is missing: say what the role needs"));
    }
    for file in files.iter().filter(|file| !wanted.contains(role_of(file).as_str())) {
        findings.push(format!("{} is of no role in src/roles.rs; take it out", file.path));
    }
    for (durable, puller) in pullers {
        let by_commands = PULLED_BY_COMMANDS.contains(&durable.name.as_str()).then_some(OPERATOR);
        let wanted: BTreeSet<&str> = [*puller, ALL].into_iter().chain(by_commands).collect();
        let next = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", durable.stream, durable.name);
        let found: BTreeSet<&str> =
            given.iter().filter(|(_, given)| given.contains(next.as_str())).map(|(role, _)| role.as_str()).collect();
        if found != wanted {
            findings.push(format!("{next} is given to {found:?}; give it to {wanted:?}, who pull it, and no other"));
        }
    }
    // Inboxes are each role's own.
    let said = |role: &str| given.get(role).into_iter().flatten().filter(|subject| !subject.starts_with("_INBOX"));
    let together: BTreeSet<_> = roles.iter().filter(|role| *role != ALL).flat_map(|role| said(role)).collect();
    let all: BTreeSet<_> = said(ALL).collect();
    for subject in together.symmetric_difference(&all) {
        findings.push(format!("{FOLDER}/{ALL}.conf and the roles' files differ in {subject}: it gives what they do"));
    }
    findings
}

#[test]
fn each_role_has_its_file_and_each_consumer_its_puller() -> anyhow::Result<()> {
    let roles = roles(&tree::read("src/roles.rs")?);
    let pullers = ROOMS.map(|(stream, name, role)| (durable(stream, name), role));
    assert_eq!(durables()?, pullers.clone().map(|(durable, _)| durable));
    nothing_in(check(&tree::text_files_in(FOLDER)?, &roles, &pullers))
}

mod violations {
    use super::*;

    const NEXT: &str = "publish { allow: [\n\"$JS.API.CONSUMER.MSG.NEXT.S.c\" # \"x\"\n] }";

    fn file(role: &str, text: &str) -> TextFile {
        TextFile::new(&format!("{FOLDER}/{role}.conf"), text)
    }

    #[test]
    fn roles_are_found_in_the_source() {
        let source = "/// Role.\npub enum Role {\n    /// Works\n    Fetch,\n    /// All of them\n    All,\n}\nenum Other {\n    No,\n}";
        assert_eq!(roles(source), ["fetch", "all"]);
        assert_eq!(subjects("# \"no\"\nallow: [\"a\", \"b\"] # \"no\"\n"), ["a", "b"].into());
    }

    #[test]
    fn what_is_missing_or_too_much_is_found() {
        let roles = ["pull", "other", ALL].map(str::to_owned);
        let pullers = [(durable("S", "c"), "pull")];
        for (pull, other, all, expected) in [
            (NEXT, "", NEXT, 0),
            ("", "", NEXT, 2),
            ("", "", "", 1),
            (NEXT, "", "", 2),
            (NEXT, NEXT, NEXT, 1),
            (NEXT, "\"more\"", NEXT, 1),
            (NEXT, "", &format!("{NEXT}\"more\""), 1),
        ] {
            let files = [file("pull", pull), file("other", other), file(ALL, all), file(OPERATOR, "")];
            let findings = check(&files, &roles, &pullers);
            assert_eq!(findings.len(), expected, "{pull:?} {other:?} {all:?}: {findings:?}");
        }
        let files = [file("pull", NEXT), file("old", ""), file(ALL, NEXT)];
        assert_eq!(check(&files, &roles, &pullers).len(), 3, "one is of no role, two are missing");
    }
}
