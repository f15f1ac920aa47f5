//! The disruption controller: keeps in each disruption budget's status how many of its pods may be evicted now.
//!
//! Invariant: a budget that cannot be worked out allows nothing; it fails closed and says why.

mod expected;
mod stale;
mod status;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use coracle_api::clock;
use coracle_api::names::NamespacedName;
use coracle_api::selector::Selector;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, ResourceExt};

use crate::discovery::resources;
use crate::informers::Change;
use crate::ownership::controller_of;
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::refusal::{Refusal, gone_is_fine, refusal, words};
use expected::{Basis, Wanted, basis, wanted};

/// The component that speaks in events, as upstream calls it.
const COMPONENT: &str = "controllermanager";

/// The controller.
pub(crate) struct Disruptions {
    context: Context,
    queue: Queue<Key>,
    /// Resources of owners that have no informer, by group and kind.
    known: Mutex<HashMap<(String, String), Scalable>>,
}

/// What is looked into.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A budget.
    Budget(NamespacedName),
    /// A pod that was to be disrupted.
    Pod(NamespacedName),
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Budget(name) => write!(f, "budget {name}"),
            Self::Pod(name) => write!(f, "pod {name}"),
        }
    }
}

/// A kind of owner, and whether it can be asked how many pods it should have.
#[derive(Debug, Clone)]
struct Scalable {
    api: ApiResource,
    has_scale: bool,
}

