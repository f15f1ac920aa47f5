//! ConfigMaps and Secrets, as containers and volumes take them in: maps of keys to bytes.
//!
//! What a pod refers to is fetched when it is needed and not kept. One watch per kind, begun with the first pod that
//! refers to the kind, says what changed; it holds no objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::{Notify, broadcast};

use crate::tokens::Asked;

/// How many changes may wait for a slow worker; one that falls behind takes it that everything changed.
const CHANGES_MAX: usize = 256;

/// An object that a pod refers to, in the pod's own namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A ConfigMap by name.
    ConfigMap(String),
    /// A Secret by name.
    Secret(String),
    /// A claim by name. It has no data; that it changed is worth knowing.
    Claim(String),
}

impl Source {
    /// As upstream's messages say that it is missing: `configmap "x" not found`.
    #[must_use]
    pub fn not_found(&self) -> String {
        match self {
            Self::ConfigMap(name) => format!("configmap {name:?} not found"),
            Self::Secret(name) => format!("secret {name:?} not found"),
            Self::Claim(name) => format!("persistentvolumeclaim {name:?} not found"),
        }
    }

    /// As upstream's messages say that a key is missing.
    #[must_use]
    pub fn lacks(&self, key: &str, namespace: &str) -> String {
        match self {
            Self::ConfigMap(name) => format!("couldn't find key {key} in ConfigMap {namespace}/{name}"),
            Self::Secret(name) => format!("couldn't find key {key} in Secret {namespace}/{name}"),
            Self::Claim(_) => self.not_found(),
        }
    }
}

/// The data of a ConfigMap or Secret.
pub type Data = BTreeMap<String, Vec<u8>>;

/// What was asked for, with nothing for an object that does not exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    objects: BTreeMap<Source, Option<Data>>,
    tokens: BTreeMap<Asked, String>,
}

impl Fetched {
    /// The data of the source, if it exists.
    #[must_use]
    pub fn get(&self, source: &Source) -> Option<&Data> {
        self.objects.get(source).and_then(Option::as_ref)
    }

    /// The same with these tokens.
    #[must_use]
    pub fn with_tokens(self, tokens: BTreeMap<Asked, String>) -> Self {
        Self { tokens, ..self }
    }

    /// The token, if it was asked for.
    #[must_use]
    pub fn token(&self, asked: &Asked) -> Option<&str> {
        self.tokens.get(asked).map(String::as_str)
    }
}

impl FromIterator<(Source, Option<Data>)> for Fetched {
    fn from_iter<T: IntoIterator<Item = (Source, Option<Data>)>>(pairs: T) -> Self {
        Self { objects: pairs.into_iter().collect(), tokens: BTreeMap::new() }
    }
}

/// A source changed, came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its namespace.
    pub namespace: String,
    /// Which it is.
    pub source: Source,
}

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {source:?} of namespace {namespace}")]
pub struct FetchError {
    what: Source,
    namespace: String,
    #[source]
    source: Box<kube::Error>,
}

/// Reads ConfigMaps and Secrets, and tells when one changes.
#[derive(Debug, Clone)]
pub struct Sources {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    changes: broadcast::Sender<Change>,
    wants_config_maps: Wanted,
    wants_secrets: Wanted,
    wants_claims: Wanted,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// Whether anybody has ever asked for a kind.
#[derive(Debug, Default)]
struct Wanted {
    flag: AtomicBool,
    notify: Notify,
}

impl Wanted {
    fn set(&self) {
        if !self.flag.swap(true, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }

    async fn wait(&self) {
        while !self.flag.load(Ordering::Acquire) {
            self.notify.notified().await;
        }
    }
}

impl Sources {
    /// Sources by way of this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let (changes, _) = broadcast::channel(CHANGES_MAX);
        let inner = Inner {
            client,
            changes,
            wants_config_maps: Wanted::default(),
            wants_secrets: Wanted::default(),
            wants_claims: Wanted::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Tells of every change from now on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// Tells everybody of a change that only this node knows of.
    pub(crate) fn tell(&self, change: Change) {
        // Nobody may be listening, which is fine.
        let _ = self.inner.changes.send(change);
    }

    /// Reads all of `wanted`.
    ///
    /// # Errors
    /// [`FetchError`] if the API does not answer; that an object does not exist is no error.
    pub async fn fetch(&self, namespace: &str, wanted: &BTreeSet<Source>) -> Result<Fetched, FetchError> {
        let reads = wanted.iter().map(|source| async move {
            let data = self.read(namespace, source).await.map_err(|error| FetchError {
                what: source.clone(),
                namespace: namespace.to_owned(),
                source: Box::new(error),
            })?;
            Ok((source.clone(), data))
        });
        futures::future::try_join_all(reads).await.map(Fetched::from_iter)
    }

    async fn read(&self, namespace: &str, source: &Source) -> Result<Option<Data>, kube::Error> {
        match source {
            Source::ConfigMap(name) => {
                self.inner.wants_config_maps.set();
                let api: Api<ConfigMap> = Api::namespaced(self.inner.client.clone(), namespace);
                Ok(api.get_opt(name).await?.map(data_of_config_map))
            }
            Source::Secret(name) => {
                self.inner.wants_secrets.set();
                let api: Api<Secret> = Api::namespaced(self.inner.client.clone(), namespace);
                let data = |s: Secret| s.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0)).collect();
                Ok(api.get_opt(name).await?.map(data))
            }
            Source::Claim(_) => {
                self.inner.wants_claims.set();
                Ok(None)
            }
        }
    }

    /// Watches what pods refer to, for as long as it is polled.
    pub async fn run(&self) {
        tokio::join!(
            self.watch::<ConfigMap>(&self.inner.wants_config_maps, Source::ConfigMap),
            self.watch::<Secret>(&self.inner.wants_secrets, Source::Secret),
            self.watch::<PersistentVolumeClaim>(&self.inner.wants_claims, Source::Claim),
        );
    }

    async fn watch<K>(&self, wanted: &Wanted, of: fn(String) -> Source)
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
    {
        wanted.wait().await;
        let api: Api<K> = Api::all(self.inner.client.clone());
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
        while let Some(event) = events.next().await {
            let object = match event {
                Ok(watcher::Event::Apply(o) | watcher::Event::Delete(o) | watcher::Event::InitApply(o)) => o,
                Ok(watcher::Event::Init | watcher::Event::InitDone) => continue,
                Err(error) => {
                    tracing::debug!(%error, "the watch broke off and begins anew");
                    tokio::time::sleep(crate::WATCH_RETRY).await;
                    continue;
                }
            };
            let change = Change { namespace: object.namespace().unwrap_or_default(), source: of(object.name_any()) };
            // Nobody may be listening, which is fine.
            let _ = self.inner.changes.send(change);
        }
    }
}

fn data_of_config_map(map: ConfigMap) -> Data {
    let text = map.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.into_bytes()));
    let binary = map.binary_data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0));
    text.chain(binary).collect()
}
