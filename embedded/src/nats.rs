//! nats-server with JetStream on the disk, every message synced before it is acknowledged.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

use crate::child::{Farewell, Keeper, command_line_has, wait_gone};
use crate::{Child, Error, log_tail, make_dir, password, write_private};

const SERVER: &str = "nats-server";
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Starts the server and waits until it speaks.
pub(crate) async fn start(keeper: &Keeper, program: &Path, data_dir: &Path, config: &str) -> Result<Child, Error> {
    let folder = data_dir.join("nats");
    make_dir(&folder)?;
    let folder =
        folder.canonicalize().map_err(|source| Error::Folder { operation: "find", path: folder.clone(), source })?;
    let (pid_file, config_file, log) = (folder.join("nats.pid"), folder.join("nats.conf"), folder.join("nats.log"));
    // A server that an earlier owner left behind still holds the store.
    if let Some(pid) = std::fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse().ok()) {
        let ours = config_file.display().to_string();
        wait_gone(pid, |pid| command_line_has(pid, &ours)).await;
    }
    let password = password(&folder.join("password"))?;
    let ports = folder.join("ports");
    let _ = std::fs::remove_dir_all(&ports);
    make_dir(&ports)?;
    let text = format!(
        "{config}\n\
         listen: \"127.0.0.1:-1\"\n\
         ports_file_dir: {ports:?}\n\
         pid_file: {pid_file:?}\n\
         log_file: {log:?}\n\
         authorization {{ user: \"adledger\", password: \"{password}\" }}\n\
         jetstream {{ store_dir: {folder:?}, sync_interval: always }}\n"
    );
    write_private(&config_file, &text)?;
    // What is wrong with a configuration is said before the log file of that configuration is opened.
    write_private(&log, "")?;
    let said = std::fs::OpenOptions::new().append(true).open(&log).map_err(|source| Error::Folder {
        operation: "write",
        path: log.clone(),
        source,
    })?;
    let mut command = Command::new(program);
    command.env_clear().arg("--config").arg(&config_file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
    let farewell = Farewell { polite: Signal::SIGTERM, patience: Duration::from_secs(10) };
    let failed = |reason: String| Error::Start { server: SERVER, reason };
    let pid = keeper.spawn(command, farewell).map_err(|e| failed(e.to_string()))?;
    let deadline = tokio::time::Instant::now() + READY_WITHIN;
    loop {
        if let Some(address) = listening(&ports)
            && speaks(&address).await
        {
            let url = format!("nats://adledger:{password}@{address}");
            return Ok(Child { server: SERVER, url, pid, log });
        }
        if keeper.ended(pid).is_some() || tokio::time::Instant::now() > deadline {
            return Err(failed(format!("it did not come up; the end of its log: {}", log_tail(&log))));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The address in the file in which the server writes which free port it took.
fn listening(ports: &Path) -> Option<String> {
    let file = std::fs::read_dir(ports)
        .ok()?
        .find_map(|entry| Some(entry.ok()?.path()).filter(|p| p.extension().is_some()))?;
    let ports: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
    let url = ports.get("nats")?.get(0)?.as_str()?;
    Some(url.trim_start_matches("nats://").to_owned())
}

async fn speaks(address: &str) -> bool {
    let greeting = async {
        let stream = TcpStream::connect(address).await?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await?;
        Ok::<_, std::io::Error>(line.starts_with("INFO"))
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), greeting).await, Ok(Ok(true)))
}
