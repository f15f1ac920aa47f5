//! The node agent: runs the pods that are bound to its node as WebAssembly, and says how they are.
//!
//! Invariant: it talks to the cluster through the API alone; what it needs of the network and of names it is given.
//! It never decides which pods it has.
//!
//! Reading order: the life of a pod as a state machine ([`lifecycle`]), what performs it (`pods`), what a container
//! is made of ([`images`], [`env`], [`volumes`], [`logs`], the crate `coracle-wasm`), then the node as others see it.

pub mod lifecycle;
mod pods;

pub mod images;

pub mod downward;
pub mod env;
pub mod names;
pub mod sources;
pub mod tokens;
pub mod volumes;

pub mod logs;

mod console;
mod tools;

mod any_certificate;
mod evictions;
mod kubelet;
mod node;
mod provisioner;
mod query;
mod speak;
mod stats;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::meet::{HttpService, PodNetwork, Resolver};
use coracle_api::names::NodeName;
use coracle_wasm::{Wasm, WasmError};
use kube::Client;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use images::pull::Puller;
use images::{ImageStore, Policy};
use kubelet::{Kubelet, Sessions, Streaming};
use logs::{Logs, Rotation};
use node::{Collector, Keeper, Machine};
use pods::{Attachments, Inboxes, Lives, Records, Shared};
use provisioner::Provisioner;
use sources::Sources;
use speak::Speaker;
use stats::{Places, Stats};
use tools::Workshop;
use volumes::AllowedPath;
use volumes::in_use::InUse;

pub use names::NameFacts;
pub use node::{MachineError, Thresholds};

/// How long to wait before a watch that broke off is begun anew.
const WATCH_RETRY: Duration = Duration::from_millis(500);

/// How long the node's side tasks may go on once its pods have ended: for the last events.
const LAST_EVENTS: Duration = Duration::from_millis(200);

/// What a node is called, where it keeps its things, and what it offers.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name of its Node object.
    pub node_name: NodeName,
    /// The machine's name, as the label `kubernetes.io/hostname`.
    pub host_name: String,
    /// The directory under which everything is kept.
    pub data_dir: PathBuf,
    /// The address at which the node is reached.
    pub address: IpAddr,
    /// The range of its pods' addresses, as in `spec.podCIDR`; empty if it is not known.
    pub pod_cidr: String,
    /// More labels for the Node object.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Node object.
    pub annotations: BTreeMap<String, String>,
    /// What pods' names are made of.
    pub names: NameFacts,
    /// How many pods it takes at most; what the kernel allows if nothing is said.
    pub pods_max: Option<u64>,
    /// The version it reports as its kubelet's.
    pub kubelet_version: String,
    /// When the node is short of something.
    pub thresholds: Thresholds,
    /// When the logs of containers are rotated.
    pub log_rotation: Rotation,
    /// When images are thrown away.
    pub image_policy: Policy,
    /// What of the machine's own directories pods may mount; nothing else.
    pub allowed_host_paths: Vec<AllowedPath>,
    /// The certificate of the cluster's authority, as PEM, that guests' requests to the API trust; empty: none.
    pub root_ca: String,
    /// The program that compiles images; without one it is done in this process.
    pub compiler: Option<coracle_wasm::Compiler>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_name: local_name(),
            host_name: "localhost".to_owned(),
            data_dir: PathBuf::from("."),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            pod_cidr: String::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            names: NameFacts::default(),
            pods_max: None,
            kubelet_version: "v1.37.0+coracle".to_owned(),
            thresholds: Thresholds::default(),
            log_rotation: Rotation::default(),
            image_policy: Policy::default(),
            allowed_host_paths: Vec::new(),
            root_ca: String::new(),
            compiler: None,
        }
    }
}

#[expect(clippy::expect_used, reason = "the text is a constant")]
fn local_name() -> NodeName {
    NodeName::new("localhost").expect("localhost is a subdomain")
}

/// What a node is given by the other components.
pub struct Parts {
    /// Gives pods their addresses.
    pub network: Arc<dyn PodNetwork>,
    /// Answers the names that guests look up.
    pub resolver: Arc<dyn Resolver>,
    /// The local image store.
    pub images: Arc<ImageStore>,
    /// Fills it from remote registries.
    pub puller: Arc<Puller>,
}

