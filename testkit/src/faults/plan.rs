//! What a seed stands for: which servers, which processes, how much work, and which misfortunes befall them when.

use std::time::Duration;

use super::steps::{self, Step};
use crate::history::Random;

/// A kind of misfortune, as the command line and the table name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// `kill -9` of a process, at a step or at any time.
    Kill,
    /// SIGSTOP past the lease, then SIGCONT.
    Stop,
    /// PostgreSQL is stopped at once and started again.
    Postgres,
    /// `kill -9` of nats-server, and a start on the same store.
    Nats,
    /// Every connection to a server is cut.
    Cut,
    /// Every connection to a server goes dead, and is cut later.
    HalfOpen,
    /// The file system of the streams is full for a while; then there is room, and nats-server is started again.
    DiskFull,
    /// `kill -9` of the leader in a cluster of three with three copies.
    Leader,
}

impl Kind {
    pub const ALL: [Kind; 8] =
        [Kind::Kill, Kind::Stop, Kind::Postgres, Kind::Nats, Kind::Cut, Kind::HalfOpen, Kind::DiskFull, Kind::Leader];

    /// As the command line names it.
    pub fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Kill => "kill -9 of a process",
            Kind::Stop => "SIGSTOP past the lease, SIGCONT",
            Kind::Postgres => "restart of PostgreSQL, immediate",
            Kind::Nats => "kill -9 of nats-server",
            Kind::Cut => "connections cut",
            Kind::HalfOpen => "connections half open",
            Kind::DiskFull => "disk full under the streams",
            Kind::Leader => "kill -9 of the cluster's leader",
        }
    }
}

/// Which of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Postgres,
    Nats,
}

/// Where a process is when it is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At this step, whoever comes to it first.
    Step(Step),
    /// A process of this role, wherever it is.
    Anywhere(&'static str),
}

#[derive(Debug, Clone)]
pub enum Fault {
    Kill(Place),
    Stop { place: Place, lasts: Duration },
    Postgres { down_for: Duration },
    Nats { down_for: Duration },
    Cut(Server),
    HalfOpen { server: Server, lasts: Duration },
    DiskFull { lasts: Duration },
    Leader { down_for: Duration },
}

impl Fault {
    pub fn kind(&self) -> Kind {
        match self {
            Fault::Kill(_) => Kind::Kill,
            Fault::Stop { .. } => Kind::Stop,
            Fault::Postgres { .. } => Kind::Postgres,
            Fault::Nats { .. } => Kind::Nats,
            Fault::Cut(_) => Kind::Cut,
            Fault::HalfOpen { .. } => Kind::HalfOpen,
            Fault::DiskFull { .. } => Kind::DiskFull,
            Fault::Leader { .. } => Kind::Leader,
        }
    }
}

/// A fault, so long after the one before it.
#[derive(Debug, Clone)]
pub struct Timed {
    pub after: Duration,
    pub fault: Fault,
}

/// A history before it happens. The same seed gives the same plan; what comes of it depends on the machine's timing too.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub nodes: usize,
    pub small_disk: bool,
    pub roles: Vec<&'static str>,
    pub fetch_workers: u64,
    pub ad_accounts: u64,
    pub ads: usize,
    /// First day of the backfill, so many days ago, and how many there are.
    pub backfill: (u64, u64),
    /// How long Meta takes for an answer, so that there is work for as long as there are misfortunes.
    pub answers_after: Duration,
    /// A person folds the backfill again meanwhile, from one of the two logs.
    pub replays_from: Option<&'static str>,
    /// Meta changes its mind about every day, so long after the start.
    pub restated_after: Duration,
    /// Nothing is hurried: every pause, lease and patience is as shipped.
    pub is_patient: bool,
    /// What befalls processes, one after the other.
    pub on_processes: Vec<Timed>,
    /// What befalls servers and connections, one after the other, at the same time.
    pub on_servers: Vec<Timed>,
}

