//! Which fields hold one of a few words: facts that the schemas lack.
//!
//! They are told to who asks for the schema. What is refused is the business of the kind, in its own words.

use serde_json::{Map, Value, json};

const ADMISSION: &str = "io.k8s.api.admissionregistration.v1";
const APPS: &str = "io.k8s.api.apps.v1";
const BATCH: &str = "io.k8s.api.batch.v1";
const CORE: &str = "io.k8s.api.core.v1";
const DISCOVERY: &str = "io.k8s.api.discovery.v1";
const NETWORKING: &str = "io.k8s.api.networking.v1";
const POLICY: &str = "io.k8s.api.policy.v1";
const SCHEDULING: &str = "io.k8s.api.scheduling.v1";
const STORAGE: &str = "io.k8s.api.storage.v1";

const ACCESS_MODES: &str = "ReadOnlyMany ReadWriteMany ReadWriteOnce ReadWriteOncePod";
const PROTOCOLS: &str = "SCTP TCP UDP";
const PULL_POLICIES: &str = "Always IfNotPresent Never";
const QUOTA_SCOPES: &str =
    "BestEffort CrossNamespacePodAffinity NotBestEffort NotTerminating PriorityClass Terminating VolumeAttributesClass";
const TAINT_EFFECTS: &str = "NoExecute NoSchedule PreferNoSchedule";

