//! Who may speak to whom, policy by policy, in the order of the API's documentation.
//!
//! A small world: `web` and `db` in `default`, `web` and `job` in `prod` (a namespace with `env: prod`), the node, and
//! somebody outside at 203.0.113.7.

mod directions;
mod members;
mod naive;

use std::net::SocketAddr;
use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::rules::Policy;
use super::*;

/// Name, address, namespace, and the one label `app`.
const PODS: [(&str, &str, &str, &str); 4] = [
    ("web", "10.1.0.2", "default", "web"),
    ("db", "10.1.0.3", "default", "db"),
    ("prod-web", "10.1.0.4", "prod", "web"),
    ("prod-job", "10.1.0.5", "prod", ""),
];

/// Who else there is.
const OTHERS: [(&str, &str); 2] = [("node", "192.168.0.1"), ("outside", "203.0.113.7")];

fn ip(who: &str) -> IpAddr {
    let all = PODS.iter().map(|(name, ip, ..)| (*name, *ip)).chain(OTHERS);
    let found = all.into_iter().find(|(name, _)| *name == who).map_or(who, |(_, ip)| ip);
    found.parse().unwrap()
}

fn pod(name: &str, address: &str, namespace: &str, app: &str) -> Pod {
    let labels = if app.is_empty() { json!({}) } else { json!({ "app": app }) };
    // One has another number for the same name.
    let number = if address == "10.1.0.3" { 8001 } else { 8000 };
    let ports = json!([
        { "name": "http", "containerPort": number },
        { "name": "dns", "containerPort": 53, "protocol": "UDP" },
    ]);
    serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": namespace, "uid": name, "labels": labels },
        "spec": { "containers": [{ "name": "c", "ports": ports }] },
        "status": { "phase": "Running", "podIP": address },
    }))
    .unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Arc<rules::Labels> {
    Arc::new(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
}

fn rules(policies: &[Value]) -> Rules {
    let read = |policy: &Value| Arc::new(Policy::new(&serde_json::from_value(policy.clone()).unwrap()));
    let namespaces = [("default".to_owned(), labels(&[])), ("prod".to_owned(), labels(&[("env", "prod")]))];
    Rules::new(namespaces, policies.iter().map(read))
}

/// The world under these policies.
fn world(policies: &[Value]) -> Policies {
    let mut world = Policies::new("10.1.0.0/24".parse().unwrap());
    world.known_as(ip("node"));
    for (name, address, namespace, app) in PODS {
        world.attached(&PodSlot::of(&pod(name, address, namespace, app)).unwrap(), ip(address));
    }
    world.enforce(rules(policies));
    world
}

/// A policy of the namespace `default`.
fn policy(spec: Value) -> Value {
    json!({ "metadata": { "namespace": "default", "name": "p" }, "spec": spec })
}

/// Who reaches whom at TCP 80: a row for each source, `y` where it may.
fn check(policies: &[Value], expected: Expect) {
    let world = world(policies);
    let all: Vec<&str> = PODS.iter().map(|(name, ..)| *name).chain(OTHERS.map(|(name, _)| name)).collect();
    let mut text = format!("{:8} {}\n", "", all.join(" "));
    for from in &all {
        let cell = |to: &&str| {
            let mark = if world.allow(ip(from), Protocol::Tcp, SocketAddr::new(ip(to), 80)) { "y" } else { "-" };
            format!("{mark:width$}", width = to.len())
        };
        let cells: Vec<String> = all.iter().map(cell).collect();
        text += &format!("{from:8} {}\n", cells.join(" ").trim_end());
    }
    expected.assert_eq(&text);
}

/// Whether `web` reaches `db` at each of these, as in `udp/53`.
fn ports(policies: &[Value], asked: &str, expected: Expect) {
    let world = world(policies);
    let answer = |text: &str| {
        let (protocol, port) = text.split_once('/').unwrap();
        let protocol = if protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
        let yes = world.allow(ip("web"), protocol, SocketAddr::new(ip("db"), port.parse().unwrap()));
        format!("{text} {}", if yes { "yes" } else { "no" })
    };
    expected.assert_eq(&asked.split(' ').map(answer).collect::<Vec<_>>().join(", "));
}

#[test]
fn without_a_policy_everybody_reaches_everybody() {
    check(
        &[],
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   y  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   y  y        y        y    y
        prod-job y   y  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   y  y        y        y    y
    "#]],
    );
}

#[test]
fn a_selected_pod_is_isolated_and_others_are_open() {
    check(
        &[policy(json!({ "podSelector": { "matchLabels": { "app": "db" } } }))],
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   -  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   -  y        y        y    y
        prod-job y   -  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   -  y        y        y    y
    "#]],
    );
}

#[test]
fn an_empty_selector_is_every_pod_of_the_namespace() {
    check(
        &[policy(json!({ "podSelector": {} }))],
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   -  y        y        y    y
        db       -   y  y        y        y    y
        prod-web -   -  y        y        y    y
        prod-job -   -  y        y        y    y
        node     y   y  y        y        y    y
        outside  -   -  y        y        y    y
    "#]],
    );
}

#[test]
fn expressions_select_as_labels_do() {
    let expression = json!({ "key": "app", "operator": "NotIn", "values": ["db"] });
    check(
        &[policy(json!({ "podSelector": { "matchExpressions": [expression] } }))],
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   y  y        y        y    y
        db       -   y  y        y        y    y
        prod-web -   y  y        y        y    y
        prod-job -   y  y        y        y    y
        node     y   y  y        y        y    y
        outside  -   y  y        y        y    y
    "#]],
    );
}

#[test]
fn an_empty_rule_allows_everything() {
    check(
        &[policy(json!({ "podSelector": {}, "ingress": [{}] }))],
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   y  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   y  y        y        y    y
        prod-job y   y  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   y  y        y        y    y
    "#]],
    );
    check(
        &[policy(json!({ "podSelector": {}, "ingress": [{ "from": [], "ports": [] }] }))],
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   y  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   y  y        y        y    y
        prod-job y   y  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   y  y        y        y    y
    "#]],
    );
}

#[test]
fn ports_are_numbers_ranges_names_or_all_of_a_protocol() {
    let with = |ports: Value| [policy(json!({ "podSelector": {}, "ingress": [{ "ports": ports }] }))];
    ports(&with(json!([{ "port": 80 }])), "tcp/80 tcp/81 udp/80", expect!["tcp/80 yes, tcp/81 no, udp/80 no"]);
    ports(&with(json!([{ "protocol": "UDP", "port": 53 }])), "tcp/53 udp/53", expect!["tcp/53 no, udp/53 yes"]);
    ports(&with(json!([{ "protocol": "UDP" }])), "tcp/53 udp/53 udp/9", expect!["tcp/53 no, udp/53 yes, udp/9 yes"]);
    ports(
        &with(json!([{ "port": 80, "endPort": 82 }])),
        "tcp/79 tcp/80 tcp/82 tcp/83",
        expect!["tcp/79 no, tcp/80 yes, tcp/82 yes, tcp/83 no"],
    );
    ports(
        &with(json!([{ "port": "http" }])),
        "tcp/8000 tcp/8001 udp/8001",
        expect!["tcp/8000 no, tcp/8001 yes, udp/8001 no"],
    );
    ports(&with(json!([{ "port": "dns", "protocol": "UDP" }])), "udp/53 tcp/53", expect!["udp/53 yes, tcp/53 no"]);
    ports(&with(json!([{ "port": "none" }])), "tcp/80 tcp/8001", expect!["tcp/80 no, tcp/8001 no"]);
    ports(
        &with(json!([{ "port": 80 }, { "port": 90 }])),
        "tcp/80 tcp/85 tcp/90",
        expect!["tcp/80 yes, tcp/85 no, tcp/90 yes"],
    );
    ports(&with(json!([{ "protocol": "SCTP", "port": 80 }])), "tcp/80 udp/80", expect!["tcp/80 no, udp/80 no"]);
}

#[test]
fn a_name_in_an_egress_rule_is_of_the_pod_that_listens() {
    let rule = json!({ "ports": [{ "port": "http" }] });
    let spec = json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [rule] });
    ports(&[policy(spec)], "tcp/8000 tcp/8001", expect!["tcp/8000 no, tcp/8001 yes"]);
}

