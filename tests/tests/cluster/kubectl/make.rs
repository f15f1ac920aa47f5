//! Making objects by command: `create` with its forms, `run`, `expose`, `autoscale`, `apply -k`; dry runs of them.

use coracle_tests::Cluster;
use serde_json::Value;

/// An API server with controllers and without a node.
fn control_plane() -> Cluster {
    Cluster::builder().flags("--disable=node,scheduler,dns,network").start()
}

/// An object as kubectl prints it.
fn read(cluster: &Cluster, what: &str) -> Value {
    serde_json::from_str(&cluster.kubectl(&format!("get {what} -o json")).ok()).unwrap()
}

#[test]
fn settings_and_secrets_are_made_of_literals_and_files() {
    let cluster = control_plane();
    let file = cluster.file("greeting.txt", "good morning\n");
    let env = cluster.file("app.env", "LEVEL=info\nCOLOR=blue\n");
    cluster.kubectl(&format!("create configmap mixed --from-literal=a=1 --from-file=greet={file}")).ok();
    assert_eq!(read(&cluster, "cm mixed")["data"]["greet"], "good morning\n");
    cluster.kubectl(&format!("create configmap env --from-env-file={env}")).ok();
    assert_eq!(read(&cluster, "cm env")["data"]["COLOR"], "blue");
    let bytes = cluster.file("bytes.bin", [0xff, 0xfe, 0x00]);
    cluster.kubectl(&format!("create configmap bytes --from-file={bytes}")).ok();
    assert_eq!(read(&cluster, "cm bytes")["binaryData"]["bytes.bin"], "//4A");

    cluster.kubectl("create secret generic password --from-literal=word=open").ok();
    assert_eq!(read(&cluster, "secret password")["data"]["word"], "b3Blbg==");
    let login = "--docker-server=registry.example.com --docker-username=u --docker-password=p";
    cluster.kubectl(&format!("create secret docker-registry login {login}")).ok();
    assert_eq!(read(&cluster, "secret login")["type"], "kubernetes.io/dockerconfigjson");
    let told = cluster.kubectl("describe secret password").ok();
    assert!(told.contains("word:  4 bytes") && !told.contains("open"), "{told}");
    let twice = cluster.kubectl("create secret generic password").refused();
    assert_eq!(twice, "error: failed to create secret secrets \"password\" already exists\n");
}

#[test]
fn services_of_each_type_are_made_and_a_deployment_is_exposed() {
    let cluster = control_plane();
    cluster.kubectl("create service clusterip inside --tcp=80:8080").ok();
    cluster.kubectl("create service nodeport node --tcp=80:8080 --node-port=30123").ok();
    cluster.kubectl("create service loadbalancer outside --tcp=443:8443").ok();
    cluster.kubectl("create service externalname db --external-name=db.example.com").ok();
    cluster.kubectl("create service clusterip headless --clusterip=None").ok();
    let of_type = |name: &str| read(&cluster, &format!("svc {name}"))["spec"]["type"].clone();
    let types = ["inside", "node", "outside", "db", "headless"].map(of_type);
    assert_eq!(types, ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "ClusterIP"]);
    assert_eq!(read(&cluster, "svc node")["spec"]["ports"][0]["nodePort"], 30123);
    let taken = cluster.kubectl("create service nodeport other --tcp=80:8080 --node-port=30123").refused();
    assert!(
        taken.contains("spec.ports[0].nodePort: Invalid value: 30123: provided port is already allocated"),
        "{taken}"
    );

    cluster.kubectl("create deploy web --image=hello:1 --port=8080 --replicas=2").ok();
    assert_eq!(
        cluster.kubectl("expose deploy web --port=80 --target-port=8080 --type=NodePort").ok(),
        "service/web exposed\n"
    );
    let service = read(&cluster, "svc web");
    assert_eq!(service["spec"]["selector"]["app"], "web");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], 8080);
    cluster.kubectl("expose service web --name=web2 --port=81").ok();
    assert_eq!(read(&cluster, "svc web2")["spec"]["selector"]["app"], "web");
}