/// Package, type, field, its words in the order in which they are told; `-` is the empty one. Of a list or a map they
/// are the words of its elements.
#[rustfmt::skip]
const WORDS: &[(&str, &str, &str, &str)] = &[
    (ADMISSION, "MutatingWebhook", "failurePolicy", "Fail Ignore"),
    (ADMISSION, "MutatingWebhook", "matchPolicy", "Equivalent Exact"),
    (ADMISSION, "MutatingWebhook", "reinvocationPolicy", "IfNeeded Never"),
    (ADMISSION, "MutatingWebhook", "sideEffects", "None NoneOnDryRun Some Unknown"),
    (ADMISSION, "RuleWithOperations", "operations", "* CONNECT CREATE DELETE UPDATE"),
    (ADMISSION, "RuleWithOperations", "scope", "* Cluster Namespaced"),
    (ADMISSION, "ValidatingWebhook", "failurePolicy", "Fail Ignore"),
    (ADMISSION, "ValidatingWebhook", "matchPolicy", "Equivalent Exact"),
    (ADMISSION, "ValidatingWebhook", "sideEffects", "None NoneOnDryRun Some Unknown"),
    (APPS, "DaemonSetUpdateStrategy", "type", "OnDelete RollingUpdate"),
    (APPS, "DeploymentStrategy", "type", "Recreate RollingUpdate"),
    (APPS, "StatefulSetSpec", "podManagementPolicy", "OrderedReady Parallel"),
    (APPS, "StatefulSetUpdateStrategy", "type", "OnDelete RollingUpdate"),
    (BATCH, "CronJobSpec", "concurrencyPolicy", "Allow Forbid Replace"),
    (BATCH, "JobSpec", "completionMode", "Indexed NonIndexed"),
    (BATCH, "JobSpec", "podReplacementPolicy", "Failed TerminatingOrFailed"),
    (BATCH, "PodFailurePolicyOnExitCodesRequirement", "operator", "In NotIn"),
    (BATCH, "PodFailurePolicyRule", "action", "Count FailIndex FailJob Ignore"),
    (CORE, "AppArmorProfile", "type", "Localhost RuntimeDefault Unconfined"),
    (CORE, "AzureDiskVolumeSource", "cachingMode", "None ReadOnly ReadWrite"),
    (CORE, "AzureDiskVolumeSource", "kind", "Dedicated Managed Shared"),
    (CORE, "Container", "imagePullPolicy", PULL_POLICIES),
    (CORE, "Container", "terminationMessagePolicy", "FallbackToLogsOnError File"),
    (CORE, "ContainerPort", "protocol", PROTOCOLS),
    (CORE, "EndpointPort", "protocol", PROTOCOLS),
    (CORE, "EphemeralContainer", "imagePullPolicy", PULL_POLICIES),
    (CORE, "EphemeralContainer", "terminationMessagePolicy", "FallbackToLogsOnError File"),
    (CORE, "HTTPGetAction", "scheme", "HTTP HTTPS"),
    (CORE, "HostPathVolumeSource", "type", "- BlockDevice CharDevice Directory DirectoryOrCreate File FileOrCreate Socket"),
    (CORE, "ImageVolumeSource", "pullPolicy", PULL_POLICIES),
    (CORE, "NamespaceStatus", "phase", "Active Terminating"),
    (CORE, "NodeSelectorRequirement", "operator", "DoesNotExist Exists Gt In Lt NotIn"),
    (CORE, "NodeStatus", "phase", "Pending Running Terminated"),
    (CORE, "PersistentVolumeClaimSpec", "accessModes", ACCESS_MODES),
    (CORE, "PersistentVolumeClaimSpec", "volumeMode", "Block Filesystem"),
    (CORE, "PersistentVolumeClaimStatus", "accessModes", ACCESS_MODES),
    (CORE, "PersistentVolumeClaimStatus", "phase", "Bound Lost Pending"),
    (CORE, "PersistentVolumeSpec", "accessModes", ACCESS_MODES),
    (CORE, "PersistentVolumeSpec", "persistentVolumeReclaimPolicy", "Delete Recycle Retain"),
    (CORE, "PersistentVolumeSpec", "volumeMode", "Block Filesystem"),
    (CORE, "PersistentVolumeStatus", "phase", "Available Bound Failed Pending Released"),
    (CORE, "PodSecurityContext", "fsGroupChangePolicy", "Always OnRootMismatch"),
    (CORE, "PodSecurityContext", "supplementalGroupsPolicy", "Merge Strict"),
    (CORE, "PodSpec", "dnsPolicy", "ClusterFirst ClusterFirstWithHostNet Default None"),
    (CORE, "PodSpec", "preemptionPolicy", "Never PreemptLowerPriority"),
    (CORE, "PodSpec", "restartPolicy", "Always Never OnFailure"),
    (CORE, "PodStatus", "phase", "Failed Pending Running Succeeded Unknown"),
    (CORE, "PodStatus", "qosClass", "BestEffort Burstable Guaranteed"),
    (CORE, "PortStatus", "protocol", PROTOCOLS),
    (CORE, "ResourceQuotaSpec", "scopes", QUOTA_SCOPES),
    (CORE, "ScopedResourceSelectorRequirement", "operator", "DoesNotExist Exists In NotIn"),
    (CORE, "ScopedResourceSelectorRequirement", "scopeName", QUOTA_SCOPES),
    (CORE, "SeccompProfile", "type", "Localhost RuntimeDefault Unconfined"),
    (CORE, "SecurityContext", "procMount", "Default Unmasked"),
    (CORE, "ServicePort", "protocol", PROTOCOLS),
    (CORE, "ServiceSpec", "externalTrafficPolicy", "Cluster Local"),
    (CORE, "ServiceSpec", "internalTrafficPolicy", "Cluster Local"),
    (CORE, "ServiceSpec", "ipFamilies", "- IPv4 IPv6"),
    (CORE, "ServiceSpec", "ipFamilyPolicy", "PreferDualStack RequireDualStack SingleStack"),
    (CORE, "ServiceSpec", "sessionAffinity", "ClientIP None"),
    (CORE, "ServiceSpec", "type", "ClusterIP ExternalName LoadBalancer NodePort"),
    (CORE, "Taint", "effect", TAINT_EFFECTS),
    (CORE, "Toleration", "effect", TAINT_EFFECTS),
    (CORE, "Toleration", "operator", "Equal Exists Gt Lt"),
    (CORE, "TopologySpreadConstraint", "nodeAffinityPolicy", "Honor Ignore"),
    (CORE, "TopologySpreadConstraint", "nodeTaintsPolicy", "Honor Ignore"),
    (CORE, "TopologySpreadConstraint", "whenUnsatisfiable", "DoNotSchedule ScheduleAnyway"),
    (CORE, "VolumeMount", "mountPropagation", "Bidirectional HostToContainer None"),
    (DISCOVERY, "EndpointPort", "protocol", PROTOCOLS),
    (DISCOVERY, "EndpointSlice", "addressType", "FQDN IPv4 IPv6"),
    (NETWORKING, "HTTPIngressPath", "pathType", "Exact ImplementationSpecific Prefix"),
    (NETWORKING, "IngressPortStatus", "protocol", PROTOCOLS),
    (NETWORKING, "NetworkPolicyPort", "protocol", PROTOCOLS),
    (NETWORKING, "NetworkPolicySpec", "policyTypes", "Egress Ingress"),
    (POLICY, "PodDisruptionBudgetSpec", "unhealthyPodEvictionPolicy", "AlwaysAllow IfHealthyBudget"),
    (SCHEDULING, "PriorityClass", "preemptionPolicy", "Never PreemptLowerPriority"),
    (STORAGE, "StorageClass", "reclaimPolicy", "Delete Recycle Retain"),
    (STORAGE, "StorageClass", "volumeBindingMode", "Immediate WaitForFirstConsumer"),
];

/// Writes the words of its fields into the schema of a type, and says them in the descriptions as well.
pub(super) fn state(name: &str, properties: &mut Map<String, Value>) {
    let Some(parts) = name.rsplit_once('.') else { return };
    for (_, _, field, words) in WORDS.iter().filter(|(package, of, ..)| parts == (*package, *of)) {
        let Some(property) = properties.get_mut(*field).and_then(Value::as_object_mut) else { continue };
        let words: Vec<&str> = words.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
        let said: String = words.iter().map(|word| format!("\n - `\"{word}\"`")).collect();
        if let Some(Value::String(description)) = property.get_mut("description") {
            description.push_str("\n\nPossible enum values:");
            description.push_str(&said);
        }
        let holder = if property.contains_key("items") { property.get_mut("items") } else { None };
        match holder.and_then(Value::as_object_mut) {
            Some(items) => items.insert("enum".to_owned(), json!(words)),
            None => property.insert("enum".to_owned(), json!(words)),
        };
    }
}

/// Every type and field that has words.
#[cfg(test)]
pub(super) fn subjects() -> impl Iterator<Item = (String, &'static str)> {
    WORDS.iter().map(|(package, name, field, _)| (format!("{package}.{name}"), *field))
}
