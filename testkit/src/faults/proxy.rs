use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A TCP proxy on a port that stays while the server behind it comes and goes. Its lines can be cut, and can go dead: then
/// both ends stay open, and nothing comes through.
#[derive(Debug)]
pub struct Proxy {
    pub port: u16,
    inside: Arc<Inside>,
    _stop: DropGuard,
}

#[derive(Debug, Default)]
struct Inside {
    /// The server's port; 0 while there is none.
    target: AtomicU16,
    lines: Mutex<Vec<Weak<Line>>>,
    new_lines_are_dead: AtomicBool,
}

/// One connection through the proxy.
#[derive(Debug, Default)]
struct Line {
    is_dead: AtomicBool,
    cut: CancellationToken,
}

impl Proxy {
    /// A proxy to this port of 127.0.0.1, on the runtime of the caller.
    pub async fn to(port: u16) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let inside = Arc::new(Inside { target: port.into(), ..Inside::default() });
        let stop = CancellationToken::new();
        let proxy = Proxy {
            port: listener.local_addr()?.port(),
            inside: Arc::clone(&inside),
            _stop: stop.clone().drop_guard(),
        };
        tokio::spawn(async move {
            while let Some(Ok((near, _))) = stop.run_until_cancelled(listener.accept()).await {
                let line = Arc::new(Line {
                    is_dead: inside.new_lines_are_dead.load(Ordering::Relaxed).into(),
                    cut: stop.child_token(),
                });
                inside.remember(&line);
                tokio::spawn(carry(near, inside.target.load(Ordering::Relaxed), line));
            }
        });
        Ok(proxy)
    }

    /// The server is at this port now.
    pub fn aim(&self, port: u16) {
        self.inside.target.store(port, Ordering::Relaxed);
    }

    /// Ends every line; new ones are let through. Answers how many there were.
    pub fn cut(&self) -> usize {
        let lines = self.inside.lines();
        lines.iter().for_each(|line| line.cut.cancel());
        lines.len()
    }

    /// The lines that there are go dead, and stay so until they are cut; new ones are alive.
    pub fn kill_lines(&self) -> usize {
        let lines = self.inside.lines();
        lines.iter().for_each(|line| line.is_dead.store(true, Ordering::Relaxed));
        lines.len()
    }

    /// Ends the lines that are dead.
    pub fn cut_dead(&self) {
        let is_dead = |line: &&Arc<Line>| line.is_dead.load(Ordering::Relaxed);
        self.inside.lines().iter().filter(is_dead).for_each(|line| line.cut.cancel());
    }

    /// Every line, and every one to come, is dead; or all of them are alive again, without what was lost meanwhile.
    pub fn go_dead(&self, is_dead: bool) {
        self.inside.new_lines_are_dead.store(is_dead, Ordering::Relaxed);
        self.inside.lines().iter().for_each(|line| line.is_dead.store(is_dead, Ordering::Relaxed));
    }
}

impl Inside {
    fn remember(&self, line: &Arc<Line>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(line));
    }

    fn lines(&self) -> Vec<Arc<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }
}

async fn carry(near: TcpStream, port: u16, line: Arc<Line>) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (from_near, to_near) = near.into_split();
    let (from_far, to_far) = far.into_split();
    let both = async {
        tokio::try_join!(one_way(from_near, to_far, &line.is_dead), one_way(from_far, to_near, &line.is_dead))
    };
    // The sockets are dropped with the halves, which ends what is left of the connection.
    let _ = line.cut.run_until_cancelled(both).await;
}

async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    is_dead: &AtomicBool,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = from.read(&mut buffer).await;
        if is_dead.load(Ordering::Relaxed) {
            match read {
                // What was sent meanwhile is lost, as in a network that drops it;
                Ok(1..) => continue,
                // and so is the news that an end is gone.
                _ => std::future::pending().await,
            }
        }
        match read? {
            0 => return to.shutdown().await,
            count => to.write_all(&buffer[..count]).await?,
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
    host.rsplit_once(':').map_or("", |(_, port)| port).parse().context("the URL has a port")
}
