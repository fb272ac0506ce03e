//! Spans on their way to a collector. None of it is ever waited for by the work: spans queue up to a limit, leave in
//! batches from a thread of their own, and are dropped while nobody takes them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use reqwest::Url;

use crate::exit;

/// How long the collector may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long the process stays for its last spans.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// Where this process's spans go; nowhere unless a setting names a collector.
#[derive(Clone, Default)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Spans go to the collector at this address, as OTLP over HTTP.
    pub fn to_collector(endpoint: &Url) -> Result<Traces> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Sender::new()?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(traces_url(endpoint))
            .build()
            .map_err(|_| anyhow::anyhow!("the exporter of traces cannot be made"))?;
        let service = [
            opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            opentelemetry::KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
        ];
        let provider = SdkTracerProvider::builder()
            .with_resource(Resource::builder_empty().with_service_name("adledger").with_attributes(service).build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_batch_exporter(exporter)
            .build();
        Ok(Traces(Some(provider)))
    }

    pub fn tracer(&self) -> Option<SdkTracer> {
        self.0.as_ref().map(|provider| provider.tracer("adledger"))
    }

    /// Sends what is left, for a moment at most.
    pub async fn flush(self) {
        let Some(provider) = self.0 else { return };
        // It blocks its thread while it waits, and the spans leave through this runtime.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_WITHIN)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::debug!("the last spans were not taken");
        }
    }
}

/// The setting names the collector; the traces have a path there.
fn traces_url(endpoint: &Url) -> String {
    format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/'))
}

/// Sends over this house's HTTP client. The exporter's thread has no runtime, so that requests are made on ours.
#[derive(Debug, Clone)]
struct Sender {
    http: reqwest::Client,
    runtime: tokio::runtime::Handle,
    /// Whether the last batch was not taken: said once, and not again for each batch.
    failing: Arc<AtomicBool>,
}

impl Sender {
    fn new() -> Result<Sender> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(ANSWER_WITHIN)
            .build()
            .context("the client for traces cannot be made")?;
        Ok(Sender { http, runtime: tokio::runtime::Handle::current(), failing: Arc::default() })
    }

    async fn send(self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.exchange(request).await;
        let failure = match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(exit::sentence(error)),
        };
        match failure {
            None => self.failing.store(false, Ordering::Relaxed),
            Some(reason) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(reason, "traces are lost: OTEL_EXPORTER_OTLP_ENDPOINT does not take them; work goes on");
            }
            Some(_) => {}
        }
        Ok(sent?)
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>> {
        let (parts, body) = request.into_parts();
        let posting = self.http.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
        // Without the URL, which may hold a password.
        let answer = posting.send().await.map_err(reqwest::Error::without_url)?;
        let status = answer.status();
        // What a collector says beside its status is nothing that is acted upon.
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status;
        Ok(response)
    }
}

impl HttpClient for Sender {
    fn send_bytes<'s, 'f>(
        &'s self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        let sending = self.runtime.spawn(self.clone().send(request));
        Box::pin(async move { sending.await? })
    }
}

#[cfg(test)]
mod tests {
    use super::traces_url;

    #[test]
    fn the_path_of_the_traces_follows_the_endpoint() {
        for (endpoint, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("https://collector.example/otlp", "https://collector.example/otlp/v1/traces"),
            ("https://collector.example/otlp/", "https://collector.example/otlp/v1/traces"),
        ] {
            assert_eq!(traces_url(&endpoint.parse().expect("a URL")), url);
        }
    }
}
