use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::otlp::Traces;
use super::settings::{LogFormat, Settings};

/// The rooms whose spans make up a trace; what the clients call a span is theirs. Rooms that are planned stand here
/// too.
const ROOMS: [&str; 11] = [
    "accounts",
    "adledger",
    "connect",
    "initial_fill",
    "insights",
    "jetstream",
    "meta_api",
    "projector",
    "raw",
    "relay",
    "runs",
];

/// Logs to standard error; standard output belongs to what a command prints. Spans go to `traces` alone: in the log
/// they would repeat in front of each line what the line says.
pub fn start(settings: &Settings, serving: bool, traces: &Traces) -> Result<(), String> {
    // A command says in its own words how a run went; the clients' words about connections come on top of those.
    let default =
        if serving { "info,sqlx=error,async_nats=error" } else { "warn,insights=error,sqlx=error,async_nats=error" };
    let directives = settings.rust_log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(directives)
        .map_err(|error| format!("RUST_LOG is {directives:?}, which is no log filter ({error}): try RUST_LOG=info"))?;
    // With a hint, or the first filter's own hint is lost, and every debug line costs a question.
    let lines = filter_fn(|metadata| !metadata.is_span()).with_max_level_hint(LevelFilter::TRACE);
    let log = tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let log = match settings.log_format {
        LogFormat::Pretty => log.boxed(),
        LogFormat::Json => log.json().boxed(),
    };
    let spans = traces.tracer().map(|tracer| {
        let of_ours = filter_fn(|metadata| {
            let room = metadata.target().split("::").next().unwrap_or_default();
            metadata.is_span() && ROOMS.contains(&room)
        });
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(of_ours.with_max_level_hint(LevelFilter::INFO))
    });
    tracing_subscriber::registry().with(log.with_filter(filter.and(lines))).with(spans).init();
    Ok(())
}
