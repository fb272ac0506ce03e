use std::future::{Ready, ready};

use async_nats::{Event, ServerError};

/// Says in the log what the server refuses. It answers nothing to what it refuses, so that whoever asked learns only
/// that no answer came.
pub(crate) fn warn_of(role: &str) -> impl Fn(Event) -> Ready<()> + Send + Sync + 'static {
    let role = role.to_owned();
    move |event| {
        if let Event::ServerError(ServerError::Other(refusal)) = event
            && refusal.starts_with("Permissions Violation")
        {
            tracing::warn!(
                role,
                refusal,
                "the NATS server refuses this: use the user of this role, and give it what nats/topology/permissions has for the role"
            );
        }
        ready(())
    }
}
