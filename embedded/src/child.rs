//! Children that end with their parent, also when it is killed.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How to end a child: politely first, and what follows when it does not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Farewell {
    pub polite: Signal,
    pub patience: Duration,
}

enum Order {
    Spawn(Box<Command>, Farewell, mpsc::Sender<std::io::Result<u32>>),
    Look(u32, mpsc::Sender<Option<ExitStatus>>),
    Stop,
}

/// The thread that spawns and owns the children.
///
/// The kernel sends the parent-death signal when the *thread* that spawned a child ends, and a runtime's threads come
/// and go: so one thread spawns them all, and lives as long as they do.
pub(crate) struct Keeper {
    orders: mpsc::Sender<Order>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    pub fn new() -> Self {
        let (orders, inbox) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut children: Vec<(Child, Farewell)> = Vec::new();
            while let Ok(order) = inbox.recv() {
                match order {
                    Order::Spawn(mut command, farewell, answer) => {
                        let spawned = spawn(&mut command).map(|child| {
                            let pid = child.id();
                            children.push((child, farewell));
                            pid
                        });
                        let _ = answer.send(spawned);
                    }
                    Order::Look(pid, answer) => {
                        let child = children.iter_mut().find(|(child, _)| child.id() == pid);
                        let _ = answer.send(child.and_then(|(child, _)| child.try_wait().ok().flatten()));
                    }
                    Order::Stop => break,
                }
            }
            for (child, farewell) in children.iter_mut().rev() {
                end(child, *farewell);
            }
        });
        Keeper { orders, thread: Mutex::new(Some(thread)) }
    }

    /// Starts a child in a process group of its own: Ctrl-C in the terminal reaches the parent only, which stops its
    /// children in order.
    pub fn spawn(&self, mut command: Command, farewell: Farewell) -> std::io::Result<u32> {
        command.process_group(0);
        let (answer, spawned) = mpsc::channel();
        let _ = self.orders.send(Order::Spawn(Box::new(command), farewell, answer));
        spawned.recv().map_err(std::io::Error::other)?
    }

    /// How a child ended; `None` while it runs. Only its owner can tell: to everybody else, a child that has ended and
    /// was not waited for looks alive.
    pub fn ended(&self, pid: u32) -> Option<ExitStatus> {
        let (answer, looked) = mpsc::channel();
        let _ = self.orders.send(Order::Look(pid, answer));
        looked.recv().ok().flatten()
    }

    /// Ends the children, the last one first, and waits for them.
    pub fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// SIGQUIT ends PostgreSQL and all its processes at once (they recover at the next start), and nats-server too.
fn spawn(command: &mut Command) -> std::io::Result<Child> {
    tie(command, Signal::SIGQUIT);
    command.spawn()
}

/// Has the kernel send `signal` to the child when the *thread* that spawns it ends, however it ends; so spawn it on a
/// thread that lives as long as the child should.
///
/// Only Linux has such a signal. Elsewhere a parent that is killed outright leaves its servers behind, and the next
/// start on the folder ends them.
pub fn tie(command: &mut Command, signal: Signal) {
    #[cfg(target_os = "linux")]
    {
        let parent = nix::unistd::getpid();
        let tie = move || {
            // A child that changes its uid loses the death signal; std changes uid and gid before it calls this.
            nix::sys::prctl::set_pdeathsig(signal)?;
            // The parent may have died before the line above.
            if nix::unistd::getppid() != parent {
                return Err(std::io::Error::other("the parent is gone"));
            }
            Ok(())
        };
        #[expect(
            unsafe_code,
            reason = "between fork and exec only async-signal-safe calls are made: prctl and getppid"
        )]
        unsafe {
            command.pre_exec(tie);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (command, signal);
}

fn end(child: &mut Child, farewell: Farewell) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
    for (signal, patience) in [
        (farewell.polite, farewell.patience),
        (Signal::SIGQUIT, Duration::from_secs(3)),
        (Signal::SIGKILL, Duration::from_secs(3)),
    ] {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = kill(pid, signal);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let _ = child.wait();
}

/// Whether a process of that id exists. For children of other processes only: see [`Keeper::ended`].
pub(crate) fn alive(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| pid > 0 && kill(Pid::from_raw(pid), None).is_ok())
}

/// Waits until a process that an earlier owner left behind is gone, helping after a while. `verify` says whether the
/// process is the server it is taken for: a process id can have been given to somebody else.
pub(crate) async fn wait_gone(pid: u32, verify: impl Fn(u32) -> bool) {
    let pause = Duration::from_millis(20);
    for (signal, patience) in [
        (None, Duration::from_secs(5)),
        (Some(Signal::SIGQUIT), Duration::from_secs(5)),
        (Some(Signal::SIGKILL), Duration::from_secs(5)),
    ] {
        if !alive(pid) || !verify(pid) {
            return;
        }
        if let (Some(signal), Ok(raw)) = (signal, i32::try_from(pid)) {
            let _ = kill(Pid::from_raw(raw), signal);
        }
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && alive(pid) && verify(pid) {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Whether a process's command line holds `text`, where the system tells.
pub(crate) fn command_line_has(pid: u32, text: &str) -> bool {
    if Path::new("/proc/self").exists() {
        return std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(text));
    }
    let output = Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(text))
}
