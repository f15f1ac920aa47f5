//! Altering objects by command: `set`, `replace`, `taint`, `rollout pause`, `apply` with its memory, `delete` in bulk.

use coracle_tests::{Cluster, eventually};
use serde_json::{Value, json};

fn control_plane() -> Cluster {
    Cluster::builder().flags("--disable=node,scheduler,dns,network").start()
}

fn read(cluster: &Cluster, what: &str) -> Value {
    serde_json::from_str(&cluster.kubectl(&format!("get {what} -o json")).ok()).unwrap()
}

#[test]
fn each_part_of_a_deployment_is_set_by_its_own_verb() {
    let cluster = control_plane();
    cluster.kubectl("create deploy web --image=hello:1 --replicas=0").ok();
    cluster.kubectl("create configmap settings --from-literal=FROM=map").ok();
    cluster.kubectl("create serviceaccount robot").ok();
    assert_eq!(cluster.kubectl("set image deploy/web hello=hello:2").ok(), "deployment.apps/web image updated\n");
    assert_eq!(cluster.kubectl("set env deploy/web LEVEL=info GONE=1").ok(), "deployment.apps/web env updated\n");
    cluster.kubectl("set env deploy/web --from=configmap/settings").ok();
    cluster.kubectl("set env deploy/web GONE-").ok();
    let limits = "set resources deploy/web --limits=cpu=200m,memory=64Mi --requests=cpu=100m";
    assert_eq!(cluster.kubectl(limits).ok(), "deployment.apps/web resource requirements updated\n");
    assert_eq!(
        cluster.kubectl("set serviceaccount deploy/web robot").ok(),
        "deployment.apps/web serviceaccount updated\n"
    );
    let spec = read(&cluster, "deploy web")["spec"]["template"]["spec"].clone();
    let container = &spec["containers"][0];
    assert_eq!((&container["image"], &spec["serviceAccountName"]), (&"hello:2".into(), &"robot".into()));
    let names: Vec<&str> = container["env"].as_array().unwrap().iter().filter_map(|e| e["name"].as_str()).collect();
    assert_eq!(names, ["LEVEL", "FROM"]);
    assert_eq!(container["resources"]["limits"], json!({"cpu": "200m", "memory": "64Mi"}));
    let listed = cluster.kubectl("set env deploy/web --list").ok();
    assert!(listed.contains("LEVEL=info") && listed.contains("# FROM from configmap settings, key FROM"), "{listed}");

    cluster.kubectl("create service clusterip web --tcp=80").ok();
    assert_eq!(cluster.kubectl("set selector service web tier=front").ok(), "service/web selector updated\n");
    assert_eq!(read(&cluster, "svc web")["spec"]["selector"], json!({"tier": "front"}));
    let wrong = cluster.kubectl("set resources deploy/web --limits=cpu=50m").refused();
    assert!(wrong.contains("spec.template.spec.containers[0].resources.requests: Invalid value: \"100m\": must be less than or equal to cpu limit of 50m"), "{wrong}");
}

#[test]
fn an_object_is_replaced_and_by_force_made_anew() {
    let cluster = control_plane();
    cluster.kubectl("create configmap boat --from-literal=color=blue").ok();
    let mut object = read(&cluster, "cm boat");
    object["data"] = json!({"color": "red"});
    let replaced = cluster.kubectl_with("replace -f -", &object.to_string()).ok();
    assert_eq!(replaced, "configmap/boat replaced\n");
    let before = read(&cluster, "cm boat")["metadata"]["uid"].clone();
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.remove("resourceVersion");
    metadata.remove("uid");
    let anew = cluster.kubectl_with("replace --force -f -", &object.to_string()).ok();
    assert!(anew.ends_with("configmap/boat replaced\n"), "{anew}");
    assert_ne!(read(&cluster, "cm boat")["metadata"]["uid"], before, "it is another object");

    // What may not change in place can be replaced by force.
    cluster.kubectl("create deploy web --image=hello:1 --replicas=0").ok();
    let mut web = read(&cluster, "deploy web");
    let other = json!({"app": "other"});
    web["spec"]["selector"]["matchLabels"] = other.clone();
    web["spec"]["template"]["metadata"]["labels"] = other;
    let refused = cluster.kubectl_with("replace -f -", &web.to_string()).refused();
    assert!(refused.contains("spec.selector") && refused.contains("field is immutable"), "{refused}");
    let metadata = web["metadata"].as_object_mut().unwrap();
    metadata.remove("resourceVersion");
    metadata.remove("uid");
    cluster.kubectl_with("replace --force -f -", &web.to_string()).ok();
    assert_eq!(read(&cluster, "deploy web")["spec"]["selector"]["matchLabels"]["app"], "other");
}

