//! The settings of the web side, and of the jobs that it and the schedule ask for.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use meta_api::App;

use super::{optional_number, switch, variable};

/// Minutes between two requests for the fresh days of an integration, where no other number is set.
const FRESH_MINUTES: u64 = 60;

/// What the web side has to know.
pub(super) fn read(listens_at: SocketAddr) -> Result<connect::Settings, String> {
    let settings = connect::Settings {
        public_url: variable("ADLEDGER_PUBLIC_URL")?,
        listens_at,
        trusted_proxies: trusted_proxies()?,
        admin_password_hash: variable("ADLEDGER_ADMIN_PASSWORD_HASH")?.map(Into::into),
        app: app()?,
        jobs_enabled: switch("META_JOBS_ENABLED", true)?,
        fresh_cooldown: minutes(fresh_minutes()?.unwrap_or(FRESH_MINUTES)),
        cron_secret: match variable("META_CRON_SECRET")? {
            Some(secret) => Some(secret.into()),
            None => variable("CRON_SECRET")?.map(Into::into),
        },
    };
    Ok(settings)
}

/// How often the schedule asks for the fresh days by itself: only where `META_FRESH_SCHED_MINUTES` says so, and in the
/// demo.
pub(super) fn schedule_fresh(demo: bool) -> Result<Option<Duration>, String> {
    let is_on = switch("META_JOBS_ENABLED", true)?;
    let every = fresh_minutes()?.or(demo.then_some(FRESH_MINUTES));
    Ok(every.filter(|_| is_on).map(minutes))
}

fn trusted_proxies() -> Result<Vec<IpNet>, String> {
    let text = variable("ADLEDGER_TRUSTED_PROXIES")?.unwrap_or_default();
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let read = |part: &str| part.parse::<IpNet>().or_else(|_| part.parse::<IpAddr>().map(IpNet::from));
    parts
        .map(|part| {
            read(part).map_err(|_| {
                format!(
                    "ADLEDGER_TRUSTED_PROXIES holds {part:?}: write addresses or networks, such as 127.0.0.1,10.0.0.0/8"
                )
            })
        })
        .collect()
}

fn fresh_minutes() -> Result<Option<u64>, String> {
    optional_number("META_FRESH_SCHED_MINUTES", 1..=7 * 24 * 60)
}

fn minutes(number: u64) -> Duration {
    Duration::from_secs(60 * number)
}

fn app() -> Result<Option<App>, String> {
    match (variable("META_APP_ID")?, variable("META_APP_SECRET")?) {
        (None, None) => Ok(None),
        (Some(app_id), Some(app_secret)) => Ok(Some(App { app_id, app_secret: app_secret.into() })),
        (Some(_), None) => Err("META_APP_ID is set and META_APP_SECRET is not: set both, or neither".to_owned()),
        (None, Some(_)) => Err("META_APP_SECRET is set and META_APP_ID is not: set both, or neither".to_owned()),
    }
}
