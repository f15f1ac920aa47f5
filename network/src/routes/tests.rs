//! What Services and slices become, as data: objects in, routes out.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

fn service(name: &str, spec: Value) -> Service {
    let metadata = json!({ "name": name, "namespace": "default", "uid": name });
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
}

fn slice(of: &str, ports: Value, endpoints: Value) -> EndpointSlice {
    let metadata = json!({
        "name": format!("{of}-1"), "namespace": "default", "labels": { "kubernetes.io/service-name": of },
    });
    let slice = json!({ "metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": endpoints });
    serde_json::from_value(slice).unwrap()
}

fn ready(ip: &str) -> Value {
    json!({ "addresses": [ip], "conditions": { "ready": true }, "nodeName": "here" })
}

fn check(services: &[Service], slices: &[EndpointSlice], expected: Expect) {
    let mut text = String::new();
    for (front, route) in routes("here", services, slices) {
        let at = match front {
            Front::ClusterIp(protocol, address) => format!("{protocol:?} {address}"),
            Front::NodePort(protocol, port) => format!("{protocol:?} node:{port}"),
            Front::LoadBalancer(protocol, port) => format!("{protocol:?} balancer:{port}"),
        };
        writeln!(text, "{at} → {:?} {} {:?}", route.endpoints, route.service, route.affinity).unwrap();
    }
    expected.assert_eq(&text);
}

