mod stream;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::ConnectInfo;
use connect::network;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use stream::Impatient;

/// How often an address that another process holds is tried again.
const TRY_EVERY: Duration = Duration::from_secs(2);
/// Connections at a time; further ones wait in the system's queue.
const MAX_CONNECTIONS: usize = 128;
/// Those that one network may hold of them, so that no single visitor keeps all others out; further ones are closed.
/// This machine's own and a trusted proxy's are many visitors', and are not counted so.
const MAX_CONNECTIONS_OF_ONE: usize = 48;
/// How long a connection may take to ask, or to ask again.
const ASK_WITHIN: Duration = Duration::from_secs(10);
/// How long a reader may take nothing of an answer that waits for it.
const TAKE_WITHIN: Duration = Duration::from_secs(30);
/// How long answers that are under way may take once the process is asked to end.
const FINISH_WITHIN: Duration = Duration::from_millis(700);

/// The address that HTTP is served at, or is to be once its holder is gone.
pub struct Listener {
    address: SocketAddr,
    bound: Option<TcpListener>,
    take_within: Duration,
    /// Who may hold any number.
    uncounted: Vec<IpNet>,
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
    /// Takes the address. `proxies` ask for many.
    pub async fn open(address: SocketAddr, when_taken: WhenTaken, proxies: &[IpNet]) -> Result<Listener> {
        let is_taken = |error: &std::io::Error| error.kind() == ErrorKind::AddrInUse;
        let mut bound = TcpListener::bind(address).await;
        if when_taken == WhenTaken::TakeAnotherPort && bound.as_ref().is_err_and(is_taken) {
            bound = TcpListener::bind((address.ip(), 0)).await;
        }
        match bound {
            // Port 0 becomes a real one.
            Ok(bound) => Ok(Listener::at(bound.local_addr().unwrap_or(address), Some(bound), proxies)),
            Err(error) if is_taken(&error) && when_taken == WhenTaken::WaitItsTurn => {
                tracing::info!(%address, "another process serves HTTP at this address; this one takes over when it ends");
                Ok(Listener::at(address, None, proxies))
            }
            Err(error) => Err(error).with_context(|| {
                format!("cannot listen at HTTP_ADDR {address}: end who listens there, or set another address")
            }),
        }
    }

    fn at(address: SocketAddr, bound: Option<TcpListener>, proxies: &[IpNet]) -> Listener {
        let this_machine = [IpNet::from(IpAddr::from(Ipv4Addr::LOCALHOST)), IpAddr::from(Ipv6Addr::LOCALHOST).into()];
        let uncounted = [&this_machine, proxies].concat();
        Listener { address, bound, take_within: TAKE_WITHIN, uncounted }
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
        let (room, connections) = (Room::new(self.uncounted), GracefulShutdown::new());
        while let Some((place, stream, peer)) = cancel.run_until_cancelled(room.accept(&bound)).await {
            let router = router.clone();
            let answer = service_fn(move |mut request: Request<Incoming>| {
                // Who asks, for limits that count by address.
                request.extensions_mut().insert(ConnectInfo(peer));
                TowerToHyperService::new(router.clone()).call(request)
            });
            let answering = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(ASK_WITHIN)
                .serve_connection(TokioIo::new(Impatient::new(stream, self.take_within)), answer);
            let answering = connections.watch(answering);
            tokio::spawn(async move {
                if let Err(error) = answering.await {
                    tracing::debug!(%peer, error = &error as &dyn std::error::Error, "a connection ended early");
                }
                drop(place);
            });
        }
        // Whoever waits for the address has it now.
        drop(bound);
        if tokio::time::timeout(FINISH_WITHIN, connections.shutdown()).await.is_err() {
            tracing::debug!("connections were left open");
        }
    }
}

/// Room for connections: so many in all, and so many of one network.
struct Room {
    all: Arc<Semaphore>,
    /// How many each network holds; who holds none is not in it.
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
    uncounted: Vec<IpNet>,
}

/// The room that one connection takes.
struct Place {
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
    network: IpAddr,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    fn new(uncounted: Vec<IpNet>) -> Room {
        Room { all: Arc::new(Semaphore::new(MAX_CONNECTIONS)), held: Arc::default(), uncounted }
    }

    /// The next connection, once there is room for it.
    async fn accept(&self, bound: &TcpListener) -> (Place, TcpStream, SocketAddr) {
        // Nobody closes the semaphore.
        let permit = Arc::clone(&self.all).acquire_owned().await.ok();
        loop {
            match bound.accept().await {
                Ok((stream, peer)) => {
                    let network = network(peer.ip());
                    if self.take(network) {
                        return (Place { held: Arc::clone(&self.held), network, _permit: permit }, stream, peer);
                    }
                    tracing::debug!(%peer, "a connection was closed: its network holds enough of them");
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not taken");
                    // Where the system has no room for another one, the next try fails alike.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Counts one more for this network, if it may hold one more.
    fn take(&self, network: IpAddr) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(network).or_default();
        let is_counted = !self.uncounted.iter().any(|one| one.contains(&network));
        let has_room = !is_counted || *count < MAX_CONNECTIONS_OF_ONE;
        *count += usize::from(has_room);
        has_room
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.network);
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
