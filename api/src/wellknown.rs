//! Labels, annotations, taints, namespaces and users that have a meaning by convention.

/// Prefix of all labels and annotations of our own.
pub const PREFIX: &str = "coracle.dev";

/// `kubernetes.io/hostname`: a node's host name, as a label.
pub const LABEL_HOSTNAME: &str = "kubernetes.io/hostname";
/// `kubernetes.io/os`: always `wasip2` on our nodes.
pub const LABEL_OS: &str = "kubernetes.io/os";
/// `kubernetes.io/arch`: always `wasm32` on our nodes.
pub const LABEL_ARCH: &str = "kubernetes.io/arch";
/// Links an EndpointSlice to its Service.
pub const LABEL_SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Who maintains an EndpointSlice.
pub const LABEL_ENDPOINTSLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Given to every namespace: its own name.
pub const LABEL_METADATA_NAME: &str = "kubernetes.io/metadata.name";
/// Tells apart the ReplicaSets of one Deployment and their pods.
pub const LABEL_POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// Marks Services whose endpoints the controller leaves alone and that have no ClusterIP.
pub const LABEL_HEADLESS: &str = "service.kubernetes.io/headless";

/// A ReplicaSet's place in its Deployment's history.
pub const ANNOTATION_REVISION: &str = "deployment.kubernetes.io/revision";
/// How many replicas the owner of a ReplicaSet wants.
pub const ANNOTATION_DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// How many replicas the owner of a ReplicaSet allows at most.
pub const ANNOTATION_MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// What `kubectl apply` last sent, as JSON.
pub const ANNOTATION_LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// On a node that is not ready: no new pods.
pub const TAINT_NOT_READY: &str = "node.kubernetes.io/not-ready";
/// On a node that was not heard of: no new pods.
pub const TAINT_UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// On a cordoned node: no new pods.
pub const TAINT_UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The name of the class of Ingresses that we make.
pub const INGRESS_CLASS: &str = "coracle";
/// What our classes of Ingresses name as their controller.
pub const INGRESS_CONTROLLER: &str = "coracle.dev/ingress";
/// On an IngressClass: new Ingresses that name no class are of this one.
pub const ANNOTATION_DEFAULT_INGRESS_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
/// Named the class of an Ingress before there was a field.
pub const ANNOTATION_INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

/// The finalizer that makes a deletion wait until the dependents are gone.
pub const FINALIZER_FOREGROUND: &str = "foregroundDeletion";
/// The finalizer that makes a deletion leave the dependents alive.
pub const FINALIZER_ORPHAN: &str = "orphan";
/// The entry of `spec.finalizers` that the namespace controller removes when a namespace is empty.
pub const FINALIZER_KUBERNETES: &str = "kubernetes";

/// Where objects go that name no namespace.
pub const NAMESPACE_DEFAULT: &str = "default";
/// Where the cluster's own objects live.
pub const NAMESPACE_KUBE_SYSTEM: &str = "kube-system";
/// Readable by everybody.
pub const NAMESPACE_KUBE_PUBLIC: &str = "kube-public";
/// Holds one Lease per node: its heartbeat.
pub const NAMESPACE_NODE_LEASE: &str = "kube-node-lease";
/// The namespaces that exist from the start and cannot be deleted but for the last one's objects.
pub const NAMESPACES: [&str; 4] =
    [NAMESPACE_DEFAULT, NAMESPACE_KUBE_SYSTEM, NAMESPACE_KUBE_PUBLIC, NAMESPACE_NODE_LEASE];

/// The group that may do everything.
pub const GROUP_MASTERS: &str = "system:masters";
/// The group of all who proved who they are.
pub const GROUP_AUTHENTICATED: &str = "system:authenticated";
/// The group of all who showed nothing.
pub const GROUP_UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group of the node agents.
pub const GROUP_NODES: &str = "system:nodes";
/// The group of all ServiceAccounts; with `:<namespace>`, of those of one namespace.
pub const GROUP_SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
/// The user of who showed nothing.
pub const USER_ANONYMOUS: &str = "system:anonymous";
/// Prefix of a ServiceAccount's user: `system:serviceaccount:<namespace>:<name>`.
pub const USER_SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// The user that the API server itself is.
pub const USER_APISERVER: &str = "system:apiserver";
/// The user of the controllers.
pub const USER_CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// The user of the scheduler.
pub const USER_SCHEDULER: &str = "system:kube-scheduler";
/// The user of the service network.
pub const USER_PROXY: &str = "system:kube-proxy";
/// The user of the DNS server.
pub const USER_DNS: &str = "system:serviceaccount:kube-system:coredns";
/// The user of the controller of Ingresses.
pub const USER_INGRESS: &str = "system:serviceaccount:kube-system:coracle-ingress";
/// The user of who scales workloads to zero and wakes them.
pub const USER_SCALE_TO_ZERO: &str = "system:serviceaccount:kube-system:coracle-scale-to-zero";
/// Prefix of a node agent's user: `system:node:<node name>`.
pub const USER_NODE_PREFIX: &str = "system:node:";

/// In every namespace: the ConfigMap with the certificate of the cluster's authority, at the key `ca.crt`.
pub const CONFIG_MAP_ROOT_CA: &str = "kube-root-ca.crt";
/// How the name begins of the volume by which a pod reaches the API.
pub const VOLUME_API_ACCESS_PREFIX: &str = "kube-api-access-";
/// Where containers find that volume: a token, the cluster's certificate, the pod's namespace.
pub const PATH_API_ACCESS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The default scheduler's name in `spec.schedulerName`.
pub const DEFAULT_SCHEDULER: &str = "default-scheduler";
/// The domain of all names in the cluster.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
