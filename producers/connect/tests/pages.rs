//! The status pages over HTTP, before a real database: each tenant sees its own, and what the pages say is what is
//! there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use connect::{Connect, Settings};
use reqwest::header::{ACCEPT, CONTENT_SECURITY_POLICY, COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, RequestBuilder, Response};
use sqlx::PgPool;
use testkit::Tenant;
use tokio_util::sync::CancellationToken;

/// The web side before a database, and a browser's session with it.
struct Visit {
    http: Client,
    base: String,
    cookie: String,
    csrf: String,
}

async fn serve(pool: &PgPool, jobs_enabled: bool) -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let listens_at = listener.local_addr()?;
    let settings = Settings {
        trusted_proxies: Vec::new(),
        public_url: None,
        listens_at,
        admin_password_hash: None,
        app: None,
        jobs_enabled,
        fresh_cooldown: Duration::from_secs(3600),
        cron_secret: None,
    };
    let keys = Arc::new(accounts::KeyRing::parse(&accounts::KeyRing::generate())?);
    let cancel = CancellationToken::new();
    let connect = Connect { pool: pool.clone(), keys, meta: None, settings, past: None, cancel };
    tokio::spawn(async move { axum::serve(listener, connect::router(connect)).await });
    Ok(format!("http://{listens_at}"))
}

impl Visit {
    /// Comes to the service, and looks at a tenant.
    async fn of(base: &str, tenant: &Tenant) -> Result<Visit> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
        let page = http.get(format!("{base}/tenants")).header(ACCEPT, "text/html").send().await?;
        let cookie = page.headers().get(SET_COOKIE).context("a session begins")?.to_str()?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        let page = page.text().await?;
        let csrf = page.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        let csrf = csrf.context("a form has the session's token")?.to_owned();
        let visit = Visit { http, base: base.to_owned(), cookie, csrf };
        let chosen = visit.post("/tenants/choose", "account_id", &tenant.account_id.to_string()).await?;
        ensure!(chosen.status() == 303, "the tenant was not chosen: {}", chosen.status());
        Ok(visit)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        Ok(request.header(ACCEPT, "text/html").header(COOKIE, &self.cookie).send().await?)
    }

    async fn get(&self, path: &str) -> Result<(u16, String)> {
        let answer = self.send(self.http.get(format!("{}{path}", self.base)).header("hx-request", "true")).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    async fn post(&self, path: &str, field: &str, value: &str) -> Result<Response> {
        let form = [("csrf", self.csrf.as_str()), (field, value)];
        self.send(self.http.post(format!("{}{path}", self.base)).form(&form)).await
    }
}

