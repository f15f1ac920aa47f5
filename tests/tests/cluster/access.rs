//! Who may look: the person who started the server, and nobody else.

use std::os::unix::fs::MetadataExt;

use ::http::Method;
use coracle_tests::{Api, Cluster, eventually};
use serde_json::Value;

#[test]
fn without_credentials_only_health_is_told() {
    let cluster = Cluster::start();
    cluster.push("hello");
    let nobody = Api::anonymous(&cluster.server().kubeconfig);
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(nobody.call(&Method::GET, path, &Value::Null), (200, "ok".into()), "{path}");
    }
    for path in [
        "/api/v1/namespaces/default/pods",
        "/api/v1/secrets",
        "/apis",
        "/openapi/v3",
        "/metrics",
        "/v2/",
        "/v2/hello/manifests/1",
        "/v2/_catalog",
        "/api/v1/nodes/x/proxy/pods",
    ] {
        let (status, answer) = nobody.call(&Method::GET, path, &Value::Null);
        assert!(matches!(status, 401 | 403), "{path}: {status} {answer}");
    }
    // Nobody becomes somebody by saying so.
    for (header, value) in
        [("X-Remote-User", "admin"), ("Impersonate-User", "admin"), ("Authorization", "Bearer admin")]
    {
        let (status, answer) = nobody.get_with("/api/v1/namespaces/default/pods", header, value);
        assert!(matches!(status, 401 | 403), "{header}: {status} {answer}");
    }
    cluster.get("/api/v1/namespaces/default/pods");
}

#[test]
fn what_the_server_keeps_is_for_its_owner_alone() {
    let cluster = Cluster::start();
    let dir = cluster.data_dir();
    let keys = [dir.join("state.redb"), cluster.server().kubeconfig.clone()];
    // The folder is shut to others, and what must never be read even if it is copied elsewhere is shut once more.
    for path in keys.iter().chain([&dir]) {
        let mode = std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "others may look at {} ({mode:o})", path.display());
    }
}

#[test]
fn the_apis_own_service_comes_back_when_it_is_deleted() {
    let cluster = Cluster::start();
    for path in ["/api/v1/namespaces/default/services", "/api/v1/namespaces/default/endpoints"] {
        let path = format!("{path}/kubernetes");
        let before = cluster.get(&path);
        assert_eq!(cluster.api().call(&Method::DELETE, &path, &Value::Null).0, 200);
        let after = eventually("another of the same name", || {
            let (status, found) = cluster.api().call(&Method::GET, &path, &Value::Null);
            let another = status == 200 && found["metadata"]["uid"] != before["metadata"]["uid"];
            if another { Ok(found) } else { Err(format!("{status} {found}")) }
        });
        assert_eq!(after["spec"]["clusterIP"], before["spec"]["clusterIP"]);
    }
}
