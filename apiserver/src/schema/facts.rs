//! What the schemas lack: how lists and maps merge, in a strategic patch and under server-side apply.
//!
//! One row per type and way of merging; the fields it holds for stand in one string. A field that is in no row is
//! replaced by a strategic patch, and under apply a list of its kind is atomic.

use super::{ListMerge, Merge, ObjectMerge, Zero};

const CORE: &str = "io.k8s.api.core.v1";
const APPS: &str = "io.k8s.api.apps.v1";
const AUTOSCALING: &str = "io.k8s.api.autoscaling.v1";
const AUTOSCALING_V2: &str = "io.k8s.api.autoscaling.v2";
const BATCH: &str = "io.k8s.api.batch.v1";
const NETWORKING: &str = "io.k8s.api.networking.v1";
const NODE: &str = "io.k8s.api.node.v1";
const AUTHENTICATION: &str = "io.k8s.api.authentication.v1";
const AUTHORIZATION: &str = "io.k8s.api.authorization.v1";
const POLICY: &str = "io.k8s.api.policy.v1";
const RBAC: &str = "io.k8s.api.rbac.v1";
const STORAGE: &str = "io.k8s.api.storage.v1";
const DISCOVERY: &str = "io.k8s.api.discovery.v1";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// How a field merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    /// A list that has one owner.
    Atomic,
    /// The same, but a strategic patch merges its elements by this key.
    AtomicForApply(&'static str),
    /// A list of objects, told apart by these keys; a strategic patch uses the first.
    Keyed(&'static [&'static str]),
    /// The same, and elements offer `$retainKeys`.
    KeyedRetaining(&'static [&'static str]),
    /// A list of objects, told apart by these keys under apply only.
    KeyedForApply(&'static [&'static str]),
    /// A list of scalars that are each there once.
    Set,
    /// The same under apply only.
    SetForApply,
    /// A map that has one owner.
    AtomicMap,
    /// A map whose entries have an owner each.
    GranularMap,
    /// An object that offers `$retainKeys`.
    RetainKeys,
    /// An object that a strategic patch replaces as a whole.
    Replaced,
}

use Fact::{
    Atomic, AtomicForApply, AtomicMap, GranularMap, Keyed, KeyedForApply, KeyedRetaining, Replaced, RetainKeys, Set,
    SetForApply,
};