/// Everything that a page shows of a tenant: days, a failed one and one that is stuck, runs, an error with a trace.
async fn fill(pool: &PgPool, tenant: &Tenant, word: &str, spend: &str) -> Result<()> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "update accounts set name = '{word} shop' where id = '{account}';
         update ad_accounts set name = '{word} ads', external_id = 'act_{word}' where account_id = '{account}';
         insert into integration_secrets (account_id, integration_id, kid, nonce, ciphertext, expires_at)
         values ('{account}', '{integration}', 'k', '', '', now() + interval '9 days 1 hour');
         insert into sync_cursors values ('{account}', '{integration}', 'meta_last_window_end', current_date - 1);
         insert into observations (account_id, ad_account_id, date, event_id, fetched_at, age_days, row_count,
                                   content_sha256, projection_version)
         select '{account}', '{ad_account}', current_date - n, gen_random_uuid(), now(), n, 1, '', 1
         from unnest(array[1, 3, 60]) n;
         insert into daily_meta_metrics (account_id, ad_account_id, date, currency, ads, spend, purchase_value, roas, coverage,
                                         provisional, event_id, fetched_at, content_sha256, projection_version)
         select account_id, ad_account_id, date, 'USD', 1, {spend}, {spend} * 2, 2, 0.75, age_days <= 28, event_id, now(), '', 1
         from observations where account_id = '{account}';
         insert into sync_days (account_id, integration_id, date, state, last_error, last_fetched_at, last_event_id)
         values ('{account}', '{integration}', current_date - 2, 'failed', 'the {word} day failed', null, null),
                ('{account}', '{integration}', current_date - 4, 'published', null, now() - interval '1 hour', gen_random_uuid());
         insert into sync_runs (account_id, id, integration_id, job_type, trigger, status, window_since, window_until, days_total,
                                days_done, throttle_count, throttle_wait_ms, wait_reason, not_before, error_code, error_message)
         values ('{account}', gen_random_uuid(), '{integration}', 'meta_settle', 'schedule', 'waiting', current_date - 29,
                 current_date - 7, 23, 4, 3, 130000, 'throttled', now() + interval '4 minutes', null, 'slow, {word}'),
                ('{account}', gen_random_uuid(), '{integration}', 'meta_fresh', 'schedule', 'failed', current_date - 7,
                 current_date - 1, 7, 0, 0, 0, null, null, 'permission',
                 'Meta does not let this token read act_{word} (code 200, \"no\", fbtrace_id Trace{word})')",
        account = tenant.account_id,
        integration = tenant.integration_id,
        ad_account = tenant.ad_account_id,
    )))
    .execute(pool)
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_tenant_sees_its_own_and_nothing_of_another() -> Result<()> {
    let database = testkit::database().await?;
    let pool = &database.pool;
    let (ours, theirs) = (Tenant::insert(pool).await?, Tenant::insert(pool).await?);
    fill(pool, &ours, "Ours", "41.25").await?;
    fill(pool, &theirs, "Foreign", "987654.25").await?;
    let base = serve(pool, true).await?;
    let visit = Visit::of(&base, &ours).await?;

    let integration = format!("/integrations/{}", ours.integration_id);
    let wide = format!("{integration}?days=91");
    for (path, shown) in [
        ("/", vec!["Ours ads", "act_Ours", "Yesterday is in", "9 days left", "1 day could not be fetched"]),
        (&*integration, vec!["Ours ads", "82.50", "165.00", "2 of 35 days are in", "the Ours day failed", "75.0 %"]),
        (
            &*integration,
            vec![
                "TraceOurs",
                "Meta asked to slow down",
                "throttled 3 times, waited 2 min 10 s",
                "(in 3 min",
                "0 of 23",
            ],
        ),
        (&*wide, vec!["3 of 91 days are in", "not in the tables"]),
    ] {
        let (status, page) = visit.get(path).await?;
        ensure!(status == 200, "{path}: {status} {page}");
        for words in shown {
            ensure!(page.contains(words), "{path} does not say {words:?}: {page}");
        }
        for words in ["Foreign", "987654", "987,654", "1,975,308", &theirs.integration_id.to_string()] {
            ensure!(!page.contains(words), "{path} shows {words:?} of another tenant: {page}");
        }
    }
    let foreign = format!("/integrations/{}", theirs.integration_id);
    for path in [foreign.clone(), format!("{foreign}?days=91")] {
        let (status, page) = visit.get(&path).await?;
        ensure!(status == 404 && !page.contains("Foreign"), "{path}: {status} {page}");
    }
    let answer = visit.post(&format!("{foreign}/sync"), "job_type", "meta_fresh").await?;
    ensure!(answer.status() == 404, "a run of another tenant's: {}", answer.status());
    let added = sqlx::query_scalar::<_, i64>("select count(*) from sync_runs where account_id = $1")
        .bind(theirs.account_id)
        .fetch_one(pool)
        .await?;
    ensure!(added == 2, "another tenant has {added} runs");
    Ok(())
}

