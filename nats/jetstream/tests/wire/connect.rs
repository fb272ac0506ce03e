//! A server that cannot be reached is told in one sentence, and the password is not in it.

use std::net::TcpListener;

use anyhow::{Context, Result};
use jetstream::Wire;

async fn refusal(url: &str) -> Result<String> {
    let error = Wire::connect(url, None, "test").await.err().context("nobody should answer")?;
    let text = error.to_string();
    assert!(!text.contains("geheim"), "the password is in: {text}");
    assert!(!text.contains('\n'), "more than one line: {text}");
    Ok(text)
}

/// A port on which nobody listens: it was free a moment ago.
fn silent_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

#[tokio::test]
async fn an_unreachable_server_is_named_without_its_password() -> Result<()> {
    let address = silent_address()?;
    let text = refusal(&format!("nats://adledger:geheim@{address}")).await?;
    assert!(text.starts_with(&format!("cannot connect to NATS at nats://{address}: ")), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_without_its_password() -> Result<()> {
    for url in
        ["nats://adledger:geheim@127.0.0.1:99999", "ftp://adledger:geheim@127.0.0.1:4222", "nats://adledger:geheim@"]
    {
        refusal(url).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_told_as_such() -> Result<()> {
    let nats = testkit::nats_without_streams().await?;
    let (_, address) = nats.url.rsplit_once('@').context("a URL with a password")?;
    let text = refusal(&format!("nats://adledger:geheim@{address}")).await?.to_lowercase();
    assert!(text.contains("authorization"), "{text}");
    Ok(())
}

#[tokio::test]
async fn credentials_that_are_none_are_refused_without_being_shown() -> Result<()> {
    let url = format!("nats://{}", silent_address()?);
    let error = Wire::connect(&url, Some("geheim"), "test").await.err().context("it must be refused")?.to_string();
    assert!(error.contains("NATS_CREDS") && !error.contains("geheim"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_password_is_written_as_urls_have_it() -> Result<()> {
    let nats = testkit::nats_with_roles("").await?;
    let url = nats.url_of("raw")?;
    Wire::connect(&url, None, "raw").await?;
    // Encoded once more, and not at all where it need not be.
    let text = refusal(&url.replace('%', "%25")).await?.to_lowercase();
    assert!(text.contains("authorization") && !text.contains("%25"), "{text}");
    Wire::connect(&url.replace("%C3%A4", "ä"), None, "raw").await?;
    let text = refusal(&url.replace("%C3%A4", "%C3")).await?;
    assert!(text.contains("not UTF-8") && !text.contains("%C3"), "{text}");
    Ok(())
}
