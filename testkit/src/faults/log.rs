use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::jetstream::{META_CONNECT, META_INSIGHTS, META_SYNC, Wire, topology};
use anyhow::{Context, Result, bail};
use async_nats::jetstream;
use async_nats::jetstream::consumer::FromConsumer;
use embedded::Servers;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::proxy::{Proxy, port_of, with_port};
use crate::servers::options;
use crate::wait;

/// The durable consumers of the topology.
pub const DURABLES: [(&str, &str); 4] =
    [(META_INSIGHTS, "raw"), (META_INSIGHTS, "projector"), (META_CONNECT, "initial-fill"), (META_SYNC, "fetch")];

/// JetStream for one history: one nats-server or a cluster of three, each behind a proxy whose port stays.
pub struct Log {
    pub nodes: Vec<Node>,
}

/// A nats-server and its proxy.
pub struct Node {
    pub proxy: Proxy,
    name: String,
    data_dir: PathBuf,
    config: String,
    servers: Option<Servers>,
    url: String,
}

const UP_WITHIN: Duration = Duration::from_secs(60);
/// The nodes of a cluster know each other by one password.
const PASSWORD: &str = "0123456789abcdef";

impl Log {
    /// Starts the servers in `folder` and makes the streams; `nodes` is 1 or 3.
    pub async fn start(folder: &Path, nodes: usize, ack_wait: Duration) -> Result<Log> {
        let routes: Vec<u16> = free_ports(nodes)?;
        let mut log = Log { nodes: Vec::new() };
        for number in 0..nodes {
            let proxy = Proxy::to(0).await?;
            let name = format!("n{number}");
            let cluster = if nodes > 1 { cluster(&name, routes[number], &routes, proxy.port) } else { String::new() };
            let data_dir = if nodes > 1 { folder.join(&name) } else { folder.to_owned() };
            std::fs::create_dir_all(data_dir.join("nats"))?;
            std::fs::write(data_dir.join("nats/password"), PASSWORD)?;
            let config = format!("{}\n{cluster}", topology::SERVER_CONF);
            let mut node = Node { proxy, name, data_dir, config, servers: None, url: String::new() };
            node.come_up().await?;
            log.nodes.push(node);
        }
        let limits = topology::Limits { log_max_bytes: None, replicas: Some(nodes), warehouse_max_age: None };
        wait::until("the streams are made", UP_WITHIN, async || {
            let made = async {
                anyhow::Ok(topology::apply(&Wire::connect(&log.nodes[0].url, None, "faults").await?, &limits).await?)
            };
            // A cluster that has just met has no leader yet.
            Ok(made.await.is_ok_and(|differences| differences.is_empty()))
        })
        .await?;
        log.set_ack_wait(ack_wait).await?;
        Ok(log)
    }

    /// The URLs through the proxies.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| with_port(&node.url, node.proxy.port)).collect()
    }

    /// A client past the proxies, of a node that answers.
    pub async fn context(&self) -> Result<jetstream::Context> {
        let mut last = None;
        for node in self.nodes.iter().filter(|node| node.servers.is_some()) {
            let options = async_nats::ConnectOptions::with_user_and_password("adledger".into(), PASSWORD.into());
            match options.connect(format!("127.0.0.1:{}", port_of(&node.url)?)).await {
                Ok(client) => return Ok(jetstream::new(client)),
                Err(error) => last = Some(error),
            }
        }
        bail!("no nats-server answers: {last:?}")
    }

    /// Which node leads the insights log; the first one where there is but one.
    pub async fn leader(&self) -> Result<usize> {
        let stream = self.context().await?.get_stream(META_INSIGHTS).await?;
        let leader = stream.cached_info().cluster.as_ref().and_then(|cluster| cluster.leader.clone());
        Ok(self.nodes.iter().position(|node| Some(&node.name) == leader.as_ref()).unwrap_or(0))
    }

    /// How long the server waits before it delivers again what a consumer holds.
    async fn set_ack_wait(&self, ack_wait: Duration) -> Result<()> {
        let context = self.context().await?;
        for (stream, durable) in DURABLES {
            let stream = context.get_stream(stream).await?;
            let consumer: jetstream::consumer::PullConsumer =
                stream.get_consumer(durable).await.map_err(|error| anyhow::anyhow!(error))?;
            let mut config = consumer.cached_info().config.clone();
            config.ack_wait = ack_wait;
            let config = jetstream::consumer::pull::Config::try_from_consumer_config(config);
            stream.update_consumer(config.map_err(|error| anyhow::anyhow!(error))?).await?;
        }
        Ok(())
    }

    /// How many messages wait for a consumer, or are in the hands of one.
    pub async fn in_hand(&self) -> Result<u64> {
        let context = self.context().await?;
        let mut in_hand = 0;
        for (stream, durable) in DURABLES {
            let info = context.get_stream(stream).await?.consumer_info(durable).await?;
            in_hand += info.num_pending + info.num_ack_pending as u64;
        }
        Ok(in_hand)
    }

    /// How many bells there are: each is removed when it is answered. A nats-server that is killed may forget the removal, and
    /// remember all the same that the bell was heard; nobody hears it again then.
    pub async fn bells(&self) -> Result<u64> {
        Ok(self.context().await?.get_stream(META_SYNC).await?.cached_info().state.messages)
    }
}

fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    Ok(listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<std::io::Result<_>>()?)
}

fn cluster(name: &str, port: u16, routes: &[u16], advertised: u16) -> String {
    let routes: Vec<String> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    format!(
        "server_name: {name}\nclient_advertise: \"127.0.0.1:{advertised}\"\n\
         cluster {{ name: faults, listen: \"127.0.0.1:{port}\", routes: [{}] }}\n",
        routes.join(", ")
    )
}

impl Node {
    async fn come_up(&mut self) -> Result<()> {
        let mut options = options(&self.data_dir);
        options.nats = true;
        options.nats_config = self.config.clone();
        let servers = Servers::start(options).await?;
        self.url = servers.nats_url().context("nats-server was asked for")?.to_owned();
        self.proxy.aim(port_of(&self.url)?);
        self.servers = Some(servers);
        Ok(())
    }

    pub async fn end(self) {
        if let Some(servers) = self.servers {
            servers.stop().await;
        }
    }

    /// `kill -9` and a start on the same store.
    pub async fn restart(&mut self, down_for: Duration) -> Result<()> {
        let pid: i32 = std::fs::read_to_string(self.data_dir.join("nats/nats.pid"))?.trim().parse()?;
        let servers = self.servers.take().context("it ran")?;
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        wait::until("nats-server has ended", UP_WITHIN, async || Ok(servers.ended().is_some())).await?;
        servers.stop().await;
        tokio::time::sleep(down_for).await;
        self.come_up().await
    }
}