/// Why a budget cannot be worked out.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    /// The API server refused or could not be reached.
    #[error("{}", words(.0))]
    Api(#[source] kube::Error),
    /// A pod's owner says nothing about how many pods there should be.
    #[error("{0}")]
    Owner(String),
    /// A number makes no sense.
    #[error(transparent)]
    Number(#[from] expected::InvalidCount),
}

impl Disruptions {
    /// Builds the controller and lets it hear of budgets and pods.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let this = Arc::new(Self { context: context.clone(), queue: Queue::default(), known: Mutex::default() });
        let heard = Arc::clone(&this);
        context.informers.budgets.on_change(move |change| {
            heard.queue.add(Key::Budget(name_of(change.latest().as_ref())));
        });
        let heard = Arc::clone(&this);
        context.informers.pods.on_change(move |change| heard.pod_changed(change));
        this
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        for pod in change.sides() {
            for budget in self.context.informers.budgets.in_namespace(&pod.namespace().unwrap_or_default()) {
                if selects(&budget, pod) {
                    self.queue.add(Key::Budget(name_of(budget.as_ref())));
                }
            }
        }
        if let Change::Added(pod) | Change::Updated { new: pod, .. } = change
            && let Some(delay) = stale::due(pod, clock::now())
        {
            self.queue.add_after(Key::Pod(name_of(pod.as_ref())), delay);
        }
    }

    async fn budget(&self, key: &NamespacedName) -> Result<Next, ReconcileError> {
        let Some(budget) = self.context.informers.budgets.get(key) else { return Ok(Next::Done) };
        let pods: Vec<Arc<Pod>> = self.context.informers.pods.in_namespace(&key.namespace);
        let pods: Vec<Arc<Pod>> = pods.into_iter().filter(|pod| selects(&budget, pod)).collect();
        let events = &self.context.events;
        if pods.is_empty() {
            events.normal(COMPONENT, budget.as_ref(), "NoPods", "No matching pods found".to_owned());
        }
        let wanted = match self.wanted(&budget, &pods).await {
            Ok(wanted) => wanted,
            Err(unknown) => {
                let why = format!("Failed to calculate the number of expected pods: {unknown}");
                events.warning(COMPONENT, budget.as_ref(), "CalculateExpectedPodCountFailed", why);
                self.write(&budget, status::failed(&budget, &unknown.to_string(), clock::now())).await?;
                return Ok(if matches!(unknown, Unknown::Api(_)) { Next::Retry } else { Next::Done });
            }
        };
        let now = clock::now();
        let disrupted = status::disrupted(&budget, &pods, now);
        for pod in &disrupted.overdue {
            let why = format!("Pod was expected by PDB {}/{} to be deleted but it wasn't", key.namespace, key.name);
            events.warning(COMPONENT, pod.as_ref(), "NotDeleted", why);
        }
        self.write(&budget, status::calculate(&budget, &pods, wanted, &disrupted.pods, now)).await?;
        Ok(disrupted.recheck.map_or(Next::Done, Next::After))
    }

    async fn write(
        &self,
        budget: &PodDisruptionBudget,
        status: Option<k8s_openapi::api::policy::v1::PodDisruptionBudgetStatus>,
    ) -> Result<(), ReconcileError> {
        let Some(status) = status else { return Ok(()) };
        let changed = PodDisruptionBudget { status: Some(status), ..budget.clone() };
        let api: Api<PodDisruptionBudget> =
            Api::namespaced(self.context.client.clone(), &budget.namespace().unwrap_or_default());
        let written = api.replace_status(&budget.name_any(), &PostParams::default(), &changed).await;
        gone_is_fine(written).map(drop).map_err(ReconcileError::api("update PodDisruptionBudget status"))
    }

    async fn wanted(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Result<Wanted, Unknown> {
        let basis = basis(budget);
        let expected = match basis {
            Basis::Pods => i32::try_from(pods.len()).unwrap_or(i32::MAX),
            Basis::Scale => self.scale(budget, pods).await?,
        };
        Ok(wanted(budget, expected)?)
    }

    /// How many pods the owners of these pods want, all owners together.
    async fn scale(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Result<i32, Unknown> {
        let mut asked: BTreeMap<String, String> = BTreeMap::new();
        let mut scales: BTreeMap<String, i32> = BTreeMap::new();
        let mut unmanaged = false;
        for pod in pods {
            let Some(owner) = controller_of(&pod.metadata) else {
                unmanaged = true;
                continue;
            };
            if asked.contains_key(&owner.uid) {
                continue;
            }
            let namespace = pod.namespace().unwrap_or_default();
            let Some((uid, scale)) = self.scale_of(owner, &namespace).await? else {
                return Err(Unknown::Owner(format!("found no controllers for pod {:?}", pod.name_any())));
            };
            asked.insert(owner.uid.clone(), uid.clone());
            scales.insert(uid, scale);
        }
        if unmanaged {
            let spec = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
            let selector = spec.and_then(|s| Selector::from_structured(s).ok()).map(|s| s.to_string());
            let why = format!(
                "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the \
                 status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account \
                 for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
                selector.unwrap_or_default()
            );
            self.context.events.warning(COMPONENT, budget, "UnmanagedPods", why);
        }
        Ok(scales.values().fold(0, |sum, scale| sum.saturating_add(*scale)))
    }

    /// The owner that decides, and how many pods it wants.
    async fn scale_of(&self, owner: &OwnerReference, namespace: &str) -> Result<Option<(String, i32)>, Unknown> {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        if (group, owner.kind.as_str()) != ("apps", "ReplicaSet") {
            return self.scale_asked(owner, group, namespace).await;
        }
        let informers = &self.context.informers;
        let set = informers.replicasets.get(&NamespacedName::new(namespace, owner.name.as_str()));
        let Some(set) = set.filter(|set| set.metadata.uid.as_ref() == Some(&owner.uid)) else { return Ok(None) };
        let Some(above) = controller_of(&set.metadata).filter(|above| above.kind == "Deployment") else {
            return Ok(Some((owner.uid.clone(), set.spec.replicas.unwrap_or(1))));
        };
        let deployment = informers.deployments.get(&NamespacedName::new(namespace, above.name.as_str()));
        let deployment = deployment.filter(|d| d.metadata.uid.as_ref() == Some(&above.uid));
        Ok(deployment.map(|d| (above.uid.clone(), d.spec.replicas.unwrap_or(1))))
    }

    /// The scale of an owner that has no informer.
    async fn scale_asked(
        &self,
        owner: &OwnerReference,
        group: &str,
        namespace: &str,
    ) -> Result<Option<(String, i32)>, Unknown> {
        let Some(kind) = self.kind_of(group, &owner.kind).await? else {
            let why = format!("no matches for kind {:?} in version {:?}", owner.kind, owner.api_version);
            return Err(Unknown::Owner(why));
        };
        if !kind.has_scale {
            let resource = if group.is_empty() { kind.api.plural } else { format!("{}.{group}", kind.api.plural) };
            return Err(Unknown::Owner(format!("{resource} does not implement the scale subresource")));
        }
        let api: Api<DynamicObject> = Api::namespaced_with(self.context.client.clone(), namespace, &kind.api);
        match api.get_scale(&owner.name).await {
            Ok(scale) if scale.metadata.uid.as_ref() == Some(&owner.uid) => {
                Ok(Some((owner.uid.clone(), scale.spec.and_then(|s| s.replicas).unwrap_or(0))))
            }
            Ok(_) => Ok(None),
            Err(error) if refusal(&error) == Refusal::NotFound => Ok(None),
            Err(error) => Err(Unknown::Api(error)),
        }
    }

    async fn kind_of(&self, group: &str, kind: &str) -> Result<Option<Scalable>, Unknown> {
        let key = (group.to_owned(), kind.to_owned());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(&key) {
            return Ok(Some(found.clone()));
        }
        let all = resources(&self.context.client).await.map_err(Unknown::Api)?;
        let found = all.into_iter().find(|r| r.api.group == group && r.api.kind == kind);
        let found = found.map(|r| Scalable { has_scale: r.has_subresource("scale"), api: r.api });
        if let Some(found) = &found {
            known().insert(key, found.clone());
        }
        Ok(found)
    }

    /// A pod that was to go and did not is no longer to go.
    async fn pod(&self, key: &NamespacedName) -> Result<Next, ReconcileError> {
        let Some(pod) = self.context.informers.pods.get(key) else { return Ok(Next::Done) };
        let Some(delay) = stale::due(&pod, clock::now()) else { return Ok(Next::Done) };
        if !delay.is_zero() {
            return Ok(Next::After(delay));
        }
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let written =
            api.replace_status(&key.name, &PostParams::default(), &stale::reset(&pod, clock::now_time())).await;
        gone_is_fine(written).map_err(ReconcileError::api("update Pod status"))?;
        Ok(Next::Done)
    }
}

fn name_of<K: ResourceExt>(object: &K) -> NamespacedName {
    NamespacedName::new(object.namespace().unwrap_or_default(), object.name_any())
}

/// Whether the budget counts the pod: without a selector it counts none, with an empty one all.
fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.and_then(|s| Selector::from_structured(s).ok()).is_some_and(|s| s.matches(pod.labels()))
}

impl Controller for Disruptions {
    type Key = Key;
    const NAME: &'static str = "disruption";
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        match key {
            Key::Budget(name) => self.budget(name).await,
            Key::Pod(name) => self.pod(name).await,
        }
    }
}