/// Package, type, way of merging, fields.
#[rustfmt::skip]
const FACTS: &[(&str, &str, Fact, &str)] = &[
    (APPS, "DeploymentSpec", RetainKeys, "strategy"),
    (APPS, "DeploymentStatus", Keyed(&["type"]), "conditions"),
    (APPS, "ReplicaSetStatus", Keyed(&["type"]), "conditions"),
    (APPS, "DaemonSetStatus", Keyed(&["type"]), "conditions"),
    (APPS, "StatefulSetSpec", Atomic, "volumeClaimTemplates"),
    (APPS, "StatefulSetStatus", Keyed(&["type"]), "conditions"),
    (AUTOSCALING_V2, "HPAScalingRules", Atomic, "policies"),
    (AUTOSCALING_V2, "HorizontalPodAutoscalerSpec", Atomic, "metrics"),
    (AUTOSCALING_V2, "HorizontalPodAutoscalerStatus", Atomic, "currentMetrics"),
    (AUTOSCALING_V2, "HorizontalPodAutoscalerStatus", Keyed(&["type"]), "conditions"),
    (BATCH, "CronJobStatus", Atomic, "active"),
    (BATCH, "JobStatus", AtomicForApply("type"), "conditions"),
    (BATCH, "PodFailurePolicy", Atomic, "rules"),
    (BATCH, "PodFailurePolicyOnExitCodesRequirement", SetForApply, "values"),
    (BATCH, "PodFailurePolicyRule", Atomic, "onPodConditions"),
    (BATCH, "SuccessPolicy", Atomic, "rules"),
    (BATCH, "UncountedTerminatedPods", SetForApply, "failed succeeded"),
    (CORE, "Capabilities", Atomic, "add drop"),
    (CORE, "CephFSPersistentVolumeSource", Atomic, "monitors"),
    (CORE, "CephFSVolumeSource", Atomic, "monitors"),
    (CORE, "ConfigMapProjection", Atomic, "items"),
    (CORE, "ConfigMapVolumeSource", Atomic, "items"),
    (CORE, "Container", Atomic, "args command envFrom resizePolicy restartPolicyRules"),
    (CORE, "Container", Keyed(&["name"]), "env"),
    (CORE, "Container", Keyed(&["containerPort", "protocol"]), "ports"),
    (CORE, "Container", Keyed(&["devicePath"]), "volumeDevices"),
    (CORE, "Container", Keyed(&["mountPath"]), "volumeMounts"),
    (CORE, "ContainerImage", Atomic, "names"),
    (CORE, "ContainerRestartRuleOnExitCodes", SetForApply, "values"),
    (CORE, "ContainerStatus", Keyed(&["name"]), "allocatedResourcesStatus"),
    (CORE, "ContainerStatus", Keyed(&["mountPath"]), "volumeMounts"),
    (CORE, "DownwardAPIProjection", Atomic, "items"),
    (CORE, "DownwardAPIVolumeSource", Atomic, "items"),
    (CORE, "EndpointSubset", Atomic, "addresses notReadyAddresses ports"),
    (CORE, "Endpoints", Atomic, "subsets"),
    (CORE, "EphemeralContainer", Atomic, "args command envFrom resizePolicy restartPolicyRules"),
    (CORE, "EphemeralContainer", Keyed(&["name"]), "env"),
    (CORE, "EphemeralContainer", Keyed(&["containerPort", "protocol"]), "ports"),
    (CORE, "EphemeralContainer", Keyed(&["devicePath"]), "volumeDevices"),
    (CORE, "EphemeralContainer", Keyed(&["mountPath"]), "volumeMounts"),
    (CORE, "ExecAction", Atomic, "command"),
    (CORE, "FCVolumeSource", Atomic, "targetWWNs wwids"),
    (CORE, "HTTPGetAction", Atomic, "httpHeaders"),
    (CORE, "HostAlias", Atomic, "hostnames"),
    (CORE, "ISCSIPersistentVolumeSource", Atomic, "portals"),
    (CORE, "ISCSIVolumeSource", Atomic, "portals"),
    (CORE, "LinuxContainerUser", Atomic, "supplementalGroups"),
    (CORE, "LoadBalancerIngress", Atomic, "ports"),
    (CORE, "LoadBalancerStatus", Atomic, "ingress"),
    (CORE, "NamespaceSpec", Atomic, "finalizers"),
    (CORE, "NamespaceStatus", Keyed(&["type"]), "conditions"),
    (CORE, "NodeAffinity", Atomic, "preferredDuringSchedulingIgnoredDuringExecution"),
    (CORE, "NodeAllocatableResourceClaimStatus", KeyedForApply(&["name"]), "mapping overhead"),
    (CORE, "NodeAllocatableResourceClaimStatus", SetForApply, "containers"),
    (CORE, "NodePodPreemptionPolicy", SetForApply, "disableResizePreemption"),
    (CORE, "NodeSelector", Atomic, "nodeSelectorTerms"),
    (CORE, "NodeSelectorRequirement", Atomic, "values"),
    (CORE, "NodeSelectorTerm", Atomic, "matchExpressions matchFields"),
    (CORE, "NodeSpec", Set, "podCIDRs"),
    (CORE, "NodeSpec", Atomic, "taints"),
    (CORE, "NodeStatus", Keyed(&["type"]), "addresses conditions"),
    (CORE, "NodeStatus", Atomic, "declaredFeatures images runtimeHandlers volumesAttached volumesInUse"),
    (CORE, "PersistentVolumeClaimSpec", Atomic, "accessModes"),
    (CORE, "PersistentVolumeClaimStatus", Atomic, "accessModes"),
    (CORE, "PersistentVolumeClaimStatus", GranularMap, "allocatedResourceStatuses"),
    (CORE, "PersistentVolumeClaimStatus", Keyed(&["type"]), "conditions"),
    (CORE, "PodAffinity", Atomic, "preferredDuringSchedulingIgnoredDuringExecution requiredDuringSchedulingIgnoredDuringExecution"),
    (CORE, "PodAffinityTerm", Atomic, "matchLabelKeys mismatchLabelKeys namespaces"),
    (CORE, "PodAntiAffinity", Atomic, "preferredDuringSchedulingIgnoredDuringExecution requiredDuringSchedulingIgnoredDuringExecution"),
    (CORE, "PodDNSConfig", Atomic, "nameservers options searches"),
    (CORE, "PodExtendedResourceClaimStatus", Atomic, "requestMappings"),
    (CORE, "PodSecurityContext", Atomic, "supplementalGroups sysctls"),
    (CORE, "PodSpec", Keyed(&["name"]), "containers ephemeralContainers imagePullSecrets initContainers schedulingGates"),
    (CORE, "PodSpec", Keyed(&["ip"]), "hostAliases"),
    (CORE, "PodSpec", AtomicMap, "nodeSelector"),
    (CORE, "PodSpec", Atomic, "readinessGates tolerations"),
    (CORE, "PodSpec", KeyedForApply(&["name"]), "evictionResponders"),
    (CORE, "PodSpec", KeyedRetaining(&["name"]), "resourceClaims volumes"),
    (CORE, "PodSpec", Keyed(&["topologyKey", "whenUnsatisfiable"]), "topologySpreadConstraints"),
    (CORE, "PodStatus", Keyed(&["type"]), "conditions"),
    (CORE, "PodStatus", Atomic, "containerStatuses ephemeralContainerStatuses initContainerStatuses"),
    (CORE, "PodStatus", AtomicForApply("ip"), "hostIPs"),
    (CORE, "PodStatus", Keyed(&["ip"]), "podIPs"),
    (CORE, "PodStatus", KeyedForApply(&["name"]), "volumeHealth"),
    (CORE, "PodStatus", KeyedForApply(&["resourceClaimName"]), "nodeAllocatableResourceClaimStatuses"),
    (CORE, "PodStatus", KeyedRetaining(&["name"]), "resourceClaimStatuses"),
    (CORE, "PodVolumeHealth", KeyedForApply(&["status"]), "healthConditions"),
    (CORE, "ProjectedVolumeSource", Atomic, "sources"),
    (CORE, "RBDPersistentVolumeSource", Atomic, "monitors"),
    (CORE, "RBDVolumeSource", Atomic, "monitors"),
    (CORE, "ResourceRequirements", KeyedForApply(&["name"]), "claims"),
    (CORE, "ResourceStatus", KeyedForApply(&["resourceID"]), "resources"),
    (CORE, "SecretProjection", Atomic, "items"),
    (CORE, "SecretVolumeSource", Atomic, "items"),
    (CORE, "ServiceAccount", Atomic, "imagePullSecrets"),
    (CORE, "ServiceAccount", Keyed(&["name"]), "secrets"),
    (CORE, "ServiceSpec", Atomic, "clusterIPs externalIPs ipFamilies loadBalancerSourceRanges"),
    (CORE, "ServiceSpec", Keyed(&["port", "protocol"]), "ports"),
    (CORE, "ServiceSpec", AtomicMap, "selector"),
    (CORE, "ServiceStatus", Keyed(&["type"]), "conditions"),
    (CORE, "TopologySpreadConstraint", Atomic, "matchLabelKeys"),
    (CORE, "VolumeHealthStatus", KeyedForApply(&["status"]), "healthConditions"),
    (CORE, "VolumeMount", SetForApply, "bindMountOptions"),
    (CORE, "PersistentVolumeSpec", Atomic, "accessModes mountOptions"),
    (CORE, "PersistentVolumeSpec", GranularMap, "claimRef"),
    (CORE, "TopologySelectorLabelRequirement", Atomic, "values"),
    (CORE, "TopologySelectorTerm", Atomic, "matchLabelExpressions"),
    (CORE, "ReplicationControllerSpec", AtomicMap, "selector"),
    (CORE, "ReplicationControllerStatus", Keyed(&["type"]), "conditions"),
    (CORE, "LimitRangeSpec", Atomic, "limits"),
    (CORE, "ResourceQuotaSpec", Atomic, "scopes"),
    (CORE, "ScopeSelector", Atomic, "matchExpressions"),
    (CORE, "ScopedResourceSelectorRequirement", Atomic, "values"),
    (DISCOVERY, "Endpoint", SetForApply, "addresses"),
    (DISCOVERY, "EndpointHints", Atomic, "forNodes forZones"),
    (DISCOVERY, "EndpointSlice", Atomic, "endpoints ports"),
    (AUTHENTICATION, "TokenRequestSpec", Atomic, "audiences"),
    (AUTHENTICATION, "TokenReviewSpec", Atomic, "audiences"),
    (AUTHENTICATION, "TokenReviewStatus", Atomic, "audiences"),
    (AUTHENTICATION, "UserInfo", Atomic, "groups"),
    (AUTHORIZATION, "FieldSelectorAttributes", Atomic, "requirements"),
    (AUTHORIZATION, "LabelSelectorAttributes", Atomic, "requirements"),
    (AUTHORIZATION, "NonResourceRule", Atomic, "nonResourceURLs verbs"),
    (AUTHORIZATION, "ResourceRule", Atomic, "apiGroups resourceNames resources verbs"),
    (AUTHORIZATION, "SubjectAccessReviewSpec", Atomic, "groups"),
    (AUTHORIZATION, "SubjectRulesReviewStatus", Atomic, "nonResourceRules resourceRules"),
    (META, "FieldSelectorRequirement", Atomic, "values"),
    (POLICY, "PodDisruptionBudgetSpec", Replaced, "selector"),
    (POLICY, "PodDisruptionBudgetStatus", Keyed(&["type"]), "conditions"),
    (META, "APIResource", Atomic, "categories shortNames"),
    (META, "APIResourceList", Atomic, "resources"),
    (META, "DeleteOptions", Atomic, "dryRun"),
    (META, "LabelSelector", Atomic, "matchExpressions"),
    (META, "LabelSelectorRequirement", Atomic, "values"),
    (META, "ObjectMeta", Set, "finalizers"),
    (META, "ObjectMeta", Atomic, "managedFields"),
    (META, "ObjectMeta", Keyed(&["uid"]), "ownerReferences"),
    (META, "Status", Atomic, "details"),
    (META, "StatusDetails", Atomic, "causes"),
    (NETWORKING, "HTTPIngressRuleValue", Atomic, "paths"),
    (NETWORKING, "IPBlock", Atomic, "except"),
    (NETWORKING, "IngressLoadBalancerIngress", Atomic, "ports"),
    (NETWORKING, "IngressLoadBalancerStatus", Atomic, "ingress"),
    (NETWORKING, "IngressSpec", Atomic, "rules tls"),
    (NETWORKING, "IngressTLS", Atomic, "hosts"),
    (NETWORKING, "NetworkPolicyEgressRule", Atomic, "ports to"),
    (NETWORKING, "NetworkPolicyIngressRule", Atomic, "from ports"),
    (NETWORKING, "NetworkPolicySpec", Atomic, "egress ingress policyTypes"),
    (NODE, "Scheduling", Atomic, "tolerations"),
    (NODE, "Scheduling", AtomicMap, "nodeSelector"),
    (RBAC, "AggregationRule", Atomic, "clusterRoleSelectors"),
    (RBAC, "ClusterRole", Atomic, "rules"),
    (RBAC, "ClusterRoleBinding", Atomic, "subjects"),
    (RBAC, "PolicyRule", Atomic, "apiGroups nonResourceURLs resourceNames resources verbs"),
    (RBAC, "Role", Atomic, "rules"),
    (RBAC, "RoleBinding", Atomic, "subjects"),
    (STORAGE, "CSINodeStatus", KeyedForApply(&["name"]), "storageHealth"),
    (STORAGE, "StorageHealth", Atomic, "healthConditions"),
    (STORAGE, "CSIDriverSpec", Atomic, "tokenRequests"),
    (STORAGE, "CSIDriverSpec", SetForApply, "volumeLifecycleModes"),
    (STORAGE, "CSINodeDriver", Atomic, "topologyKeys"),
    (STORAGE, "CSINodeSpec", Keyed(&["name"]), "drivers"),
    (STORAGE, "StorageClass", Atomic, "allowedTopologies mountOptions"),
];

