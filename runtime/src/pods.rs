//! The pods of this node: one watch says which they are, and each has a worker of its own, by uid.
//!
//! Invariant: a uid has at most one worker, which lives until the object is gone from the API, so that late news of a
//! pod never makes a second one.

mod attachments;
mod containers;
mod hooks;
mod imports;
mod inboxes;
mod last_words;
mod late;
mod launch;
mod left_out;
mod live;
mod prepare;
mod probe;
mod publish;
mod pull;
mod records;
mod request_timeout;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::meet::{PodNetwork, Resolver};
use coracle_api::names::NodeName;
use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::downward::Allocatable;
use crate::env;
use crate::images::ImageStore;
use crate::images::pull::Puller;
use crate::logs::Logs;
use crate::names::NameFacts;
use crate::sources::Sources;
use crate::speak::Speaker;
use crate::stats::Stats;
use crate::tools::Workshop;
use crate::volumes::AllowedPath;
use crate::volumes::in_use::InUse;
use coracle_wasm::{Authority, Wasm};

pub(crate) use attachments::{Attached, Attachments};
pub(crate) use inboxes::Inboxes;
pub(crate) use live::{Live, Lives};
pub(crate) use probe::{in_words, tls};
pub(crate) use records::{Record, Records};

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) node: NodeName,
    pub(crate) host_ip: IpAddr,
    pub(crate) allocatable: Allocatable,
    pub(crate) images: Arc<ImageStore>,
    pub(crate) puller: Arc<Puller>,
    pub(crate) wasm: Wasm,
    pub(crate) network: Arc<dyn PodNetwork>,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) names: NameFacts,
    pub(crate) sources: Sources,
    pub(crate) logs: Logs,
    pub(crate) speaker: Speaker,
    pub(crate) pods_dir: PathBuf,
    /// Where the persistent volumes are that this node provisioned.
    pub(crate) volumes_dir: PathBuf,
    pub(crate) allowed_host_paths: Vec<AllowedPath>,
    pub(crate) in_use: InUse,
    pub(crate) records: Records,
    pub(crate) attachments: Attachments,
    pub(crate) inboxes: Inboxes,
    pub(crate) lives: Lives,
    pub(crate) workshop: Workshop,
    pub(crate) stats: Stats,
    /// Where pods reach the API, once it is known.
    pub(crate) api: OnceCell<env::Api>,
    /// The certificate of the cluster's authority, as PEM; empty if nobody said it.
    pub(crate) root_ca: String,
    /// The same, for the hosts by which pods reach the API; none if it is of no use.
    pub(crate) authority: OnceCell<Option<Arc<Authority>>>,
}

impl Shared {
    /// Where pods reach the API: its Service. It has the same address as long as the cluster lasts.
    pub(crate) async fn api(&self) -> Option<&env::Api> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), "default");
        let read = || async { services.get("kubernetes").await.ok().and_then(|s| env::Api::of(&s)).ok_or(()) };
        self.api.get_or_try_init(read).await.ok()
    }

    /// Who signed the certificate of the API, for requests of guests to it.
    pub(crate) async fn authority(&self) -> Option<Arc<Authority>> {
        let hosts = self.api().await?.hosts();
        let made = self.authority.get_or_init(|| async {
            let made = Authority::new(&self.root_ca, hosts);
            if let Err(error) = &made
                && !self.root_ca.is_empty()
            {
                tracing::warn!(%error, "guests cannot ask the API by HTTPS");
            }
            made.ok().map(Arc::new)
        });
        made.await.clone()
    }
}

/// How long a pod whose worker panicked waits for another: so long that one which does it each time costs next to
/// nothing.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// A worker that has ended.
struct Ended {
    uid: String,
    /// By a panic, not because its pod is gone.
    broke: bool,
}

/// What a worker is told of its pod.
#[derive(Debug, Clone)]
enum News {
    /// The object as it is now.
    Is(Arc<Pod>),
    /// There is no object any more.
    Gone,
}

/// Runs the pods of this node until `stop`; then drains them and returns.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let api: Api<Pod> = Api::all(shared.client.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", shared.node));
    let mut pods = Pods { shared, stop: stop.clone(), workers: BTreeMap::new(), tasks: JoinSet::new(), listed: None };
    pods.follow(std::pin::pin!(watcher(api, config)), &stop).await;
    // No news comes any more: who waits for some must not wait for ever.
    pods.workers.clear();
    while let Some(ended) = pods.tasks.join_next().await {
        pods.ended(ended);
    }
}

