use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::disk::SmallDisk;
use super::log::Log;
use super::plan::{Fault, Kind, Place, Plan, Server, Timed};
use super::postgres::Postgres;
use super::process::Crew;
use super::steps;
use crate::history::Random;

/// What stands on the stage of one history.
pub struct Stage<'a> {
    pub database: &'a str,
    pub postgres: tokio::sync::Mutex<&'a mut Postgres>,
    pub log: tokio::sync::Mutex<Log>,
    pub crew: Crew,
    pub disk: Option<SmallDisk>,
    pub told: Mutex<Vec<Injected>>,
}

/// A fault as it came about.
#[derive(Debug, Clone)]
pub struct Injected {
    pub kind: Kind,
    /// What was hit, in words: `fetch at commit of update sync_days`.
    pub what: String,
    /// It had to be left out on this machine.
    pub skipped: bool,
}

/// How long a gate is watched for somebody to come.
const COMES_WITHIN: Duration = Duration::from_secs(4);

impl Stage<'_> {
    fn tell(&self, kind: Kind, what: impl Into<String>) {
        let injected = Injected { kind, what: what.into(), skipped: false };
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(injected);
    }

    pub async fn on_processes(&self, faults: &[Timed], mut random: Random) -> Result<()> {
        let mut stopped = JoinSet::new();
        for Timed { after, fault } in faults {
            tokio::time::sleep(*after).await;
            match fault {
                Fault::Kill(place) => {
                    self.hit(*place, &mut random, Kind::Kill, |name| self.crew.kill(name)).await;
                }
                Fault::Stop { place, lasts } => {
                    if let Some(name) = self.hit(*place, &mut random, Kind::Stop, |name| self.crew.stop(name)).await {
                        let lasts = *lasts;
                        stopped.spawn(async move {
                            tokio::time::sleep(lasts).await;
                            name
                        });
                    }
                }
                _ => {}
            }
            while let Some(Ok(name)) = stopped.try_join_next() {
                self.crew.go_on(&name);
            }
        }
        while let Some(Ok(name)) = stopped.join_next().await {
            self.crew.go_on(&name);
        }
        Ok(())
    }

    /// Does it to whoever comes to the place; to anybody where nobody comes. Answers the name.
    async fn hit(
        &self,
        place: Place,
        random: &mut Random,
        kind: Kind,
        act: impl Fn(&str) -> Option<String>,
    ) -> Option<String> {
        let role = match place {
            Place::Anywhere(role) => Some(role),
            Place::Step(step) => {
                let url = self.postgres.lock().await.direct(self.database);
                let mut role = None;
                // Where PostgreSQL goes away meanwhile, nobody comes.
                let came = steps::at(&url, step, COMES_WITHIN, |name| role = act(name)).await.ok().flatten();
                if let (Some(name), Some(role)) = (came, role) {
                    self.tell(kind, format!("{role} at {step}"));
                    return Some(name);
                }
                None
            }
        };
        let names = self.crew.running(role);
        let name = names.get(random.below(names.len() as u64) as usize)?;
        let role = act(name)?;
        self.tell(kind, format!("{role} anywhere"));
        Some(name.clone())
    }

    pub async fn on_servers(&self, faults: &[Timed], plan: &Plan) -> Result<()> {
        for Timed { after, fault } in faults {
            tokio::time::sleep(*after).await;
            let kind = fault.kind();
            match fault {
                Fault::Kill(_) | Fault::Stop { .. } => {}
                Fault::Postgres { down_for } => {
                    self.tell(kind, "PostgreSQL");
                    self.postgres.lock().await.restart(*down_for).await.context("restart PostgreSQL")?;
                }
                Fault::Nats { down_for } => {
                    self.tell(kind, "nats-server");
                    self.log.lock().await.nodes[0].restart(*down_for).await.context("restart nats-server")?;
                }
                Fault::Leader { down_for } => {
                    let mut log = self.log.lock().await;
                    // Between two leaders there is none to kill.
                    let leader = log.leader().await.unwrap_or(0);
                    self.tell(kind, format!("node {leader}"));
                    log.nodes[leader].restart(*down_for).await.context("restart a node")?;
                }
                Fault::Cut(server) => {
                    let lines = self.proxies(*server, |proxy| proxy.cut()).await;
                    self.tell(kind, format!("{lines} to {server:?}"));
                }
                Fault::HalfOpen { server, lasts } => {
                    let lines = self.proxies(*server, |proxy| proxy.kill_lines()).await;
                    self.tell(kind, format!("{lines} to {server:?}"));
                    tokio::time::sleep(*lasts).await;
                    // A patient history leaves it to the product to notice.
                    if !plan.is_patient {
                        self.proxies(*server, |proxy| {
                            proxy.cut_dead();
                            0
                        })
                        .await;
                    }
                }
                Fault::DiskFull { lasts } => match &self.disk {
                    Some(disk) => {
                        self.tell(kind, "the streams' disk");
                        disk.fill()?;
                        tokio::time::sleep(*lasts).await;
                        disk.make_room()?;
                        // A nats-server whose write failed writes no more until it is started again: so does its operator.
                        self.log.lock().await.nodes[0].restart(Duration::ZERO).await.context("restart nats-server")?;
                    }
                    None => {
                        let what = "mounting is not permitted here".to_owned();
                        let skipped = Injected { kind, what, skipped: true };
                        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(skipped);
                    }
                },
            }
        }
        Ok(())
    }

    async fn proxies(&self, server: Server, act: impl Fn(&super::Proxy) -> usize) -> usize {
        match server {
            Server::Postgres => act(&self.postgres.lock().await.proxy),
            Server::Nats => self.log.lock().await.nodes.iter().map(|node| act(&node.proxy)).sum(),
        }
    }
}
