//! CSIDriver: what a storage driver can do, and what it wants to be told.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::storage::v1::{CSIDriver, CSIDriverSpec};
use serde_json::Value;

use super::super::ALL_VERBS;
use super::GROUP;
use crate::registry::cells::{self, AGE, NAME, NONE, UNSET, boolean, or, text};
use crate::registry::check::{Errors, at, immutable, item, one_of};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    boolean("AttachRequired", "Whether its volumes are attached to a node before they are mounted."),
    boolean("PodInfoOnMount", "Whether it is told of the pod that mounts a volume."),
    boolean("StorageCapacity", "Whether it tells how much storage it has."),
    text("TokenRequests", "For whom it wants tokens of ServiceAccounts."),
    boolean("RequiresRepublish", "Whether volumes are published to it again and again."),
    text("Modes", "Which lives its volumes may have."),
    AGE,
];

/// How long a token may last: ten minutes at least, and what fits into 32 bits.
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

pub(in crate::registry::kinds) fn row() -> Row {
    Row {
        group: GROUP,
        version: "v1",
        kind: "CSIDriver",
        plural: "csidrivers",
        singular: "csidriver",
        short_names: &[],
        categories: &[],
        scope: Scope::Cluster,
        verbs: ALL_VERBS,
        subresources: &[],
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
    type Object = CSIDriver;

    const SCHEMA: &'static str = "io.k8s.api.storage.v1.CSIDriver";

    fn default(object: &mut CSIDriver) {
        let spec = &mut object.spec;
        spec.attach_required.get_or_insert(true);
        spec.pod_info_on_mount.get_or_insert(false);
        spec.storage_capacity.get_or_insert(false);
        spec.fs_group_policy.get_or_insert_with(|| "ReadWriteOnceWithFSType".to_owned());
        spec.requires_republish.get_or_insert(false);
        spec.se_linux_mount.get_or_insert(false);
        if spec.volume_lifecycle_modes.as_ref().is_none_or(Vec::is_empty) {
            spec.volume_lifecycle_modes = Some(vec!["Persistent".to_owned()]);
        }
    }

    fn validate(object: &CSIDriver) -> Vec<FieldError> {
        validate(&object.spec)
    }

    fn validate_update(new: &CSIDriver, old: &CSIDriver) -> Vec<FieldError> {
        let mut errors = validate(&new.spec);
        let (new, old) = (&new.spec, &old.spec);
        // Upstream spells the first of these paths so.
        immutable(&mut errors, "spec.attachedRequired", &new.attach_required, &old.attach_required);
        immutable(&mut errors, "spec.fsGroupPolicy", &new.fs_group_policy, &old.fs_group_policy);
        immutable(&mut errors, "spec.volumeLifecycleModes", &new.volume_lifecycle_modes, &old.volume_lifecycle_modes);
        errors
    }

    fn cells(object: &CSIDriver, now: Timestamp) -> Vec<Value> {
        let spec = &object.spec;
        let modes = spec.volume_lifecycle_modes.as_ref().map(|modes| modes.join(","));
        let tokens = spec
            .token_requests
            .as_ref()
            .map(|requests| requests.iter().map(|request| request.audience.as_str()).collect::<Vec<_>>().join(","));
        vec![
            cells::name(&object.metadata),
            spec.attach_required.unwrap_or(true).into(),
            spec.pod_info_on_mount.unwrap_or(false).into(),
            spec.storage_capacity.unwrap_or(false).into(),
            tokens.as_deref().unwrap_or(UNSET).into(),
            spec.requires_republish.unwrap_or(false).into(),
            or(modes.as_deref(), NONE).into(),
            cells::age(&object.metadata, now),
        ]
    }
}

fn validate(spec: &CSIDriverSpec) -> Errors {
    let mut errors = Vec::new();
    let policies = ["ReadWriteOnceWithFSType", "File", "None"];
    one_of(&mut errors, "spec.fsGroupPolicy".to_owned(), spec.fs_group_policy.as_deref(), &policies);
    let mut audiences = BTreeSet::new();
    for (index, request) in spec.token_requests.iter().flatten().enumerate() {
        let path = item("spec", "tokenRequests", index);
        if !audiences.insert(request.audience.as_str()) {
            errors.push(FieldError::duplicate(at(&path, "audience"), request.audience.as_str()));
        }
        let path = at(&path, "expirationSeconds");
        match request.expiration_seconds {
            Some(seconds) if seconds < TOKEN_SECONDS_MIN => {
                errors.push(FieldError::invalid(path, seconds, "may not specify a duration less than 10 minutes"));
            }
            Some(seconds) if seconds > TOKEN_SECONDS_MAX => {
                errors.push(FieldError::invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"));
            }
            Some(_) | None => {}
        }
    }
    let modes = ["Persistent", "Ephemeral"];
    for mode in spec.volume_lifecycle_modes.iter().flatten().filter(|mode| !modes.contains(&mode.as_str())) {
        errors.push(FieldError::not_supported("spec.volumeLifecycleModes", mode.as_str(), &modes));
    }
    errors
}
