use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::{StreamExt, stream};
use testkit::wait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Listener, MAX_CONNECTIONS, MAX_CONNECTIONS_OF_ONE, WhenTaken, network};

const DEADLINE: Duration = Duration::from_secs(30);
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);
/// More than the system takes from a server before the reader takes some of it.
const LARGE_BYTES: usize = 24 << 20;
const PAUSE: Duration = Duration::from_millis(700);

/// Serves until the guard is dropped.
async fn serve(take_within: Duration) -> Result<(SocketAddr, DropGuard)> {
    let large = Bytes::from(vec![b'x'; LARGE_BYTES]);
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/asset", get(async || vec![b'x'; 50_000]))
        .route("/large", get(async || large))
        .route("/slow", get(async || Body::from_stream(stream::iter(0..3).then(piece))));
    let mut listener = Listener::open("127.0.0.1:0".parse()?, WhenTaken::Refuse, &[]).await?;
    listener.take_within = take_within;
    // Addresses of this machine stand for those of others.
    listener.uncounted.clear();
    let (address, cancel) = (listener.address(), CancellationToken::new());
    let guard = cancel.clone().drop_guard();
    tokio::spawn(async move { listener.serve(router, &cancel).await });
    Ok((address, guard))
}

async fn piece(number: u32) -> io::Result<String> {
    tokio::time::sleep(PAUSE).await;
    Ok(format!("piece {number}\n"))
}

/// Connects from 127.0.0.`from`, with little room for what comes back, and asks.
async fn ask(from: u8, to: SocketAddr, questions: &str) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    socket.bind((Ipv4Addr::new(127, 0, 0, from), 0).into())?;
    let mut stream = socket.connect(to).await?;
    // Who is refused may find the connection closed already.
    let _ = stream.write_all(questions.as_bytes()).await;
    Ok(stream)
}

fn question(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

/// One who asks for a lot, and reads nothing of it.
async fn ask_and_never_read(from: u8, to: SocketAddr) -> Result<TcpStream> {
    ask(from, to, &question("/asset?v=x").repeat(200)).await
}

async fn answers(from: u8, to: SocketAddr) -> Result<bool> {
    let mut stream = ask(from, to, "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer)).await.context("nobody answers")?;
    Ok(read.is_ok() && answer.starts_with("HTTP/1.1 200 OK"))
}

/// How many of them the server has ended, seen without reading: that would be progress.
fn count_ended(streams: &[TcpStream]) -> usize {
    streams
        .iter()
        .filter(|stream| stream.try_write(b"\r\n").is_err_and(|e| e.kind() != io::ErrorKind::WouldBlock))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_visitor_who_never_reads_keeps_nobody_else_out() -> Result<()> {
    let (address, _guard) = serve(NEVER).await?;
    let mut stalled = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        stalled.push(ask_and_never_read(1, address).await?);
    }
    assert!(answers(2, address).await?, "another address");
    let refused = MAX_CONNECTIONS - MAX_CONNECTIONS_OF_ONE;
    wait::until("those past the cap are closed", DEADLINE, async || Ok(count_ended(&stalled) == refused)).await?;
    assert!(!answers(1, address).await?, "the same address");
    // Each place that is left can be taken again.
    drop(stalled);
    wait::until("there is room again", DEADLINE, async || answers(1, address).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_whose_reader_takes_nothing_end() -> Result<()> {
    let (address, _guard) = serve(Duration::from_millis(300)).await?;
    let mut stalled = Vec::new();
    // Three visitors hold all there is.
    for number in 0..MAX_CONNECTIONS {
        stalled.push(ask_and_never_read(1 + u8::try_from(number / MAX_CONNECTIONS_OF_ONE)?, address).await?);
    }
    assert!(answers(9, address).await?);
    wait::until("all have ended", DEADLINE, async || Ok(count_ended(&stalled) == stalled.len())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_between_two_pieces_of_an_answer_is_nobodys_fault() -> Result<()> {
    let (address, _guard) = serve(PAUSE / 4).await?;
    let mut stream = ask(1, address, &question("/slow")).await?;
    let mut answer = String::new();
    while !answer.contains("piece 2") {
        let mut bytes = [0; 1024];
        let read = tokio::time::timeout(DEADLINE, stream.read(&mut bytes)).await??;
        assert!(read > 0, "{answer}");
        answer.push_str(std::str::from_utf8(&bytes[..read])?);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_all() -> Result<()> {
    let take_within = Duration::from_secs(2);
    let (address, _guard) = serve(take_within).await?;
    let mut stream = ask(1, address, &question("/large")).await?;
    let (mut pace, mut bytes) = (tokio::time::interval(take_within / 8), vec![0; LARGE_BYTES / 12]);
    // Takes longer than a reader may take nothing.
    for _ in 0..12 {
        pace.tick().await;
        tokio::time::timeout(DEADLINE, stream.read_exact(&mut bytes)).await??;
    }
    Ok(())
}

#[test]
fn an_address_counts_as_its_network() {
    for (one, other, are_one) in [
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("::ffff:192.0.2.1", "192.0.2.1", true),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
    ] {
        let of = |address: &str| network(address.parse::<IpAddr>().unwrap());
        assert_eq!(of(one) == of(other), are_one, "{one} and {other}");
    }
}