#[test]
fn a_deployment_is_scaled_by_rule() {
    let cluster = control_plane();
    cluster.kubectl("create deploy web --image=hello:1").ok();
    let said = cluster.kubectl("autoscale deploy web --min=2 --max=5 --cpu-percent=70").ok();
    assert_eq!(said, "horizontalpodautoscaler.autoscaling/web autoscaled\n");
    let scaler = read(&cluster, "hpa web");
    assert_eq!(scaler["apiVersion"], "autoscaling/v2");
    assert_eq!(scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
    let older = read(&cluster, "horizontalpodautoscalers.v1.autoscaling web");
    assert_eq!(
        (&older["apiVersion"], &older["spec"]["targetCPUUtilizationPercentage"]),
        (&"autoscaling/v1".into(), &70.into())
    );
    let row = cluster.kubectl("get hpa web --no-headers").ok();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[..2], ["web", "Deployment/web"], "{row}");
    let wrong = cluster.kubectl("autoscale deploy web --name=wrong --min=5 --max=2").refused();
    assert!(
        wrong.contains("--max=MAXPODS must be larger or equal to --min=MINPODS") || wrong.contains("maxReplicas"),
        "{wrong}"
    );
}

#[test]
fn budgets_accounts_and_tokens_are_made() {
    let cluster = control_plane();
    cluster.kubectl("create pdb web --selector=app=web --min-available=50%").ok();
    assert_eq!(read(&cluster, "pdb web")["spec"]["minAvailable"], "50%");
    cluster.kubectl("create serviceaccount robot").ok();
    let token = cluster.kubectl("create token robot --duration=1h").ok();
    assert_eq!(token.trim().split('.').count(), 3, "a token of three parts");
    let whoami = format!("auth whoami --token={} -o jsonpath={{.status.userInfo.username}}", token.trim());
    // kubectl prefers the certificate of the kubeconfig; without one, the token alone counts.
    let bare = cluster.kubectl("config view --raw -o json").ok();
    let mut config: Value = serde_json::from_str(&bare).unwrap();
    config["users"][0]["user"] = serde_json::json!({});
    let file = cluster.file("bare.kubeconfig", config.to_string());
    let who = cluster.kubectl(&format!("--kubeconfig={file} {whoami}")).ok();
    assert_eq!(who, "system:serviceaccount:default:robot");
}

#[test]
fn a_dry_run_prints_and_keeps_nothing_on_either_side() {
    let cluster = control_plane();
    for side in ["client", "server"] {
        let yaml = cluster.kubectl(&format!("create deploy web --image=hello:1 --dry-run={side} -o yaml")).ok();
        assert!(yaml.contains("kind: Deployment"), "{yaml}");
        // Only the server fills in defaults.
        assert_eq!(yaml.contains("revisionHistoryLimit: 10"), side == "server", "{yaml}");
        cluster.kubectl(&format!("run boat --image=hello:1 --dry-run={side}")).ok();
    }
    let nothing = cluster.kubectl("get deploy,pods").ok_with_warnings();
    assert_eq!(nothing.1, "No resources found in default namespace.\n");
    let made = cluster.kubectl("create deploy web --image=hello:1 --dry-run=server").ok();
    assert_eq!(made, "deployment.apps/web created (server dry run)\n");
}

#[test]
fn a_kustomization_is_built_and_applied() {
    let cluster = control_plane();
    let folder = cluster.dir().join("kustom");
    std::fs::create_dir(&folder).unwrap();
    let kustomization = "namePrefix: dev-\nconfigMapGenerator:\n- name: settings\n  literals: [a=1]\n\
                         resources: [service.yaml]\n";
    std::fs::write(folder.join("kustomization.yaml"), kustomization).unwrap();
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n";
    std::fs::write(folder.join("service.yaml"), service).unwrap();
    let applied = cluster.kubectl(&format!("apply -k {}", folder.display())).ok();
    assert!(applied.contains("service/dev-web created") && applied.contains("configmap/dev-settings-"), "{applied}");
    cluster.kubectl(&format!("diff -k {}", folder.display())).ok();
    cluster.kubectl(&format!("delete -k {}", folder.display())).ok();
}
