//! PersistentVolumeClaim: a wish for storage that outlives pods.

use std::sync::Arc;

use coracle_api::field::FieldError;
use coracle_api::quantity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, UNSET, or, text, wide};
use crate::registry::check::names::{self, require};
use crate::registry::check::one_of_if_any;
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Status", "Whether it is bound to a volume."),
    text("Volume", "The volume that it is bound to."),
    text("Capacity", "How much the volume holds."),
    text("Access Modes", "Who may mount it, and how."),
    text("StorageClass", "Which kind of storage it asks for."),
    text("VolumeAttributesClass", "Which attributes its storage has."),
    AGE,
    wide("VolumeMode", "A file system or a block device."),
];

/// Access modes, with the letters that cells show. in the order in which they show them.
pub(super) const MODES: [(&str, &str); 4] =
    [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];

/// Where the storage class stood before the spec had it.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

pub(super) fn row() -> Row {
    Row {
        group: "",
        version: "v1",
        kind: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        singular: "persistentvolumeclaim",
        short_names: &["pvc"],
        categories: &[],
        scope: Scope::Namespaced,
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
    type Object = PersistentVolumeClaim;

    const SCHEMA: &'static str = "io.k8s.api.core.v1.PersistentVolumeClaim";

    fn default(object: &mut PersistentVolumeClaim) {
        default(object);
    }

    fn prepare_for_create(object: &mut Value) {
        if let Some(object) = object.as_object_mut() {
            object.insert("status".to_owned(), json!({"phase": "Pending"}));
        }
    }

    fn validate(object: &PersistentVolumeClaim) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Default::default();
        let spec = object.spec.as_ref().unwrap_or(&empty);
        let modes = spec.access_modes.as_deref().unwrap_or_default();
        if modes.is_empty() {
            errors.push(FieldError::required("spec.accessModes", "at least 1 access mode is required"));
        }
        let mut known: Vec<&str> = MODES.iter().map(|(name, _)| *name).collect();
        known.sort_unstable();
        for mode in modes.iter().filter(|m| !known.contains(&m.as_str())) {
            errors.push(FieldError::not_supported("spec.accessModes", mode.as_str(), &known));
        }
        if modes.len() > 1 && modes.iter().any(|m| m == "ReadWriteOncePod") {
            let detail = "may not use ReadWriteOncePod with other access modes";
            errors.push(FieldError::forbidden("spec.accessModes", detail));
        }
        let requests = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
        match requests.and_then(|r| r.get("storage")) {
            None => errors.push(FieldError::required("spec.resources[storage]", "")),
            Some(size) if quantity::nanos(&size.0).unwrap_or(0) <= 0 => {
                let detail = "must be greater than zero";
                errors.push(FieldError::invalid("spec.resources[storage]", size.0.as_str(), detail));
            }
            Some(_) => {}
        }
        if let Some(class) = spec.storage_class_name.as_deref().filter(|c| !c.is_empty()) {
            require(&mut errors, "spec.storageClassName", class, names::subdomain);
        }
        one_of_if_any(&mut errors, "spec.volumeMode".to_owned(), spec.volume_mode.as_deref(), &["Block", "Filesystem"]);
        errors
    }

    fn validate_update(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> Vec<FieldError> {
        let mut errors = Self::validate(new);
        let bound = old.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
        let mut allowed = new.spec.clone().unwrap_or_default();
        let before = old.spec.clone().unwrap_or_default();
        if before.volume_name.as_deref().is_none_or(str::is_empty) {
            // The one who binds sets the volume's name.
            allowed.volume_name.clone_from(&before.volume_name);
        }
        let annotated = old.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(CLASS_ANNOTATION));
        if before.storage_class_name.is_none() && !annotated {
            // A claim that was made before there was a default class is given it later.
            allowed.storage_class_name = None;
        }
        if bound {
            allowed.resources.clone_from(&before.resources);
            allowed.volume_attributes_class_name.clone_from(&before.volume_attributes_class_name);
        }
        if allowed != before {
            let detail = "spec is immutable after creation except resources.requests and \
                          volumeAttributesClassName for bound claims";
            errors.push(FieldError::forbidden("spec", detail));
        }
        let size = |claim: &PersistentVolumeClaim| {
            let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
            quantity::nanos(&requests.get("storage")?.0).ok()
        };
        if bound && size(new) < size(old) {
            let detail = "field can not be less than status.capacity";
            errors.push(FieldError::forbidden("spec.resources.requests.storage", detail));
        }
        errors
    }

    fn cells(object: &PersistentVolumeClaim, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (object.spec.clone().unwrap_or_default(), object.status.clone().unwrap_or_default());
        let leaving = object.metadata.deletion_timestamp.is_some();
        let phase = if leaving { "Terminating" } else { or(status.phase.as_deref(), "") };
        let volume = or(spec.volume_name.as_deref(), "");
        let annotated = object.metadata.annotations.as_ref().and_then(|a| a.get(CLASS_ANNOTATION));
        let class = annotated.or(spec.storage_class_name.as_ref()).map(String::as_str);
        let (mut capacity, mut modes) = (String::new(), String::new());
        if !volume.is_empty() {
            let held = status.capacity.and_then(|c| c.get("storage").map(|q| q.0.clone()));
            capacity = held.unwrap_or_else(|| "0".to_owned());
            modes = letters(status.access_modes.as_deref().unwrap_or_default());
        }
        vec![
            cells::name(&object.metadata),
            phase.into(),
            volume.into(),
            capacity.into(),
            modes.into(),
            or(class, "").into(),
            or(spec.volume_attributes_class_name.as_deref(), UNSET).into(),
            cells::age(&object.metadata, now),
            or(spec.volume_mode.as_deref(), UNSET).into(),
        ]
    }
}

/// Fills in a claim.
pub(super) fn default(object: &mut PersistentVolumeClaim) {
    let spec = object.spec.get_or_insert_default();
    spec.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
    spec.resources.get_or_insert_default();
    object.status.get_or_insert_default().phase.get_or_insert_with(|| "Pending".to_owned());
}

/// Access modes as cells show them.
pub(super) fn letters(modes: &[String]) -> String {
    let known = MODES.iter().filter(|(name, _)| modes.iter().any(|m| m == name)).map(|(_, letters)| *letters);
    known.collect::<Vec<_>>().join(",")
}
