//! Names as guests know them: what leads into the cluster, and out of it, and changes while they ask.

use std::net::Ipv4Addr;

use coracle_tests::{Cluster, dns, eventually};
use serde_json::{Value, json};

const SERVICES: &str = "/api/v1/namespaces/default/services";

#[test]
fn a_database_moves_into_the_cluster_and_its_client_follows_by_the_name() {
    // Whoever is outside is played by a store of another namespace: its address is all that the name outside tells.
    let outside = dns::Outside::start();
    let cluster = Cluster::builder().flags(&format!("--dns-stub-domain example.com={}", outside.address())).start();
    cluster.push("teller");
    cluster.push("kv");
    cluster.kubectl("create namespace elsewhere").ok();
    cluster.kubectl("apply -n elsewhere -f samples/kv/kv.yaml").ok();
    let service = eventually("the store outside", || {
        let path = "/api/v1/namespaces/elsewhere/services/kv-0";
        cluster.get(path)["spec"]["clusterIP"].as_str().map(str::to_owned).ok_or_else(|| "none".to_owned())
    });
    cluster.kubectl("rollout status -n elsewhere statefulset/kv --timeout=60s").ok();
    cluster.kubectl("apply -f samples/teller/teller.yaml").ok();
    let pod = cluster.ready_pods("app=teller", 1).remove(0);
    let told = || cluster.kubectl(&format!("logs {pod}")).ok();
    let tells = |what: &str| {
        eventually(what, || {
            let told = told();
            if told.lines().last().is_some_and(|line| line.contains(what)) { Ok(()) } else { Err(told) }
        });
    };
    // Nobody knows the name yet.
    eventually("a database that is not found", || {
        let told = told();
        if told.starts_with("database:8080: ") { Ok(()) } else { Err(told) }
    });
    outside.knows("db-01.example.com", service.parse().unwrap());
    tells(&format!("database:8080 at {service}:8080 is {{\"name\":\"kv-0\""));

    cluster.kubectl("delete -n elsewhere service kv-0").ok();
    cluster.kubectl("apply -f samples/kv/kv.yaml").ok();
    cluster.kubectl("rollout status statefulset/kv --timeout=60s").ok();
    cluster.kubectl("apply -f samples/teller/inside.yaml").ok();
    let inside = cluster.get(&format!("{SERVICES}/database"))["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert_ne!(inside, service);
    tells(&format!("database:8080 at {inside}:8080 is {{\"name\":\"kv-0\""));
    assert_eq!(cluster.ready_pods("app=teller", 1), std::slice::from_ref(&pod), "it was not restarted");
    assert_eq!(cluster.pods("app=teller")[0]["status"]["containerStatuses"][0]["restartCount"], 0);
}

#[test]
fn a_headless_name_has_the_pods_that_are_ready() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.kubectl("apply -f samples/hello/hello.yaml").ok();
    let spec = json!({"clusterIP": "None", "selector": {"app": "hello"}, "ports": [{"name": "http", "port": 80}]});
    cluster.api().create(SERVICES, &json!({"metadata": {"name": "each"}, "spec": spec}));
    let server = cluster.server().dns.expect("the server printed where it answers");
    let has = |count: usize| {
        eventually(&format!("{count} addresses"), || {
            let pods = cluster.pods("app=hello");
            let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
            let ips = pods.iter().filter(stays).filter_map(|pod| pod["status"]["podIP"].as_str()?.parse().ok());
            let mut ips: Vec<Ipv4Addr> = ips.collect();
            let answer = dns::ask(server, "each.default.svc.cluster.local")?;
            let mut addresses = answer.addresses;
            ips.sort();
            addresses.sort();
            let code = if count == 0 { 3 } else { 0 };
            let is_so = ips.len() == count && addresses == ips && answer.code == code;
            if is_so { Ok(()) } else { Err(format!("{} {addresses:?} of {ips:?}", answer.code)) }
        });
    };
    has(3);
    cluster.coracle("scale deploy/hello --replicas=1").ok();
    has(1);
    cluster.coracle("scale deploy/hello --replicas=0").ok();
    has(0);
}

#[test]
fn a_config_map_says_who_knows_the_names_outside_and_one_that_is_wrong_has_an_event() {
    let cluster = Cluster::builder()
        // Nobody beyond this machine is to be asked.
        .flags("--dns-upstream 127.0.0.1:9")
        .expect_log("the ConfigMap kube-system/kube-dns is not heeded", "a ConfigMap that is wrong, on purpose")
        .start();
    let (outside, ip) = (dns::Outside::start(), Ipv4Addr::new(192, 0, 2, 7));
    let server = cluster.server().dns.expect("the server printed where it answers");
    // Each look is at another name, for what was heard is kept.
    let finds = |n: usize| {
        let name = format!("db-{n}.example.com");
        outside.knows(&name, ip);
        dns::ask(server, &name).map(|answer| answer.addresses == [ip])
    };
    let apply = |data: Value| {
        let metadata = json!({"name": "kube-dns", "namespace": "kube-system"});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
        cluster.kubectl_with("apply -f -", &map.to_string()).ok();
    };
    let mut names = 0..;
    let mut becomes = |what: &str, is_found: bool| {
        eventually(what, || {
            let found = finds(names.next().expect("there are many"))?;
            if found == is_found { Ok(()) } else { Err(format!("found: {found}")) }
        });
    };
    becomes("a domain that nobody knows", false);
    apply(json!({"stubDomains": json!({"example.com": [outside.address()]}).to_string()}));
    becomes("a domain with a resolver of its own", true);

    apply(json!({"stubDomains": "example.com=192.0.2.9"}));
    let told = eventually("an event", || {
        let events = cluster.get("/api/v1/namespaces/kube-system/events");
        let is_told =
            |event: &&Value| event["reason"] == "InvalidConfig" && event["involvedObject"]["name"] == "kube-dns";
        let event = events["items"].as_array().expect("a list").iter().find(is_told);
        event.and_then(|event| event["message"].as_str().map(str::to_owned)).ok_or_else(|| events.to_string())
    });
    assert!(told.starts_with("stubDomains is no JSON like {\"corp.example\": [\"10.0.0.1\"]}: "), "{told}");
    assert!(finds(usize::MAX).unwrap(), "what was in force stays");

    cluster.kubectl("delete -n kube-system configmap kube-dns").ok();
    becomes("a domain that nobody knows any more", false);
}
