//! Sessions that fold outside the pool: they are held to what every session of the pool is held to.

use sqlx::postgres::PgConnectOptions;

/// A session whose process is stopped in the middle of a transaction is ended by the server, so that its locks are free
/// (a purchase rule that waits for them would hold up every fold); one whose client is gone does not work on.
pub(crate) fn held(options: PgConnectOptions) -> PgConnectOptions {
    options.options([("idle_in_transaction_session_timeout", "30s"), ("client_connection_check_interval", "5s")])
}

/// Has every connection of this process to a server at that port send what is written at once, and not wait for the
/// acknowledgement of what was sent before.
///
/// PostgreSQL sets that on its side, and the client's library does not on ours. A COPY ends with a message of five bytes
/// behind its rows: the kernel holds it back until the server's has acknowledged the rows, which it puts off for 40 ms
/// because it has nothing to say. That was most of the time from a small event to its summary (70 ms, and 9 without it).
/// The library hands out no socket, so they are found among the descriptors of the process, each through a
/// copy of its own, so that none can be closed and another take its place meanwhile. Where the system does not allow that,
/// COPY is slow, and nothing else happens.
pub fn send_at_once(port: u16) {
    if let Err(error) = undelayed(port) {
        tracing::debug!(%error, "COPY waits for acknowledgements: its sockets cannot be reached");
    }
}

#[cfg(target_os = "linux")]
fn undelayed(port: u16) -> std::io::Result<()> {
    use rustix::net::{SocketAddrAny, getpeername, sockopt};
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let me = pidfd_open(getpid(), PidfdFlags::empty())?;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let is_socket = std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()).filter(|_| is_socket) else {
            continue;
        };
        let copy = match pidfd_getfd(&me, number, PidfdGetfdFlags::empty()) {
            Ok(copy) => copy,
            // Closed meanwhile.
            Err(rustix::io::Errno::BADF) => continue,
            Err(error) => return Err(error.into()),
        };
        let peer =
            getpeername(&copy).ok().flatten().and_then(|peer: SocketAddrAny| std::net::SocketAddr::try_from(peer).ok());
        if peer.is_some_and(|peer| peer.port() == port) {
            sockopt::set_tcp_nodelay(&copy, true)?;
        }
    }
    Ok(())
}

/// Elsewhere there is no way to a socket of another's.
#[cfg(not(target_os = "linux"))]
fn undelayed(_port: u16) -> std::io::Result<()> {
    Ok(())
}