fn from(peers: Value) -> [Value; 1] {
    [policy(json!({ "podSelector": { "matchLabels": { "app": "db" } }, "ingress": [{ "from": peers }] }))]
}

#[test]
fn a_pod_selector_is_of_the_policys_own_namespace() {
    check(
        &from(json!([{ "podSelector": { "matchLabels": { "app": "web" } } }])),
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   y  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   -  y        y        y    y
        prod-job y   -  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   -  y        y        y    y
    "#]],
    );
    check(
        &from(json!([{ "podSelector": {} }])),
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   y  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   -  y        y        y    y
        prod-job y   -  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   -  y        y        y    y
    "#]],
    );
}

#[test]
fn a_namespace_selector_is_of_all_pods_there() {
    let prod = json!({ "matchLabels": { "env": "prod" } });
    check(
        &from(json!([{ "namespaceSelector": prod }])),
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   -  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   y  y        y        y    y
        prod-job y   y  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   -  y        y        y    y
    "#]],
    );
    check(
        &from(json!([{ "namespaceSelector": {} }])),
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   y  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   y  y        y        y    y
        prod-job y   y  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   -  y        y        y    y
    "#]],
    );
}

#[test]
fn both_selectors_together_must_hold_and_two_entries_are_either() {
    let (prod, web) = (json!({ "matchLabels": { "env": "prod" } }), json!({ "matchLabels": { "app": "web" } }));
    check(
        &from(json!([{ "namespaceSelector": prod, "podSelector": web }])),
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   -  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   y  y        y        y    y
        prod-job y   -  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   -  y        y        y    y
    "#]],
    );
    check(
        &from(json!([{ "namespaceSelector": prod }, { "podSelector": web }])),
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   y  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   y  y        y        y    y
        prod-job y   y  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   -  y        y        y    y
    "#]],
    );
}

