//! Looking at a cluster: tables, watches, descriptions, discovery, events.

use coracle_tests::Cluster;

/// The headings of a table, or whatever stands in its first line.
fn headings(table: &str) -> Vec<&str> {
    table.lines().next().unwrap_or_default().split("  ").map(str::trim).filter(|h| !h.is_empty()).collect()
}

#[test]
fn tables_have_the_columns_that_people_know() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.kubectl("apply -f samples/hello/hello.yaml").ok();
    cluster.ready_pods("app=hello", 3);

    let wide = ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED NODE", "READINESS GATES"];
    let pods = cluster.kubectl("get pods -o wide").ok();
    assert_eq!(headings(&pods), wide);
    for row in pods.lines().skip(1) {
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert!(cells[0].starts_with("hello-") && cells[1..4] == ["1/1", "Running", "0"], "{row}");
        assert!(cells[5].starts_with("127."), "{row}");
    }
    let table = |what: &str| cluster.kubectl(&format!("get {what}")).ok();
    assert_eq!(headings(&table("deploy")), ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]);
    let rows = table("deploy -o wide --no-headers");
    let row: Vec<&str> = rows.split_whitespace().collect();
    assert_eq!(row[..4], ["hello", "3/3", "3", "3"]);
    assert_eq!(row[5..], ["hello", "hello:1", "app=hello"]);
    assert_eq!(headings(&table("rs")), ["NAME", "DESIRED", "CURRENT", "READY", "AGE"]);
    assert_eq!(headings(&table("svc")), ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]);
    let service = table("svc hello --no-headers");
    assert!(
        service.contains("NodePort") && service.contains("<none>") && service.contains("80:30080/TCP"),
        "{service}"
    );
    assert_eq!(headings(&table("nodes")), ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]);
    assert!(table("nodes --no-headers").contains(" Ready "));
    assert_eq!(headings(&table("ns")), ["NAME", "STATUS", "AGE"]);
    assert_eq!(headings(&table("cm")), ["NAME", "DATA", "AGE"]);
    assert_eq!(headings(&table("endpointslices")), ["NAME", "ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"]);

    let all = cluster.kubectl("get all -A").ok();
    for part in
        ["pod/hello-", "service/hello ", "service/kubernetes ", "deployment.apps/hello ", "replicaset.apps/hello-"]
    {
        assert!(all.contains(part), "{part} is missing in\n{all}");
    }
    let none = cluster.kubectl("get pods -n kube-public").ok_with_warnings();
    assert_eq!(none, (String::new(), "No resources found in kube-public namespace.\n".to_owned()));
}

#[test]
fn objects_come_in_every_form_that_is_asked_for() {
    let cluster = Cluster::start();
    cluster.kubectl("create configmap one --from-literal=a=1").ok();
    cluster.kubectl("create configmap two --from-literal=a=2").ok();
    cluster.kubectl("label configmap two kind=even").ok();
    let get = |rest: &str| cluster.kubectl(&format!("get configmap {rest}")).ok();
    assert_eq!(get("one -o jsonpath={.data.a}"), "1");
    assert_eq!(get("-l kind=even -o name"), "configmap/two\n");
    assert_eq!(get("-l kind!=even --field-selector metadata.name=one -o name"), "configmap/one\n");
    assert_eq!(get("--sort-by={.data.a} -o custom-columns=X:.data.a --no-headers one two"), "1\n2\n");
    assert!(get("one -o yaml").contains("\ndata:\n  a: \"1\"\nkind: ConfigMap\n"));
    assert!(get("one -o json").contains("\"a\": \"1\""));
    assert!(get("--show-labels").contains("kind=even"));
    let missing = cluster.kubectl("get configmap three").refused();
    assert_eq!(missing, "Error from server (NotFound): configmaps \"three\" not found\n");
    // A list in pieces is the same list.
    let names: Vec<String> = (0..7).map(|n| format!("piece-{n}")).collect();
    for name in &names {
        cluster.kubectl(&format!("create configmap {name}")).ok();
    }
    let listed = get("--chunk-size=3 -o name");
    assert_eq!(names.iter().filter(|n| listed.contains(&format!("configmap/{n}\n"))).count(), 7, "{listed}");
}