#[test]
fn a_cluster_ip_leads_to_the_ready_endpoints_by_port_name() {
    let spec = json!({ "clusterIP": "10.0.0.1", "ports": [
        { "name": "http", "port": 80, "targetPort": "web" }, { "name": "admin", "port": 9000 },
    ]});
    let ports = json!([{ "name": "admin", "port": 9001 }, { "name": "http", "port": 8080, "protocol": "TCP" }]);
    let endpoints = json!([
        ready("10.1.0.3"), ready("10.1.0.2"), { "addresses": ["10.1.0.4"], "conditions": { "ready": false } },
        { "addresses": ["10.1.0.5"] },
    ]);
    check(
        &[service("web", spec)],
        &[slice("web", ports, endpoints), slice("other", json!([{ "port": 1 }]), json!([ready("10.1.0.9")]))],
        expect![[r#"
            Tcp 10.0.0.1:80 → [10.1.0.2:8080, 10.1.0.3:8080, 10.1.0.5:8080] default/web None
            Tcp 10.0.0.1:9000 → [10.1.0.2:9001, 10.1.0.3:9001, 10.1.0.5:9001] default/web None
        "#]],
    );
}

#[test]
fn node_ports_and_load_balancers_are_reached_at_the_node_too() {
    let port = |node: u16| json!([{ "port": 80, "nodePort": node }]);
    check(
        &[
            service("a", json!({ "type": "NodePort", "clusterIP": "10.0.0.1", "ports": port(30_080) })),
            service("b", json!({ "type": "LoadBalancer", "clusterIP": "10.0.0.2", "ports": port(30_081) })),
            service("c", json!({ "type": "ClusterIP", "clusterIP": "10.0.0.3", "ports": port(30_082) })),
        ],
        &[slice("a", json!([{ "port": 8080 }]), json!([ready("10.1.0.2")]))],
        expect![[r#"
            Tcp 10.0.0.1:80 → [10.1.0.2:8080] default/a None
            Tcp 10.0.0.2:80 → [] default/b None
            Tcp 10.0.0.3:80 → [] default/c None
            Tcp node:30080 → [10.1.0.2:8080] default/a None
            Tcp node:30081 → [] default/b None
            Tcp balancer:80 → [] default/b None
        "#]],
    );
}

#[test]
fn the_port_of_a_load_balancer_is_the_first_services_and_never_a_strangers() {
    let spec = |more: Value| {
        let mut spec = json!({ "type": "LoadBalancer", "clusterIP": "10.0.0.1", "ports": [{ "port": 80 }] });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let born = |mut service: Service, second: i64| {
        let time = jiff::Timestamp::from_second(second).unwrap();
        service.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
        service
    };
    let balancers = |services: &[Service]| -> Vec<String> {
        let routes = routes("here", services, &[]);
        let balanced = routes.into_iter().filter(|(front, _)| matches!(front, Front::LoadBalancer(..)));
        balanced.map(|(front, route)| format!("{front:?} {}", route.service)).collect()
    };
    let (late, first) = (born(service("a", spec(json!({}))), 9), born(service("b", spec(json!({}))), 5));
    assert_eq!(balancers(&[late, first]), ["LoadBalancer(Tcp, 80) default/b"]);
    assert!(balancers(&[service("c", spec(json!({ "loadBalancerClass": "else.where" })))]).is_empty());
    assert!(balancers(&[service("d", spec(json!({ "loadBalancerSourceRanges": ["10.0.0.0/8"] })))]).is_empty());
}

#[test]
fn headless_and_external_names_have_no_route() {
    let ports = json!([{ "port": 80 }]);
    check(
        &[
            service("headless", json!({ "clusterIP": "None", "ports": ports })),
            service("elsewhere", json!({ "type": "ExternalName", "externalName": "example.com", "ports": ports })),
            service("unallocated", json!({ "ports": ports })),
            service("sctp", json!({ "clusterIP": "10.0.0.1", "ports": [{ "port": 80, "protocol": "SCTP" }] })),
        ],
        &[slice("headless", json!([{ "port": 80 }]), json!([ready("10.1.0.2")]))],
        expect![[""]],
    );
}

#[test]
fn stopping_endpoints_serve_only_while_no_other_does() {
    let spec = |ip: &str| json!({ "clusterIP": ip, "ports": [{ "port": 80 }] });
    let stopping = |ip: &str, serving: bool| json!({ "addresses": [ip], "conditions": { "ready": false, "serving": serving, "terminating": true } });
    let ports = json!([{ "port": 80 }]);
    check(
        &[service("all", spec("10.0.0.1")), service("some", spec("10.0.0.2"))],
        &[
            slice("all", ports.clone(), json!([stopping("10.1.0.2", true), stopping("10.1.0.3", false)])),
            slice("some", ports, json!([stopping("10.1.0.4", true), ready("10.1.0.5")])),
        ],
        expect![[r#"
            Tcp 10.0.0.1:80 → [10.1.0.2:80] default/all None
            Tcp 10.0.0.2:80 → [10.1.0.5:80] default/some None
        "#]],
    );
}

#[test]
fn udp_and_tcp_of_one_port_are_apart() {
    let ports = json!([
        { "name": "dns", "port": 53, "protocol": "UDP" }, { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
    ]);
    let targets = json!([
        { "name": "dns", "port": 10053, "protocol": "UDP" }, { "name": "dns-tcp", "port": 10054, "protocol": "TCP" },
    ]);
    check(
        &[service("kube-dns", json!({ "clusterIP": "10.0.0.10", "ports": ports, "sessionAffinity": "ClientIP" }))],
        &[slice("kube-dns", targets, json!([ready("192.0.2.1")]))],
        expect![[r#"
            Tcp 10.0.0.10:53 → [192.0.2.1:10054] default/kube-dns ClientIp
            Udp 10.0.0.10:53 → [192.0.2.1:10053] default/kube-dns ClientIp
        "#]],
    );
}

#[test]
fn local_traffic_policies_keep_to_this_node() {
    let there = json!({ "addresses": ["10.1.1.2"], "nodeName": "there" });
    let spec = json!({
        "type": "NodePort", "clusterIP": "10.0.0.1", "internalTrafficPolicy": "Cluster",
        "externalTrafficPolicy": "Local", "ports": [{ "port": 80, "nodePort": 30080 }],
    });
    check(
        &[service("web", spec)],
        &[slice("web", json!([{ "port": 80 }]), json!([ready("10.1.0.2"), there]))],
        expect![[r#"
            Tcp 10.0.0.1:80 → [10.1.0.2:80, 10.1.1.2:80] default/web None
            Tcp node:30080 → [10.1.0.2:80] default/web None
        "#]],
    );
}

#[test]
fn turns_go_round_and_a_client_with_affinity_comes_back() {
    let endpoints: Vec<Address> = (2..6).map(|n| SocketAddr::from(([10, 1, 0, n], 80))).collect();
    let mut route = Route {
        service: NamespacedName::new("default", "web"),
        uid: String::new(),
        endpoints: endpoints.clone(),
        affinity: Affinity::None,
    };
    let client = IpAddr::from([192, 0, 2, 1]);
    let firsts: Vec<_> = (0..5).filter_map(|turn| route.order(turn, client).next()).collect();
    assert_eq!(firsts, [endpoints[0], endpoints[1], endpoints[2], endpoints[3], endpoints[0]]);
    assert_eq!(route.order(3, client).collect::<Vec<_>>(), [endpoints[3], endpoints[0], endpoints[1], endpoints[2]]);

    route.affinity = Affinity::ClientIp;
    let home = route.order(0, client).next();
    assert_eq!(home, route.order(7, client).next());
    let other = *endpoints.iter().find(|e| Some(**e) != home).unwrap();
    route.endpoints.retain(|e| *e != other);
    assert_eq!(home, route.order(1, client).next(), "losing another endpoint moves nobody");
    route.endpoints.clear();
    assert_eq!(route.order(1, client).next(), None);
}
