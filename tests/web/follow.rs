//! Following a run: to its end, until the process ends, as long as the credential is good, and not too many at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use testkit::wait;
use uuid::Uuid;

use crate::service::DEADLINE;
use crate::shop::{TOKEN, run};
use crate::site::{Member, Site, Web};

/// The events of a run, as they come.
struct Stream {
    response: Response,
    read: String,
}

impl Stream {
    async fn open(web: &Web, member: &Member, run_id: Uuid) -> Result<Stream> {
        let path = format!("/api/sync-runs/{run_id}/events");
        let response = web.request(Method::GET, &path).bearer_auth(&member.token).send().await?;
        ensure!(response.status() == 200, "{}: {}", response.status(), response.text().await?);
        let kind = response.headers().get("content-type").context("it has a type")?.to_str()?;
        ensure!(kind == "text/event-stream", "{kind}");
        Ok(Stream { response, read: String::new() })
    }

    /// The next event and its data; `None` where the stream ends as it should.
    async fn next(&mut self) -> Result<Option<(String, Value)>> {
        tokio::time::timeout(DEADLINE, self.read_event()).await.context("no event came")?
    }

    async fn read_event(&mut self) -> Result<Option<(String, Value)>> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                match (field("event:"), field("data:")) {
                    (Some(name), Some(data)) => return Ok(Some((name.to_owned(), serde_json::from_str(data)?))),
                    (None, None) => continue,
                    _ => bail!("half an event: {event:?}"),
                }
            }
            match self.response.chunk().await? {
                Some(chunk) => self.read.push_str(std::str::from_utf8(&chunk)?),
                None => return Ok(None),
            }
        }
    }
}

fn number(progress: &Value, field: &str) -> Result<u64> {
    progress[field].as_u64().with_context(|| format!("{field} of {progress}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_followed_from_its_queue_into_the_tables() -> Result<()> {
    let site = Site::open().await?;
    let stub = ("META_STUB_MODE", "1");
    let mut member = site.member().await?;
    let account = member.tenant.account_id.to_string();
    let mut connect = site.command(&["connect", "--account", &account, "--ad-account", "act_77", "--token-stdin"]);
    connect.env(stub.0, stub.1);
    let connected = run(connect, Some(TOKEN)).await?;
    ensure!(connected.code == 0, "{connected:?}");
    member.tenant.integration_id = connected.stdout.trim().parse()?;

    let web = site.serve(&[stub]).await?;
    let run_id = web.sync(&member, "meta_7d_fill").await?.run_id()?;
    let mut stream = Stream::open(&web, &member, run_id).await?;
    let first = stream.next().await?.context("at once")?;
    let nothing = json!({
        "status": "queued", "asked": 0, "fetched": 0, "published": 0, "raw": 0, "folded": 0, "throttle_count": 0,
        "throttle_wait_ms": 0, "wait_reason": null, "not_before": null, "error_code": null, "error_message": null,
    });
    assert_eq!(first, ("progress".to_owned(), nothing));

    // Now somebody works on it.
    let _workers = site.serve_role("all", &[stub]).await?;
    let mut last = first.1;
    let end = loop {
        let (name, progress) = stream.next().await?.context("it ends with an event")?;
        if name == "end" {
            break progress;
        }
        assert_ne!(progress, last, "only what changed is said");
        for field in ["asked", "fetched", "published"] {
            assert!(number(&progress, field)? >= number(&last, field)?, "{field} of {progress} after {last}");
        }
        let (published, raw, folded) =
            (number(&progress, "published")?, number(&progress, "raw")?, number(&progress, "folded")?);
        assert!(published >= raw && raw >= folded, "{progress}");
        last = progress;
    };
    assert_eq!(end, last);
    assert_eq!(end["status"], "succeeded", "{end}");
    for field in ["asked", "published", "raw", "folded"] {
        assert_eq!(end[field], 7, "{field} of {end}");
    }
    assert!(number(&end, "fetched")? > 0);
    assert_eq!(stream.next().await?, None, "and nothing comes after");

    // Who comes late gets the end at once.
    let mut late = Stream::open(&web, &member, run_id).await?;
    assert_eq!(late.next().await?, Some(("progress".to_owned(), end.clone())));
    assert_eq!(late.next().await?, Some(("end".to_owned(), end)));
    assert_eq!(late.next().await?, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_to_end_waits_for_no_stream() -> Result<()> {
    let site = Site::open().await?;
    let member = site.member().await?;
    let mut web = site.serve(&[]).await?;
    let run_id = web.sync(&member, "meta_fresh").await?.run_id()?;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = Stream::open(&web, &member, run_id).await?;
        assert_eq!(stream.next().await?.context("at once")?.0, "progress");
        streams.push(stream);
    }
    let asked_at = Instant::now();
    web.service.end().await?;
    assert!(asked_at.elapsed() < Duration::from_secs(3), "it took {:?}", asked_at.elapsed());
    for mut stream in streams {
        // To its end, not broken off: whoever listens knows that nothing was cut.
        assert_eq!(stream.next().await?, None);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_its_credential() -> Result<()> {
    let site = Site::open().await?;
    let member = site.member().await?;
    let web = site.serve(&[]).await?;
    let run_id = web.sync(&member, "meta_fresh").await?.run_id()?;
    let mut stream = Stream::open(&web, &member, run_id).await?;
    assert_eq!(stream.next().await?.context("at once")?.0, "progress");
    ensure!(accounts::revoke_api_token(&site.database.pool, member.token_id).await?);
    assert_eq!(stream.next().await?, None);
    web.get(&member, &format!("/api/sync-runs/{run_id}/events")).await?.problem(401)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_have_a_limit_and_leave_their_place() -> Result<()> {
    let site = Site::open().await?;
    let member = site.member().await?;
    let web = site.serve(&[]).await?;
    let run_id = web.sync(&member, "meta_fresh").await?.run_id()?;
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(Stream::open(&web, &member, run_id).await?);
    }
    let path = format!("/api/sync-runs/{run_id}/events");
    let refused = web.get(&member, &path).await?;
    assert!(
        refused.problem(503)?.contains("8 streams of events of this credential")
            && refused.header("retry-after").is_some(),
        "{refused:?}"
    );
    // Another credential finds places, until there is none for anybody.
    let other = site.member().await?;
    let theirs = web.sync(&other, "meta_fresh").await?.run_id()?;
    streams.push(Stream::open(&web, &other, theirs).await?);
    // Everything else is answered as before, also while all of them poll.
    web.get(&member, &format!("/api/sync-runs/{run_id}")).await?.json(200)?;
    for stream in &mut streams {
        assert_eq!(stream.next().await?.context("at once")?.0, "progress");
    }
    streams.truncate(4);
    wait::until("a place is free", DEADLINE, async || Ok(Stream::open(&web, &member, run_id).await.is_ok())).await
}
