//! No browser outlives the process that started it, however that one ends. What is asked of `/proc` only Linux answers.

use std::collections::BTreeSet;
use std::io::{Read, stdin};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::browser::{Browser, Options};
use testkit::wait::until;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

const ARGUMENT: &str = "--run-a-browser-until-the-input-ends";
const DEADLINE: Duration = Duration::from_secs(20);

/// Whether this is the process that the test below starts and kills.
pub fn is_doomed() -> bool {
    std::env::args().nth(1).is_some_and(|argument| argument == ARGUMENT)
}

pub fn doomed() -> ExitCode {
    let run = || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let browser = runtime.block_on(Browser::start())?;
        let _page = runtime.block_on(browser.page(Options::default()))?;
        println!("ready {}", browser.pid());
        stdin().read_to_end(&mut Vec::new())?;
        Ok(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

/// A process and all that descend from it.
fn family(of: i32) -> Result<BTreeSet<i32>> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let process = entry?.path();
        let pid = process.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<i32>().ok());
        // A process may end while it is looked at.
        let (Some(pid), Ok(stat)) = (pid, std::fs::read_to_string(process.join("stat"))) else { continue };
        // Its name stands in brackets, and may hold anything.
        let rest = stat.rsplit_once(") ").context("a stat line")?.1;
        let mut fields = rest.split(' ');
        let (state, parent) = (fields.next().context("a state")?, fields.next().context("a parent")?);
        if state != "Z" {
            parents.push((pid, parent.parse::<i32>()?));
        }
    }
    let mut found: BTreeSet<i32> = parents.iter().map(|(pid, _)| *pid).filter(|pid| *pid == of).collect();
    loop {
        let before = found.len();
        found.extend(
            parents.iter().filter(|(_, parent)| found.contains(parent)).map(|(pid, _)| *pid).collect::<Vec<_>>(),
        );
        if found.len() == before {
            return Ok(found);
        }
    }
}

pub async fn a_browser_ends_with_a_process_that_is_killed(_: &Browser) -> Result<()> {
    // One that is stopped does not notice that its pipe is closed: the kernel's signal has to end it.
    for is_stopped in [false, true] {
        let mut parent = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(parent.stdout.take().context("a pipe was asked for")?).lines();
        let line = tokio::time::timeout(DEADLINE, lines.next_line()).await??.context("it ended before it was ready")?;
        let pid: i32 = line.strip_prefix("ready ").context("it says who the browser is")?.parse()?;
        let processes = family(pid)?;
        assert!(processes.len() > 3, "a browser has processes for its pages and its network: {processes:?}");
        if is_stopped {
            kill(Pid::from_raw(pid), Signal::SIGSTOP)?;
        }
        parent.kill().await?;
        let gone = until("no process of the browser is left", DEADLINE, async || {
            let left = processes.iter().map(|pid| Ok(!family(*pid)?.is_empty())).collect::<Result<Vec<_>>>()?;
            Ok(left.iter().all(|left| !left))
        })
        .await;
        if gone.is_err() {
            // A test that fails leaves nothing behind either.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        gone?;
    }
    Ok(())
}
