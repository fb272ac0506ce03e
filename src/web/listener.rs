use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// How often an address that another process holds is tried again.
const TRY_EVERY: Duration = Duration::from_secs(2);
/// Connections at a time; further ones wait in the system's queue.
const MAX_CONNECTIONS: usize = 128;
/// How long a connection may take to ask, or to ask again.
const ASK_WITHIN: Duration = Duration::from_secs(10);
/// How long answers that are under way may take once the process is asked to end.
const FINISH_WITHIN: Duration = Duration::from_millis(700);

/// The address that HTTP is served at, or is to be once its holder is gone.
pub struct Listener {
    address: SocketAddr,
    bound: Option<TcpListener>,
}

/// What is done where another process has the address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum WhenTaken {
    /// Serving HTTP is all that this process is for.
    Refuse,
    /// Then one of several processes on a machine answers, and when it ends another one does.
    WaitItsTurn,
    /// Somebody wants to look at this process, and at no other.
    TakeAnotherPort,
}

impl Listener {
    /// Takes the address.
    pub async fn open(address: SocketAddr, when_taken: WhenTaken) -> Result<Listener> {
        let is_taken = |error: &std::io::Error| error.kind() == ErrorKind::AddrInUse;
        let mut bound = TcpListener::bind(address).await;
        if when_taken == WhenTaken::TakeAnotherPort && bound.as_ref().is_err_and(is_taken) {
            bound = TcpListener::bind((address.ip(), 0)).await;
        }
        match bound {
            // Port 0 becomes a real one.
            Ok(bound) => Ok(Listener { address: bound.local_addr().unwrap_or(address), bound: Some(bound) }),
            Err(error) if is_taken(&error) && when_taken == WhenTaken::WaitItsTurn => {
                tracing::info!(%address, "another process serves HTTP at this address; this one takes over when it ends");
                Ok(Listener { address, bound: None })
            }
            Err(error) => Err(error).with_context(|| {
                format!("cannot listen at HTTP_ADDR {address}: end who listens there, or set another address")
            }),
        }
    }

    /// Where HTTP is served, or is to be.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until cancelled, and then lets answers that are under way leave for a moment.
    pub async fn serve(self, router: Router, cancel: &CancellationToken) {
        let bound = match self.bound {
            Some(bound) => bound,
            None => match cancel.run_until_cancelled(take_over(self.address)).await {
                Some(bound) => bound,
                None => return,
            },
        };
        tracing::info!(address = %self.address, "serving HTTP");
        let (limit, connections) = (Arc::new(Semaphore::new(MAX_CONNECTIONS)), GracefulShutdown::new());
        while let Some((permit, stream, peer)) = cancel.run_until_cancelled(accept(&bound, &limit)).await {
            let router = router.clone();
            let answer = service_fn(move |mut request: Request<Incoming>| {
                // Who asks, for limits that count by address.
                request.extensions_mut().insert(ConnectInfo(peer));
                TowerToHyperService::new(router.clone()).call(request)
            });
            let answering = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(ASK_WITHIN)
                .serve_connection(TokioIo::new(stream), answer);
            let answering = connections.watch(answering);
            tokio::spawn(async move {
                if let Err(error) = answering.await {
                    tracing::debug!(%error, "a connection ended early");
                }
                drop(permit);
            });
        }
        // Whoever waits for the address has it now.
        drop(bound);
        if tokio::time::timeout(FINISH_WITHIN, connections.shutdown()).await.is_err() {
            tracing::debug!("connections were left open");
        }
    }
}

/// The next connection, once there is room for it.
async fn accept(bound: &TcpListener, limit: &Arc<Semaphore>) -> (Option<OwnedSemaphorePermit>, TcpStream, SocketAddr) {
    // Nobody closes the semaphore.
    let permit = Arc::clone(limit).acquire_owned().await.ok();
    loop {
        match bound.accept().await {
            Ok((stream, peer)) => return (permit, stream, peer),
            Err(error) => {
                tracing::debug!(%error, "a connection was not taken");
                // Where the system has no room for another one, the next try fails alike.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn take_over(address: SocketAddr) -> TcpListener {
    loop {
        tokio::time::sleep(TRY_EVERY).await;
        match TcpListener::bind(address).await {
            Ok(bound) => return bound,
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => tracing::warn!(%address, %error, "cannot listen for HTTP now; trying again"),
        }
    }
}