struct Pods {
    shared: Arc<Shared>,
    stop: CancellationToken,
    workers: BTreeMap<String, watch::Sender<News>>,
    tasks: JoinSet<Ended>,
    /// The uids of a list that is being received.
    listed: Option<BTreeSet<String>>,
}

impl Pods {
    async fn follow<S>(&mut self, mut events: S, stop: &CancellationToken)
    where
        S: Stream<Item = Result<watcher::Event<Pod>, watcher::Error>> + Unpin,
    {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                event = events.next() => match event {
                    Some(Ok(event)) => self.take(event),
                    Some(Err(error)) => {
                        tracing::debug!(%error, "the watch on pods broke off and begins anew");
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = tokio::time::sleep(crate::WATCH_RETRY) => {}
                        }
                    }
                    None => return,
                },
            }
        }
    }

    fn take(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Init => self.listed = Some(BTreeSet::new()),
            watcher::Event::InitApply(pod) => {
                if let (Some(listed), Some(uid)) = (&mut self.listed, &pod.metadata.uid) {
                    listed.insert(uid.clone());
                }
                self.offer(pod);
            }
            watcher::Event::InitDone => self.listed_all(),
            watcher::Event::Apply(pod) => self.offer(pod),
            watcher::Event::Delete(pod) => {
                if let Some(worker) = pod.metadata.uid.as_ref().and_then(|uid| self.workers.get(uid)) {
                    worker.send_replace(News::Gone);
                }
            }
        }
    }

    fn listed_all(&mut self) {
        let listed = self.listed.take().unwrap_or_default();
        for (_, worker) in self.workers.iter().filter(|(uid, _)| !listed.contains(*uid)) {
            worker.send_replace(News::Gone);
        }
        let known = |uid: &str| listed.contains(uid) || self.workers.contains_key(uid);
        self.shared.logs.sweep(known);
        self.shared.images.pods_are_told();
    }

    fn offer(&mut self, mut pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        // Nobody here asks who owns which field, and that takes as much memory as all the rest.
        pod.metadata.managed_fields = None;
        self.shared.images.pod_is(&pod);
        let pod = Arc::new(pod);
        if let Some(worker) = self.workers.get(&uid) {
            worker.send_replace(News::Is(pod));
            return;
        }
        let (sender, news) = watch::channel(News::Is(Arc::clone(&pod)));
        self.workers.insert(uid.clone(), sender);
        self.begin(uid, pod, news, Duration::ZERO);
    }

    /// Gives a pod its worker, `rest` later.
    fn begin(&mut self, uid: String, pod: Arc<Pod>, news: watch::Receiver<News>, rest: Duration) {
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.clone());
        let span = tracing::info_span!(
            "pod",
            namespace = pod.metadata.namespace.as_deref().unwrap_or_default(),
            name = pod.metadata.name.as_deref().unwrap_or_default(),
        );
        let work = async move {
            if !rest.is_zero() && stop.run_until_cancelled(tokio::time::sleep(rest)).await.is_none() {
                return Ended { uid, broke: false };
            }
            let worker = worker::Worker::new(Arc::clone(&shared), pod, news).run(stop);
            let broke = AssertUnwindSafe(worker).catch_unwind().await.is_err();
            shared.inboxes.close(&uid);
            Ended { uid, broke }
        };
        self.tasks.spawn(work.instrument(span));
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let Ended { uid, broke } = match ended {
            Ok(ended) => ended,
            Err(error) => return tracing::error!(%error, "the worker of a pod was ended"),
        };
        let last = self.workers.get(&uid).map(watch::Sender::subscribe);
        let pod = last.as_ref().and_then(|news| match &*news.borrow() {
            News::Is(pod) => Some(Arc::clone(pod)),
            News::Gone => None,
        });
        if let (true, Some(news), Some(pod)) = (broke, last, pod) {
            tracing::error!(uid, "the worker of a pod panicked, another begins soon; this is a bug of Coracle's");
            return self.begin(uid, pod, news, AFTER_PANIC);
        }
        self.workers.remove(&uid);
        self.shared.images.pod_is_gone(&uid);
    }
}
