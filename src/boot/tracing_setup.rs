use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::settings::{LogFormat, Settings};

/// Logs to standard error; standard output belongs to what a command prints.
pub fn start(settings: &Settings, serving: bool) -> Result<(), String> {
    let default = if serving { "info" } else { "warn" };
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
