//! Two tenants with a row each in every table there is, and what the web sees of them and does to them.

mod catalogue;

use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::Scope;

const DENIED: &str = "42501";
const THERE_ALREADY: &str = "23505";

/// Tables that belong to no tenant, and not to the web either.
const OF_THE_HOUSE: [&str; 5] = ["_sqlx_migrations", "leaders", "log_trims", "replays", "throttles"];
/// It belongs to no tenant, and of it the web sees the session that asks.
const SESSIONS: &str = "web_sessions";

/// A row in every table. What is written `:account` is the tenant's id, `:ad` and `:int` are ids of its own, `:n` its
/// number.
const ROWS: &str = include_str!("rows.sql");

fn account(number: u8) -> Uuid {
    Uuid::from_u128(u128::from(number) << 64)
}

async fn tenant(pool: &PgPool, number: u8) -> Result<Uuid> {
    let account = account(number);
    let (ad, int) = (Uuid::from_u128(account.as_u128() + 1), Uuid::from_u128(account.as_u128() + 2));
    let sql = ROWS
        .replace(":account", &format!("'{account}'"))
        .replace(":ad", &format!("'{ad}'"))
        .replace(":int", &format!("'{int}'"))
        .replace(":n", &number.to_string());
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await?;
    Ok(account)
}

/// The names of the schema's tables and views.
async fn relations(pool: &PgPool) -> Result<Vec<String>> {
    let rows = sqlx::query_scalar(
        "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'public' and c.relkind in ('r', 'p', 'v', 'm') order by 1",
    );
    Ok(rows.fetch_all(pool).await?)
}

/// The session that `rows.sql` makes for the first tenant.
fn session() -> [u8; 32] {
    accounts::secret_sha256(&"1".to_owned().into())
}

async fn web(pool: &PgPool, account_id: Option<Uuid>) -> Result<Transaction<'static, Postgres>> {
    Ok(Scope { account_id, session_sha256: Some(session()) }.begin(pool).await?)
}

/// The code that a statement is refused with; nothing when it is done.
async fn refusal(conn: &mut PgConnection, sql: &str) -> Result<Option<String>> {
    match sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut *conn).await {
        Ok(_) => Ok(None),
        Err(sqlx::Error::Database(error)) => Ok(Some(error.code().unwrap_or_default().into_owned())),
        Err(error) => Err(error).context(sql.to_owned()),
    }
}

/// What a statement did: how many rows, or that it is not allowed.
async fn rows(conn: &mut PgConnection, sql: String) -> Result<Option<u64>> {
    match sqlx::query(AssertSqlSafe(sql.clone())).execute(&mut *conn).await {
        Ok(done) => Ok(Some(done.rows_affected())),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(DENIED) => Ok(None),
        Err(error) => Err(error).context(sql),
    }
}

/// A table that the web's role may have rights to, as the catalogue says which.
#[derive(sqlx::FromRow)]
struct Table {
    name: String,
    columns: Vec<String>,
    may_select: bool,
    may_insert: bool,
    may_delete: bool,
    /// The columns that may be updated.
    updates: Vec<String>,
}

impl Table {
    async fn all(pool: &PgPool) -> Result<Vec<Table>> {
        let tables = sqlx::query_as(
            "select c.relname::text as name, array_agg(a.attname::text order by a.attnum) as columns,
                    has_any_column_privilege('adledger_web', c.oid, 'select') as may_select,
                    has_any_column_privilege('adledger_web', c.oid, 'insert') as may_insert,
                    has_table_privilege('adledger_web', c.oid, 'delete') as may_delete,
                    coalesce(array_agg(a.attname::text) filter (
                        where has_column_privilege('adledger_web', c.oid, a.attnum, 'update')), '{}') as updates
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
             join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
             where n.nspname = 'public' and c.relkind in ('r', 'p') group by c.oid order by 1",
        );
        Ok(tables.fetch_all(pool).await?)
    }

    /// The columns that say whose a row is.
    fn keys(&self) -> Vec<&str> {
        match self.name.as_str() {
            "accounts" => vec!["id"],
            SESSIONS => vec!["id_sha256"],
            _ => ["account_id", "session_sha256"]
                .into_iter()
                .filter(|key| self.columns.iter().any(|name| name == key))
                .collect(),
        }
    }

    /// A key's value in the rows of a tenant, as SQL.
    fn value(key: &str, number: u8) -> String {
        if key.ends_with("sha256") { format!("sha256('{number}')") } else { format!("'{}'::uuid", account(number)) }
    }