/// Types that have one owner as a whole.
#[rustfmt::skip]
const ATOMIC_TYPES: &[(&str, &str)] = &[
    (AUTOSCALING, "CrossVersionObjectReference"),
    (CORE, "ConfigMapKeySelector"),
    (CORE, "EndpointAddress"),
    (CORE, "EndpointPort"),
    (CORE, "LocalObjectReference"),
    (CORE, "NodeSelector"),
    (CORE, "NodeSelectorTerm"),
    (CORE, "ObjectFieldSelector"),
    (CORE, "ObjectReference"),
    (CORE, "ResourceFieldSelector"),
    (CORE, "ScopeSelector"),
    (CORE, "SecretKeySelector"),
    (CORE, "SecretReference"),
    (CORE, "TypedLocalObjectReference"),
    (CORE, "TopologySelectorTerm"),
    (DISCOVERY, "EndpointPort"),
    (META, "LabelSelector"),
    (META, "OwnerReference"),
    (NETWORKING, "ServiceBackendPort"),
    (RBAC, "RoleRef"),
    (RBAC, "Subject"),
];

/// Objects that upstream holds by value: they are always there, if only empty. Package, type, fields. The metadata,
/// spec and status of whatever has metadata are so too.
#[rustfmt::skip]
const ALWAYS_THERE: &[(&str, &str, &str)] = &[
    (APPS, "DaemonSetSpec", "template updateStrategy"),
    (APPS, "DeploymentSpec", "strategy template"),
    (APPS, "ReplicaSetSpec", "template"),
    (APPS, "StatefulSetSpec", "template updateStrategy"),
    (AUTOSCALING, "HorizontalPodAutoscalerSpec", "scaleTargetRef"),
    (AUTOSCALING_V2, "ContainerResourceMetricSource", "target"),
    (AUTOSCALING_V2, "ContainerResourceMetricStatus", "current"),
    (AUTOSCALING_V2, "ExternalMetricSource", "metric target"),
    (AUTOSCALING_V2, "ExternalMetricStatus", "current metric"),
    (AUTOSCALING_V2, "HorizontalPodAutoscalerSpec", "scaleTargetRef"),
    (AUTOSCALING_V2, "ObjectMetricSource", "describedObject metric target"),
    (AUTOSCALING_V2, "ObjectMetricStatus", "current describedObject metric"),
    (AUTOSCALING_V2, "PodsMetricSource", "metric target"),
    (AUTOSCALING_V2, "PodsMetricStatus", "current metric"),
    (AUTOSCALING_V2, "ResourceMetricSource", "target"),
    (AUTOSCALING_V2, "ResourceMetricStatus", "current"),
    (BATCH, "CronJobSpec", "jobTemplate"),
    (BATCH, "JobSpec", "template"),
    (CORE, "Container", "resources"),
    (CORE, "ContainerStatus", "lastState state"),
    (CORE, "EphemeralContainer", "resources"),
    (CORE, "Event", "involvedObject source"),
    (CORE, "NodeDaemonEndpoints", "kubeletEndpoint"),
    (CORE, "NodeStatus", "daemonEndpoints nodeInfo"),
    (CORE, "PersistentVolumeClaimSpec", "resources"),
    (CORE, "PodTemplate", "template"),
    (CORE, "PreferredSchedulingTerm", "preference"),
    (CORE, "ServiceStatus", "loadBalancer"),
    (CORE, "WeightedPodAffinityTerm", "podAffinityTerm"),
    (DISCOVERY, "Endpoint", "conditions"),
    (NETWORKING, "HTTPIngressPath", "backend"),
    (NETWORKING, "IngressServiceBackend", "port"),
    (NETWORKING, "IngressStatus", "loadBalancer"),
    (NETWORKING, "NetworkPolicySpec", "podSelector"),
    (RBAC, "ClusterRoleBinding", "roleRef"),
    (RBAC, "RoleBinding", "roleRef"),
    (STORAGE, "VolumeAttachmentSpec", "source"),
];

