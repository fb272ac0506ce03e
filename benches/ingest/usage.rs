//! What processes have used, as the kernel counts it.

use anyhow::{Context, Result};

/// The unit of times in `/proc`: Linux shows programs 100 ticks a second, whatever its own are.
const TICKS_A_SECOND: f64 = 100.0;

/// Processor seconds of a process, and of the children that it still has or has waited for.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let own = stat(pid)?;
    let children = children(pid).into_iter().filter_map(|child| stat(child).ok());
    Ok(own.seconds + children.map(|child| child.seconds).sum::<f64>())
}

/// The largest memory that a process has had so far, in bytes.
pub fn peak_rss_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the process has ended")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

/// This program's child of that name.
pub fn child_named(name: &str, not: &[u32]) -> Result<u32> {
    let named = |pid: &u32| stat(*pid).is_ok_and(|stat| stat.name == name) && !not.contains(pid);
    children(std::process::id()).into_iter().find(named).with_context(|| format!("{name} is no child of this program"))
}

struct Stat {
    name: String,
    parent: u32,
    /// Its own, and those of children that have ended.
    seconds: f64,
}

fn stat(pid: u32) -> Result<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (before, after) = text.rsplit_once(')').context("a name in parentheses")?;
    let name = before.split_once('(').context("a name in parentheses")?.1.to_owned();
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok()).context("a number");
    let ticks: u32 = [11, 12, 13, 14].into_iter().map(number).sum::<Result<u32>>()?;
    Ok(Stat { name, parent: number(1)?, seconds: f64::from(ticks) / TICKS_A_SECOND })
}

fn children(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|other| stat(*other).is_ok_and(|stat| stat.parent == pid)).collect()
}
