//! A server that is too old, or keeps no streams, is refused in words. None is at hand, so one line of its protocol is
//! spoken here.

use anyhow::{Context, Result};
use jetstream::Wire;
use jetstream::topology::{TopologyError, apply, check};
use testkit::LIMITS;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// Introduces itself with that version to one client, and answers nothing but its pings.
async fn introduce(listener: TcpListener, version: &str) -> Result<()> {
    let (stream, _) = listener.accept().await?;
    let (lines, mut answers) = tokio::io::split(stream);
    let info = serde_json::json!({ "server_id": "old", "version": version, "headers": true, "max_payload": 1 << 20 });
    answers.write_all(format!("INFO {info}\r\n").as_bytes()).await?;
    let mut lines = BufReader::new(lines).lines();
    while let Some(line) = lines.next_line().await? {
        if line.starts_with("PING") {
            answers.write_all(b"PONG\r\n").await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_cannot_serve_is_refused_in_words() -> Result<()> {
    for (version, said) in
        [("2.9.10", "2.9.10 is too old: adledger needs 2.12"), ("2.11.9", "2.12"), ("2.15.1", "keeps no streams")]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("nats://{}", listener.local_addr()?);
        let asked = async {
            let wire = Wire::connect(&url, None, "test").await?;
            anyhow::Ok((apply(&wire, &LIMITS).await, check(&wire, &LIMITS).await))
        };
        let (applied, checked) = tokio::select! {
            outcome = asked => outcome?,
            ended = introduce(listener, version) => return ended.context("the server ended first"),
        };
        for refused in [applied, checked] {
            let error = refused.err().context("it must be refused")?;
            let is_kind = matches!(error, TopologyError::OldServer { .. } | TopologyError::NoJetStream);
            assert!(is_kind && error.to_string().contains(said), "{error}");
        }
    }
    Ok(())
}
