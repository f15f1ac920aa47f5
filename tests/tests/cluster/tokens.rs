//! Pods and the API: each has a token of its own, and what it may do with it is RBAC's to say.

use coracle_tests::{Api, Cluster, eventually};
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn pod(cluster: &Cluster, name: &str, image: &str, more: Value) {
    let mut spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": image}]});
    more.as_object().unwrap().iter().for_each(|(field, value)| spec[field] = value.clone());
    let metadata = json!({"name": name, "labels": {"app": name}});
    cluster.api().create(PODS, &json!({"metadata": metadata, "spec": spec}));
}

#[test]
fn a_guest_asks_the_api_as_its_account_and_is_told_what_that_may() {
    let cluster = Cluster::start();
    cluster.push("peers");
    pod(&cluster, "denied", "peers:1", json!({}));
    assert_eq!(cluster.terminated("denied")["exitCode"], 1);
    let said = cluster.kubectl("logs denied").ok();
    let why = "403 pods is forbidden: User \"system:serviceaccount:default:default\" cannot list resource \"pods\"";
    assert!(said.contains(why), "{said}");

    cluster.kubectl("apply -f samples/peers/peers.yaml").ok();
    let end = cluster.terminated("peers");
    let said = cluster.kubectl("logs peers").ok();
    assert_eq!((&end["exitCode"], said.as_str()), (&json!(0), "denied\npeers\n2 pods\n"), "{end}");
    // Clients of Kubernetes ask the address that their environment names.
    let args = json!(["$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)"]);
    let containers = json!([{"name": "c", "image": "peers:1", "args": args}]);
    pod(&cluster, "by-address", "", json!({"serviceAccountName": "peers", "containers": containers}));
    let end = cluster.terminated("by-address");
    assert_eq!(end["exitCode"], 0, "{end} {}", cluster.kubectl("logs by-address").ok());
}

#[test]
fn a_token_is_made_when_somebody_can_see_it_and_dies_with_its_pod() {
    let cluster = Cluster::start();
    cluster.push("hello");
    pod(&cluster, "web", "hello:1", json!({}));
    cluster.ready_pods("app=web", 1);
    let uid = cluster.get(&format!("{PODS}/web"))["metadata"]["uid"].as_str().unwrap().to_owned();
    let volumes = cluster.data_dir().join("pods").join(uid).join("volumes");
    assert!(!volumes.exists(), "a program that reads no files was given some");

    let read = |file: &str| cluster.kubectl(&format!("exec web -- cat {ACCOUNT}/{file}")).ok();
    assert_eq!(read("namespace"), "default");
    assert_eq!(cluster.kubectl(&format!("exec web -- ls {ACCOUNT}")).ok(), "ca.crt\nnamespace\ntoken\n");
    let published = cluster.get("/api/v1/namespaces/default/configmaps/kube-root-ca.crt");
    assert_eq!(read("ca.crt"), published["data"]["ca.crt"].as_str().unwrap());
    let token = read("token");
    let other = || {
        let nobody = Api::anonymous(&cluster.server().kubeconfig);
        nobody.get_with(PODS, "Authorization", &format!("Bearer {token}"))
    };
    let (status, refusal) = other();
    assert_eq!(status, 403, "{refusal}");
    assert!(refusal.to_string().contains("system:serviceaccount:default:default"), "{refusal}");

    cluster.kubectl("delete pod web").ok();
    eventually("a token that is worth nothing", || match other() {
        (401, _) => Ok(()),
        (status, answer) => Err(format!("{status} {answer}")),
    });
}

#[test]
fn who_wants_no_token_is_given_none() {
    let cluster = Cluster::start();
    cluster.push("hello");
    pod(&cluster, "plain", "hello:1", json!({"automountServiceAccountToken": false}));
    cluster.ready_pods("app=plain", 1);
    let described = |name: &str| {
        let text = cluster.kubectl(&format!("describe pod {name}")).ok();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let shown = described("plain");
    assert!(shown.contains("Volumes: <none>") && shown.contains("Mounts: <none>"), "{shown}");
    pod(&cluster, "usual", "hello:1", json!({}));
    let shown = described("usual");
    for line in [
        " from kube-api-access-",
        "Projected (a volume that contains injected data from multiple sources)",
        "TokenExpirationSeconds: 3607",
        "ConfigMapName: kube-root-ca.crt",
        "DownwardAPI: true",
    ] {
        assert!(shown.contains(line), "{line} is missing in\n{shown}");
    }
}
