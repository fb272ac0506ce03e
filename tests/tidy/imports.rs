//! Who may import whom: the arrows of `docs/ARCHITECTURE.md`, and the crates from outside that belong to one room.

use crate::cargo::{Metadata, Package};
use crate::{Findings, nothing_in, tree};

const BINARY: &str = "adledger";
const TESTS: &str = "testkit";
/// A program as others write it: it knows our events by their document, and NATS by its own client.
const EXAMPLE: &str = "rust-consumer";

/// A room, and the rooms that it may import.
const ROOMS: &[(&str, &[&str])] = &[
    ("events", &[]),
    ("meta-api", &[]),
    ("migrations", &[]),
    ("embedded", &[]),
    ("jetstream", &["events"]),
    ("projections", &["events"]),
    ("outbox", &["events"]),
    ("accounts", &["events", "outbox"]),
    ("runs", &["events", "outbox"]),
    ("insights", &["events", "jetstream", "meta-api", "accounts", "runs"]),
    ("connect", &["meta-api", "accounts", "runs", "settlement"]),
    ("relay", &["events", "jetstream", "outbox"]),
    ("raw", &["events", "jetstream"]),
    ("logs", &["events", "jetstream", "raw"]),
    ("projector", &["events", "jetstream", "logs", "projections", "raw", "outbox"]),
    ("verifier", &["events", "logs"]),
    ("settlement", &[]),
    ("initial-fill", &["events", "jetstream", "runs"]),
    (EXAMPLE, &[]),
];

/// A crate from outside, the rooms that may name it (their tests may always), and why no other.
const OUTSIDE: &[(&str, &[&str], &str)] = &[
    (
        "async-nats",
        &["jetstream", TESTS, EXAMPLE],
        "go through jetstream, which decides what is retried, parked and acknowledged",
    ),
    (
        "reqwest",
        &["meta-api", BINARY],
        "go through meta-api, which keeps the token out of URLs, errors and redirects; the binary sends spans with it, and \
         nothing else",
    ),
    (
        "opentelemetry",
        &["jetstream", BINARY],
        "rooms speak tracing; where spans go is the binary's business, and which event they belong to jetstream's",
    ),
    ("axum", &["connect", TESTS, BINARY], "HTTP is served by the web role and by the rooms whose routes it merges"),
    (
        "sqlx",
        &[
            "accounts",
            "runs",
            "outbox",
            "relay",
            "connect",
            "insights",
            "raw",
            "logs",
            "projector",
            "projections",
            "verifier",
            "settlement",
            "initial-fill",
            "migrations",
            TESTS,
            BINARY,
        ],
        "the wire's contract, Meta's client and the servers know no SQL",
    ),
    (
        "tokio",
        &[
            "jetstream",
            "meta-api",
            "embedded",
            "insights",
            "connect",
            "relay",
            "raw",
            "projector",
            "verifier",
            "initial-fill",
            TESTS,
            EXAMPLE,
            BINARY,
        ],
        "a contract, a fold and a query start no task and wait for no clock",
    ),
];

/// What a room may import, or `None` for a crate that has no row.
fn may_import(room: &str) -> Option<Vec<&'static str>> {
    let all = || ROOMS.iter().map(|(name, _)| *name).collect();
    match room {
        BINARY | TESTS => Some(all()),
        _ => ROOMS.iter().find(|(name, _)| *name == room).map(|(_, imports)| imports.to_vec()),
    }
}

fn check_arrows(members: &[Package]) -> Findings {
    let is_ours = |name: &str| members.iter().any(|member| member.name == name);
    let mut findings = Findings::new();
    for member in members {
        let room = &member.name;
        let Some(allowed) = may_import(room) else {
            findings.push(format!("{room} has no row in tests/tidy/imports.rs: say there what it may import"));
            continue;
        };
        for dependency in member.dependencies.iter().filter(|dependency| is_ours(&dependency.name)) {
            let name = dependency.name.as_str();
            if name == BINARY {
                findings.push(format!("{room} imports {BINARY}, which nobody may: move what it needs into a room"));
            } else if dependency.is_for_tests_only() || allowed.contains(&name) {
                continue;
            } else if name == TESTS {
                findings.push(format!("{room} is built with {TESTS}: move it to [dev-dependencies]"));
            } else {
                findings.push(format!(
                    "{room} imports {name}, an arrow that docs/ARCHITECTURE.md does not have: turn it round, or move the \
                     code to where it belongs"
                ));
            }
        }
    }
    findings
}

fn check_outside(members: &[Package]) -> Findings {
    let mut findings = Findings::new();
    for member in members {
        for dependency in member.dependencies.iter().filter(|dependency| !dependency.is_for_tests_only()) {
            for (name, rooms, why) in OUTSIDE {
                if dependency.name == *name && !rooms.contains(&member.name.as_str()) {
                    findings.push(format!("{} depends on {name}: {why}", member.name));
                }
            }
        }
    }
    findings
}

