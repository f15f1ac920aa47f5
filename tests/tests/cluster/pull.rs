//! Images from a real registry that asks for a password, as pods with pull secrets pull them.

use coracle_tests::registry::{BreakingLine, LINUX, PASSWORD, Registry, USER, WASM};
use coracle_tests::{Cluster, paths};
use serde_json::{Value, json};

/// The program of a sample.
fn sample(name: &str) -> Vec<u8> {
    std::fs::read(paths::sample(name)).unwrap()
}

/// Makes a pull secret for a registry.
fn secret(cluster: &Cluster, name: &str, host: &str, password: &str) {
    let config = json!({ "auths": { host: { "username": USER, "password": password } } });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name },
        "type": "kubernetes.io/dockerconfigjson", "stringData": { ".dockerconfigjson": config.to_string() },
    });
    cluster.coracle_with("apply -f -", &secret.to_string()).ok();
}

fn run(cluster: &Cluster, name: &str, image: &str, policy: &str, secrets: &[&str]) {
    let secrets: Vec<Value> = secrets.iter().map(|s| json!({ "name": s })).collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "imagePullSecrets": secrets, "containers": [{
            "name": "main", "image": image, "imagePullPolicy": policy,
            "ports": [{ "containerPort": 8080 }], "resources": { "limits": { "memory": "64Mi" } },
        }] },
    });
    cluster.coracle_with("apply -f -", &pod.to_string()).ok();
}

const FAILED: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];

#[test]
fn a_pod_pulls_with_its_secret_and_another_is_not_served_by_it() {
    let (registry, cluster) = (Registry::start(), Cluster::start());
    let digest = registry.push("team/hello", "1", &sample("hello"), WASM);
    let image = format!("{}/team/hello:1", registry.host());
    secret(&cluster, "right", &registry.host(), PASSWORD);
    secret(&cluster, "wrong", &registry.host(), "guessed");

    run(&cluster, "jane", &image, "IfNotPresent", &["wrong", "right", "none"]);
    cluster.ready_pods("app=jane", 1);
    let pulled = cluster.event("jane", "Pulled");
    assert!(pulled.starts_with(&format!("Successfully pulled image {image:?} in ")), "{pulled}");
    assert!(pulled.contains(" including waiting). Image size: ") && pulled.ends_with(" bytes."), "{pulled}");
    assert_eq!(cluster.event("jane", "Pulling"), format!("Pulling image {image:?}"));
    let lacks = cluster.event("jane", "FailedToRetrieveImagePullSecret");
    assert_eq!(
        lacks,
        "Unable to retrieve some image pull secrets (none); attempting to pull the image may not succeed."
    );
    let pod = cluster.get("/api/v1/namespaces/default/pods/jane");
    let id = &pod["status"]["containerStatuses"][0]["imageID"];
    assert_eq!(*id, format!("{}/team/hello@{digest}", registry.host()));

    // What is on the machine now is for those alone whom the registry gives it to.
    for (name, policy, secrets) in [("nobody", "IfNotPresent", [].as_slice()), ("guess", "Always", &["wrong"])] {
        run(&cluster, name, &image, policy, secrets);
        let message = cluster.waiting(name, &FAILED);
        assert!(message.contains("401 Unauthorized: unauthorized: authentication required"), "{message}");
    }
    run(&cluster, "never", &image, "Never", &[]);
    assert!(cluster.waiting("never", &["ErrImageNeverPull"]).contains("does not have the proper credentials"));
    run(&cluster, "again", &image, "IfNotPresent", &["right"]);
    cluster.ready_pods("app=again", 1);
    let present = cluster.event("again", "Pulled");
    assert_eq!(present, format!("Container image {image:?} already present on machine and can be accessed by the pod"));
    run(&cluster, "digest", &format!("{}/team/hello@{digest}", registry.host()), "Always", &["right"]);
    cluster.ready_pods("app=digest", 1);
}

#[test]
fn the_service_account_s_secret_is_the_pod_s() {
    let (registry, cluster) = (Registry::start(), Cluster::start());
    registry.push("hello", "1", &sample("hello"), WASM);
    secret(&cluster, "right", &registry.host(), PASSWORD);
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" },
        "imagePullSecrets": [{ "name": "right" }],
    });
    cluster.coracle_with("apply -f -", &account.to_string()).ok();
    run(&cluster, "hello", &format!("{}/hello:1", registry.host()), "Always", &[]);
    cluster.ready_pods("app=hello", 1);
}

