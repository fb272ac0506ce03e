//! What every answer tells a browser, and how much it may be asked.

use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::browser::Browser;
use crate::login::web;
use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_allows_scripts_frames_or_forms_of_others() -> Result<()> {
    let shop = Shop::open().await?;
    let (mut service, url) = web(&shop, &[]).await?;
    let visitor = Browser::open(&url)?;
    let integration = format!("/integrations/{}", shop.integration_id);
    for path in ["/", "/tenants", "/connect/meta", &integration, "/nowhere", "/assets/app.css", "/openapi.json"] {
        let answer = visitor.get(path).await?;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{path}: {policy}");
        for never in ["unsafe", "http:", "https:", "*", "data:"] {
            assert!(!policy.contains(never), "{path}: {policy}");
        }
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
        // Nothing stands inside a page that the policy would have to let through.
        for inline in ["<script>", " onclick=", " onload=", " style=", "<style", "javascript:"] {
            assert!(!answer.body.contains(inline) || path.starts_with("/assets"), "{path} holds {inline}");
        }
        let expected = if path.starts_with("/assets") { "public, max-age=31536000, immutable" } else { "no-store" };
        if path != "/openapi.json" {
            assert_eq!(answer.header("cache-control"), expected, "{path}");
        }
    }
    service.end().await
}

/// Who announces a body and sends none holds nothing up for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_come_is_not_waited_for() -> Result<()> {
    let shop = Shop::open().await?;
    let (mut service, url) = web(&shop, &[("CRON_SECRET", "right")]).await?;
    let address = url.trim_start_matches("http://").to_owned();
    let visitor = Browser::open(&url)?;
    visitor.get("/").await?;
    let cookie: Vec<_> = visitor.cookies().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let paths = ["/login", "/tenants", "/tenants/choose"];
    let waiting = paths.map(|path| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncookie: {}\r\ncontent-length: 100\r\n\
             content-type: application/x-www-form-urlencoded\r\nconnection: close\r\n\r\n",
            cookie.join("; ")
        );
        let address = address.clone();
        async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(head.as_bytes()).await?;
            let mut answer = String::new();
            tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await??;
            anyhow::Ok(answer)
        }
    });
    for (path, answer) in paths.iter().zip(futures_util::future::join_all(waiting).await) {
        let answer = answer?;
        assert!(answer.starts_with("HTTP/1.1 504"), "{path}: {answer}");
    }
    service.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_or_comes_too_often_is_refused() -> Result<()> {
    let shop = Shop::open().await?;
    let (mut service, url) = web(&shop, &[("CRON_SECRET", "right")]).await?;
    let visitor = Browser::open(&url)?;
    let csrf = visitor.csrf().await?;
    let large = "x".repeat(100 << 10);
    let answer = visitor.post("/tenants", &[("csrf", &csrf), ("name", &large)]).await?;
    assert_eq!(answer.status, 413);
    // What is worth guessing at is counted by address: sooner or later it is enough, and it is said for how long.
    let wrong = [("authorization", "Bearer wrong")];
    let callback = "/connect/meta/oauth/callback?code=x&state=x";
    for (path, first) in [("/login", 303), ("/api/scheduler/meta", 401), (callback, 303)] {
        let mut answers = Vec::new();
        while answers.last() != Some(&429) && answers.len() < 100 {
            let answer = match path == callback {
                true => visitor.get(path).await?,
                false => visitor.post_with(path, &wrong, &[("password", "guess")]).await?,
            };
            if answer.status == 429 {
                let pause: u64 = answer.header("retry-after").parse()?;
                assert!((1..=60).contains(&pause), "{path}: {pause}");
            } else {
                assert_eq!(answer.status, first, "{path}: {}", answer.body);
            }
            answers.push(answer.status);
        }
        assert_eq!(answers.last(), Some(&429), "{path}: {} answers", answers.len());
        assert!(answers.len() > 5, "{path}: a person who errs is not shut out at once");
    }
    // Others are not held up by it.
    assert_eq!(visitor.get("/tenants").await?.status, 200);
    service.end().await
}
