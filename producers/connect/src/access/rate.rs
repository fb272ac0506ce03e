//! How often somebody may ask for what is costly, or worth guessing at.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;

use crate::problem::{Problem, whole_seconds};
use crate::web::Web;

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

/// Who asks: whoever is connected; but of a proxy that is trusted, the one it says it asks for. Of what stands in the
/// header only the end is its word: everything before the last address that is no trusted proxy's anybody can have
/// written.
fn visitor(request: &Request, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_canonical());
    // Without an address (a test that calls the router itself) all count as one.
    let mut visitor = peer.unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let said: Vec<&str> = request
        .headers()
        .get_all("x-forwarded-for")
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .collect();
    for text in said.into_iter().rev() {
        if !is_trusted(&visitor) {
            break;
        }
        let Ok(address) = text.trim().parse::<IpAddr>() else { break };
        visitor = address.to_canonical();
    }
    visitor
}

/// Whom an address counts as. Of IPv6 one visitor has a whole /64 to choose from; an IPv4 address is itself, also where
/// it reaches a listener of IPv6.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

/// The layer that counts.
pub(crate) async fn limit(State((web, limit)): State<(Web, Limit)>, request: Request, next: Next) -> Response {
    match limit.check(visitor(&request, &web.settings.trusted_proxies)) {
        Ok(()) => next.run(request).await,
        Err(pause) => {
            let detail = format!("too many requests: wait {} s", whole_seconds(pause));
            Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(pause).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_its_own_word() {
        let trusted = ["127.0.0.1/32".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        for (peer, said, found) in [
            ("203.0.113.9", &["198.51.100.7"][..], "203.0.113.9"),
            ("127.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("127.0.0.1", &["192.0.2.1, 198.51.100.7"], "198.51.100.7"),
            ("127.0.0.1", &["192.0.2.1", "198.51.100.7, 10.1.2.3"], "198.51.100.7"),
            ("127.0.0.1", &["nonsense"], "127.0.0.1"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("::ffff:127.0.0.1", &["2001:db8::1"], "2001:db8::1"),
        ] {
            let mut request = Request::new(Body::empty());
            let peer: IpAddr = peer.parse().unwrap();
            request.extensions_mut().insert(ConnectInfo(SocketAddr::from((peer, 1))));
            for value in said {
                request.headers_mut().append("x-forwarded-for", value.parse().unwrap());
            }
            assert_eq!(visitor(&request, &trusted), found.parse::<IpAddr>().unwrap(), "{peer} {said:?}");
        }
    }

    #[test]
    fn of_ipv6_a_network_is_one_visitor() {
        let limit = Limit::a_minute(1);
        assert!(limit.check("2001:db8:0:1::1".parse().unwrap()).is_ok());
        assert!(limit.check("2001:db8:0:1:ffff::2".parse().unwrap()).is_err());
        assert!(limit.check("2001:db8:0:2::1".parse().unwrap()).is_ok());
    }
}
