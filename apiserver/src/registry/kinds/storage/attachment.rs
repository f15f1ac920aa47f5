//! VolumeAttachment: that a volume is, or is to be, attached to a node.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use serde_json::{Value, json};

use super::super::ALL_VERBS;
use super::GROUP;
use crate::registry::cells::{self, AGE, NAME, boolean, or, text};
use crate::registry::check::names::{self, require};
use crate::registry::check::{domains, immutable};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    Column {
        name: "Attacher",
        kind: "string",
        format: "name",
        description: "The driver that attaches it.",
        priority: 0,
    },
    text("PV", "The volume that is attached."),
    text("Node", "The node to which it is attached."),
    boolean("Attached", "Whether it is attached."),
    AGE,
];

pub(in crate::registry::kinds) fn row() -> Row {
    Row {
        group: GROUP,
        version: "v1",
        kind: "VolumeAttachment",
        plural: "volumeattachments",
        singular: "volumeattachment",
        short_names: &[],
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
    type Object = VolumeAttachment;

    const SCHEMA: &'static str = "io.k8s.api.storage.v1.VolumeAttachment";

    fn default(object: &mut VolumeAttachment) {
        object.status.get_or_insert_default();
    }

    fn prepare_for_create(object: &mut Value) {
        if let Some(object) = object.as_object_mut() {
            object.insert("status".to_owned(), json!({"attached": false}));
        }
    }

    fn validate(object: &VolumeAttachment) -> Vec<FieldError> {
        const SOURCE: &str = "spec.source";
        const VOLUME: &str = "spec.source.persistentVolumeName";
        let mut errors = Vec::new();
        let spec = &object.spec;
        domains::driver(&mut errors, "spec.attacher", &spec.attacher);
        let one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
        match (&spec.source.inline_volume_spec, spec.source.persistent_volume_name.as_deref()) {
            (None, None) => errors.push(FieldError::required(SOURCE, one)),
            (Some(_), Some(_)) => errors.push(FieldError::forbidden(SOURCE, one)),
            (None, Some("")) => {
                errors.push(FieldError::required(VOLUME, "must specify non empty persistentVolumeName"));
            }
            (None, Some(name)) => require(&mut errors, VOLUME, name, names::subdomain),
            (Some(_), None) => {}
        }
        require(&mut errors, "spec.nodeName", &spec.node_name, names::subdomain);
        errors
    }

    fn validate_update(new: &VolumeAttachment, old: &VolumeAttachment) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable(&mut errors, "spec", &new.spec, &old.spec);
        errors
    }

    fn cells(object: &VolumeAttachment, now: Timestamp) -> Vec<Value> {
        let attached = object.status.as_ref().is_some_and(|status| status.attached);
        vec![
            cells::name(&object.metadata),
            object.spec.attacher.as_str().into(),
            or(object.spec.source.persistent_volume_name.as_deref(), "").into(),
            object.spec.node_name.as_str().into(),
            attached.into(),
            cells::age(&object.metadata, now),
        ]
    }
}
