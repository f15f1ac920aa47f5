//! What pods and nodes use, as the real kubectl shows it, and what the node's own API tells through the cluster's.

use coracle_tests::{Cluster, eventually, http};
use serde_json::{Value, json};

/// The fields of the line that begins with this name.
fn line(text: &str, name: &str) -> Vec<String> {
    let found = text.lines().find(|line| line.split_whitespace().next() == Some(name));
    found.unwrap_or_else(|| panic!("no {name} in\n{text}")).split_whitespace().map(str::to_owned).collect()
}

fn number(text: &str, unit: &str) -> u64 {
    let digits = text.strip_suffix(unit).unwrap_or_else(|| panic!("{text} is not in {unit}"));
    digits.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

#[test]
fn kubectl_top_shows_what_pods_and_nodes_use() {
    let cluster = Cluster::start();
    cluster.push("burn");
    cluster.push("hello");
    cluster.kubectl("apply -f samples/hello/hello.yaml").ok();
    let burn = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "burn", "labels": {"app": "burn"}},
        "spec": {"containers": [
            {"name": "burn", "image": "burn:1", "resources": {"limits": {"cpu": "200m", "memory": "32Mi"}}},
            {"name": "beside", "image": "hello:1"},
        ]},
    });
    cluster.kubectl_with("apply -f -", &burn.to_string()).ok();
    let hello = cluster.ready_pods("app=hello", 3);
    cluster.ready_pods("app=burn", 1);

    let top = cluster.kubectl("top pods").ok();
    let row = line(&top, "burn");
    assert!((20..400).contains(&number(&row[1], "m")), "a fifth of a core at most, give or take: {top}");
    assert!(number(&row[2], "Mi") < 32, "{top}");
    assert_eq!(line(&top, &hello[0]).len(), 3);
    let first = cluster.kubectl("top pods --sort-by=cpu --no-headers").ok();
    assert!(first.starts_with("burn "), "{first}");
    let containers = cluster.kubectl("top pod burn --containers --no-headers").ok();
    assert!(containers.contains("beside") && containers.lines().count() == 2, "{containers}");
    let selected = cluster.kubectl("top pods -A -l app=hello --no-headers").ok();
    assert!(selected.lines().count() == 3 && !selected.contains("burn"), "{selected}");
    let nodes = cluster.kubectl("top nodes --no-headers").ok();
    let fields: Vec<&str> = nodes.split_whitespace().collect();
    assert!(number(fields[1], "m") > 0 && number(fields[3], "Mi") > 0, "{nodes}");

    let table = cluster.kubectl("get podmetrics burn").ok();
    assert_eq!(line(&table, "NAME"), ["NAME", "CPU", "MEMORY", "WINDOW"]);
    let refused = cluster.kubectl("top pod absent").refused();
    assert!(refused.contains("pods \"absent\" not found"), "{refused}");
    let waits = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waits"},
        "spec": {"containers": [{"name": "c", "image": "absent:1", "imagePullPolicy": "Never"}]},
    });
    cluster.kubectl_with("apply -f -", &waits.to_string()).ok();
    let refused = cluster.kubectl("top pod waits").refused();
    assert!(refused.contains("podmetrics.metrics.k8s.io \"default/waits\" not found"), "{refused}");
}

#[test]
fn the_nodes_own_api_is_reached_by_who_may_and_counts_what_pods_answer() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.kubectl("apply -f samples/hello/hello.yaml").ok();
    cluster.ready_pods("app=hello", 3);
    for _ in 0..5 {
        eventually("an answer", || http::get(cluster.node_port(30080), "/"));
    }
    let node = cluster.kubectl("get nodes -o jsonpath={.items[0].metadata.name}").ok();
    let raw = |path: &str| format!("get --raw /api/v1/nodes/{node}/proxy/{path}");
    let summary: Value = serde_json::from_str(&cluster.kubectl(&raw("stats/summary")).ok()).unwrap();
    assert_eq!(summary["node"]["nodeName"], node.as_str());
    let pods = summary["pods"].as_array().unwrap();
    assert_eq!(pods.len(), 3);
    let received: u64 = pods.iter().map(|p| p["network"]["rxBytes"].as_u64().unwrap()).sum();
    assert!(received > 0, "{summary}");

    let metrics = cluster.kubectl(&raw("metrics")).ok();
    let sum = |name: &str| -> u64 {
        let series = metrics.lines().filter(|line| line.starts_with(name));
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    assert!(sum("coracle_pod_http_requests_total{") >= 5, "{metrics}");
    assert_eq!(sum("coracle_pod_http_responses_total{code=\"5xx\""), 0, "{metrics}");
    let resource = cluster.kubectl(&raw("metrics/resource")).ok();
    assert!(resource.contains("\nnode_cpu_usage_seconds_total "), "{resource}");
    assert_eq!(cluster.kubectl(&raw("healthz")).ok(), "ok");

    let eve = format!("{} --as=eve", raw("metrics/resource"));
    let refused = cluster.kubectl(&eve).refused();
    assert!(refused.contains("cannot get resource \"nodes/proxy\""), "{refused}");
    cluster.kubectl("create clusterrole scraper --verb=get --resource=nodes/proxy").ok();
    cluster.kubectl("create clusterrolebinding eve --clusterrole=scraper --user=eve").ok();
    assert!(cluster.kubectl(&eve).ok().contains("resource_scrape_error 0"));
}