#[test]
fn a_block_is_of_addresses_but_for_its_exceptions() {
    check(
        &from(json!([{ "ipBlock": { "cidr": "203.0.113.0/24" } }])),
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   -  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   -  y        y        y    y
        prod-job y   -  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   y  y        y        y    y
    "#]],
    );
    check(
        &from(json!([{ "ipBlock": { "cidr": "203.0.0.0/8", "except": ["203.0.113.0/24"] } }])),
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   -  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   -  y        y        y    y
        prod-job y   -  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   -  y        y        y    y
    "#]],
    );
    check(
        &from(json!([{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["10.1.0.4/31"] } }])),
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   y  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   -  y        y        y    y
        prod-job y   -  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   y  y        y        y    y
    "#]],
    );
    check(
        &from(json!([{ "ipBlock": { "cidr": "::/0" } }])),
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   -  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   -  y        y        y    y
        prod-job y   -  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   -  y        y        y    y
    "#]],
    );
}

#[test]
fn an_ipv4_address_is_the_same_in_ipv6s_clothes() {
    let world = world(&from(json!([{ "podSelector": {} }])));
    let to = SocketAddr::new("::ffff:10.1.0.3".parse().unwrap(), 80);
    assert!(world.allow("::ffff:10.1.0.2".parse().unwrap(), Protocol::Tcp, to));
    assert!(!world.allow("::ffff:10.1.0.4".parse().unwrap(), Protocol::Tcp, to));
}

#[test]
fn what_cannot_be_read_allows_nothing() {
    let unreadable = json!({ "matchExpressions": [{ "key": "app", "operator": "Like", "values": ["w*"] }] });
    check(
        &from(json!([{ "podSelector": unreadable }])),
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   -  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   -  y        y        y    y
        prod-job y   -  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   -  y        y        y    y
    "#]],
    );
    check(
        &from(json!([{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["all"] } }, {}])),
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   -  y        y        y    y
        db       y   y  y        y        y    y
        prod-web y   -  y        y        y    y
        prod-job y   -  y        y        y    y
        node     y   y  y        y        y    y
        outside  y   -  y        y        y    y
    "#]],
    );
    check(
        &[policy(json!({ "podSelector": unreadable }))],
        expect![[r#"
                 web db prod-web prod-job node outside
        web      y   -  y        y        y    y
        db       -   y  y        y        y    y
        prod-web -   -  y        y        y    y
        prod-job -   -  y        y        y    y
        node     y   y  y        y        y    y
        outside  -   -  y        y        y    y
    "#]],
    );
}

#[test]
fn a_machine_is_its_node_at_addresses_that_no_pod_has() {
    let mut world = world(&[policy(json!({ "podSelector": {}, "policyTypes": ["Ingress"] }))]);
    let is_let = |world: &Policies, from: IpAddr| {
        let to = SocketAddr::new(ip("web"), 80);
        world.allow(from, Protocol::Tcp, to)
    };
    world.is_this_machine("10.0.0.0/8".parse().unwrap());
    assert!(!is_let(&world, ip("outside")) && !is_let(&world, ip("db")));
    assert!(!is_let(&world, ip("127.0.0.2")), "it plays another machine");
    assert!(!is_own(ip("outside")) && is_own(Ipv4Addr::LOCALHOST.into()));
}