const ROLES_ALONE: [&str; 11] =
    ["fetch", "fetch", "raw", "raw", "project", "project", "fill", "relay", "schedule", "schedule", "web"];
const ALL_TWICE: [&str; 2] = ["all", "all"];
const MIXED: [&str; 5] = ["all", "fetch", "project", "raw", "relay"];

impl Plan {
    /// The plan of a seed; with only these kinds of misfortune, or with all.
    pub fn of(seed: u64, only: &[Kind]) -> Plan {
        let random = &mut Random::new(seed.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let may = |kind: Kind| only.is_empty() || only.contains(&kind);
        let draw = random.below(6);
        let is_cluster = may(Kind::Leader) && (draw == 0 || only == [Kind::Leader]);
        let small_disk = !is_cluster && may(Kind::DiskFull) && (draw == 1 || only == [Kind::DiskFull]);
        let roles = match random.below(5) {
            0 | 1 => ROLES_ALONE.to_vec(),
            2 => ALL_TWICE.to_vec(),
            _ => MIXED.to_vec(),
        };
        let backfill_since = 35 + random.below(21);
        let mut plan = Plan {
            seed,
            nodes: if is_cluster { 3 } else { 1 },
            small_disk,
            roles,
            fetch_workers: 1 + random.below(4),
            ad_accounts: 2 + random.below(2),
            ads: 6 + random.below(7) as usize,
            backfill: (backfill_since, 12 + random.below(20)),
            answers_after: Duration::from_millis(10 + random.below(60)),
            replays_from: [None, Some("stream"), Some("raw")][random.below(3) as usize],
            restated_after: Duration::from_millis(500 + random.below(8_000)),
            is_patient: false,
            on_processes: Vec::new(),
            on_servers: Vec::new(),
        };
        plan.is_patient = random.one_in(25);
        plan.on_processes = on_processes(random, may, plan.ack_wait());
        plan.on_servers = on_servers(random, may, is_cluster, small_disk);
        plan
    }

    /// The first plan, by its seed, that has each of these kinds in it and no other.
    pub fn with(kinds: &[Kind]) -> Plan {
        let has = |plan: &Plan, kind: Kind| {
            plan.on_processes.iter().chain(&plan.on_servers).any(|timed| timed.fault.kind() == kind)
        };
        let mut plans = (1..).map(|seed| Plan::of(seed, kinds));
        let found = plans.find(|plan| !plan.is_patient && kinds.iter().all(|kind| has(plan, *kind)));
        found.unwrap_or_else(|| Plan::of(1, kinds))
    }

    /// Whether a nats-server is killed.
    pub fn kills_nats(&self) -> bool {
        let kills = |timed: &Timed| matches!(timed.fault.kind(), Kind::Nats | Kind::DiskFull | Kind::Leader);
        self.on_servers.iter().any(kills)
    }

    /// How long a run is a worker's without a sign of life: the shortest that the settings allow, or what is shipped.
    pub fn lease_seconds(&self) -> u64 {
        if self.is_patient { 15 } else { 3 }
    }

    /// How long JetStream waits for an acknowledgement.
    pub fn ack_wait(&self) -> Duration {
        Duration::from_secs(if self.is_patient { 20 } else { 4 })
    }

    /// How long the rest may take to come once everything is healed.
    pub fn rest_within(&self) -> Duration {
        Duration::from_secs(if self.is_patient { 300 } else { 150 })
    }
}

fn pause(random: &mut Random, up_to_ms: u64) -> Duration {
    Duration::from_micros(random.below(up_to_ms * 1_000))
}

fn pick<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len() as u64) as usize]
}