/// The rows of the page's table: the rooms of the first cell (a path's last part), and what the second cell says.
fn documented(page: &str) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (Some(rooms), Some(imports)) = (cells.next(), cells.next()) else { continue };
        for path in rooms.split(',').map(|room| room.trim().trim_matches('`')) {
            let room = if path == "src" { BINARY } else { path.rsplit('/').next().unwrap_or(path) };
            rows.push((room.to_owned(), imports.to_owned()));
        }
    }
    rows
}

fn check_page(page: &str, members: &[Package]) -> Findings {
    let rows = documented(page);
    let mut findings = Findings::new();
    for room in members.iter().map(|member| member.name.as_str()) {
        let Some(allowed) = may_import(room) else { continue };
        let built: Vec<_> = allowed.into_iter().filter(|name| members.iter().any(|one| one.name == *name)).collect();
        let expected = match room {
            BINARY => "all".to_owned(),
            TESTS => "all but `src`".to_owned(),
            _ if built.is_empty() => "–".to_owned(),
            _ => built.join(", "),
        };
        match rows.iter().find(|(name, _)| name == room) {
            Some((_, said)) if *said == expected => {}
            Some((_, said)) => findings.push(format!(
                "docs/ARCHITECTURE.md lets {room} import \"{said}\", tests/tidy/imports.rs \"{expected}\": make them equal"
            )),
            None => findings.push(format!("docs/ARCHITECTURE.md has no row for {room}: add it to the table of rooms")),
        }
    }
    findings
}

#[test]
fn arrows_between_rooms_are_those_of_the_table() -> anyhow::Result<()> {
    nothing_in(check_arrows(&Metadata::read()?.members()))
}

#[test]
fn crates_from_outside_stay_in_their_rooms() -> anyhow::Result<()> {
    nothing_in(check_outside(&Metadata::read()?.members()))
}

#[test]
fn the_architecture_page_has_the_same_arrows() -> anyhow::Result<()> {
    nothing_in(check_page(&tree::read("docs/ARCHITECTURE.md")?, &Metadata::read()?.members()))
}

mod violations {
    use super::*;
    use crate::cargo::Dependency;

    fn room(name: &str, imports: &[(&str, Option<&str>)]) -> Package {
        let depends = |(name, kind): &(&str, Option<&str>)| Dependency {
            name: (*name).to_owned(),
            kind: kind.map(str::to_owned),
        };
        Package { name: name.to_owned(), dependencies: imports.iter().map(depends).collect(), ..Package::default() }
    }

    /// What is said about `imports`, in a workspace that has every room.
    fn said(about: &str, imports: &[(&str, Option<&str>)]) -> String {
        let mut members: Vec<_> =
            ROOMS.iter().map(|(name, _)| *name).chain([BINARY, TESTS]).map(|name| room(name, &[])).collect();
        members.retain(|member| member.name != about);
        members.push(room(about, imports));
        [check_arrows(&members), check_outside(&members)].concat().join("; ")
    }

    #[test]
    fn an_arrow_outside_the_table_is_found() {
        for (about, import, kind, expected) in [
            ("events", "jetstream", None, "events imports jetstream"),
            ("projections", "raw", Some("build"), "projections imports raw"),
            ("verifier", "projections", None, "verifier imports projections"),
            ("raw", "testkit", None, "raw is built with testkit"),
            ("raw", "adledger", None, "raw imports adledger"),
            ("testkit", "adledger", Some("dev"), "testkit imports adledger"),
            ("attic", "events", None, "attic has no row"),
            ("raw", "async-nats", None, "raw depends on async-nats"),
            ("insights", "reqwest", None, "insights depends on reqwest"),
            ("events", "sqlx", None, "events depends on sqlx"),
            ("projections", "tokio", None, "projections depends on tokio"),
            ("raw", "axum", None, "raw depends on axum"),
        ] {
            let said = said(about, &[(import, kind)]);
            assert!(said.starts_with(expected), "{about} -> {import}: {said:?}");
        }
    }

    #[test]
    fn an_arrow_of_the_table_is_not() {
        for (about, import, kind) in [
            ("runs", "outbox", None),
            ("adledger", "projector", None),
            ("raw", "testkit", Some("dev")),
            ("testkit", "projections", None),
            ("jetstream", "async-nats", None),
            ("events", "tokio", Some("dev")),
        ] {
            assert_eq!(said(about, &[(import, kind)]), "", "{about} -> {import}");
        }
    }

    #[test]
    fn a_page_that_says_otherwise_is_found() {
        let members = [room("events", &[]), room("raw", &[]), room(BINARY, &[])];
        let page = "| `nats/events` | – | the contract |\n| `consumers/raw` | events | the log |\n| `src` | all | x |";
        assert_eq!(check_page(page, &members), Findings::new());
        let stale = "| `nats/events`, `consumers/raw` | – | stale |\n";
        let said = check_page(stale, &members);
        assert!(said[0].contains("raw") && said[1].contains("no row for adledger") && said.len() == 2, "{said:?}");
    }
}
