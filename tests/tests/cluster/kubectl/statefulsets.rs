//! StatefulSets as kubectl drives them: names that stay, order, updates by hand and by parts, orphans and adoption.

use std::collections::BTreeMap;

use coracle_tests::cluster::name;
use coracle_tests::{Cluster, dns, eventually};
use http::Method;
use serde_json::Value;

const SET: &str = "/apis/apps/v1/namespaces/default/statefulsets/web";

/// A StatefulSet of `hello:1` behind a headless Service; `more` is put into its spec.
fn yaml(replicas: u32, more: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{clusterIP: None, selector: {{app: web}}, ports: [{{port: 80}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: web}}
spec:
  replicas: {replicas}
  serviceName: web
  {more}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 5
      containers: [{{name: hello, image: \"hello:1\", ports: [{{containerPort: 80}}]}}]
"
    )
}

fn with_web(replicas: u32, more: &str) -> Cluster {
    let cluster = Cluster::start();
    cluster.push_as("hello", "hello:1");
    cluster.push_as("hello", "hello:2");
    cluster.kubectl_with("apply -f -", &yaml(replicas, more)).ok();
    cluster.kubectl("rollout status sts/web --timeout=40s").ok();
    cluster
}

/// UIDs of the pods that live, by name.
fn uids(cluster: &Cluster) -> BTreeMap<String, String> {
    let uid = |pod: &Value| (name(pod), pod["metadata"]["uid"].as_str().unwrap().to_owned());
    cluster.pods("app=web").iter().map(uid).collect()
}

fn images(cluster: &Cluster) -> String {
    cluster
        .kubectl("get pods -l app=web --sort-by=.metadata.name -o jsonpath={.items[*].spec.containers[0].image}")
        .ok()
}

/// Waits until a pod, which may have to be made yet, cannot have its image.
fn lacks_its_image(cluster: &Cluster, pod: &str) {
    eventually(&format!("{pod} without its image"), || {
        let pods = cluster.pods("app=web");
        let found = pods.iter().find(|p| name(p) == pod).ok_or("no pod")?;
        let reason = found["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].clone();
        if ["ErrImagePull", "ImagePullBackOff"].iter().any(|r| reason == *r) { Ok(()) } else { Err(reason.to_string()) }
    });
}

/// Deletes a pod, and waits until it is gone or another has its name. kubectl itself waits by name: where the next pod
/// is there within milliseconds it may see that one alone, and wait for its end.
#[track_caller]
fn delete_pod(cluster: &Cluster, name: &str) {
    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().map(str::to_owned);
    let path = format!("/api/v1/namespaces/default/pods/{name}");
    let before = uid(&cluster.get(&path));
    cluster.kubectl(&format!("delete pod {name} --wait=false")).ok();
    eventually("the end of the pod", || match cluster.api().call(&Method::GET, &path, &Value::Null) {
        (200, pod) if uid(&pod) == before => Err(pod["status"].to_string()),
        (_, _) => Ok(()),
    });
}

#[test]
fn a_statefulset_is_scaled_updated_rolled_back_and_restarted() {
    let cluster = with_web(3, "");
    assert_eq!(cluster.ready_pods("app=web", 3), ["web-0", "web-1", "web-2"]);
    let table = cluster.kubectl("get sts web -o wide").ok();
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["NAME", "READY", "AGE", "CONTAINERS", "IMAGES"], "{table}");
    assert_eq!((words[1][0], words[1][1], words[1][3], words[1][4]), ("web", "3/3", "hello", "hello:1"), "{table}");

    assert_eq!(cluster.kubectl("scale sts web --replicas=5").ok(), "statefulset.apps/web scaled\n");
    assert_eq!(cluster.ready_pods("app=web", 5)[4], "web-4");
    cluster.kubectl("scale sts web --replicas=2").ok();
    assert_eq!(cluster.ready_pods("app=web", 2), ["web-0", "web-1"]);

    cluster.kubectl("set image sts/web hello=hello:2").ok();
    // One pod may be away at a time, so one of two is there throughout.
    eventually("both updated, never fewer than one available", || {
        let status = cluster.get(SET)["status"].clone();
        let count = |field: &str| status[field].as_u64().unwrap_or(0);
        assert!(count("availableReplicas") >= 1, "{status}");
        let done = count("updatedReplicas") == 2 && count("availableReplicas") == 2;
        if done && status["currentRevision"] == status["updateRevision"] { Ok(()) } else { Err(status.to_string()) }
    });
    let said = cluster.kubectl("rollout status sts/web --timeout=40s").ok();
    assert!(said.contains("partitioned roll out complete: 2 new pods have been updated"), "{said}");
    assert_eq!(images(&cluster), "hello:2 hello:2");

    let history = cluster.kubectl("rollout history sts/web").ok();
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    let first = cluster.kubectl("rollout history sts/web --revision=1").ok();
    assert!(first.contains("hello:1"), "{first}");
    assert_eq!(cluster.kubectl("rollout undo sts/web").ok(), "statefulset.apps/web rolled back\n");
    cluster.kubectl("rollout status sts/web --timeout=40s").ok();
    assert_eq!(images(&cluster), "hello:1 hello:1");
    let said = cluster.kubectl("rollout undo sts/web --to-revision=2").ok();
    assert_eq!(said, "statefulset.apps/web rolled back\n");
    cluster.kubectl("rollout status sts/web --timeout=40s").ok();
    assert_eq!(images(&cluster), "hello:2 hello:2");

    let before = uids(&cluster);
    assert_eq!(cluster.kubectl("rollout restart sts/web").ok(), "statefulset.apps/web restarted\n");
    cluster.kubectl("rollout status sts/web --timeout=40s").ok();
    let after = uids(&cluster);
    assert!(after.iter().all(|(name, uid)| before[name] != *uid), "{before:?} {after:?}");
    let described = cluster.kubectl("describe sts web").ok();
    assert!(described.contains("create Pod web-0 in StatefulSet web successful"), "{described}");
}

#[test]
fn an_update_is_tried_on_some_pods_and_then_on_all() {
    let cluster = with_web(3, "updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 2}}");
    cluster.kubectl("set image sts/web hello=hello:2").ok();
    let said = cluster.kubectl("rollout status sts/web --timeout=40s").ok();
    assert!(said.contains("partitioned roll out complete: 1 new pods have been updated"), "{said}");
    assert_eq!(images(&cluster), "hello:1 hello:1 hello:2");
    delete_pod(&cluster, "web-0");
    cluster.ready_pods("app=web", 3);
    assert_eq!(images(&cluster), "hello:1 hello:1 hello:2", "below the partition pods come back as they were");
    cluster.kubectl(r#"patch sts web -p '{"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}}'"#).ok();
    cluster.kubectl("rollout status sts/web --timeout=40s").ok();
    cluster.ready_pods("app=web", 3);
    assert_eq!(images(&cluster), "hello:2 hello:2 hello:2");

    // By hand: nothing changes until somebody deletes a pod.
    let by_hand = r#"{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}}"#;
    cluster.kubectl(&format!("patch sts web -p '{by_hand}'")).ok();
    cluster.kubectl("set image sts/web hello=hello:1").ok();
    eventually("an update that nobody carries out", || {
        let set = cluster.get(SET);
        let seen = set["status"]["observedGeneration"] == set["metadata"]["generation"];
        if seen { Ok(()) } else { Err(set["status"].to_string()) }
    });
    assert_eq!(images(&cluster), "hello:2 hello:2 hello:2");
    delete_pod(&cluster, "web-1");
    cluster.ready_pods("app=web", 3);
    assert_eq!(images(&cluster), "hello:2 hello:1 hello:2");
    let refused = cluster.kubectl("rollout status sts/web").refused();
    assert!(refused.contains("rollout status is only available for RollingUpdate strategy type"), "{refused}");
}

#[test]
fn a_broken_update_stops_at_the_first_pod_and_is_mended_as_documented() {
    let cluster = with_web(2, "");
    cluster.kubectl("set image sts/web hello=nowhere:9").ok();
    lacks_its_image(&cluster, "web-1");
    eventually("one pod available, one of the new revision", || {
        let status = cluster.get(SET)["status"].clone();
        let done = status["availableReplicas"] == 1 && status["updatedReplicas"] == 1;
        if done { Ok(()) } else { Err(status.to_string()) }
    });
    cluster.kubectl("rollout undo sts/web").ok();
    // An ordered set waits for the broken pod to come up, which it never does; so somebody deletes it.
    delete_pod(&cluster, "web-1");
    cluster.kubectl("rollout status sts/web --timeout=40s").ok();
    assert_eq!(images(&cluster), "hello:1 hello:1");
}

#[test]
fn orphans_are_adopted_and_run_on() {
    let cluster = with_web(2, "");
    let before = uids(&cluster);
    cluster.kubectl("delete sts web --cascade=orphan").ok();
    let owners = cluster.kubectl("get pods -l app=web -o jsonpath={.items[*].metadata.ownerReferences}").ok();
    assert_eq!(owners, "");
    cluster.kubectl_with("apply -f -", &yaml(3, "")).ok();
    cluster.kubectl("rollout status sts/web --timeout=40s").ok();
    cluster.ready_pods("app=web", 3);
    let after = uids(&cluster);
    assert!(before.iter().all(|(name, uid)| after[name] == *uid), "{before:?} {after:?}");
    assert_eq!(cluster.kubectl("get controllerrevisions -o name").ok().lines().count(), 1);

    // One that no longer fits is let go, and another takes its place only when its name is free.
    cluster.kubectl("label pod web-2 app=other --overwrite").ok();
    let said = cluster.event("web", "FailedCreate");
    assert!(said.contains("pods \"web-2\" already exists"), "{said}");
    delete_pod(&cluster, "web-2");
    cluster.ready_pods("app=web", 3);
    cluster.kubectl("delete sts web").ok();
    cluster.ready_pods("app=web", 0);
}

#[test]
fn ordinals_begin_where_the_set_says_and_parallel_sets_do_not_wait() {
    let cluster = with_web(3, "podManagementPolicy: Parallel\n  ordinals: {start: 5}");
    assert_eq!(cluster.ready_pods("app=web", 3), ["web-5", "web-6", "web-7"]);
    let index = "get pod web-6 -o jsonpath={.metadata.labels.apps\\.kubernetes\\.io/pod-index}";
    assert_eq!(cluster.kubectl(index).ok(), "6");
    // All are replaced although none of the first ever comes up.
    cluster.kubectl("set image sts/web hello=nowhere:9").ok();
    lacks_its_image(&cluster, "web-7");
    cluster.kubectl("set image sts/web hello=hello:2").ok();
    cluster.kubectl("rollout status sts/web --timeout=40s").ok();
    cluster.ready_pods("app=web", 3);
    assert_eq!(images(&cluster), "hello:2 hello:2 hello:2");
}

#[test]
fn each_pod_has_a_name_in_dns_and_keeps_it() {
    let cluster = with_web(2, "");
    let server = cluster.server().dns.expect("the server printed where it answers");
    let address = |pod: &str| {
        eventually(&format!("an address of {pod}"), || {
            let ip = cluster.kubectl(&format!("get pod {pod} -o jsonpath={{.status.podIP}}")).ok();
            let answer = dns::ask(server, &format!("{pod}.web.default.svc.cluster.local"))?;
            let found: Vec<_> = answer.addresses.iter().map(ToString::to_string).collect();
            if found == [ip.as_str()] { Ok(ip) } else { Err(format!("{answer:?}, not {ip}")) }
        })
    };
    let before = [address("web-0"), address("web-1")];
    assert_ne!(before[0], before[1]);
    delete_pod(&cluster, "web-1");
    cluster.ready_pods("app=web", 2);
    address("web-1");
    let all = dns::ask(server, "web.default.svc.cluster.local").unwrap();
    assert_eq!(all.addresses.len(), 2, "{all:?}");
}

#[test]
fn claims_go_with_pods_or_the_set_as_the_policy_says_and_their_data_with_them() {
    let claims = "persistentVolumeClaimRetentionPolicy: {whenScaled: Delete, whenDeleted: Retain}
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}";
    let cluster = with_web(3, claims);
    let directories = cluster.data_dir().join("volumes");
    let left = |expected: &[&str]| {
        eventually(&format!("the claims {expected:?} and as many directories"), || {
            let names = cluster.kubectl("get pvc -o jsonpath={.items[*].metadata.name}").ok();
            let count = std::fs::read_dir(&directories).unwrap().count();
            let done = names == expected.join(" ") && count == expected.len();
            if done { Ok(()) } else { Err(format!("{names:?}, {count} directories")) }
        });
    };
    left(&["data-web-0", "data-web-1", "data-web-2"]);
    let uid = |claim: &str| cluster.kubectl(&format!("get pvc {claim} -o jsonpath={{.metadata.uid}}")).ok();
    let (kept, lost) = (uid("data-web-0"), uid("data-web-1"));
    cluster.kubectl("scale sts web --replicas=1").ok();
    left(&["data-web-0"]);
    cluster.kubectl("scale sts web --replicas=2").ok();
    cluster.ready_pods("app=web", 2);
    left(&["data-web-0", "data-web-1"]);
    assert_eq!(uid("data-web-0"), kept);
    assert_ne!(uid("data-web-1"), lost);

    let policy = r#"{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Retain","whenDeleted":"Delete"}}}"#;
    cluster.kubectl(&format!("patch sts web -p '{policy}'")).ok();
    eventually("the set as owner of both", || {
        let owners = cluster.kubectl("get pvc -o jsonpath={.items[*].metadata.ownerReferences[*].kind}").ok();
        if owners == "StatefulSet StatefulSet" { Ok(()) } else { Err(owners) }
    });
    cluster.kubectl("scale sts web --replicas=1").ok();
    cluster.ready_pods("app=web", 1);
    left(&["data-web-0", "data-web-1"]);
    cluster.kubectl("delete sts web").ok();
    left(&[]);
}
