//! The process that tests start and kill: this test program once more, run as the parent of servers.

use std::io::{BufRead, IsTerminal, stdin};
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use embedded::{Options, Servers};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::folder::{DEADLINE, both};

/// A process that runs servers in a folder.
pub struct Parent {
    process: Child,
    pid: u32,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Parent {
    /// Starts `nats`, `postgres` or `both` in the folder, and waits until they run.
    pub async fn start(servers: &str, folder: &Path) -> Result<Self> {
        let mut parent = Parent::begin(servers, folder).await?;
        tokio::time::timeout(DEADLINE * 2, parent.ready()).await??;
        Ok(parent)
    }

    /// The same, without waiting.
    pub async fn begin(servers: &str, folder: &Path) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--exact", "parent::runs_what_its_input_names", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = process.id().context("it runs")?;
        let mut input = process.stdin.take().context("its input is a pipe")?;
        let folder = folder.to_str().context("a folder in UTF-8")?;
        input.write_all(format!("{servers}\n{folder}\n").as_bytes()).await?;
        let output = BufReader::new(process.stdout.take().context("its output is a pipe")?).lines();
        Ok(Parent { process, pid, input: Some(input), output })
    }

    async fn ready(&mut self) -> Result<()> {
        let mut said = Vec::new();
        while let Some(line) = self.output.next_line().await? {
            if line == format!("ready {}", self.pid) {
                return Ok(());
            }
            said.push(line);
        }
        bail!("the parent ended before it was ready: {}", said.join(" | "))
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal and waits until the process, not its children, is gone.
    pub async fn end_by(mut self, signal: Signal) -> Result<ExitStatus> {
        kill(Pid::from_raw(i32::try_from(self.pid)?), signal)?;
        Ok(tokio::time::timeout(DEADLINE, self.process.wait()).await??)
    }

    /// Lets it stop its servers in order.
    pub async fn stop_politely(mut self) -> Result<()> {
        drop(self.input.take());
        let status = tokio::time::timeout(DEADLINE, self.process.wait()).await??;
        anyhow::ensure!(status.success(), "the parent ended with {status}");
        Ok(())
    }
}

#[tokio::test]
#[ignore = "no test: the process that other tests start and kill"]
async fn runs_what_its_input_names() -> Result<()> {
    let input = stdin();
    if input.is_terminal() {
        return Ok(());
    }
    let mut lines = input.lock().lines();
    let (Some(servers), Some(folder)) = (lines.next().transpose()?, lines.next().transpose()?) else { return Ok(()) };
    let (nats, postgres) = (servers != "postgres", servers != "nats");
    let servers = Servers::start(Options { nats, postgres, ..both(Path::new(&folder)) }).await?;
    println!("\nready {}", std::process::id());
    // The input ends when the test wants it to, and also when the test is gone.
    for line in lines {
        line?;
    }
    servers.stop().await;
    Ok(())
}
