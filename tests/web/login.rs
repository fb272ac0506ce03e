//! Who gets in, with which cookie, and what a form must bring along.

use anyhow::{Context, Result};

use crate::browser::{Browser, Seen};
use crate::service::Service;
use crate::shop::{Shop, run};

const PASSWORD: &str = "correct horse battery staple";

/// The hash of [`PASSWORD`], as the command makes it.
async fn hash(shop: &Shop) -> Result<String> {
    let ran = run(shop.command(&["password"]), Some(PASSWORD)).await?;
    anyhow::ensure!(ran.code == 0, "{ran:?}");
    Ok(ran.stdout.trim().to_owned())
}

/// The web role with these settings.
pub async fn web(shop: &Shop, settings: &[(&str, &str)]) -> Result<(Service, String)> {
    let mut command = shop.command(&["serve", "--role", "web"]);
    command.envs(settings.iter().copied());
    let mut service = Service::start(command)?;
    let url = service.url().await?;
    Ok((service, url))
}

fn session_cookie(answer: &Seen) -> &str {
    answer.header("set-cookie")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_administrator_gets_in_and_only_with_a_new_session() -> Result<()> {
    let shop = Shop::open().await?;
    let hash = hash(&shop).await?;
    let (mut service, url) = web(&shop, &[("ADLEDGER_ADMIN_PASSWORD_HASH", &hash)]).await?;
    let visitor = Browser::open(&url)?;
    for path in ["/", "/tenants", "/connect/meta", "/integrations/0198c0de-0000-7000-8000-000000000001"] {
        let turned_away = visitor.get(path).await?;
        assert_eq!(turned_away.status, 303, "{path}");
        assert_eq!(turned_away.location()?, format!("/login?wanted={path}"));
        assert_eq!(turned_away.header("set-cookie"), "", "a stranger gets no session");
    }
    let form = visitor.get("/login?wanted=/tenants").await?;
    assert!(form.body.contains(r#"name="password""#), "{}", form.body);
    let wrong = visitor.post("/login", &[("password", "incorrect horse"), ("wanted", "/tenants")]).await?;
    assert_eq!((wrong.status, session_cookie(&wrong)), (401, ""));
    assert!(wrong.body.contains("The password is wrong") && !wrong.body.contains("incorrect horse"));
    // A session that somebody planted beforehand is worth nothing.
    visitor.cookies().insert("adledger_session".into(), "planted".into());
    let right = visitor.post("/login", &[("password", PASSWORD), ("wanted", "/tenants")]).await?;
    assert_eq!((right.status, right.location()?), (303, "/tenants"));
    assert!(session_cookie(&right).contains("; HttpOnly; SameSite=Lax; Path=/"), "{}", session_cookie(&right));
    assert_ne!(visitor.cookies()["adledger_session"], "planted");
    let tenants = visitor.get("/tenants").await?;
    assert_eq!(tenants.status, 200);

    let csrf = tenants.field("csrf").context("a form has it")?.to_owned();
    let kept = visitor.cookies().clone();
    let out = visitor.post("/logout", &[("csrf", &csrf)]).await?;
    assert_eq!(out.status, 303);
    *visitor.cookies() = kept;
    assert_eq!(visitor.get("/tenants").await?.status, 303, "the session is over, whoever kept the cookie");
    for elsewhere in ["https://evil.example.com", "//evil.example.com", "/\\evil.example.com"] {
        let sent = visitor.post("/login", &[("password", PASSWORD), ("wanted", elsewhere)]).await?;
        assert_eq!(sent.location()?, "/", "{elsewhere}");
    }
    let stored: Vec<Vec<u8>> =
        sqlx::query_scalar("select id_sha256 from web_sessions").fetch_all(&shop.database.pool).await?;
    let id = visitor.cookies()["adledger_session"].clone();
    assert!(stored.iter().all(|stored| stored.as_slice() != id.as_bytes()), "the database has hashes only");
    // An old session is none.
    sqlx::query("update web_sessions set expires_at = now()").execute(&shop.database.pool).await?;
    assert_eq!(visitor.get("/tenants").await?.status, 303);
    service.end().await
}

/// A session proves the password that it began with: one from before there was one, or from before it was changed,
/// opens nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_with_the_password_it_began_with() -> Result<()> {
    let shop = Shop::open().await?;
    let (first, second) = (hash(&shop).await?, hash(&shop).await?);
    let mut cookies = None;
    for settings in [
        vec![],
        vec![("ADLEDGER_ADMIN_PASSWORD_HASH", first.as_str())],
        vec![("ADLEDGER_ADMIN_PASSWORD_HASH", second.as_str())],
    ] {
        let (mut service, url) = web(&shop, &settings).await?;
        let visitor = Browser::open(&url)?;
        if let Some(before) = cookies.take() {
            *visitor.cookies() = before;
            assert_eq!(visitor.get("/tenants").await?.status, 303, "it is sent to log in");
            let login = visitor.post("/login", &[("password", PASSWORD)]).await?;
            assert_eq!(login.status, 303);
        }
        assert_eq!(visitor.get("/tenants").await?.status, 200);
        cookies = Some(visitor.cookies().clone());
        service.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_reached_from_elsewhere_does_not_start_without_a_password() -> Result<()> {
    let shop = Shop::open().await?;
    let hash = hash(&shop).await?;
    for (settings, said) in [
        (vec![("HTTP_ADDR", "0.0.0.0:0")], "ADLEDGER_ADMIN_PASSWORD_HASH is not set"),
        (vec![("HTTP_ADDR", "[::]:0")], "ADLEDGER_ADMIN_PASSWORD_HASH is not set"),
        (vec![("ADLEDGER_PUBLIC_URL", "https://ads.example.com")], "ADLEDGER_ADMIN_PASSWORD_HASH is not set"),
        (vec![("ADLEDGER_ADMIN_PASSWORD_HASH", "hunter2")], "is not what argon2 writes"),
        (
            vec![("ADLEDGER_ADMIN_PASSWORD_HASH", hash.as_str()), ("ADLEDGER_PUBLIC_URL", "http://ads.example.com")],
            "over plain http",
        ),
        (
            vec![
                ("HTTP_ADDR", "0.0.0.0:0"),
                ("ADLEDGER_ADMIN_PASSWORD_HASH", hash.as_str()),
                ("ADLEDGER_PUBLIC_URL", "http://localhost:8080"),
            ],
            "over plain http",
        ),
        (vec![("ADLEDGER_TRUSTED_PROXIES", "proxy.example.com")], "ADLEDGER_TRUSTED_PROXIES holds"),
    ] {
        for role in ["web", "all"] {
            let mut command = shop.command(&["serve", "--role", role]);
            command.envs(settings.iter().copied());
            let ran = run(command, None).await?;
            assert_eq!(ran.code, 2, "{settings:?}: {ran:?}");
            assert!(ran.stderr.contains(said) && !ran.stderr.contains("hunter2"), "{settings:?}: {ran:?}");
        }
        // A role that serves no HTTP does not care.
    }
    let (mut service, url) = web(
        &shop,
        &[
            ("HTTP_ADDR", "0.0.0.0:0"),
            ("ADLEDGER_ADMIN_PASSWORD_HASH", &hash),
            ("ADLEDGER_PUBLIC_URL", "https://ads.example.com"),
        ],
    )
    .await?;
    let visitor = Browser::open(&url.replace("0.0.0.0", "127.0.0.1"))?;
    let login = visitor.post("/login", &[("password", PASSWORD)]).await?;
    assert_eq!(login.status, 303);
    let cookie = session_cookie(&login);
    assert!(cookie.starts_with("__Host-adledger_session=") && cookie.contains("; Secure"), "{cookie}");
    assert!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Lax"), "{cookie}");
    assert_eq!(visitor.get("/tenants").await?.header("strict-transport-security"), "max-age=31536000");
    service.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_of_another_site_or_session_is_refused() -> Result<()> {
    let shop = Shop::open().await?;
    let (mut service, url) = web(&shop, &[]).await?;
    let host = url.trim_start_matches("http://").to_owned();
    let (visitor, other) = (Browser::open(&url)?, Browser::open(&url)?);
    let (ours, theirs) = (visitor.csrf().await?, other.csrf().await?);
    assert_ne!(ours, theirs);
    let account = shop.account_id.to_string();
    let origin = format!("http://{host}");
    type Said<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, Said<'_>, Option<&str>, u16); 9] = [
        ("no token", &[], None, 403),
        ("an empty token", &[], Some(""), 403),
        ("another session's token", &[], Some(&theirs), 403),
        ("a page of another site", &[("sec-fetch-site", "cross-site")], Some(&ours), 403),
        ("a page of a neighbour", &[("sec-fetch-site", "same-site")], Some(&ours), 403),
        ("another origin", &[("origin", "https://evil.example.com")], Some(&ours), 403),
        ("a hidden origin", &[("origin", "null")], Some(&ours), 403),
        ("our own page", &[("sec-fetch-site", "same-origin")], Some(&ours), 303),
        ("our own origin", &[("origin", &origin)], Some(&ours), 303),
    ];
    for (name, headers, csrf, expected) in cases {
        let mut form = vec![("account_id", account.as_str())];
        form.extend(csrf.map(|csrf| ("csrf", csrf)));
        let answer = visitor.post_with("/tenants/choose", headers, &form).await?;
        assert_eq!(answer.status, expected, "{name}: {}", answer.body);
        if expected == 403 {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{name}");
        }
    }
    // Without a session there is nothing to forge.
    let stranger = Browser::open(&url)?;
    let answer = stranger.post("/tenants/choose", &[("account_id", &account), ("csrf", &ours)]).await?;
    assert_eq!(answer.status, 401);
    // A name that somebody else lets point at this machine opens nothing, also not for reading.
    for name in ["evil.example.com", "127.0.0.1.example.com:80"] {
        let answer = stranger.get_with("/", &[("host", name)]).await?;
        assert_eq!(answer.status, 403, "{name}");
    }
    service.end().await
}