#[test]
fn what_is_refused_is_told_in_the_registry_s_words_and_tried_again() {
    let (registry, cluster) = (Registry::start(), Cluster::start());
    secret(&cluster, "right", &registry.host(), PASSWORD);
    registry.push("linux", "1", b"a tar archive", LINUX);
    run(&cluster, "linux", &format!("{}/linux:1", registry.host()), "Always", &["right"]);
    let message = cluster.waiting("linux", &["InvalidImage"]);
    assert!(message.contains("it has no layer of type application/wasm") && message.contains(LINUX), "{message}");

    run(&cluster, "nowhere", "127.0.0.1:1/a:1", "Always", &[]);
    let message = cluster.waiting("nowhere", &FAILED);
    assert!(message.contains("http://127.0.0.1:1/v2/a/manifests/1: connection refused"), "{message}");
    assert!(message.contains("coracle image push"), "{message}");

    let late = format!("{}/late:1", registry.host());
    run(&cluster, "late", &late, "IfNotPresent", &["right"]);
    let message = cluster.waiting("late", &["ErrImagePull"]);
    assert!(message.contains("404 Not Found: manifest unknown"), "{message}");
    let failed = cluster.event("late", "Failed");
    assert!(
        failed.starts_with(&format!("Failed to pull image {late:?}: ")) || failed.starts_with("Error: "),
        "{failed}"
    );
    let message = cluster.waiting("late", &["ImagePullBackOff"]);
    assert!(message.starts_with(&format!("Back-off pulling image {late:?}: ErrImagePull: ")), "{message}");
    assert_eq!(cluster.event("late", "BackOff"), format!("Back-off pulling image {late:?}"));
    registry.push("late", "1", &sample("hello"), WASM);
    cluster.ready_pods("app=late", 1);
}

#[test]
fn a_blob_whose_connection_breaks_is_gone_on_with() {
    let registry = Registry::start();
    registry.push("hello", "1", &sample("hello"), WASM);
    let line = BreakingLine::start(registry.addr(), 2, 40_000);
    let cluster = Cluster::start();
    secret(&cluster, "right", &line.host(), PASSWORD);
    run(&cluster, "hello", &format!("{}/hello:1", line.host()), "IfNotPresent", &["right"]);
    cluster.ready_pods("app=hello", 1);
    let ranges = line.ranges();
    assert_eq!(ranges.len(), 2, "{ranges:?}");
}

#[test]
fn a_registries_file_says_where_images_are_and_as_whom_to_ask() {
    let registry = Registry::start();
    registry.push("hub/hello", "1", &sample("hello"), WASM);
    let mut cluster = Cluster::builder().stopped();
    std::fs::create_dir(cluster.data_dir()).unwrap();
    let file = cluster.data_dir().join("registries.yaml");
    std::fs::write(&file, "mirrors:\n  docker.io:\n    endpoints: [x]\n").unwrap();
    let refused = cluster.refuses_to_start();
    assert!(refused.contains("registries.yaml") && refused.contains("unknown field `endpoints`"), "{refused}");
    assert!(refused.contains("line 3"), "{refused}");

    let host = registry.host();
    let right = format!(
        "mirrors:\n  docker.io:\n    endpoint: ['http://{host}']\n    rewrite: {{'^library/(.*)': 'hub/$1'}}\n\
         configs:\n  '{host}':\n    auth: {{username: {USER}, password: '{PASSWORD}'}}\n"
    );
    std::fs::write(&file, right).unwrap();
    cluster.restart();
    // Without a host, as in a manifest that was written for Docker Hub.
    run(&cluster, "hello", "hello:1", "Always", &[]);
    cluster.ready_pods("app=hello", 1);
    let pod = cluster.get("/api/v1/namespaces/default/pods/hello");
    let id = pod["status"]["containerStatuses"][0]["imageID"].as_str().unwrap();
    assert!(id.starts_with("docker.io/library/hello@sha256:"), "{id}");
}

#[test]
fn a_person_has_the_server_pull_an_image_for_every_pod() {
    let (registry, cluster) = (Registry::start(), Cluster::start());
    let digest = registry.push("hello", "1", &sample("hello"), WASM);
    let image = format!("{}/hello:1", registry.host());
    let refused = cluster.coracle(&format!("image pull {image}")).refused();
    assert!(refused.contains("401 Unauthorized") && refused.contains("(no credentials were given)"), "{refused}");
    let line = format!("image pull {image} --username {USER} --password-stdin");
    let refused = cluster.coracle_with(&line, "guessed\n").refused();
    assert!(refused.contains("401 Unauthorized: unauthorized: authentication required"), "{refused}");
    let pulled = cluster.coracle_with(&line, &format!("{PASSWORD}\n")).ok();
    assert!(pulled.starts_with(&format!("{image}: digest: {digest} size: ")), "{pulled}");
    run(&cluster, "hello", &image, "Never", &[]);
    cluster.ready_pods("app=hello", 1);
    let refused = cluster.coracle("image pull hello:1").refused();
    assert!(refused.contains("names no registry") && refused.contains("docker.io/library/hello:1"), "{refused}");
}