/// Why a node cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A directory cannot be made or emptied.
    #[error("cannot prepare the directory {path:?} of the node")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The host of guests cannot be built.
    #[error(transparent)]
    Wasm(#[from] WasmError),
    /// The machine cannot be described.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

/// A node agent, ready to run.
pub struct Node {
    shared: Arc<Shared>,
    keeper: Keeper,
    provisioner: Provisioner,
    /// What `/configz` tells.
    config: serde_json::Value,
    streaming: Streaming,
    events: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Node {
    /// Prepares the directories and the host of guests. What a former process left of its pods is put aside, to be
    /// deleted: it ended with that process, and pods begin with empty directories. Asks nothing of the API yet.
    ///
    /// # Errors
    /// [`BuildError`] if a directory or the host of guests cannot be made.
    // It has nothing to wait for so far; it is async as `build` of every component is.
    #[allow(clippy::unused_async, reason = "every component is built in the same way")]
    pub async fn build(client: Client, config: Config, parts: Parts) -> Result<Self, BuildError> {
        let (provisioner, its_events) = provisioner(&client, &config);
        let pods_dir = config.data_dir.join("pods");
        empty(&pods_dir).map_err(|source| BuildError::Directory { path: pods_dir.clone(), source })?;
        let wasm = coracle_wasm::Config::new(config.data_dir.join("compiled"));
        let wasm = Wasm::new(coracle_wasm::Config { compiler: config.compiler.clone(), ..wasm })?;
        let instances = u64::try_from(wasm.instances_max()).unwrap_or(u64::MAX);
        let machine = Machine::read(&config.data_dir, instances, config.pods_max)?;
        let records = Records::default();
        let logs = Logs::new(config.data_dir.join("logs"), config.log_rotation);
        let told = kubelet::config(machine.pods, &config.log_rotation);
        let in_use = InUse::default();
        let places = Places {
            data_dir: config.data_dir.clone(),
            pods_dir: pods_dir.clone(),
            logs: logs.clone(),
            in_use: in_use.clone(),
        };
        let (speaker, events) = speak::speaker(client.clone(), speak::KUBELET, config.node_name.to_string());
        parts.images.expect_pods();
        let collector = collector(&config, &parts, &wasm, &speaker);
        let shared = Shared {
            client: client.clone(),
            node: config.node_name.clone(),
            host_ip: config.address,
            allocatable: machine.allocatable(),
            images: Arc::clone(&parts.images),
            puller: parts.puller,
            wasm,
            network: parts.network,
            resolver: parts.resolver,
            names: config.names,
            sources: Sources::new(client.clone()),
            logs,
            speaker: speaker.clone(),
            pods_dir,
            volumes_dir: volumes::persistent(&config.data_dir),
            allowed_host_paths: config.allowed_host_paths,
            in_use,
            stats: Stats::new(config.node_name.clone(), records.clone(), places),
            records,
            attachments: Attachments::default(),
            inboxes: Inboxes::default(),
            lives: Lives::default(),
            workshop: Workshop::default(),
            api: OnceCell::new(),
            root_ca: config.root_ca,
            authority: OnceCell::new(),
        };
        let keeper = Keeper {
            client,
            name: config.node_name,
            host_name: config.host_name,
            address: config.address,
            labels: config.labels,
            annotations: config.annotations,
            pod_cidr: config.pod_cidr,
            version: config.kubelet_version,
            data_dir: config.data_dir,
            machine,
            images: parts.images,
            speaker,
            collector,
            thresholds: config.thresholds,
            pressure: watch::Sender::default(),
        };
        let events = Box::pin(both(events, its_events));
        let (shared, streaming) = (Arc::new(shared), Streaming::default());
        Ok(Self { shared, keeper, provisioner, config: told, streaming, events })
    }

    /// The node's own API, by which the API server reaches logs and figures of its containers.
    #[must_use]
    pub fn kubelet(&self) -> Arc<dyn HttpService> {
        Arc::new(Kubelet {
            logs: self.shared.logs.clone(),
            records: self.shared.records.clone(),
            stats: self.shared.stats.clone(),
            sessions: Sessions::new(&self.shared),
            config: self.config.clone(),
            attachments: self.shared.attachments.clone(),
            streaming: self.streaming.clone(),
        })
    }

    /// Runs the node until `stop`. Then its containers are drained; their pods run again when the node does.
    pub async fn run(self, stop: CancellationToken) {
        let Self { shared, keeper, provisioner, streaming, events, .. } = self;
        let sources = shared.sources.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(events);
        let data_dir = shared.stats.places.data_dir.clone();
        tasks.spawn_blocking(move || {
            if let Err(error) = volumes::sweep(&data_dir) {
                tracing::warn!(%error, "cannot delete what former pods left");
            }
        });
        tasks.spawn(async move { sources.run().await });
        tasks.spawn(evictions::run(Arc::clone(&shared), keeper.thresholds, keeper.pressure.subscribe(), stop.clone()));
        tasks.spawn(provisioner.run(stop.clone()));
        tasks.spawn(keeper.run(stop.clone()));
        // Some of them end with what `shared` holds, which is after the pods.
        tokio::select! {
            () = pods::run(Arc::clone(&shared), stop) => {}
            () = async { coracle_api::tasks::join(&mut tasks).await; std::future::pending::<()>().await } => {}
        }
        streaming.stop().await;
        shared.wasm.shutdown();
        // What pods had in memory would stay there for nobody: they begin with empty directories.
        if let Err(error) = volumes::clear_memory(&shared.pods_dir) {
            tracing::warn!(%error, "cannot delete the volumes in memory");
        }
        drop(shared);
        // Events that are still queued are worth a moment, and no more.
        if tokio::time::timeout(LAST_EVENTS, coracle_api::tasks::join(&mut tasks)).await.is_err() {
            tasks.abort_all();
        }
    }
}

async fn both(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    tokio::join!(one, other);
}

/// What throws images away.
fn collector(config: &Config, parts: &Parts, wasm: &Wasm, speaker: &Speaker) -> Collector {
    Collector::new(
        config.image_policy,
        config.data_dir.join("images"),
        Arc::clone(&parts.images),
        wasm.compiled(),
        speaker.clone(),
        config.node_name.to_string(),
    )
}

/// Makes the directory of the pods, with nothing in it that a former process left.
fn empty(pods_dir: &Path) -> std::io::Result<()> {
    volumes::put_aside(pods_dir)?;
    volumes::clear_memory(pods_dir)
}

/// What makes the volumes of the node, and the task that writes its events.
fn provisioner(client: &Client, config: &Config) -> (Provisioner, impl Future<Output = ()> + use<>) {
    let node = config.node_name.to_string();
    let (speaker, events) = speak::speaker(client.clone(), coracle_api::storage::PROVISIONER, node);
    let provisioner = Provisioner {
        client: client.clone(),
        node: config.node_name.clone(),
        host_name: config.host_name.clone(),
        dir: volumes::persistent(&config.data_dir),
        speaker,
    };
    (provisioner, events)
}

/// An error with its causes, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |e| e.source()).fold(error.to_string(), |mut text, cause| {
        let cause = cause.to_string();
        // Some errors already say their cause.
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        text
    })
}

#[cfg(test)]
mod tests;