#[tokio::test]
async fn a_run_is_asked_for_where_it_may_be() -> Result<()> {
    let database = testkit::database().await?;
    let pool = &database.pool;
    let tenant = Tenant::insert(pool).await?;
    let (base, without_jobs) = (serve(pool, true).await?, serve(pool, false).await?);
    let visit = Visit::of(&base, &tenant).await?;
    let page = format!("/integrations/{}", tenant.integration_id);
    let sync = format!("{page}/sync");
    // In stub mode nobody answers for what is Meta's.
    assert_eq!(visit.post(&sync, "job_type", "meta_fresh").await?.status().as_u16(), 409);
    ensure!(!visit.get(&page).await?.1.contains("Sync now"), "what would be refused is not offered");
    sqlx::query("update integrations set source = 'stub'").execute(pool).await?;
    for (job, status, leads_to) in [
        ("meta_fresh", 303, Some(format!("{page}?sync=asked#runs"))),
        ("meta_fresh", 303, Some(format!("{page}?sync=already#runs"))),
        ("meta_7d_fill", 303, Some(format!("{page}?sync=asked#runs"))),
        ("meta_backfill", 400, None),
        ("", 400, None),
    ] {
        let answer = visit.post(&sync, "job_type", job).await?;
        let location = answer.headers().get(LOCATION).map(|value| value.to_str()).transpose()?;
        assert_eq!((answer.status().as_u16(), location), (status, leads_to.as_deref()), "{job:?}");
    }
    let (_, shown) = visit.get(&page).await?;
    ensure!(shown.contains("Sync now") && shown.contains("data-live"), "the run is on the page: {shown}");
    let triggers = "select distinct trigger from sync_runs where account_id = $1";
    let triggers: Vec<String> = sqlx::query_scalar(triggers).bind(tenant.account_id).fetch_all(pool).await?;
    assert_eq!(triggers, ["manual"]);

    sqlx::query("update integrations set status = 'needs_reconnect'").execute(pool).await?;
    let answer = visit.post(&sync, "job_type", "meta_fresh").await?;
    ensure!(answer.status() == 409, "{}", answer.status());
    ensure!(answer.text().await?.contains("connect it again"), "the refusal says what to do");
    let (_, shown) = visit.get(&page).await?;
    ensure!(!shown.contains("Sync now"), "what would be refused is not offered: {shown}");

    sqlx::query("update integrations set status = 'connected'").execute(pool).await?;
    let visit = Visit::of(&without_jobs, &tenant).await?;
    assert_eq!(visit.post(&sync, "job_type", "meta_fresh").await?.status().as_u16(), 404);
    let (_, shown) = visit.get(&page).await?;
    ensure!(!shown.contains("Sync now"), "without jobs none is offered: {shown}");
    Ok(())
}

#[tokio::test]
async fn pages_keep_their_own_rules() -> Result<()> {
    let database = testkit::database().await?;
    let pool = &database.pool;
    let tenant = Tenant::insert(pool).await?;
    let base = serve(pool, true).await?;
    let visit = Visit::of(&base, &tenant).await?;
    let integration = format!("/integrations/{}", tenant.integration_id);
    // Empty, then full; what others named is text and nothing else.
    for filled in [false, true] {
        if filled {
            fill(pool, &tenant, "Ours", "0").await?;
            sqlx::query("update ad_accounts set name = '<b>\"x\"</b>'").execute(pool).await?;
        }
        for path in ["/", "/tenants", &integration] {
            let answer = visit.send(visit.http.get(format!("{base}{path}"))).await?;
            ensure!(answer.headers().contains_key(CONTENT_SECURITY_POLICY), "{path} has no policy");
            let page = answer.text().await?;
            for forbidden in [" style=", "<style", "onclick=", "onload=", "<script>", "javascript:", "<b>\"x"] {
                ensure!(!page.contains(forbidden), "{path} has {forbidden:?}, which its policy forbids");
            }
            ensure!(
                page.matches("<h1").count() == 1 && page.contains("lang=\"en\""),
                "{path} has one heading and a language"
            );
            let ids: Vec<_> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
            let mut once = ids.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), ids.len(), "{path} uses an id twice: {ids:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_view_asks_with_the_rights_of_who_asks_it() -> Result<()> {
    let database = testkit::database().await?;
    let views = "select relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
                 where n.nspname = 'public' and c.relkind = 'v'
                   and not coalesce('security_invoker=true' = any (c.reloptions), false)";
    let views: Vec<String> = sqlx::query_scalar(views).fetch_all(&database.pool).await?;
    assert_eq!(views, Vec::<String>::new(), "these views show the rows of every tenant");
    Ok(())
}
