//! The roles and bindings that a new cluster has: upstream's for people and for what its components need, and ours.
//!
//! A row a rule. `admin`, `edit` and `view` hold their rules themselves; upstream gathers them from parts.

use coracle_api::wellknown::{
    GROUP_AUTHENTICATED, GROUP_MASTERS, GROUP_NODES, GROUP_SERVICE_ACCOUNTS, GROUP_UNAUTHENTICATED,
    USER_CONTROLLER_MANAGER, USER_DNS, USER_INGRESS, USER_PROXY, USER_SCALE_TO_ZERO, USER_SCHEDULER,
};
use serde_json::{Value, json};

use super::rbac::{GROUP, Rule};

/// What a role allows: verbs, API groups and resources, separated by spaces; the core group is `core`.
enum Row {
    On(&'static str, &'static str, &'static str),
    Urls(&'static str, &'static str),
}

use Row::{On, Urls};

const READ: &str = "get list watch";
const WRITE: &str = "create delete deletecollection patch update";

const ROLES: &[(&str, &[Row])] = &[
    ("cluster-admin", &[On("*", "*", "*"), Urls("*", "*")]),
    (
        "system:discovery",
        &[Urls("get", "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/")],
    ),
    ("system:public-info-viewer", &[Urls("get", "/healthz /livez /readyz /version /version/")]),
    (
        "system:basic-user",
        &[
            On("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
            On("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    (
        "system:monitoring",
        &[Urls("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*")],
    ),
    (
        "system:service-account-issuer-discovery",
        &[Urls(
            "get",
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        )],
    ),
    (
        "system:auth-delegator",
        &[
            On("create", "authentication.k8s.io", "tokenreviews"),
            On("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    // Its garbage collector and its namespace controller delete objects of every kind.
    ("system:kube-controller-manager", &[On("*", "*", "*"), Urls("get", "*")]),
    (
        "system:kube-scheduler",
        &[
            On("create patch update", "core events.k8s.io", "events"),
            On("create get list update watch patch", "coordination.k8s.io", "leases"),
            On(
                READ,
                "core",
                "nodes namespaces persistentvolumeclaims persistentvolumes replicationcontrollers services",
            ),
            On("delete get list watch", "core", "pods"),
            On("create", "core", "bindings pods/binding"),
            On("patch update", "core", "pods/status"),
            On(READ, "apps", "replicasets statefulsets"),
            On(READ, "policy", "poddisruptionbudgets"),
            On(READ, "storage.k8s.io", "*"),
        ],
    ),
    (
        "system:volume-scheduler",
        &[
            On("get list patch update watch", "core", "persistentvolumes"),
            On(READ, "storage.k8s.io", "storageclasses"),
            On("get list patch update watch", "core", "persistentvolumeclaims"),
        ],
    ),
    (
        "system:node-proxier",
        &[
            On(READ, "core", "endpoints services nodes namespaces pods"),
            On("patch update", "core", "services/status"),
            On(READ, "discovery.k8s.io", "endpointslices"),
            On(READ, "networking.k8s.io", "*"),
            On("create patch update", "core events.k8s.io", "events"),
        ],
    ),
    (
        "system:coredns",
        &[
            On(READ, "core", "endpoints services pods namespaces nodes configmaps"),
            On(READ, "discovery.k8s.io", "endpointslices"),
            On("create patch update", "core events.k8s.io", "events"),
        ],
    ),
    (
        "coracle:ingress",
        &[
            On(READ, "networking.k8s.io", "ingresses ingressclasses"),
            On("patch update", "networking.k8s.io", "ingresses/status"),
            On(READ, "core", "secrets services"),
            On("create patch update", "core events.k8s.io", "events"),
        ],
    ),
    (
        "coracle:scale-to-zero",
        &[
            On(READ, "apps", "deployments statefulsets"),
            On("get patch", "apps", "deployments/scale statefulsets/scale"),
            On("patch", "core", "services"),
            On("create patch update", "core events.k8s.io", "events"),
        ],
    ),
    ("system:node", NODE),
    (
        "system:kubelet-api-admin",
        &[
            On(READ, "core", "nodes"),
            On("proxy", "core", "nodes"),
            On("*", "core", "nodes/log nodes/metrics nodes/proxy nodes/stats"),
        ],
    ),
    ("coracle:image-pusher", &[Urls("*", "/v2 /v2/*")]),
    (
        "view",
        &[
            VIEW_CORE,
            VIEW_CORE_STATUS,
            VIEW_APPS,
            VIEW_BATCH,
            VIEW_POLICY,
            VIEW_AUTOSCALING,
            VIEW_NETWORKING,
            VIEW_SLICES,
            VIEW_USAGE,
        ],
    ),
    ("edit", EDIT),
    ("admin", ADMIN),
];

/// What a node agent does. Upstream's Node authorizer looks further, at what the pods on the node refer to.
const NODE: &[Row] = &[
    On("create", "authentication.k8s.io", "tokenreviews"),
    On("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
    On(READ, "core", "services configmaps secrets persistentvolumeclaims persistentvolumes namespaces"),
    On("create get list patch update watch", "core", "nodes"),
    On("patch update", "core", "nodes/status"),
    On("create patch update", "core events.k8s.io", "events"),
    On("create delete get list watch", "core", "pods"),
    On("patch update", "core", "pods/status"),
    On("create", "core", "pods/eviction serviceaccounts/token"),
    On("create delete get patch update", "coordination.k8s.io", "leases"),
    On("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
    On(READ, "node.k8s.io", "runtimeclasses"),
    On("create delete get patch update", "storage.k8s.io", "csinodes"),
    On(READ, "storage.k8s.io", "csidrivers volumeattachments"),
    // Each node makes and deletes the volumes that are its directories.
    On("create delete patch", "core", "persistentvolumes"),
    On(READ, "storage.k8s.io", "storageclasses"),
];

const VIEW_CORE: Row = On(
    READ,
    "core",
    "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers \
     replicationcontrollers/scale serviceaccounts services services/status",
);
const VIEW_CORE_STATUS: Row = On(
    READ,
    "core",
    "bindings events limitranges namespaces namespaces/status pods/log pods/status replicationcontrollers/status \
     resourcequotas resourcequotas/status",
);
const VIEW_SLICES: Row = On(READ, "discovery.k8s.io", "endpointslices");
const VIEW_APPS: Row = On(
    READ,
    "apps",
    "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets \
     replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
);
const VIEW_AUTOSCALING: Row = On(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status");
const VIEW_BATCH: Row = On(READ, "batch", "cronjobs cronjobs/status jobs jobs/status");
const VIEW_POLICY: Row = On(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status");
const VIEW_NETWORKING: Row = On(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies");
/// As metrics-server's own role adds it to these.
const VIEW_USAGE: Row = On(READ, "metrics.k8s.io", "nodes pods");

const EDIT_SECRETS: Row = On(READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy");
const EDIT_IMPERSONATE: Row = On("impersonate", "core", "serviceaccounts");
const EDIT_PODS: Row = On(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy");
const EDIT_EVICTION: Row = On("create", "core", "pods/eviction serviceaccounts/token");
const EDIT_CORE: Row = On(
    WRITE,
    "core",
    "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets \
     serviceaccounts services services/proxy",
);
const EDIT_APPS: Row = On(
    WRITE,
    "apps",
    "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets \
     statefulsets/scale",
);
const EDIT_AUTOSCALING: Row = On(WRITE, "autoscaling", "horizontalpodautoscalers");
const EDIT_BATCH: Row = On(WRITE, "batch", "cronjobs jobs");
const EDIT_POLICY: Row = On(WRITE, "policy", "poddisruptionbudgets");
const EDIT_NETWORKING: Row = On(WRITE, "networking.k8s.io", "ingresses networkpolicies");
const EDIT_LEASES: Row =
    On("create delete deletecollection get list patch update watch", "coordination.k8s.io", "leases");

const EDIT: &[Row] = &[
    EDIT_SECRETS,
    EDIT_IMPERSONATE,
    EDIT_PODS,
    EDIT_EVICTION,
    EDIT_CORE,
    EDIT_APPS,
    EDIT_AUTOSCALING,
    EDIT_BATCH,
    EDIT_POLICY,
    EDIT_NETWORKING,
    EDIT_LEASES,
    VIEW_CORE,
    VIEW_CORE_STATUS,
    VIEW_APPS,
    VIEW_BATCH,
    VIEW_POLICY,
    VIEW_AUTOSCALING,
    VIEW_NETWORKING,
    VIEW_SLICES,
    VIEW_USAGE,
];

const ADMIN: &[Row] = &[
    On("create", "authorization.k8s.io", "localsubjectaccessreviews"),
    On("create delete deletecollection get list patch update watch", GROUP, "rolebindings roles"),
    EDIT_SECRETS,
    EDIT_IMPERSONATE,
    EDIT_PODS,
    EDIT_EVICTION,
    EDIT_CORE,
    EDIT_APPS,
    EDIT_AUTOSCALING,
    EDIT_BATCH,
    EDIT_POLICY,
    EDIT_NETWORKING,
    EDIT_LEASES,
    VIEW_CORE,
    VIEW_CORE_STATUS,
    VIEW_APPS,
    VIEW_BATCH,
    VIEW_POLICY,
    VIEW_AUTOSCALING,
    VIEW_NETWORKING,
    VIEW_SLICES,
    VIEW_USAGE,
];

/// A role, and the users and groups that have it everywhere.
const BINDINGS: [(&str, &[&str], &[&str]); 15] = [
    ("cluster-admin", &[], &[GROUP_MASTERS]),
    ("system:monitoring", &[], &["system:monitoring"]),
    ("system:discovery", &[], &[GROUP_AUTHENTICATED]),
    ("system:basic-user", &[], &[GROUP_AUTHENTICATED]),
    ("system:public-info-viewer", &[], &[GROUP_AUTHENTICATED, GROUP_UNAUTHENTICATED]),
    ("system:service-account-issuer-discovery", &[], &[GROUP_SERVICE_ACCOUNTS]),
    ("system:kube-controller-manager", &[USER_CONTROLLER_MANAGER], &[]),
    ("system:kube-scheduler", &[USER_SCHEDULER], &[]),
    ("system:volume-scheduler", &[USER_SCHEDULER], &[]),
    ("system:node-proxier", &[USER_PROXY], &[]),
    ("system:coredns", &[USER_DNS], &[]),
    ("coracle:ingress", &[USER_INGRESS], &[]),
    ("coracle:scale-to-zero", &[USER_SCALE_TO_ZERO], &[]),
    // Upstream leaves this one to the Node authorizer, which need not be in force here.
    ("system:node", &[], &[GROUP_NODES]),
    // Whoever may run pods may bring their images.
    ("coracle:image-pusher", &[], &[GROUP_AUTHENTICATED]),
];

impl Row {
    fn rule(&self) -> Value {
        let list = |words: &str| -> Vec<String> {
            words.split_whitespace().map(|word| if word == "core" { String::new() } else { word.to_owned() }).collect()
        };
        match self {
            On(verbs, groups, resources) => {
                json!({"apiGroups": list(groups), "resources": list(resources), "verbs": list(verbs)})
            }
            Urls(verbs, urls) => json!({"nonResourceURLs": list(urls), "verbs": list(verbs)}),
        }
    }
}

/// The rules of node agents.
pub(super) fn node_rules() -> Vec<Rule> {
    NODE.iter().map(|row| Rule::of(&row.rule())).collect()
}

/// The objects of a resource of the policy.
pub(crate) fn objects(resource: &str) -> Vec<Value> {
    let metadata = |name: &str| {
        json!({
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        })
    };
    let role = |(name, rows): &(&str, &[Row])| json!({"metadata": metadata(name), "rules": rows.iter().map(Row::rule).collect::<Vec<_>>()});
    let binding = |(role, users, groups): &(&str, &[&str], &[&str])| {
        let subject = |kind: &str, name: &&str| json!({"kind": kind, "apiGroup": GROUP, "name": name});
        let users = users.iter().map(|name| subject("User", name));
        let subjects: Vec<Value> = users.chain(groups.iter().map(|name| subject("Group", name))).collect();
        let role_ref = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": role});
        json!({"metadata": metadata(role), "roleRef": role_ref, "subjects": subjects})
    };
    match resource {
        "clusterroles" => ROLES.iter().map(role).collect(),
        "clusterrolebindings" => BINDINGS.iter().map(binding).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rbac::{Rbac, Source};
    use super::super::{AuthorizationMode, Authorizer, Decision, Resource, Target};
    use super::*;
    use crate::authorizer::Attributes;
    use crate::identity::Identity;

    fn allowed(user: &Identity, verb: &str, target: Target<'_>) -> bool {
        let modes = [AuthorizationMode::Node, AuthorizationMode::Rbac];
        let authorizer = Authorizer::new(&modes, Rbac::new(Source::Defaults)).unwrap();
        matches!(authorizer.authorize(&Attributes { user, verb, target }), Decision::Allow(_))
    }

    #[test]
    fn everybody_may_see_whether_the_server_is_well_and_users_what_there_is() {
        let (nobody, jane) = (Identity::anonymous(), Identity::user("jane"));
        for (path, by_nobody, by_jane) in [
            ("/healthz", true, true),
            ("/readyz", true, true),
            ("/version", true, true),
            ("/apis/apps/v1", false, true),
            ("/openapi/v3", false, true),
            ("/v2/hello/manifests/1", false, true),
            ("/metrics", false, false),
        ] {
            assert_eq!(allowed(&nobody, "get", Target::Path(path)), by_nobody, "{path}");
            assert_eq!(allowed(&jane, "get", Target::Path(path)), by_jane, "{path}");
        }
    }

    #[test]
    fn the_owner_may_do_everything_and_components_what_they_need() {
        let pods = Target::Resource(Resource { namespace: "n", resource: "pods", ..Resource::default() });
        let secrets = Target::Resource(Resource { namespace: "n", resource: "secrets", ..Resource::default() });
        assert!(allowed(&Identity::admin(), "delete", secrets));
        assert!(allowed(&Identity::user(USER_CONTROLLER_MANAGER), "deletecollection", secrets));
        assert!(allowed(&Identity::user(USER_SCHEDULER), "watch", pods));
        assert!(!allowed(&Identity::user(USER_SCHEDULER), "get", secrets));
        assert!(allowed(&Identity::node("n1"), "watch", secrets) && !allowed(&Identity::node("n1"), "delete", secrets));
        assert!(!allowed(&Identity::user("jane"), "list", pods));
    }

    #[test]
    fn each_binding_is_to_a_role_that_there_is() {
        for (role, ..) in BINDINGS {
            assert!(ROLES.iter().any(|(name, _)| *name == role), "{role}");
        }
    }
}
