//! The browser's process: how it is found, started, and ended.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use super::build_folder;
use super::wire::Wire;

const NAMES: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const ON_A_MAC: [&str; 2] = [
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/// How long a browser may take to end after its input has.
const PATIENCE: Duration = Duration::from_secs(5);

/// Nothing but the pages asked for goes over a network, and they look alike everywhere.
const FLAGS: [&str; 17] = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--lang=en-US",
    "--no-default-browser-check",
    "--no-first-run",
];

pub fn installed() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests have no boot.rs: the PATH is the user's")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let on_the_path = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    on_the_path.chain(ON_A_MAC.iter().map(PathBuf::from)).find(|program| program.is_file())
}

pub struct Process {
    pub wire: Arc<Wire>,
    pub pid: u32,
    profile: PathBuf,
    /// Spawned the browser, reads what it says, and ends when it has ended.
    thread: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts the program. Whether it speaks shows at the first question.
    pub fn start(program: &Path) -> Result<Process> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let root = build_folder("browser");
        remove_abandoned(&root);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let profile = root.join(format!("{}-{number}", std::process::id()));
        // A process of an earlier day may have had the same id.
        remove(&profile);
        std::fs::create_dir_all(&profile).with_context(|| format!("making {}", profile.display()))?;
        let said = profile.join("said");
        let mut command = command(program, &profile);
        command.stderr(File::create(&said)?);

        let (answer, started) = std::sync::mpsc::channel();
        // The death signal comes when the thread that spawned ends: this one lives exactly as long as the browser does.
        let thread = std::thread::spawn(move || {
            let spawned = command.spawn().and_then(|mut child| {
                let input = child.stdin.take().ok_or_else(|| std::io::Error::other("a pipe was asked for"))?;
                let output = child.stdout.take().ok_or_else(|| std::io::Error::other("a pipe was asked for"))?;
                Ok((child, input, output))
            });
            let (mut child, input, output) = match spawned {
                Ok(spawned) => spawned,
                Err(error) => return drop(answer.send(Err(error))),
            };
            let wire = Arc::new(Wire::new(input));
            let _ = answer.send(Ok((Arc::clone(&wire), child.id())));
            wire.read(output);
            // A browser that closed its pipe has nothing more to do, and one that still runs would be waited for in vain.
            let _ = child.kill();
            let how = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            let said = std::fs::read_to_string(&said).unwrap_or_default();
            wire.end(format!("the browser ended ({how}) and said: {}", last_lines(&said)));
        });
        let (wire, pid) = started.recv()?.with_context(|| format!("starting {}", program.display()))?;
        Ok(Process { wire, pid, profile, thread: Some(thread) })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.wire.close();
        let end = Instant::now() + PATIENCE;
        let Some(thread) = self.thread.take() else { return };
        while !thread.is_finished() {
            if Instant::now() > end {
                // One that does not notice, because it is stopped say, is ended.
                let _ = i32::try_from(self.pid).map(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL));
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = thread.join();
        remove(&self.profile);
    }
}

/// The protocol is spoken over the file descriptors 3 and 4: a shell moves them there and becomes the browser.
fn command(program: &Path, profile: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >&2", "sh"]).arg(program).args(FLAGS);
    command.arg(format!("--user-data-dir={}", profile.display()));
    // The sandbox is made of rights that root would have to give up first. Everybody else keeps it.
    if geteuid().is_root() {
        command.arg("--no-sandbox");
    }
    command.arg("about:blank").stdin(Stdio::piped()).stdout(Stdio::piped());
    // What it keeps for a user, it keeps in the profile.
    command.env("HOME", profile).env_remove("XDG_CONFIG_HOME").env_remove("XDG_CACHE_HOME");
    // Ctrl-C in the terminal is for the tests, whose end ends the browser.
    command.process_group(0);
    embedded::tie(&mut command, Signal::SIGKILL);
    command
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().rev().take(8).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

fn remove(profile: &Path) {
    // The lock on a profile lies in a folder for temporary files, which a browser that was killed leaves behind.
    let lock = std::fs::read_link(profile.join("SingletonSocket")).ok();
    let folder = lock.as_deref().and_then(Path::parent);
    if let Some(folder) = folder.filter(|folder| folder.to_string_lossy().contains("Chrom")) {
        let _ = std::fs::remove_dir_all(folder);
    }
    let _ = std::fs::remove_dir_all(profile);
}

/// Profiles of test processes that were killed.
fn remove_abandoned(root: &Path) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.split('-').next().and_then(|pid| pid.parse().ok()).map(Pid::from_raw);
        if pid.is_some_and(|pid| kill(pid, None) == Err(nix::errno::Errno::ESRCH)) {
            remove(&entry.path());
        }
    }
}
