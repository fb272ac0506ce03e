//! Two tenants with a row each in every table there is, and what the web sees of them.

use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::Scope;

const DENIED: &str = "42501";

/// Tables that belong to no tenant. Of these the web sees its own session, and nothing of the others.
const OF_NO_TENANT: [&str; 4] = ["_sqlx_migrations", "leaders", "log_trims", "web_sessions"];

/// A row in every table. What is written `:account` is the tenant's id, `:ad` and `:int` are ids of its own, `:n` its number.
const ROWS: &str = include_str!("rows.sql");

async fn tenant(pool: &PgPool, number: u8) -> Result<Uuid> {
    let account = Uuid::from_u128(u128::from(number) << 64);
    let (ad, int) = (Uuid::from_u128(account.as_u128() + 1), Uuid::from_u128(account.as_u128() + 2));
    let sql = ROWS
        .replace(":account", &format!("'{account}'"))
        .replace(":ad", &format!("'{ad}'"))
        .replace(":int", &format!("'{int}'"))
        .replace(":n", &number.to_string());
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await?;
    Ok(account)
}

/// Tables and views of the schema, as `(name, kind)`: r is a table, v a view.
async fn relations(pool: &PgPool) -> Result<Vec<(String, String)>> {
    let rows = sqlx::query_as(
        "select c.relname::text, c.relkind::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
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

/// What a statement did: how many rows, or that it is not allowed.
async fn rows(conn: &mut PgConnection, sql: String) -> Result<Option<u64>> {
    match sqlx::query(AssertSqlSafe(sql.clone())).execute(&mut *conn).await {
        Ok(done) => Ok(Some(done.rows_affected())),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(DENIED) => Ok(None),
        Err(error) => Err(error).context(sql),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_every_table_a_tenant_sees_and_touches_its_own_rows_only() -> Result<()> {
    let db = testkit::database().await?;
    let pool = &db.pool;
    let (ours, theirs) = (tenant(pool, 1).await?, tenant(pool, 2).await?);
    let mut seen = 0;
    for (name, kind) in relations(pool).await? {
        if OF_NO_TENANT.contains(&name.as_str()) {
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
        if kind == "v" {
            continue;
        }
        for attempt in [
            format!("delete from {name} where {key} = '{theirs}'"),
            format!("update {name} set {key} = {key} where {key} = '{theirs}'"),
        ] {
            let mut tx = web(pool, Some(ours)).await?;
            let touched = rows(&mut tx, attempt.clone()).await?.unwrap_or(0);
            ensure!(touched == 0, "{attempt}: {touched} rows");
        }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_another_tenants_cannot_be_written() -> Result<()> {
    let db = testkit::database().await?;
    let pool = &db.pool;
    let (ours, theirs) = (tenant(pool, 1).await?, tenant(pool, 2).await?);
    let id = Uuid::new_v4();
    for (whose, allowed) in [(ours, true), (theirs, false)] {
        for sql in [
            format!(
                "insert into outbox (account_id, event_id, subject, headers, payload) values ('{whose}', '{id}', 'x', '[]', '')"
            ),
            format!(
                "insert into ad_accounts (account_id, id, platform, external_id, name, currency, timezone_name, status)
                 values ('{whose}', '{id}', 'meta', 'act_9', 'x', 'EUR', 'UTC', 'active')"
            ),
            format!("update integrations set status = 'disconnected' where account_id = '{whose}'"),
        ] {
            let mut tx = web(pool, Some(ours)).await?;
            let done = rows(&mut tx, sql.clone()).await?.unwrap_or(0);
            ensure!((done > 0) == allowed, "{sql}: {done} rows");
        }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalogue_has_no_hole() -> Result<()> {
    let db = testkit::database().await?;
    let texts = async |sql: &'static str| sqlx::query_scalar::<_, String>(sql).fetch_all(&db.pool).await;
    assert_eq!(
        texts(
            "select relname::text from pg_class c join pg_namespace n on n.oid = relnamespace
             where nspname = 'public' and relkind in ('r', 'p') and (not relrowsecurity or relforcerowsecurity)"
        )
        .await?,
        ["_sqlx_migrations"],
        "row-level security is enabled on every table, and forced on none: COPY is refused under it"
    );
    assert_eq!(
        texts(
            "select relname::text from pg_class c join pg_namespace n on n.oid = relnamespace
             where nspname = 'public' and relkind in ('v', 'm')
               and not coalesce('security_invoker=true' = any (reloptions), false)"
        )
        .await?,
        [""; 0],
        "a view asks with the rights of who asks it"
    );
    assert_eq!(
        texts(
            "select proname::text from pg_proc p join pg_namespace n on n.oid = pronamespace
             where nspname = 'public' and prosecdef and proconfig @> array['search_path=public, pg_temp'] order by 1"
        )
        .await?,
        ["web_forget_expired", "web_tenant_of_token", "web_tenants"],
        "what is answered with the owner's rights is named here"
    );
    assert_eq!(
        texts(
            "select distinct grantee::text from information_schema.role_table_grants
             where table_schema = 'public' and grantee not in ('adledger_web', current_user)"
        )
        .await?,
        [""; 0]
    );
    // Nobody else may ask these three.
    assert_eq!(
        texts(
            "select proname::text from pg_proc p join pg_namespace n on n.oid = pronamespace
             where nspname = 'public' and prosecdef and has_function_privilege('public', p.oid, 'execute')"
        )
        .await?,
        [""; 0]
    );
    Ok(())
}