/// Lists and times that upstream states as `null` where there is nothing: there they are no pointers, and are never
/// left out.
#[rustfmt::skip]
const NULL_IF_EMPTY: &[(&str, &str, &str)] = &[
    (APPS, "DeploymentCondition", "lastTransitionTime lastUpdateTime"),
    (APPS, "ReplicaSetCondition", "lastTransitionTime"),
    (AUTOSCALING_V2, "HorizontalPodAutoscalerCondition", "lastTransitionTime"),
    (CORE, "ContainerStateRunning", "startedAt"),
    (CORE, "ContainerStateTerminated", "finishedAt startedAt"),
    (CORE, "EventSeries", "lastObservedTime"),
    (CORE, "NamespaceCondition", "lastTransitionTime"),
    (CORE, "NodeCondition", "lastHeartbeatTime lastTransitionTime"),
    (CORE, "PersistentVolumeClaimCondition", "lastProbeTime lastTransitionTime"),
    (CORE, "PodCondition", "lastProbeTime lastTransitionTime"),
    (CORE, "PodSpec", "containers"),
];

/// What an object of a type holds in a field that it was not given.
pub(super) fn zero(name: &str, field: &str) -> Zero {
    let Some((package, name)) = name.rsplit_once('.') else { return Zero::Nothing };
    let has = |table: &[(&str, &str, &str)]| {
        table.iter().any(|(p, n, fields)| *p == package && *n == name && fields.split(' ').any(|f| f == field))
    };
    match () {
        () if has(ALWAYS_THERE) => Zero::Object,
        () if has(NULL_IF_EMPTY) => Zero::Null,
        () => Zero::Nothing,
    }
}

