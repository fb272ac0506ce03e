//! The web side reaches PostgreSQL through `Scope::begin` alone, which is where a transaction becomes the web's role
//! and gets its tenant: a query on the pool itself would run as the owner of the tables, whom no policy holds.

use crate::tree::{TextFile, text_files};
use crate::{Findings, nothing_in};

const ROOM: &str = "producers/connect/src/";
/// Where the pool is a connection's, and the role is taken.
const DOOR: &str = "producers/connect/src/access/tenant.rs";
/// What may be done with the pool, and the field that holds it.
const ALLOWED: [&str; 4] = [".begin(&web.pool)", ".begin(&self.web.pool)", "use sqlx::PgPool;", "pub pool: PgPool,"];
/// Another way to a connection, or out of the role; in lower case.
const FORBIDDEN: [&str; 7] =
    ["pool", "pgconnection::connect", "set_config", "set role", "set local", "set session", "reset "];

fn is_looked_at(path: &str) -> bool {
    path.starts_with(ROOM)
        && path.ends_with(".rs")
        && path != DOOR
        && !path.ends_with("/tests.rs")
        && !path.contains("/tests/")
}

fn check(files: &[TextFile]) -> Findings {
    let mut findings = Findings::new();
    for file in files.iter().filter(|file| is_looked_at(&file.path)) {
        for (number, line) in file.text.lines().enumerate() {
            let code = ALLOWED.iter().fold(line.to_owned(), |code, allowed| code.replace(allowed, ""));
            if code.trim_start().starts_with("//") {
                continue;
            }
            let code = code.to_lowercase();
            if let Some(found) = FORBIDDEN.iter().find(|word| code.contains(*word)) {
                findings.push(format!(
                    "{}:{}: {:?} goes past the tenant's policies: begin a transaction with `Scope {{ … }}.begin(&web.pool)` \
                     and ask in that one",
                    file.path,
                    number + 1,
                    found.trim_end()
                ));
            }
        }
    }
    findings
}

#[test]
fn the_web_side_asks_in_a_scope_alone() -> anyhow::Result<()> {
    let files = text_files()?;
    let begins = |file: &&TextFile| is_looked_at(&file.path) && file.text.contains(ALLOWED[0]);
    let asking = files.iter().filter(begins).count();
    anyhow::ensure!(
        asking > 10,
        "{asking} files of {ROOM} begin a transaction: is this test reading the right folder?"
    );
    nothing_in(check(&files))
}

#[test]
fn a_way_past_the_scope_is_found() {
    let of =
        |path: &str, line: &str| check(&[TextFile::new(&format!("{ROOM}{path}"), format!("fn f() {{}}\n{line}\n"))]);
    for line in [
        "let mut tx = web.pool.begin().await?;",
        "sqlx::query!(\"select 1\").fetch_one(&web.pool).await?;",
        "accounts::integrations(&self.web.pool).await?;",
        "let Connect { pool, .. } = &*web;",
        "let mut tx = Pool::begin(&web.pool).await?;",
        "let mut tx = scope.begin(&web.pool).await?; runs::runs(&web.pool, 1).await?;",
        "PgConnection::connect(url).await?;",
        "sqlx::query!(\"reset role\").execute(&mut *tx).await?;",
        "sqlx::query!(\"select set_config('role', 'none', true)\")",
    ] {
        let said = of("pages/home.rs", line);
        assert!(said.len() == 1 && said[0].starts_with(&format!("{ROOM}pages/home.rs:2: ")), "{line}: {said:?}");
    }
    for (path, line) in [
        ("pages/home.rs", "let mut tx = chosen.session.scope().begin(&web.pool).await?;"),
        ("pages/home.rs", "// A connection goes back to the pool."),
        ("web.rs", "    pub pool: PgPool,"),
        ("access/tenant.rs", "let mut tx = pool.begin().await?;"),
        ("access/tenant/tests.rs", "tenant(&db.pool, 1).await?;"),
    ] {
        assert_eq!(of(path, line), Findings::new(), "{path}: {line}");
    }
}
