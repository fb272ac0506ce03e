use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::settings::{LogFormat, Settings};

/// Logs to standard error; standard output belongs to what a command prints.
pub fn start(settings: &Settings, serving: bool) -> Result<(), String> {
    // A command says in its own words how a run went; the clients' words about connections come on top of those.
    let default =
        if serving { "info,sqlx=error,async_nats=error" } else { "warn,insights=error,sqlx=error,async_nats=error" };
    let directives = settings.rust_log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(directives)
        .map_err(|error| format!("RUST_LOG is {directives:?}, which is no log filter ({error}): try RUST_LOG=info"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Pretty => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
