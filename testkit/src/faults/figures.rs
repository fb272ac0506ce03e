use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::history::Told;
use super::plan::Kind;

/// What many histories came to.
#[derive(Debug, Default)]
pub struct Figures {
    histories: usize,
    clusters: usize,
    void: usize,
    events: usize,
    doubled_messages: usize,
    bells_left: u64,
    findings: usize,
    rests: Vec<Duration>,
    /// By kind: how many befell, in how many histories, how many had to be skipped.
    by_kind: BTreeMap<Kind, (usize, usize, usize)>,
    /// How often a process was killed or stopped at each step.
    by_step: BTreeMap<String, usize>,
}

impl Figures {
    pub fn add(&mut self, told: &Told) {
        self.histories += 1;
        self.clusters += usize::from(told.plan.nodes > 1);
        self.void += usize::from(told.is_void);
        self.events += told.events;
        self.doubled_messages += told.doubled_messages;
        self.bells_left += told.bells_left;
        self.findings += told.findings.len();
        self.rests.push(told.rested_after);
        for kind in Kind::ALL {
            let of_kind = || told.injected.iter().filter(move |injected| injected.kind == kind);
            let skipped = of_kind().filter(|injected| injected.skipped).count();
            let befell = of_kind().count() - skipped;
            let counted = self.by_kind.entry(kind).or_default();
            *counted = (counted.0 + befell, counted.1 + usize::from(befell > 0), counted.2 + skipped);
        }
        for injected in told.injected.iter().filter(|injected| matches!(injected.kind, Kind::Kill | Kind::Stop)) {
            *self.by_step.entry(injected.what.clone()).or_default() += 1;
        }
    }

    pub fn findings(&self) -> usize {
        self.findings
    }
}

/// As tables of Markdown, so that they can stand in a page as they were printed.
impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rests = self.rests.clone();
        rests.sort();
        let at = |share: usize| {
            rests.get(((rests.len() * share).div_ceil(100)).saturating_sub(1)).copied().unwrap_or_default()
        };
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        writeln!(f, "| figure | |\n|---|--:|")?;
        writeln!(f, "| histories | {} |", self.histories)?;
        writeln!(f, "| of these, with a cluster of three | {} |", self.clusters)?;
        writeln!(f, "| void, because the day changed | {} |", self.void)?;
        writeln!(f, "| events | {} |", self.events)?;
        writeln!(f, "| messages that the stream had already | {} |", self.doubled_messages)?;
        writeln!(f, "| bells that a killed nats-server left behind | {} |", self.bells_left)?;
        writeln!(f, "| time to rest: median | {} |", seconds(at(50)))?;
        writeln!(f, "| time to rest: 95 of 100 within | {} |", seconds(at(95)))?;
        writeln!(f, "| time to rest: longest | {} |", seconds(at(100)))?;
        writeln!(f, "| **findings** | **{}** |", self.findings)?;
        writeln!(f, "\n| fault | times | in histories |\n|---|--:|--:|")?;
        for kind in Kind::ALL {
            let (times, histories, skipped) = self.by_kind.get(&kind).copied().unwrap_or_default();
            let times = if skipped > 0 { format!("{times}, {skipped} skipped") } else { times.to_string() };
            writeln!(f, "| {} | {times} | {histories} |", kind.as_str())?;
        }
        writeln!(f, "\n| killed or stopped | times |\n|---|--:|")?;
        for (step, times) in &self.by_step {
            writeln!(f, "| {step} | {times} |")?;
        }
        Ok(())
    }
}
