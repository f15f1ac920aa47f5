//! PersistentVolume: storage that outlives pods, as the cluster has it.

mod sources;

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeSpec};
use serde_json::{Value, json};

use super::ALL_VERBS;
use super::persistent_volume_claim::{MODES, letters};
use crate::object;
use crate::registry::cells::{self, AGE, NAME, UNSET, or, text, wide};
use crate::registry::check::names::{self, require};
use crate::registry::check::numbers::is_positive;
use crate::registry::check::{Errors, immutable, one_of_if_any};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Capacity", "How much the volume holds."),
    text("Access Modes", "Who may mount it, and how."),
    text("Reclaim Policy", "What becomes of it when nobody claims it any more."),
    text("Status", "Whether it is bound to a claim."),
    text("Claim", "The claim that it is bound to."),
    text("StorageClass", "Which kind of storage it is."),
    text("VolumeAttributesClass", "Which attributes it has."),
    text("Reason", "Why it is in this state."),
    AGE,
    wide("VolumeMode", "A file system or a block device."),
];

pub(super) fn row() -> Row {
    Row {
        group: "",
        version: "v1",
        kind: "PersistentVolume",
        plural: "persistentvolumes",
        singular: "persistentvolume",
        short_names: &["pv"],
        categories: &[],
        scope: Scope::Cluster,
        verbs: ALL_VERBS,
        subresources: &[Subresource::Status],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &[],
        name_rule: NameRule::Subdomain,
        generation: Generation::Never,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

impl Kind for Strategy {
    type Object = PersistentVolume;

    const SCHEMA: &'static str = "io.k8s.api.core.v1.PersistentVolume";

    fn default(object: &mut PersistentVolume) {
        let spec = object.spec.get_or_insert_default();
        spec.persistent_volume_reclaim_policy.get_or_insert_with(|| "Retain".to_owned());
        spec.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
        sources::default(spec);
        object.status.get_or_insert_default().phase.get_or_insert_with(|| "Pending".to_owned());
    }

    /// It begins to wait for a claim when it is made.
    fn prepare_for_create(object: &mut Value) {
        let since = object::text(object, "creationTimestamp").to_owned();
        if let Some(object) = object.as_object_mut() {
            let status = json!({"phase": "Pending", "lastPhaseTransitionTime": since});
            object.insert("status".to_owned(), status);
        }
    }

    fn validate(object: &PersistentVolume) -> Vec<FieldError> {
        validate(&object.spec.clone().unwrap_or_default())
    }

    fn validate_update(new: &PersistentVolume, old: &PersistentVolume) -> Vec<FieldError> {
        let mut errors = Self::validate(new);
        let (new, old) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
        if sources::only(&new) != sources::only(&old) {
            let detail = "spec.persistentvolumesource is immutable after creation";
            errors.push(FieldError::forbidden("spec.persistentvolumesource", detail));
        }
        immutable(&mut errors, "volumeMode", &new.volume_mode, &old.volume_mode);
        if old.node_affinity.is_some() {
            immutable(&mut errors, "nodeAffinity", &new.node_affinity, &old.node_affinity);
        }
        errors
    }

    fn cells(object: &PersistentVolume, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (object.spec.clone().unwrap_or_default(), object.status.clone().unwrap_or_default());
        let leaving = object.metadata.deletion_timestamp.is_some();
        let phase = if leaving { "Terminating" } else { or(status.phase.as_deref(), "") };
        let claim = spec.claim_ref.as_ref().map(|claim| {
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{}/{}", part(&claim.namespace), part(&claim.name))
        });
        let capacity = spec.capacity.as_ref().and_then(|all| all.get("storage")).map_or("", |q| q.0.as_str());
        vec![
            cells::name(&object.metadata),
            capacity.into(),
            letters(spec.access_modes.as_deref().unwrap_or_default()).into(),
            or(spec.persistent_volume_reclaim_policy.as_deref(), "").into(),
            phase.into(),
            claim.unwrap_or_default().into(),
            or(spec.storage_class_name.as_deref(), "").into(),
            or(spec.volume_attributes_class_name.as_deref(), UNSET).into(),
            or(status.reason.as_deref(), "").into(),
            cells::age(&object.metadata, now),
            or(spec.volume_mode.as_deref(), UNSET).into(),
        ]
    }
}

fn validate(spec: &PersistentVolumeSpec) -> Errors {
    let mut errors = Vec::new();
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    if modes.is_empty() {
        errors.push(FieldError::required("spec.accessModes", ""));
    }
    let known: Vec<&str> = MODES.iter().map(|(name, _)| *name).collect();
    for mode in modes.iter().filter(|mode| !known.contains(&mode.as_str())) {
        errors.push(FieldError::not_supported("spec.accessModes", mode.as_str(), &known));
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        let detail = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden("spec.accessModes", detail));
    }
    capacity(&mut errors, spec);
    let policy = spec.persistent_volume_reclaim_policy.as_deref();
    let policies = ["Delete", "Recycle", "Retain"];
    one_of_if_any(&mut errors, "spec.persistentVolumeReclaimPolicy".to_owned(), policy, &policies);
    sources::validate(&mut errors, spec);
    let root = spec.host_path.as_ref().is_some_and(|path| path.path.trim_end_matches('/').is_empty());
    if root && policy == Some("Recycle") {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden("spec.persistentVolumeReclaimPolicy", detail));
    }
    if let Some(class) = spec.storage_class_name.as_deref().filter(|class| !class.is_empty()) {
        require(&mut errors, "spec.storageClassName", class, names::subdomain);
    }
    let mode = spec.volume_mode.as_deref();
    one_of_if_any(&mut errors, "spec.volumeMode".to_owned(), mode, &["Block", "Filesystem"]);
    errors
}

fn capacity(errors: &mut Errors, spec: &PersistentVolumeSpec) {
    const PATH: &str = "spec.capacity";
    let all = spec.capacity.clone().unwrap_or_default();
    if all.is_empty() {
        errors.push(FieldError::required(PATH, ""));
        // Upstream shows its own list here.
        errors.push(FieldError::not_supported(PATH, "core.ResourceList(nil)", &["storage"]).bare());
    } else if all.len() > 1 || !all.contains_key("storage") {
        let value = serde_json::to_value(&all).unwrap_or_default();
        errors.push(FieldError::not_supported(PATH, value, &["storage"]));
    }
    for (name, quantity) in &all {
        if !is_positive(quantity) {
            let detail = "must be greater than zero";
            errors.push(FieldError::invalid(format!("{PATH}[{name}]"), quantity.0.as_str(), detail));
        }
    }
}
