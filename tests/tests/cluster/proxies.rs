//! What pods and Services serve, asked by the API server: by `kubectl get --raw`, and by any client of `kubectl proxy`.

use std::net::SocketAddr;

use coracle_tests::stream::Stream;
use coracle_tests::{Cluster, eventually, http};
use serde_json::json;

const NAMESPACE: &str = "/api/v1/namespaces/default";

/// `kubectl proxy`, which asks as the cluster's owner.
fn proxy(cluster: &Cluster) -> (Stream, SocketAddr) {
    let mut stream = cluster.kubectl_stream("proxy --port=0");
    let line = stream.until("where it serves", |line| line.contains("Starting to serve on"));
    let at = line.rsplit(' ').next().unwrap().trim().parse().unwrap();
    (stream, at)
}

#[test]
fn services_and_pods_are_asked_through_the_api() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    let pods = cluster.ready_pods("app=hello", 3);
    let get = |path: &str| cluster.kubectl(&format!("get --raw {NAMESPACE}/{path}"));
    eventually("an answer of the Service", || get("services/http:hello:80/proxy/").tried());
    for path in ["services/hello:http/proxy/", "services/hello:80/proxy/a/b?c=d", "services/:hello:http/proxy/../x"] {
        let said = get(path).ok();
        assert!(pods.iter().any(|pod| said.trim_end().ends_with(pod)), "{path}: {said}");
    }
    let pod = &pods[0];
    assert!(get(&format!("pods/{pod}/proxy/")).ok().trim_end().ends_with(pod));
    assert_eq!(get(&format!("pods/http:{pod}:80/proxy/healthz")).ok(), "ok\n");

    let refused = |path: &str| get(path).refused();
    assert!(refused("services/hello/proxy/").contains("no endpoints available for service \"hello\""));
    assert!(refused("services/hello:81/proxy/").contains("no service port 81 found for service \"hello\""));
    assert!(refused("services/none/proxy/").contains("services \"none\" not found"));
    assert!(refused("services/ftp:hello:80/proxy/").contains("invalid service request \"ftp:hello:80\""));
    let unheard = refused(&format!("pods/{pod}:81/proxy/"));
    assert!(
        unheard.contains("error trying to reach service: dial tcp") && unheard.contains("connection refused"),
        "{unheard}"
    );

    // The path is handed on as it came, and never leads out of the proxy.
    let paths = [
        ("/one?x=%2Ftwo", "/one?x=%2Ftwo"),
        ("/a/%2e%2e/b/../three", "/three"),
        ("/%2e%2E/%2e./four/", "/four/"),
        ("//five//", "//five//"),
    ];
    for (sent, _) in paths {
        get(&format!("pods/{pod}:80/proxy{sent}")).ok();
    }
    eventually("all of them in the log", || {
        let heard = cluster.kubectl(&format!("logs {pod}")).ok();
        let is_heard = |(_, path): &&(&str, &str)| heard.lines().any(|line| line == format!("GET {path}"));
        if paths.iter().filter(is_heard).count() == paths.len() { Ok(()) } else { Err(heard) }
    });
    let (_running, at) = proxy(&cluster);
    assert_eq!(http::get(at, &format!("{NAMESPACE}/pods/{pod}/proxy?a=b")).unwrap().0, 301);
}

#[test]
fn a_guest_with_a_listener_of_its_own_is_asked_with_bodies_by_whoever_may() {
    let cluster = Cluster::start();
    cluster.push("kv");
    let container = json!({"name": "kv", "image": "kv:1", "env": [{"name": "PORT", "value": "8080"}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}], "ports": [{"name": "store", "containerPort": 8080}]});
    let spec = json!({"containers": [container], "volumes": [{"name": "data", "emptyDir": {}}]});
    let metadata = json!({"name": "kv-0", "labels": {"app": "kv"}});
    cluster.api().create(&format!("{NAMESPACE}/pods"), &json!({"metadata": metadata, "spec": spec}));
    let spec = json!({"selector": {"app": "kv"}, "ports": [{"port": 80, "targetPort": "store"}]});
    cluster.api().create(&format!("{NAMESPACE}/services"), &json!({"metadata": {"name": "kv"}, "spec": spec}));
    cluster.ready_pods("app=kv", 1);
    let (_running, at) = proxy(&cluster);
    let send =
        |method: &str, path: &str, text: &str| http::send(at, method, &format!("{NAMESPACE}/{path}"), text).unwrap();
    eventually("an answer of the store", || match send("GET", "services/kv/proxy/healthz", "") {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(send("PUT", "pods/kv-0/proxy/keys/boat", "coracle").0, 204);
    assert_eq!(send("GET", "services/kv:80/proxy/keys/boat", ""), (200, "coracle".to_owned()));
    assert_eq!(send("DELETE", "services/kv/proxy/keys/boat", "").0, 204);
    assert_eq!(send("GET", "pods/kv-0:8080/proxy/keys/boat", "").0, 404, "the store's own answer");

    // Who may see pods may not yet ask them.
    cluster.kubectl("create serviceaccount eve").ok();
    cluster.kubectl("create rolebinding eve --clusterrole=view --serviceaccount=default:eve").ok();
    let refused = cluster
        .kubectl(&format!("get --raw {NAMESPACE}/services/kv/proxy/keys --as system:serviceaccount:default:eve"))
        .refused();
    assert!(refused.contains("cannot get resource \"services/proxy\""), "{refused}");
}
