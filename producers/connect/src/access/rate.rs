//! How often somebody may ask for what is costly, or worth guessing at.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::problem::Problem;

/// A limit an address; of IPv6, a network of 64 bits is one address.
#[derive(Clone)]
pub(crate) struct Limit {
    limiter: Arc<DefaultKeyedRateLimiter<IpAddr>>,
}

impl Limit {
    /// So many at once, and then so many a minute.
    pub(crate) fn a_minute(requests: u32) -> Limit {
        let requests = NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN);
        Limit { limiter: Arc::new(RateLimiter::keyed(Quota::per_minute(requests))) }
    }

    fn check(&self, address: IpAddr) -> Result<(), Duration> {
        // Addresses that were quiet for a while are forgotten, so that memory does not grow with visitors.
        if self.limiter.len() > 10_000 {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(&network(address))
            .map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => IpAddr::from((u128::from(v6) & (u128::MAX << 64)).to_be_bytes()),
        },
    }
}

/// The layer that counts.
pub(crate) async fn limit(State(limit): State<Limit>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    // Without an address (a test that calls the router itself) all count as one.
    match limit.check(peer.unwrap_or(IpAddr::from([0, 0, 0, 0]))) {
        Ok(()) => next.run(request).await,
        Err(pause) => {
            let detail = format!("too many requests: wait {} s", pause.as_secs().max(1));
            Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(pause).into_response()
        }
    }
}
