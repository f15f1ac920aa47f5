//! What happens to a claim next, given all volumes, classes and nodes. A plain function.
//!
//! A claim that was bound stays with its volume, whatever else would suit it; without that volume it is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::storage::fit::{self, From};
use coracle_api::storage::{
    ANNOTATION_BIND_COMPLETED, ANNOTATION_BOUND_BY_CONTROLLER, ANNOTATION_SELECTED_NODE, annotation, claim_class,
    default_class, volume_name, waits_for_consumer,
};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;

use super::provision;

/// What is said about an object: a reason and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Say {
    Normal(&'static str, String),
    Warning(&'static str, String),
}

/// What a claim is judged by.
pub(super) struct World<'a> {
    pub(super) volumes: &'a [Arc<PersistentVolume>],
    pub(super) classes: &'a [Arc<StorageClass>],
    /// The nodes that take new pods, by name.
    pub(super) nodes: &'a [Arc<Node>],
    /// Whether there is no node of this name.
    pub(super) is_gone: &'a dyn Fn(&str) -> bool,
    /// The names of the pods that use the claim and have no node yet.
    pub(super) unscheduled: &'a dyn Fn() -> BTreeSet<String>,
}

impl World<'_> {
    fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.iter().find(|volume| volume.metadata.name.as_deref() == Some(name))
    }

    /// The class of this name.
    pub(super) fn class(&self, name: &str) -> Option<&StorageClass> {
        self.classes.iter().find(|class| class.metadata.name.as_deref() == Some(name)).map(Arc::as_ref)
    }
}

/// What happens to a claim next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Nothing.
    Leave,
    /// It and this volume are bound to each other.
    Bind(Arc<PersistentVolume>),
    /// It stays `Pending`.
    Wait(Option<Say>),
    /// Its volume is gone or another's.
    Lost(Say),
    /// It gets these annotations, loses those without a value, and stays `Pending`.
    Annotate(BTreeMap<&'static str, Option<String>>, Option<Say>),
    /// It gets this class, as it has named none.
    TakeClass(String),
}

/// Decides on a claim.
pub(super) fn step(claim: &PersistentVolumeClaim, world: &World<'_>) -> Step {
    let has_been_bound = annotation(&claim.metadata, ANNOTATION_BIND_COMPLETED).is_some();
    match (has_been_bound, volume_name(claim)) {
        (true, "") => {
            lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
        }
        (true, name) => bound(claim, name, world),
        // A claim that is going away gets nothing new.
        (false, _) if claim.metadata.deletion_timestamp.is_some() => Step::Leave,
        (false, "") => unbound(claim, world),
        (false, name) => named(claim, name, world),
    }
}

fn lost(reason: &'static str, words: &str) -> Step {
    Step::Lost(Say::Warning(reason, words.to_owned()))
}

fn bound(claim: &PersistentVolumeClaim, name: &str, world: &World<'_>) -> Step {
    let Some(volume) = world.volume(name) else {
        return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    };
    if is_free(volume) || fit::names(volume, claim) {
        return Step::Bind(Arc::clone(volume));
    }
    lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
}

fn is_free(volume: &PersistentVolume) -> bool {
    volume.spec.as_ref().is_none_or(|spec| spec.claim_ref.is_none())
}

/// A claim that asks for a volume by name.
fn named(claim: &PersistentVolumeClaim, name: &str, world: &World<'_>) -> Step {
    let Some(volume) = world.volume(name) else { return Step::Wait(None) };
    // Its data may be on their way out already.
    if volume.metadata.deletion_timestamp.is_some() {
        return Step::Wait(None);
    }
    if is_free(volume) {
        return match fit::suits(volume, claim) {
            Ok(()) => Step::Bind(Arc::clone(volume)),
            Err(why) => {
                let words = format!("Cannot bind to requested volume {name:?}: {why}");
                Step::Wait(Some(Say::Warning("VolumeMismatch", words)))
            }
        };
    }
    if fit::names(volume, claim) {
        return Step::Bind(Arc::clone(volume));
    }
    let words = format!("volume {name:?} already bound to a different claim.");
    let ours = annotation(&claim.metadata, ANNOTATION_BOUND_BY_CONTROLLER).is_some();
    Step::Wait((!ours).then_some(Say::Warning("FailedBinding", words)))
}

fn unbound(claim: &PersistentVolumeClaim, world: &World<'_>) -> Step {
    let class = claim_class(claim).unwrap_or_default();
    let selected = annotation(&claim.metadata, ANNOTATION_SELECTED_NODE);
    let waits = world.class(class).is_some_and(waits_for_consumer) && selected.is_none();
    let from = if waits { From::Unknown } else { From::Anywhere };
    let volumes = world.volumes.iter().map(Arc::as_ref);
    if let Some(volume) = fit::best(claim, volumes, from, &BTreeSet::new())
        && let Some(volume) = world.volume(volume.metadata.name.as_deref().unwrap_or_default())
    {
        return Step::Bind(Arc::clone(volume));
    }
    if claim_class(claim).is_none()
        && let Some(class) = default_class(world.classes.iter().map(Arc::as_ref))
    {
        return Step::TakeClass(class.metadata.name.clone().unwrap_or_default());
    }
    if class.is_empty() {
        let words = "no persistent volumes available for this claim and no storage class is set";
        return Step::Wait(Some(Say::Normal("FailedBinding", words.to_owned())));
    }
    if waits {
        return Step::Wait(Some(waiting(&(world.unscheduled)())));
    }
    provision::step(claim, class, world)
}

fn waiting(pods: &BTreeSet<String>) -> Say {
    let names = pods.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    match pods.len() {
        0 => {
            let words = "waiting for first consumer to be created before binding";
            Say::Normal("WaitForFirstConsumer", words.to_owned())
        }
        1 => Say::Normal("WaitForPodScheduled", format!("waiting for pod {names} to be scheduled")),
        _ => Say::Normal("WaitForPodScheduled", format!("waiting for pods {names} to be scheduled")),
    }
}

#[cfg(test)]
mod tests;
