use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::history::Random;

/// The processes of a history, and whoever starts them again when they have ended. Dropped, it kills them all.
pub struct Crew {
    launcher: Launcher,
    members: Arc<Mutex<Vec<Member>>>,
    _stop: DropGuard,
}

/// A process of ours: a service, which is started again when it ends, or a command, which is not.
struct Member {
    name: String,
    role: String,
    child: Option<Child>,
    log: PathBuf,
    is_service: bool,
    killed: bool,
    stopped: bool,
    start_at: Instant,
    /// Ends that nobody of ours brought about.
    surprises: Vec<String>,
}

/// How soon a supervisor starts a process again.
const RESTART_AFTER_MS: u64 = 400;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The binary, its settings, and the folder that its processes write to.
#[derive(Debug, Clone)]
pub struct Launcher {
    pub binary: PathBuf,
    pub folder: PathBuf,
    pub database_url: String,
    /// A process is given one of them at each start.
    pub nats_urls: Vec<String>,
    pub settings: BTreeMap<String, String>,
}

impl Launcher {
    /// The binary with the settings; `name` is what PostgreSQL knows the process by.
    #[expect(clippy::disallowed_methods, reason = "tests have no boot.rs: the PATH is the user's")]
    pub fn command(&self, name: &str, arguments: &[&str], draw: u64) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Where the system can, a process ends with this one, however this one ends.
        let tie = std::env::split_paths(&path).map(|folder| folder.join("setpriv")).find(|program| program.exists());
        let mut command = match tie.filter(|_| cfg!(target_os = "linux")) {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL"]).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        let nats_url = &self.nats_urls[usize::try_from(draw).unwrap_or(0) % self.nats_urls.len()];
        command
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .env("HOME", &self.folder)
            .env("DATABASE_URL", format!("{}?application_name={name}", self.database_url))
            .env("NATS_URL", nats_url)
            .envs(&self.settings)
            .current_dir(&self.folder)
            .kill_on_drop(true);
        command
    }
}