    /// An insert of our row, with another tenant's value in one of its columns when one is named.
    async fn insert(&self, pool: &PgPool, stolen: Option<&str>) -> Result<String> {
        let (name, columns) = (&self.name, self.columns.join(", "));
        let own = format!("{} = {}", self.keys()[0], Table::value(self.keys()[0], 1));
        let other = stolen.map_or("'{}'".to_owned(), |key| {
            format!("jsonb_build_object('{key}', to_jsonb({}))", Table::value(key, 2))
        });
        let row = format!("select (to_jsonb(t) || {other}::jsonb)::text from {name} t where {own} limit 1");
        let row: String = sqlx::query_scalar(AssertSqlSafe(row)).fetch_one(pool).await?;
        Ok(format!(
            "insert into {name} ({columns}) overriding system value
             select {columns} from jsonb_populate_record(null::{name}, '{}')",
            row.replace('\'', "''")
        ))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_every_table_and_view_a_tenant_sees_its_own_rows_only() -> Result<()> {
    let db = testkit::database().await?;
    let pool = &db.pool;
    let (ours, theirs) = (tenant(pool, 1).await?, tenant(pool, 2).await?);
    let mut seen = 0;
    for name in relations(pool).await? {
        if name == SESSIONS || OF_THE_HOUSE.contains(&name.as_str()) {
            continue;
        }
        let key = if name == "accounts" { "id" } else { "account_id" };
        let count = |whose: Uuid| format!("select from {name} where {key} = '{whose}'");
        for whose in [ours, theirs] {
            let there = rows(&mut *pool.acquire().await?, count(whose)).await?;
            ensure!(there.is_some_and(|rows| rows > 0), "{name} has no row of both tenants: write one into rows.sql");
        }
        let mut tx = web(pool, Some(ours)).await?;
        match rows(&mut tx, count(ours)).await? {
            None => continue,
            Some(own) => {
                ensure!(own > 0, "{name}: the web may read it, and does not see its tenant's row");
                seen += 1;
            }
        }
        let mut tx = web(pool, Some(ours)).await?;
        ensure!(
            rows(&mut tx, format!("select from {name} where {key} <> '{ours}'")).await? == Some(0),
            "{name} is seen"
        );
        let mut tx = web(pool, None).await?;
        ensure!(rows(&mut tx, format!("select from {name}")).await? == Some(0), "{name} is seen without a tenant");
    }
    ensure!(seen >= 12, "the web sees {seen} relations only: is this test reading the right schema?");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_sees_itself_and_no_other_of_its_tenant() -> Result<()> {
    let db = testkit::database().await?;
    let ours = tenant(&db.pool, 1).await?;
    for (session_sha256, expected) in [(Some(session()), 1), (Some([7; 32]), 0), (None, 0)] {
        for table in ["web_sessions", "oauth_trips", "connect_drafts"] {
            let mut tx = Scope { account_id: Some(ours), session_sha256 }.begin(&db.pool).await?;
            assert_eq!(rows(&mut tx, format!("select from {table}")).await?, Some(expected), "{table}");
        }
    }
    Ok(())
}

/// Statements without a `where`, which touch whatever the policies leave: of each table and column, what the role has
/// the right to is done to its own rows and no other, and all else is denied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_to_a_table_reaches_the_own_rows_only() -> Result<()> {
    let db = testkit::database().await?;
    let pool = &db.pool;
    tenant(pool, 1).await?;
    tenant(pool, 2).await?;
    let ours = Scope { account_id: Some(account(1)), session_sha256: Some(session()) };
    let (mut allowed, mut denied) = (0, 0);
    for table in Table::all(pool).await?.iter().filter(|table| !OF_THE_HOUSE.contains(&table.name.as_str())) {
        let (name, key) = (&table.name, table.keys()[0]);
        let own = format!("select from {name} where {key} = {}", Table::value(key, 1));
        let own = rows(&mut *pool.acquire().await?, own).await?.context("the owner may")?;
        ensure!(own > 0, "{name} has no row of the tenant: write one into rows.sql");
        let mut attempts = vec![
            (table.may_select, format!("select from {name}")),
            (table.may_delete, format!("delete from {name}")),
            // No policy holds a truncate.
            (false, format!("truncate {name} cascade")),
        ];
        for column in &table.columns {
            attempts.push((table.updates.contains(column), format!("update {name} set {column} = {column}")));
        }
        for (may, sql) in attempts {
            for (scope, reached) in [(ours, own), (Scope::default(), 0)] {
                let done = rows(&mut *scope.begin(pool).await?, sql.clone()).await?;
                ensure!(
                    done == may.then_some(reached),
                    "{sql}: {done:?} rows for {scope:?}, of which {own} are its own"
                );
            }
            *(if may { &mut allowed } else { &mut denied }) += 1;
        }
        // A row that is one's own is not given away, whether the column or the policy is what refuses it.
        for key in table.keys() {
            let sql = format!("update {name} set {key} = {}", Table::value(key, 2));
            ensure!(rows(&mut *ours.begin(pool).await?, sql.clone()).await?.is_none(), "{sql}");
        }
    }
    ensure!(
        allowed > 25 && denied > 100,
        "{allowed} allowed and {denied} denied: is this test reading the right schema?"
    );
    Ok(())
}

/// The row is there already: a policy that lets it through leaves it to the table's key to refuse it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_another_tenants_or_sessions_cannot_be_written() -> Result<()> {
    let db = testkit::database().await?;
    let pool = &db.pool;
    tenant(pool, 1).await?;
    tenant(pool, 2).await?;
    let ours = Scope { account_id: Some(account(1)), session_sha256: Some(session()) };
    let mut written = 0;
    for table in Table::all(pool).await?.iter().filter(|table| !OF_THE_HOUSE.contains(&table.name.as_str())) {
        let own = table.insert(pool, None).await?;
        let said = refusal(&mut *ours.begin(pool).await?, &own).await?;
        let expected = if table.may_insert { THERE_ALREADY } else { DENIED };
        ensure!(said.as_deref() == Some(expected), "{own}: {said:?}, where {expected} was expected");
        let said = refusal(&mut *Scope::default().begin(pool).await?, &own).await?;
        ensure!(said.as_deref() == Some(DENIED), "{own}, of nobody: {said:?}");
        for key in table.keys() {
            let theirs = table.insert(pool, Some(key)).await?;
            let said = refusal(&mut *ours.begin(pool).await?, &theirs).await?;
            ensure!(said.as_deref() == Some(DENIED), "{theirs}: {said:?}");
        }
        written += u8::from(table.may_insert);
    }
    ensure!(written >= 9, "the web may write into {written} tables only: is this test reading the right schema?");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_the_houses_own_or_sealed_is_denied() -> Result<()> {
    let db = testkit::database().await?;
    let ours = tenant(&db.pool, 1).await?;
    let tables = Table::all(&db.pool).await?;
    let mut attempts: Vec<String> = ["ciphertext", "nonce", "*"]
        .iter()
        .map(|column| format!("select {column} from integration_secrets"))
        .chain(["token_sha256", "*"].iter().map(|column| format!("select {column} from api_tokens")))
        .collect();
    for name in OF_THE_HOUSE {
        let table = tables.iter().find(|table| table.name == name).with_context(|| format!("{name} is a table"))?;
        // Without a policy an insert is denied whatever is granted: that nothing is granted, the catalogue says.
        let granted = table.may_select || table.may_insert || table.may_delete || !table.updates.is_empty();
        ensure!(!granted, "{name}: the web has a right to it");
        attempts.extend([
            format!("select from {name}"),
            format!("insert into {name} default values"),
            format!("delete from {name}"),
            format!("truncate {name}"),
        ]);
        for column in &table.columns {
            attempts.push(format!("select {column} from {name}"));
            attempts.push(format!("update {name} set {column} = null"));
        }
    }
    for sql in attempts {
        let said = refusal(&mut *web(&db.pool, Some(ours)).await?, &sql).await?;
        ensure!(said.as_deref() == Some(DENIED), "{sql}: {said:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_webs_user_is_neither_superuser_nor_owner_and_only_for_a_transaction() -> Result<()> {
    let db = testkit::database().await?;
    let ours = tenant(&db.pool, 1).await?;
    let mut connection = db.pool.acquire().await?;
    let whoami = "select current_user::text, coalesce(current_setting('adledger.account_id', true), '')";
    let before: (String, String) = sqlx::query_as(whoami).fetch_one(&mut *connection).await?;
    drop(connection);
    for _ in 0..3 {
        let mut tx = web(&db.pool, Some(ours)).await?;
        let (user, account): (String, String) = sqlx::query_as(whoami).fetch_one(&mut *tx).await?;
        assert_eq!((user.as_str(), account), ("adledger_web", ours.to_string()));
        let (power, owned): (bool, i64) = sqlx::query_as(
            "select rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolcanlogin,
                    (select count(*) from pg_class where relowner = r.oid)
             from pg_roles r where rolname = current_user",
        )
        .fetch_one(&mut *tx)
        .await?;
        assert_eq!((power, owned), (false, 0));
        tx.commit().await?;
        let after: (String, String) = sqlx::query_as(whoami).fetch_one(&db.pool).await?;
        assert_eq!((after.0, after.1.as_str()), (before.0.clone(), ""), "the connection went back as it came");
    }
    Ok(())
}