fn on_processes(random: &mut Random, may: impl Fn(Kind) -> bool, ack_wait: Duration) -> Vec<Timed> {
    let mut faults = Vec::new();
    if may(Kind::Kill) {
        // What happens once in a history is waited for from its beginning.
        for steps in [&steps::OF_COMMANDS[..], &steps::SELDOM[..]] {
            let place = Place::Step(pick(random, steps));
            faults.push(Timed { after: Duration::ZERO, fault: Fault::Kill(place) });
        }
    }
    for _ in 0..3 + random.below(5) {
        let place = match random.below(3) {
            0 => Place::Anywhere(pick(random, &["fetch", "raw", "project", "fill", "relay", "schedule", "web"])),
            _ => Place::Step(pick(random, &steps::OFTEN)),
        };
        let after = pause(random, 700);
        let stops = random.one_in(4);
        if may(Kind::Stop) && (stops || !may(Kind::Kill)) {
            let place = match place {
                Place::Anywhere(_) => Place::Anywhere(pick(random, &["fetch", "project"])),
                step => step,
            };
            // Longer than a run's lease and than a message is waited for.
            let lasts = ack_wait + Duration::from_millis(300 + random.below(3_000));
            faults.push(Timed { after, fault: Fault::Stop { place, lasts } });
        } else if may(Kind::Kill) {
            faults.push(Timed { after, fault: Fault::Kill(place) });
        }
    }
    faults
}

fn on_servers(random: &mut Random, may: impl Fn(Kind) -> bool, is_cluster: bool, small_disk: bool) -> Vec<Timed> {
    let mut faults = Vec::new();
    let mut kinds: Vec<Kind> =
        [Kind::Postgres, Kind::Nats, Kind::Cut, Kind::HalfOpen].into_iter().filter(|k| may(*k)).collect();
    if is_cluster {
        kinds.retain(|kind| *kind != Kind::Nats);
        kinds.extend([Kind::Leader; 4]);
    }
    if small_disk {
        kinds.extend([Kind::DiskFull; 4]);
    }
    if kinds.is_empty() {
        return faults;
    }
    for number in 0..1 + random.below(3) {
        let kind = match number {
            0 if is_cluster => Kind::Leader,
            0 if small_disk => Kind::DiskFull,
            _ => pick(random, &kinds),
        };
        let after = pause(random, 2_500);
        let down_for = pause(random, 2_000);
        let server = if random.one_in(2) { Server::Postgres } else { Server::Nats };
        let lasts = Duration::from_millis(1_000 + random.below(5_000));
        let fault = match kind {
            Kind::Postgres => Fault::Postgres { down_for },
            Kind::Nats => Fault::Nats { down_for },
            Kind::Cut => Fault::Cut(server),
            Kind::HalfOpen => Fault::HalfOpen { server, lasts },
            Kind::DiskFull => Fault::DiskFull { lasts },
            Kind::Leader => Fault::Leader { down_for },
            Kind::Kill | Kind::Stop => continue,
        };
        faults.push(Timed { after, fault });
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_plan() {
        for seed in 0..50 {
            assert_eq!(format!("{:?}", Plan::of(seed, &[])), format!("{:?}", Plan::of(seed, &[])));
        }
        assert_ne!(format!("{:?}", Plan::of(1, &[]).on_processes), format!("{:?}", Plan::of(2, &[]).on_processes));
    }

    #[test]
    fn two_hundred_seeds_have_every_kind_and_every_step() {
        let plans: Vec<Plan> = (1..=200).map(|seed| Plan::of(seed, &[])).collect();
        let faults = || plans.iter().flat_map(|plan| plan.on_processes.iter().chain(&plan.on_servers));
        for kind in Kind::ALL {
            assert!(faults().any(|timed| timed.fault.kind() == kind), "{kind:?}");
        }
        for step in Step::all() {
            assert!(faults().any(|timed| matches!(timed.fault, Fault::Kill(Place::Step(of)) if of == step)), "{step}");
        }
    }

    #[test]
    fn a_plan_of_some_kinds_has_no_others() {
        for kinds in [&[Kind::Stop][..], &[Kind::Leader], &[Kind::Kill, Kind::Cut]] {
            let plan = Plan::with(kinds);
            for timed in plan.on_processes.iter().chain(&plan.on_servers) {
                assert!(kinds.contains(&timed.fault.kind()), "{timed:?} of {kinds:?}");
            }
        }
    }
}