fn lock(members: &Mutex<Vec<Member>>) -> MutexGuard<'_, Vec<Member>> {
    members.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crew {
    /// Starts a service for each of the roles, and keeps them running.
    pub fn start(launcher: Launcher, roles: &[&str], mut random: Random) -> Crew {
        let named = roles.iter().enumerate().map(|(number, role)| Member {
            is_service: true,
            ..Member::new(&launcher, &format!("{role}-{number}"), role)
        });
        let members = Arc::new(Mutex::new(named.collect()));
        let stop = CancellationToken::new();
        let crew = Crew { launcher, members, _stop: stop.clone().drop_guard() };
        let (launcher, members) = (crew.launcher.clone(), Arc::clone(&crew.members));
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                lock(&members).iter_mut().for_each(|member| member.look(&launcher, &mut random));
                let _ = tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await;
            }
            lock(&members).iter_mut().for_each(Member::kill);
        });
        crew
    }

    /// Runs a command to its end, and answers its output; `Err` when it failed or was killed.
    pub async fn run(&self, name: &str, arguments: &[&str], stdin: &str, draw: u64) -> Result<String> {
        use tokio::io::AsyncWriteExt;
        let mut command = self.launcher.command(name, arguments, draw);
        let member = Member::new(&self.launcher, name, arguments[0]);
        let (log, out) = (member.log.clone(), self.launcher.folder.join(format!("{name}.out")));
        command.stdin(Stdio::piped()).stdout(std::fs::File::create(&out)?).stderr(append(&log)?);
        let mut child = command.spawn().context("the binary starts")?;
        if let Some(mut pipe) = child.stdin.take() {
            let _ = pipe.write_all(stdin.as_bytes()).await;
        }
        lock(&self.members).push(Member { child: Some(child), ..member });
        let status = loop {
            // Waited for by looking, so that whoever kills by name finds it here.
            if let Some(status) = self.command_ended(name)? {
                break status;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        anyhow::ensure!(status.success(), "adledger {arguments:?}: {status}: {}", tail(&log));
        Ok(std::fs::read_to_string(&out)?)
    }

    fn command_ended(&self, name: &str) -> Result<Option<ExitStatus>> {
        let mut members = lock(&self.members);
        let place = members.iter().position(|member| member.name == name).context("the command is known")?;
        let child = members[place].child.as_mut().context("the command was started")?;
        let status = child.try_wait()?;
        if status.is_some() {
            members.remove(place);
        }
        Ok(status)
    }

    /// `kill -9`; answers the role of the process, or `None` when there is none of that name.
    pub fn kill(&self, name: &str) -> Option<String> {
        let mut members = lock(&self.members);
        let member = members.iter_mut().find(|member| member.name == name && member.child.is_some())?;
        member.kill();
        Some(member.role.clone())
    }

    /// SIGSTOP.
    pub fn stop(&self, name: &str) -> Option<String> {
        let mut members = lock(&self.members);
        let member = members.iter_mut().find(|member| member.name == name && member.child.is_some())?;
        member.stopped = true;
        member.signal(Signal::SIGSTOP);
        Some(member.role.clone())
    }

    /// SIGCONT.
    pub fn go_on(&self, name: &str) {
        if let Some(member) = lock(&self.members).iter_mut().find(|member| member.name == name) {
            member.stopped = false;
            member.signal(Signal::SIGCONT);
        }
    }

    /// The names of the services that run; of one role, or of all. A service of role `all` plays each role.
    pub fn running(&self, role: Option<&str>) -> Vec<String> {
        let members = lock(&self.members);
        let plays = |member: &&Member| role.is_none_or(|role| member.role == role || member.role == "all");
        let runs = |member: &&Member| member.is_service && member.child.is_some() && !member.stopped;
        members.iter().filter(runs).filter(plays).map(|member| member.name.clone()).collect()
    }

    /// Ends that nobody of ours brought about, each with what the process said last.
    pub fn surprises(&self) -> Vec<String> {
        lock(&self.members).iter().flat_map(|member| member.surprises.clone()).collect()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        lock(&self.members).iter_mut().for_each(Member::kill);
    }
}

impl Member {
    fn new(launcher: &Launcher, name: &str, role: &str) -> Member {
        Member {
            name: name.to_owned(),
            role: role.to_owned(),
            child: None,
            log: launcher.folder.join(format!("{name}.log")),
            is_service: false,
            killed: false,
            stopped: false,
            start_at: Instant::now(),
            surprises: Vec::new(),
        }
    }

    /// Starts a service whose process is gone.
    fn look(&mut self, launcher: &Launcher, random: &mut Random) {
        if !self.is_service {
            return;
        }
        if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
            if !self.killed && !self.is_start_refused(status) {
                self.surprises.push(format!("{} ended by itself ({status}): {}", self.name, tail(&self.log)));
            }
            self.child = None;
            self.start_at = Instant::now() + Duration::from_millis(random.below(RESTART_AFTER_MS));
        }
        if self.child.is_none() && Instant::now() >= self.start_at {
            self.killed = false;
            self.stopped = false;
            let spawned = append(&self.log).and_then(|mut log| {
                // A line of ours tells one life from the next.
                log.write_all(MARK.as_bytes())?;
                let mut command = launcher.command(&self.name, &["serve", "--role", &self.role], random.next());
                Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?)
            });
            match spawned {
                Ok(child) => self.child = Some(child),
                Err(error) => {
                    self.surprises.push(format!("{} cannot be started: {error:#}", self.name));
                    self.start_at = Instant::now() + Duration::from_secs(1);
                }
            }
        }
    }

    /// A service whose servers are away when it starts says so and ends: that is how it is meant.
    fn is_start_refused(&self, status: ExitStatus) -> bool {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let life = log.rsplit(MARK).next().unwrap_or_default();
        status.code() == Some(1) && !life.contains(" serving") && !life.contains("panicked")
    }

    fn kill(&mut self) {
        self.killed = true;
        self.signal(Signal::SIGKILL);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(Child::id).and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

const MARK: &str = "---- started\n";

fn append(log: &Path) -> Result<std::fs::File> {
    Ok(std::fs::File::options().append(true).create(true).open(log)?)
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}
