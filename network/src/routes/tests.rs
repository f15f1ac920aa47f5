//! What Services and slices become, as data: objects in, routes out.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::*;
use crate::book::Book;

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

/// The routes of a node that is called `here`.
fn routed(services: &[Service], slices: &[EndpointSlice]) -> Vec<(Front, Arc<Route>)> {
    let mut book = Book::new("here");
    services.iter().for_each(|service| book.note_service(Event::Apply(service.clone())));
    slices.iter().for_each(|slice| book.note_slice(Event::Apply(slice.clone())));
    book.changes().into_iter().filter_map(|(front, route)| Some((front, route?))).collect()
}

fn check(services: &[Service], slices: &[EndpointSlice], expected: Expect) {
    let mut text = String::new();
    for (front, route) in routed(services, slices) {
        let at = match front {
            Front::ClusterIp(protocol, address) => format!("{protocol:?} {address}"),
            Front::ExternalIp(protocol, address) => format!("{protocol:?} external {address}"),
            Front::NodePort(protocol, port) => format!("{protocol:?} node:{port}"),
            Front::LoadBalancer(protocol, port) => format!("{protocol:?} balancer:{port}"),
            Front::HealthCheck(port) => format!("health:{port}"),
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
        let balanced = routed(services, &[]).into_iter().filter(|(front, _)| matches!(front, Front::LoadBalancer(..)));
        balanced.map(|(front, route)| format!("{front:?} {}", route.service)).collect()
    };
    let (late, first) = (born(service("a", spec(json!({}))), 9), born(service("b", spec(json!({}))), 5));
    assert_eq!(balancers(&[late, first]), ["LoadBalancer(Tcp, 80) default/b"]);
    assert!(balancers(&[service("c", spec(json!({ "loadBalancerClass": "else.where" })))]).is_empty());
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
            Tcp 10.0.0.10:53 → [192.0.2.1:10054] default/kube-dns ClientIp(10800s)
            Udp 10.0.0.10:53 → [192.0.2.1:10053] default/kube-dns ClientIp(10800s)
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
fn a_node_without_endpoints_of_its_own_drops_local_traffic() {
    let there = |ip: &str| json!({ "addresses": [ip], "nodeName": "there" });
    let stopping = json!({ "addresses": ["10.1.0.3"], "nodeName": "here",
        "conditions": { "ready": false, "serving": true, "terminating": true } });
    let spec = |ip: &str| json!({ "clusterIP": ip, "internalTrafficPolicy": "Local", "ports": [{ "port": 80 }] });
    let ports = json!([{ "port": 80 }]);
    check(
        &[service("away", spec("10.0.0.1")), service("going", spec("10.0.0.2"))],
        &[
            slice("away", ports.clone(), json!([there("10.1.1.2")])),
            slice("going", ports, json!([there("10.1.1.2"), stopping])),
        ],
        expect![[r#"
            Tcp 10.0.0.1:80 → [] default/away None
            Tcp 10.0.0.2:80 → [10.1.0.3:80] default/going None
        "#]],
    );
}

#[test]
fn a_local_load_balancer_tells_its_health_by_what_is_ready_here() {
    let spec = json!({
        "type": "LoadBalancer", "clusterIP": "10.0.0.1", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30_099,
        "sessionAffinity": "ClientIP", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 5 } },
        "ports": [{ "port": 80, "nodePort": 30_080 }],
    });
    let stopping = json!({ "addresses": ["10.1.0.3"], "nodeName": "here",
        "conditions": { "ready": false, "serving": true, "terminating": true } });
    let endpoints = json!([ready("10.1.0.2"), stopping, { "addresses": ["10.1.1.2"], "nodeName": "there" }]);
    check(
        &[service("web", spec)],
        &[slice("web", json!([{ "port": 8080 }]), endpoints)],
        expect![[r#"
            Tcp 10.0.0.1:80 → [10.1.0.2:8080, 10.1.1.2:8080] default/web ClientIp(5s)
            Tcp node:30080 → [10.1.0.2:8080] default/web ClientIp(5s)
            Tcp balancer:80 → [10.1.0.2:8080] default/web ClientIp(5s)
            health:30099 → [10.1.0.2:0] default/web None
        "#]],
    );
}

#[test]
fn external_addresses_lead_where_the_external_policy_says() {
    let spec = json!({
        "clusterIP": "10.0.0.1", "externalIPs": ["192.0.2.7", "2001:db8::7"], "externalTrafficPolicy": "Local",
        "ports": [{ "port": 80 }],
    });
    let there = json!({ "addresses": ["10.1.1.2"], "nodeName": "there" });
    check(
        &[service("web", spec)],
        &[slice("web", json!([{ "port": 8080 }]), json!([ready("10.1.0.2"), there]))],
        expect![[r#"
            Tcp 10.0.0.1:80 → [10.1.0.2:8080, 10.1.1.2:8080] default/web None
            Tcp external 192.0.2.7:80 → [10.1.0.2:8080] default/web None
        "#]],
    );
}

#[test]
fn a_balancer_lets_in_who_is_in_its_ranges_and_other_fronts_everybody() {
    let spec = json!({
        "type": "LoadBalancer", "clusterIP": "10.0.0.1", "loadBalancerSourceRanges": ["192.0.2.0/24", " 10.0.0.0/8 "],
        "ports": [{ "port": 80, "nodePort": 30_080 }],
    });
    for (front, route) in routed(&[service("web", spec)], &[]) {
        let lets_in = |ip: &str| route.lets_in(ip.parse().unwrap());
        let limited = matches!(front, Front::LoadBalancer(..));
        assert!(lets_in("192.0.2.9") && lets_in("10.9.9.9") && lets_in("::ffff:10.1.2.3"), "{front:?}");
        assert_eq!(lets_in("198.51.100.1"), !limited, "{front:?}");
    }
}

#[test]
fn hints_for_this_node_are_followed_where_all_endpoints_have_them() {
    let hinted = |ip: &str, node: &str| json!({ "addresses": [ip], "hints": { "forNodes": [{ "name": node }] } });
    let spec = |ip: &str| json!({ "clusterIP": ip, "ports": [{ "port": 80 }] });
    let ports = json!([{ "port": 80 }]);
    let (here, there) = (hinted("10.1.0.2", "here"), hinted("10.1.0.3", "there"));
    check(
        &[service("all", spec("10.0.0.1")), service("none", spec("10.0.0.2")), service("some", spec("10.0.0.3"))],
        &[
            slice("all", ports.clone(), json!([here, there])),
            slice("none", ports.clone(), json!([there])),
            slice("some", ports, json!([here, ready("10.1.0.4")])),
        ],
        expect![[r#"
            Tcp 10.0.0.1:80 → [10.1.0.2:80] default/all None
            Tcp 10.0.0.2:80 → [10.1.0.3:80] default/none None
            Tcp 10.0.0.3:80 → [10.1.0.2:80, 10.1.0.4:80] default/some None
        "#]],
    );
}

#[test]
fn endpoints_are_tried_from_a_place_on() {
    let spec = json!({ "clusterIP": "10.0.0.1", "ports": [{ "port": 80 }] });
    let endpoints = json!([ready("10.1.0.2"), ready("10.1.0.3"), ready("10.1.0.4")]);
    let routed = routed(&[service("web", spec)], &[slice("web", json!([{ "port": 80 }]), endpoints)]);
    let from = |place| routed[0].1.from(place).map(|address| address.ip().to_string()).collect::<Vec<_>>();
    assert_eq!(from(0), ["10.1.0.2", "10.1.0.3", "10.1.0.4"]);
    assert_eq!(from(2), ["10.1.0.4", "10.1.0.2", "10.1.0.3"]);
}
