//! The kv sample: a store that keeps what it acknowledged, whatever is done to its pods and its server.

mod torture;

use std::net::SocketAddr;

use coracle_tests::server::BeforeServer;
use coracle_tests::{Cluster, eventually, http};
use serde_json::{Value, json};

/// The address of a store of one pod, `kv-7`, that keeps its keys in this volume.
fn store(cluster: &Cluster, mut volume: Value) -> SocketAddr {
    cluster.push("kv");
    volume["name"] = "data".into();
    let container = json!({"name": "kv", "image": "kv:1", "env": [{"name": "PORT", "value": "8080"}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    let pod = json!({"metadata": {"name": "kv-7", "labels": {"app": "kv"}},
        "spec": {"containers": [container], "volumes": [volume]}});
    cluster.api().create("/api/v1/namespaces/default/pods", &pod);
    let ports = json!([{"port": 8080, "nodePort": 30090}]);
    let service = json!({"metadata": {"name": "kv"},
        "spec": {"type": "NodePort", "selector": {"app": "kv"}, "ports": ports}});
    cluster.api().create("/api/v1/namespaces/default/services", &service);
    cluster.ready_pods("app=kv", 1);
    let at = cluster.node_port(30090);
    eventually("an answer", || http::get(at, "/healthz"));
    at
}

#[test]
fn a_store_answers_in_http_and_refuses_what_it_cannot_keep() {
    let cluster = Cluster::start();
    let at = store(&cluster, json!({"emptyDir": {}}));
    let send = |method: &str, path: &str, text: &str| http::send(at, method, path, text).unwrap();
    assert_eq!(send("PUT", "/keys/boat", "coracle").0, 204);
    assert_eq!(send("PUT", "/keys/boat.2", "").0, 204);
    assert_eq!(send("GET", "/keys/boat", ""), (200, "coracle".to_owned()));
    assert_eq!(send("GET", "/keys/boat.2", ""), (200, String::new()));
    assert_eq!(send("GET", "/keys", ""), (200, "boat\nboat.2\n".to_owned()));
    assert_eq!(send("DELETE", "/keys/boat.2", "").0, 204);
    assert_eq!(send("DELETE", "/keys/boat.2", "").0, 404);
    assert_eq!(send("GET", "/whoami", "").1, "{\"name\":\"kv-7\",\"ordinal\":7,\"keys\":1}\n");
    let large = "x".repeat(1 << 20);
    assert_eq!(send("PUT", "/keys/large", &large).0, 204);
    assert_eq!(send("GET", "/keys/large", ""), (200, large));
    let (status, words) = send("PUT", "/keys/a%2Fb", "x");
    assert_eq!((status, words.contains("a key is")), (400, true), "{words}");
    assert_eq!(send("POST", "/keys/boat", "x").0, 405);

    // Many at once: they share syncs, and none is forgotten.
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            std::thread::spawn(move || {
                for number in 0..20 {
                    let path = format!("/keys/w{writer}-{number}");
                    assert_eq!(http::send(at, "PUT", &path, &path).unwrap().0, 204);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    assert_eq!(send("GET", "/keys?prefix=w3-", "").1.lines().count(), 20);
    assert!(cluster.coracle("logs kv-7").ok().contains("kv-7: 0 keys from 0 commits, 0 torn bytes dropped"));
}

#[test]
fn a_full_disk_refuses_writes_and_loses_none_that_was_acknowledged() {
    let mut cluster = Cluster::builder().before_server(BeforeServer::with_files_of_at_most(16 << 20)).start();
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let claim = json!({"metadata": {"name": "kept"}, "spec": spec});
    cluster.api().create("/api/v1/namespaces/default/persistentvolumeclaims", &claim);
    let at = store(&cluster, json!({"persistentVolumeClaim": {"claimName": "kept"}}));
    let value = "x".repeat(1 << 20);
    let put = |key: &str| http::send(at, "PUT", &format!("/keys/{key}"), &value).unwrap();
    let kept = (0..32).take_while(|number| put(&format!("n{number}")).0 == 204).count();
    assert!((8..16).contains(&kept), "{kept} of 1 MiB each fit into 16 MiB");
    let (status, words) = put("more");
    assert_eq!((status, words.contains("the disk took none of it")), (507, true), "{words}");
    let all_there = |at| {
        (0..kept).try_for_each(|number| match http::get(at, &format!("/keys/n{number}"))? {
            (200, found) if found == value => Ok(()),
            (status, _) => Err(format!("n{number}: {status}")),
        })
    };
    all_there(at).unwrap();
    cluster.server().make_room();
    assert_eq!(put("after").0, 204);
    cluster.kill_hard();
    cluster.restart();
    let at = cluster.node_port(30090);
    eventually("all that was acknowledged", || all_there(at));
    assert_eq!(http::get(at, "/keys/after").unwrap().1.len(), value.len());
}