#[test]
fn apply_remembers_what_it_applied() {
    let cluster = control_plane();
    let boat = |data: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: boat}}\ndata: {data}\n");
    cluster.kubectl_with("apply -f -", &boat("{a: '1', b: '2'}")).ok();
    cluster.kubectl("patch cm boat -p '{\"data\":{\"c\":\"3\"}}'").ok();
    // Taken out of the file, taken out of the object; what others added stays.
    assert_eq!(cluster.kubectl_with("apply -f -", &boat("{a: '1'}")).ok(), "configmap/boat configured\n");
    assert_eq!(read(&cluster, "cm boat")["data"], json!({"a": "1", "c": "3"}));
    let last = cluster.kubectl("apply view-last-applied cm/boat -o json").ok();
    assert_eq!(serde_json::from_str::<Value>(&last).unwrap()["data"], json!({"a": "1"}));
    assert_eq!(cluster.kubectl_with("apply -f -", &boat("{a: '1'}")).ok(), "configmap/boat unchanged\n");
    // Lists are merged by their keys, with defaults of the server left alone.
    let web = |ports: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{selector: {{app: web}}, ports: {ports}}}\n"
        )
    };
    cluster.kubectl_with("apply -f -", &web("[{name: http, port: 80}, {name: admin, port: 81}]")).ok();
    let address = read(&cluster, "svc web")["spec"]["clusterIP"].clone();
    cluster.kubectl_with("apply -f -", &web("[{name: admin, port: 81, targetPort: 8081}]")).ok();
    let spec = read(&cluster, "svc web")["spec"].clone();
    assert_eq!(spec["clusterIP"], address);
    assert_eq!(spec["ports"], json!([{"name": "admin", "port": 81, "protocol": "TCP", "targetPort": 8081}]));
    // What is no longer in the set goes, if it carries the set's label.
    let labelled =
        |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{set: one}}}}\n");
    cluster.kubectl_with("apply -f -", &format!("{}\n---\n{}", labelled("first"), labelled("second"))).ok();
    let pruned = "apply --prune -l set=one --prune-allowlist=core/v1/ConfigMap -f -";
    let said = cluster.kubectl_with(pruned, &labelled("first")).ok();
    assert!(said.contains("configmap/second pruned"), "{said}");
}

#[test]
fn a_paused_rollout_waits_until_it_is_resumed() {
    let cluster = control_plane();
    cluster.kubectl("create deploy web --image=hello:1 --replicas=1").ok();
    let revisions = || cluster.kubectl("get rs -l app=web -o name").ok().lines().count();
    eventually("the first revision", || if revisions() == 1 { Ok(()) } else { Err(revisions().to_string()) });
    assert_eq!(cluster.kubectl("rollout pause deploy/web").ok(), "deployment.apps/web paused\n");
    cluster.kubectl("set image deploy/web hello=hello:2").ok();
    let generation = cluster.kubectl("get deploy web -o jsonpath={.metadata.generation}").ok();
    let seen = format!("wait deploy/web --for=jsonpath={{.status.observedGeneration}}={generation} --timeout=20s");
    cluster.kubectl(&seen).ok();
    assert_eq!(revisions(), 1, "nothing rolls while it is paused");
    let refused = cluster.kubectl("rollout restart deploy/web").refused();
    assert!(refused.contains("can't restart paused deployment"), "{refused}");
    assert_eq!(cluster.kubectl("rollout resume deploy/web").ok(), "deployment.apps/web resumed\n");
    eventually("the second revision", || if revisions() == 2 { Ok(()) } else { Err(revisions().to_string()) });
    let history = cluster.kubectl("rollout history deploy/web").ok();
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
}

#[test]
fn nodes_are_tainted_and_freed_again() {
    let cluster = control_plane();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "edge"}});
    cluster.kubectl_with("create -f -", &node.to_string()).ok();
    assert_eq!(cluster.kubectl("taint node edge only=wasm:NoSchedule").ok(), "node/edge tainted\n");
    let twice = cluster.kubectl("taint node edge only=other:NoSchedule").refused();
    assert!(twice.contains("already has only taint(s) with same effect(s) and --overwrite is false"), "{twice}");
    cluster.kubectl("taint node edge only=other:NoSchedule --overwrite").ok();
    let taints = || read(&cluster, "node edge")["spec"]["taints"].clone();
    let ours = |taint: &&Value| taint["key"] == "only";
    assert_eq!(taints().as_array().unwrap().iter().find(ours).unwrap()["value"], "other");
    assert_eq!(cluster.kubectl("taint node edge only-").ok(), "node/edge untainted\n");
    assert!(taints().as_array().is_none_or(|all| !all.iter().any(|t| ours(&t))));
    let wrong = cluster.kubectl("taint node edge a=b:Sometimes").refused();
    assert!(wrong.contains("invalid taint effect: Sometimes"), "{wrong}");
}

#[test]
fn objects_are_deleted_by_name_label_and_all_at_once() {
    let cluster = control_plane();
    for name in ["a", "b", "c", "d"] {
        cluster.kubectl(&format!("create configmap {name}")).ok();
    }
    cluster.kubectl("label cm b c kind=odd").ok();
    assert_eq!(cluster.kubectl("delete cm a").ok(), "configmap \"a\" deleted\n");
    let dry = cluster.kubectl("delete cm b --dry-run=server").ok();
    assert_eq!(dry, "configmap \"b\" deleted (server dry run)\n");
    assert_eq!(cluster.kubectl("delete cm -l kind=odd -o name").ok(), "configmap/b\nconfigmap/c\n");
    assert_eq!(cluster.kubectl("delete cm none --ignore-not-found").ok(), "");
    assert_eq!(
        cluster.kubectl("delete cm none").refused(),
        "Error from server (NotFound): configmaps \"none\" not found\n"
    );
    cluster.kubectl("delete cm --all").ok();
    cluster.kubectl("run boat --image=hello:1").ok();
    let (_, warned) = cluster.kubectl("delete pod boat --force --grace-period=0").ok_with_warnings();
    assert!(warned.contains("Immediate deletion does not wait for confirmation"), "{warned}");
    assert!(cluster.kubectl("get pod boat").refused().contains("NotFound"));
}
