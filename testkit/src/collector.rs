//! A collector of traces: takes OTLP over HTTP, and keeps every span.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running collector. It stops when it is dropped.
#[derive(Debug)]
pub struct Collector {
    pub url: String,
    inside: Arc<Mutex<Vec<Batch>>>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Batch {
    bytes: Bytes,
    request: ExportTraceServiceRequest,
}

impl Collector {
    /// Serves on a free port of 127.0.0.1, on the runtime of the caller.
    pub async fn start() -> Result<Collector> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let inside = Arc::new(Mutex::default());
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&inside));
        let stop = CancellationToken::new();
        let serve = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(async move {
            if let Err(error) = serve.await {
                eprintln!("the collector ended: {error}");
            }
        });
        Ok(Collector { url, inside, _stop: stop.drop_guard() })
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Span> {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let resources = inside.iter().flat_map(|batch| &batch.request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    /// The value of `service.name` of every batch.
    pub fn services(&self) -> Vec<String> {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let resources = inside.iter().flat_map(|batch| &batch.request.resource_spans);
        let attributes = resources.filter_map(|one| one.resource.as_ref()).flat_map(|resource| &resource.attributes);
        attributes.filter(|attribute| attribute.key == "service.name").map(|a| format!("{:?}", a.value)).collect()
    }

    /// Everything that came, as it came.
    pub fn bodies(&self) -> Vec<Bytes> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|batch| batch.bytes.clone()).collect()
    }
}

async fn take(State(inside): State<Arc<Mutex<Vec<Batch>>>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let is_protobuf = headers.get("content-type").is_some_and(|value| value == "application/x-protobuf");
    match ExportTraceServiceRequest::decode(body.clone()) {
        Ok(request) if is_protobuf => {
            inside.lock().unwrap_or_else(PoisonError::into_inner).push(Batch { bytes: body, request });
            StatusCode::OK
        }
        _ => StatusCode::BAD_REQUEST,
    }
}
