//! The PersistentVolume controller: binds claims to volumes, asks provisioners for what is missing, and says of both
//! how they are.
//!
//! Invariant: a volume is given to one claim at most. Every write names the version that it was decided on, so of two
//! claims that want the same volume the slower one is refused and looks again. It touches no data: a volume whose
//! claim is gone is `Released`, and who made it does the rest.

mod bind;
mod claim;
mod grow;
mod provision;
mod volume;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use coracle_api::names::NamespacedName;
use coracle_api::storage::{self, fit};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::{Api, Resource, ResourceExt};

use crate::informers::Change;
use crate::pod_facts;
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use bind::Binder;
use claim::{Say, Step, World};
use volume::{Fate, fate};

/// The component that speaks in events.
const COMPONENT: &str = "persistentvolume-controller";

/// What is looked at: a claim, or a volume.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A claim by namespace and name.
    Claim(NamespacedName),
    /// A volume by name.
    Volume(String),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(key) => write!(f, "claim {key}"),
            Self::Volume(name) => write!(f, "volume {name}"),
        }
    }
}

/// The controller.
pub(crate) struct PersistentVolumes {
    context: Context,
    queue: Queue<Key>,
}

impl PersistentVolumes {
    /// Builds the controller and lets it hear of claims, volumes, classes and of nodes that vanish.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let this = Arc::new(Self { context: context.clone(), queue: Queue::default() });
        let heard = Arc::clone(&this);
        context.informers.claims.on_change(move |change| heard.claim_changed(change));
        let heard = Arc::clone(&this);
        context.informers.volumes.on_change(move |change| heard.volume_changed(change));
        let heard = Arc::clone(&this);
        context.informers.classes.on_change(move |_| heard.look_at_unbound());
        let heard = Arc::clone(&this);
        context.informers.nodes.on_change(move |change| match change {
            Change::Added(_) | Change::Deleted(_) => heard.look_at_unbound(),
            Change::Updated { .. } => {}
        });
        this
    }

    fn claim_changed(&self, change: &Change<PersistentVolumeClaim>) {
        let claim = change.latest();
        self.queue.add(Key::Claim(key_of(claim.as_ref())));
        let named = storage::volume_name(claim);
        if !named.is_empty() {
            self.queue.add(Key::Volume(named.to_owned()));
        } else if matches!(change, Change::Deleted(_)) {
            // It may have been chosen by a volume that it never came to name.
            let volumes = self.context.informers.volumes.filtered(|volume| fit::names(volume, claim));
            volumes.iter().for_each(|volume| self.queue.add(Key::Volume(volume.name_any())));
        }
    }

    fn volume_changed(&self, change: &Change<PersistentVolume>) {
        let volume = change.latest();
        self.queue.add(Key::Volume(volume.name_any()));
        match claim_ref(volume) {
            Some(key) => self.queue.add(Key::Claim(key)),
            None => self.look_at_unbound(),
        }
        let bound = self.context.informers.claims.filtered(|claim| storage::volume_name(claim) == volume.name_any());
        bound.iter().for_each(|claim| self.queue.add(Key::Claim(key_of(claim.as_ref()))));
    }

    fn look_at_unbound(&self) {
        let unbound = self.context.informers.claims.filtered(|claim| !storage::is_bound(claim));
        unbound.iter().for_each(|claim| self.queue.add(Key::Claim(key_of(claim.as_ref()))));
    }

    fn binder(&self) -> Binder<'_> {
        Binder { client: &self.context.client }
    }

    fn step(&self, claim: &PersistentVolumeClaim) -> Step {
        let informers = &self.context.informers;
        let key = key_of(claim);
        let volumes = informers.volumes.filtered(|_| true);
        let classes = informers.classes.filtered(|_| true);
        let nodes = informers.nodes.filtered(takes_pods);
        let is_gone = |node: &str| informers.nodes.get(&NamespacedName::new("", node)).is_none();
        let unscheduled = || {
            let pods = informers.pods.in_namespace(&key.namespace);
            let uses = |pod: &Pod| storage::claims_of(pod).iter().any(|used| used.name == key.name);
            let unscheduled = pods.iter().filter(|pod| pod_facts::node_name(pod).is_empty() && uses(pod));
            unscheduled.map(|pod| pod.name_any()).collect::<BTreeSet<_>>()
        };
        let world =
            World { volumes: &volumes, classes: &classes, nodes: &nodes, is_gone: &is_gone, unscheduled: &unscheduled };
        claim::step(claim, &world)
    }

    async fn look_at_claim(&self, key: &NamespacedName) -> Result<Next, ReconcileError> {
        let Some(claim) = self.context.informers.claims.get(key) else { return Ok(Next::Done) };
        match self.step(&claim) {
            Step::Leave => {}
            Step::Bind(volume) => {
                let (volume, claim) = self.binder().bind(&volume, &claim).await?;
                return self.grow(&volume, &claim).await;
            }
            Step::Wait(say) => {
                self.say(claim.as_ref(), say);
                self.binder().pending(&claim).await?;
            }
            Step::Lost(say) => {
                if self.binder().lost(&claim).await? {
                    self.say(claim.as_ref(), Some(say));
                }
            }
            Step::Annotate(annotations, say) => {
                self.say(claim.as_ref(), say);
                let claim = self.binder().annotate(&claim, &annotations).await?;
                self.binder().pending(&claim).await?;
            }
            Step::TakeClass(class) => self.binder().take_class(&claim, &class).await?,
        }
        Ok(Next::Done)
    }

    async fn grow(&self, volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<Next, ReconcileError> {
        match grow::growth(volume, claim) {
            grow::Growth::None => {}
            grow::Growth::ByOthers => {
                let words = "waiting for an external controller to expand this PVC".to_owned();
                self.context.events.normal("volume_expand", claim, "ExternalExpanding", words);
            }
            grow::Growth::To(size) => {
                self.binder().resize(volume, claim, &size).await?;
                let words = format!("ExpandVolume succeeded for volume {}", key_of(claim));
                self.context.events.normal("volume_expand", claim, "VolumeResizeSuccessful", words);
            }
        }
        Ok(Next::Done)
    }

    async fn look_at_volume(&self, name: &str) -> Result<Next, ReconcileError> {
        let informers = &self.context.informers;
        let Some(volume) = informers.volumes.get(&NamespacedName::new("", name)) else { return Ok(Next::Done) };
        let claim = match claim_ref(&volume) {
            Some(key) => self.claim_of(&volume, &key).await?,
            None => None,
        };
        match fate(&volume, claim.as_deref()) {
            Fate::Leave => {}
            Fate::Is(phase) => self.binder().phase(&volume, phase, None).await.map(drop)?,
            Fate::Unbind => self.binder().unbind(&volume).await?,
            Fate::Mismatched => self.mismatched(&volume, claim.as_deref()),
            Fate::Failed { reason, message } => {
                if storage::volume_phase(&volume) != "Failed" {
                    self.binder().phase(&volume, "Failed", Some(&message)).await?;
                    self.context.events.warning(COMPONENT, volume.as_ref(), reason, message);
                }
            }
        }
        Ok(Next::Done)
    }

    /// The claim that a volume names, if there still is one. What the cache does not show is asked of the API: a volume
    /// is never released because a watch is slow.
    async fn claim_of(
        &self,
        volume: &PersistentVolume,
        key: &NamespacedName,
    ) -> Result<Option<Arc<PersistentVolumeClaim>>, ReconcileError> {
        let is_it = |claim: &PersistentVolumeClaim| fit::names(volume, claim);
        if let Some(claim) = self.context.informers.claims.get(key).filter(|claim| is_it(claim)) {
            return Ok(Some(claim));
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let found = api.get_opt(&key.name).await.map_err(ReconcileError::api("read claim"))?;
        Ok(found.filter(is_it).map(Arc::new))
    }

    fn mismatched(&self, volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) {
        let Some(claim) = claim else { return };
        let why = "due to incompatible volumeMode.";
        let words =
            format!("Cannot bind PersistentVolume to requested PersistentVolumeClaim {:?} {why}", claim.name_any());
        self.context.events.warning(COMPONENT, volume, "VolumeMismatch", words);
        let words =
            format!("Cannot bind PersistentVolume {:?} to requested PersistentVolumeClaim {why}", volume.name_any());
        self.context.events.warning(COMPONENT, claim, "VolumeMismatch", words);
    }

    fn say<K: Resource<DynamicType = ()>>(&self, about: &K, say: Option<Say>) {
        match say {
            None => {}
            Some(Say::Normal(reason, words)) => self.context.events.normal(COMPONENT, about, reason, words),
            Some(Say::Warning(reason, words)) => self.context.events.warning(COMPONENT, about, reason, words),
        }
    }
}

impl Controller for PersistentVolumes {
    type Key = Key;
    const NAME: &'static str = "persistentvolume-binder";
    const WORKERS: usize = 4;

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        match key {
            Key::Claim(key) => self.look_at_claim(key).await,
            Key::Volume(name) => self.look_at_volume(name).await,
        }
    }
}

fn key_of<K: ResourceExt>(object: &K) -> NamespacedName {
    NamespacedName::new(object.namespace().unwrap_or_default(), object.name_any())
}

fn claim_ref(volume: &PersistentVolume) -> Option<NamespacedName> {
    let named = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some(NamespacedName::new(named.namespace.clone()?, named.name.clone()?))
}

/// Whether new pods may go to the node.
fn takes_pods(node: &Node) -> bool {
    let cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True");
    ready && !cordoned
}
