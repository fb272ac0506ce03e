//! Every durable consumer there is: what status, doctor and the metrics look at.

use jetstream::{META_CONNECT, META_INSIGHTS, META_SYNC};

/// A durable consumer and the stream it reads.
#[derive(Debug, Clone, Copy)]
pub struct Durable {
    pub stream: &'static str,
    pub name: &'static str,
}

/// A further one is a further line.
pub const DURABLES: &[Durable] = &[
    Durable { stream: META_INSIGHTS, name: raw::DURABLE },
    Durable { stream: META_INSIGHTS, name: projector::DURABLE },
    Durable { stream: META_CONNECT, name: initial_fill::DURABLE },
    Durable { stream: META_SYNC, name: insights::DURABLE },
];