#[test]
fn a_watch_shows_pods_come_and_go() {
    let cluster = Cluster::start();
    cluster.push("hello");
    let mut watch = cluster.kubectl_stream("get pods --watch --output-watch-events");
    cluster.kubectl("run boat --image=hello:1").ok();
    watch.until("the headings", |l| l.starts_with("EVENT "));
    watch.until("the pod, new", |l| l.starts_with("ADDED") && l.contains("boat") && l.contains("0/1"));
    watch.until("the pod, running", |l| l.starts_with("MODIFIED") && l.contains("1/1") && l.contains("Running"));
    cluster.kubectl("delete pod boat").ok();
    watch.until("the pod, gone", |l| l.starts_with("DELETED") && l.contains("boat"));
}

#[test]
fn descriptions_tell_conditions_and_events() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.kubectl("apply -f samples/hello/hello.yaml").ok();
    let pod = cluster.ready_pods("app=hello", 3).remove(0);
    cluster.kubectl("rollout status deployment/hello --timeout=40s").ok();

    let squeezed = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let has = |what: &str, parts: &[&str]| {
        let text = squeezed(cluster.kubectl(&format!("describe {what}")).ok());
        for part in parts {
            assert!(text.contains(part), "describe {what} lacks {part:?}:\n{text}");
        }
    };
    let available = "Available True MinimumReplicasAvailable Progressing True NewReplicaSetAvailable";
    let replicas = "Replicas: 3 desired | 3 updated | 3 total | 3 available | 0 unavailable";
    has("deploy hello", &[replicas, available, "ScalingReplicaSet", "Scaled up replica set hello-", "from 0 to 3"]);
    has(
        "rs -l app=hello",
        &["3 current / 3 desired", "3 Running / 0 Waiting", "SuccessfulCreate", "Created pod: hello-"],
    );
    let conditions = "Initialized True Ready True ContainersReady True PodScheduled True";
    let assigned = format!("Successfully assigned default/{pod} to ");
    has(
        &format!("pod {pod}"),
        &["Status: Running", conditions, "Scheduled", &assigned, "Pulled", "Created", "Started", "State: Running"],
    );
    has("svc hello", &["Type: NodePort", "NodePort: http 30080/TCP", "Endpoints: 127."]);
    has(
        "node",
        &[
            "KubeletReady kubelet is posting ready status",
            "Capacity:",
            "Allocatable:",
            "Allocated resources:",
            "default hello-",
        ],
    );
    has("cm hello", &["greeting: ---- hello"]);

    let events = cluster.kubectl("get events --sort-by=.lastTimestamp").ok();
    assert_eq!(headings(&events), ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]);
    for part in ["Scheduled", "pod/hello-", "SuccessfulCreate", "replicaset/hello-", "deployment/hello"] {
        assert!(events.contains(part), "{part} is missing in\n{events}");
    }
}

#[test]
fn a_client_discovers_what_is_served() {
    let cluster = Cluster::start();
    let resources = cluster.kubectl("api-resources").ok();
    for row in [
        "configmaps cm v1 true ConfigMap",
        "events ev v1 true Event",
        "namespaces ns v1 false Namespace",
        "nodes no v1 false Node",
        "persistentvolumeclaims pvc v1 true PersistentVolumeClaim",
        "pods po v1 true Pod",
        "secrets v1 true Secret",
        "serviceaccounts sa v1 true ServiceAccount",
        "services svc v1 true Service",
        "deployments deploy apps/v1 true Deployment",
        "replicasets rs apps/v1 true ReplicaSet",
        "leases coordination.k8s.io/v1 true Lease",
        "endpointslices discovery.k8s.io/v1 true EndpointSlice",
    ] {
        let found = resources.lines().any(|l| l.split_whitespace().collect::<Vec<_>>().join(" ") == row);
        assert!(found, "{row} is missing in\n{resources}");
    }
    let verbs = cluster.kubectl("api-resources --verbs=list,watch,patch,deletecollection --namespaced -o name").ok();
    assert!(verbs.contains("pods\n") && !verbs.contains("namespaces\n"), "{verbs}");
    assert!(cluster.kubectl("api-versions").ok().contains("apps/v1\n"));
    assert!(cluster.kubectl("version").ok().contains("Server Version: v1.37"));
    assert!(cluster.kubectl("cluster-info").ok().contains("is running at"));
    assert_eq!(cluster.kubectl("get --raw /readyz").ok(), "ok");
    let explained = cluster.kubectl("explain pod.spec.containers.image").ok();
    assert!(explained.contains("FIELD: image <string>") && explained.contains("Container image name"), "{explained}");
}
