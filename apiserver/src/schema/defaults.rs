//! Which defaults the schemas state. They follow a rule of Kubernetes' own types, which the schemas do not show; here
//! is the rule, and what departs from it.
//!
//! They are words in a document: what an absent field becomes is the business of the kind.

use serde_json::{Map, Value, json};

const ADMISSION: &str = "io.k8s.api.admissionregistration.v1";
const APPS: &str = "io.k8s.api.apps.v1";
const AUTHENTICATION: &str = "io.k8s.api.authentication.v1";
const BATCH: &str = "io.k8s.api.batch.v1";
const CERTIFICATES: &str = "io.k8s.api.certificates.v1";
const CORE: &str = "io.k8s.api.core.v1";
const DISCOVERY: &str = "io.k8s.api.discovery.v1";
const EVENTS: &str = "io.k8s.api.events.v1";
const FLOWCONTROL: &str = "io.k8s.api.flowcontrol.v1";
const NETWORKING: &str = "io.k8s.api.networking.v1";
const POLICY: &str = "io.k8s.api.policy.v1";
const RBAC: &str = "io.k8s.api.rbac.v1";
const SCHEDULING: &str = "io.k8s.api.scheduling.v1";

/// Package, type, default as JSON, fields: what has a default although it is not required, or another than zero.
#[rustfmt::skip]
const STATED: &[(&str, &str, &str, &str)] = &[
    (APPS, "ControllerRevision", "0", "revision"),
    (APPS, "DaemonSetCondition", r#""""#, "status type"),
    (APPS, "DaemonSetSpec", "{}", "updateStrategy"),
    (APPS, "DeploymentCondition", r#""""#, "status type"),
    (APPS, "DeploymentSpec", "{}", "strategy"),
    (APPS, "ReplicaSetCondition", r#""""#, "status type"),
    (APPS, "ReplicaSetSpec", "{}", "template"),
    (APPS, "StatefulSetCondition", r#""""#, "status type"),
    (APPS, "StatefulSetOrdinals", "0", "start"),
    (APPS, "StatefulSetSpec", r#""""#, "serviceName"),
    (APPS, "StatefulSetSpec", "{}", "updateStrategy"),
    (APPS, "StatefulSetStatus", "0", "availableReplicas"),
    (AUTHENTICATION, "SelfSubjectReviewStatus", "{}", "userInfo"),
    (AUTHENTICATION, "TokenRequestStatus", r#""""#, "token"),
    (AUTHENTICATION, "TokenReviewStatus", "{}", "user"),
    (BATCH, "JobTemplateSpec", "{}", "spec"),
    (BATCH, "PodFailurePolicyOnPodConditionsPattern", r#""""#, "status"),
    (CORE, "AzureDiskVolumeSource", r#""ReadWrite""#, "cachingMode"),
    (CORE, "AzureDiskVolumeSource", r#""ext4""#, "fsType"),
    (CORE, "AzureDiskVolumeSource", r#""Shared""#, "kind"),
    (CORE, "AzureDiskVolumeSource", "false", "readOnly"),
    (CORE, "Container", "{}", "resources"),
    (CORE, "ContainerPort", r#""TCP""#, "protocol"),
    (CORE, "ContainerStatus", "{}", "lastState state"),
    (CORE, "EphemeralContainer", "{}", "resources"),
    (CORE, "Event", r#""""#, "reportingComponent reportingInstance"),
    (CORE, "Event", "{}", "source"),
    (CORE, "GRPCAction", r#""""#, "service"),
    (CORE, "ISCSIPersistentVolumeSource", r#""default""#, "iscsiInterface"),
    (CORE, "ISCSIVolumeSource", r#""default""#, "iscsiInterface"),
    (CORE, "NodeDaemonEndpoints", "{}", "kubeletEndpoint"),
    (CORE, "NodeRuntimeHandler", r#""""#, "name"),
    (CORE, "NodeStatus", "{}", "daemonEndpoints nodeInfo"),
    (CORE, "PersistentVolumeClaimSpec", "{}", "resources"),
    (CORE, "PodTemplate", "{}", "template"),
    (CORE, "PodTemplateSpec", "{}", "spec"),
    (CORE, "RBDPersistentVolumeSource", r#""/etc/ceph/keyring""#, "keyring"),
    (CORE, "RBDPersistentVolumeSource", r#""rbd""#, "pool"),
    (CORE, "RBDPersistentVolumeSource", r#""admin""#, "user"),
    (CORE, "RBDVolumeSource", r#""/etc/ceph/keyring""#, "keyring"),
    (CORE, "RBDVolumeSource", r#""rbd""#, "pool"),
    (CORE, "RBDVolumeSource", r#""admin""#, "user"),
    (CORE, "ScaleIOPersistentVolumeSource", r#""xfs""#, "fsType"),
    (CORE, "ScaleIOPersistentVolumeSource", r#""ThinProvisioned""#, "storageMode"),
    (CORE, "ScaleIOVolumeSource", r#""xfs""#, "fsType"),
    (CORE, "ScaleIOVolumeSource", r#""ThinProvisioned""#, "storageMode"),
    (CORE, "ServicePort", r#""TCP""#, "protocol"),
    (CORE, "ServiceStatus", "{}", "loadBalancer"),
    (DISCOVERY, "Endpoint", "{}", "conditions"),
    (EVENTS, "Event", "{}", "deprecatedSource regarding"),
    (FLOWCONTROL, "FlowSchemaSpec", "0", "matchingPrecedence"),
    (FLOWCONTROL, "QueuingConfiguration", "0", "handSize queueLengthLimit queues"),
    (NETWORKING, "IngressServiceBackend", "{}", "port"),
    (NETWORKING, "IngressStatus", "{}", "loadBalancer"),
    (NETWORKING, "NetworkPolicySpec", "{}", "podSelector"),
    (POLICY, "PodDisruptionBudgetStatus", "0", "currentHealthy desiredHealthy disruptionsAllowed expectedPods"),
    (RBAC, "RoleRef", r#""""#, "apiGroup"),
    (SCHEDULING, "PriorityClass", "0", "value"),
];

/// Package, type, fields: what is required and yet has no default.
#[rustfmt::skip]
const WITHOUT: &[(&str, &str, &str)] = &[
    (ADMISSION, "MutatingWebhook", "sideEffects"),
    (ADMISSION, "ValidatingAdmissionPolicyBindingSpec", "policyName"),
    (ADMISSION, "ValidatingWebhook", "sideEffects"),
    (APPS, "DaemonSetSpec", "selector"),
    (APPS, "DeploymentSpec", "selector"),
    (APPS, "ReplicaSetSpec", "selector"),
    (APPS, "StatefulSetSpec", "selector"),
    (AUTHENTICATION, "TokenReviewSpec", "token"),
    (CERTIFICATES, "CertificateSigningRequestSpec", "request"),
    (CORE, "ScaleIOPersistentVolumeSource", "secretRef"),
    (CORE, "ScaleIOVolumeSource", "secretRef"),
    (NETWORKING, "HTTPIngressPath", "pathType"),
];

/// Writes the defaults into the schema of a type. `is_object` tells whether a name is that of a type with fields.
pub(super) fn state(name: &str, schema: &mut Map<String, Value>, is_object: &dyn Fn(&str) -> bool) {
    let required: Vec<String> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|fields| fields.iter().filter_map(|f| f.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    let is_kind = ["apiVersion", "kind", "metadata"].iter().all(|field| properties.contains_key(*field));
    for (field, property) in properties {
        let Some(property) = property.as_object_mut() else { continue };
        elements(property, is_object);
        let part_of_kind = field == "metadata" || is_kind && matches!(field.as_str(), "spec" | "status");
        let is_named = part_of_kind && reference(property).is_some();
        let usual = || (is_named || required.contains(field)).then(|| zero(property, is_object)).flatten();
        if let Some(default) = stated(name, field).or_else(|| usual().filter(|_| !is_without(name, field))) {
            property.insert("default".to_owned(), default);
        }
    }
}

/// Elements of lists and values of maps are never null, so each has the zero of its type as its default.
fn elements(schema: &mut Map<String, Value>, is_object: &dyn Fn(&str) -> bool) {
    for key in ["items", "additionalProperties"] {
        if let Some(element) = schema.get_mut(key).and_then(Value::as_object_mut) {
            elements(element, is_object);
            if let Some(default) = zero(element, is_object) {
                element.insert("default".to_owned(), default);
            }
        }
    }
}

/// The zero of a type, for those that have one.
fn zero(schema: &Map<String, Value>, is_object: &dyn Fn(&str) -> bool) -> Option<Value> {
    if let Some(name) = reference(schema) {
        return is_object(name).then(|| json!({}));
    }
    match schema.get("type").and_then(Value::as_str)? {
        "string" if schema.get("format").is_none() => Some(json!("")),
        "integer" | "number" => Some(json!(0)),
        "boolean" => Some(json!(false)),
        _ => None,
    }
}

/// The name that a schema refers to, words beside or not.
fn reference(schema: &Map<String, Value>) -> Option<&str> {
    let wrapped = || schema.get("allOf")?.get(0)?.get("$ref");
    schema.get("$ref").or_else(wrapped)?.as_str()?.rsplit('/').next()
}

fn stated(name: &str, field: &str) -> Option<Value> {
    let about = |(package, of, _, fields): &&(&str, &str, &str, &str)| is(name, package, of) && has(fields, field);
    STATED.iter().find(about).and_then(|(_, _, default, _)| serde_json::from_str(default).ok())
}

fn is_without(name: &str, field: &str) -> bool {
    WITHOUT.iter().any(|(package, of, fields)| is(name, package, of) && has(fields, field))
}

fn is(name: &str, package: &str, of: &str) -> bool {
    name.rsplit_once('.') == Some((package, of))
}

fn has(fields: &str, field: &str) -> bool {
    fields.split(' ').any(|f| f == field)
}