/// What is known about a field of a type, if anything.
pub(super) fn of(name: &str, field: &str) -> Option<Fact> {
    let (package, name) = name.rsplit_once('.')?;
    let about = |(p, n, _, fields): &&(&str, &str, Fact, &str)| {
        *p == package && *n == name && fields.split(' ').any(|f| f == field)
    };
    FACTS.iter().find(about).map(|(_, _, fact, _)| *fact)
}

/// Whether objects of a type have one owner as a whole.
pub(super) fn is_atomic(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|parts| ATOMIC_TYPES.contains(&parts))
}

/// How a strategic patch treats a field.
pub(super) fn merge(name: &str, field: &str) -> Merge {
    let by_key = |keys: &[&'static str]| keys.first().map_or(ListMerge::Replace, |key| ListMerge::ByKey(key));
    let merge = |list, retain_keys| Merge { list, retain_keys, ..Merge::default() };
    match of(name, field) {
        Some(Fact::Keyed(keys)) => merge(by_key(keys), false),
        Some(Fact::KeyedRetaining(keys)) => merge(by_key(keys), true),
        Some(Fact::AtomicForApply(key)) => merge(ListMerge::ByKey(key), false),
        Some(Fact::Set) => merge(ListMerge::Union, false),
        Some(Fact::RetainKeys) => merge(ListMerge::Replace, true),
        Some(Fact::Replaced) => Merge { object: ObjectMerge::Replace, ..Merge::default() },
        Some(Fact::Atomic | Fact::KeyedForApply(_) | Fact::SetForApply | Fact::AtomicMap | Fact::GranularMap)
        | None => Merge::default(),
    }
}

/// Every type and field that a fact is about.
#[cfg(test)]
pub(super) fn subjects() -> impl Iterator<Item = (&'static str, &'static str)> {
    let fields = FACTS.iter().map(|(package, name, _, fields)| (*package, *name, *fields));
    let fields = fields.chain(ALWAYS_THERE.iter().copied()).chain(NULL_IF_EMPTY.iter().copied());
    fields.flat_map(|(package, name, fields)| {
        let name: &'static str = Box::leak(format!("{package}.{name}").into_boxed_str());
        fields.split(' ').map(move |field| (name, field))
    })
}
