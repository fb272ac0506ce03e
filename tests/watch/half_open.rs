//! A TCP proxy whose line can go dead: connections stay open, and nothing comes through any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub struct Line {
    pub port: u16,
    is_dead: Arc<AtomicBool>,
}

impl Line {
    /// A line to this port of 127.0.0.1.
    pub async fn to(port: u16) -> Result<Line> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let line = Line { port: listener.local_addr()?.port(), is_dead: Arc::default() };
        let is_dead = Arc::clone(&line.is_dead);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let (from_near, to_near) = near.into_split();
                let (from_far, to_far) = far.into_split();
                tokio::spawn(carry(from_near, to_far, Arc::clone(&is_dead)));
                tokio::spawn(carry(from_far, to_near, Arc::clone(&is_dead)));
            }
        });
        Ok(line)
    }

    pub fn go_dead(&self, is_dead: bool) {
        self.is_dead.store(is_dead, Ordering::Relaxed);
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, is_dead: Arc<AtomicBool>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        // What was sent meanwhile is lost, as in a network that drops it.
        if !is_dead.load(Ordering::Relaxed) && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// The URL with another port.
pub fn with_port(url: &str, port: u16) -> String {
    let at = url.find('@').map_or(0, |at| at + 1);
    let (user, rest) = url.split_at(at);
    let (host, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    format!("{user}{host}:{port}{path}")
}

/// The port of a URL.
pub fn port_of(url: &str) -> Result<u16> {
    let rest = url.rsplit_once('@').map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    Ok(host.rsplit_once(':').map_or("", |(_, port)| port).parse()?)
}
