//! The same question, answered by another: every connection of a small world is written into a list, and looked up.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{OTHERS, PODS, ip, world};
use crate::policy::*;

/// The ports of the world. `http` is 8000 of all pods but `db`, where it is 8001; `dns` is UDP 53 of all.
const PORTS: [u16; 5] = [53, 80, 81, 8000, 8001];

/// A selector over the one label of pods, or of namespaces.
fn selector(key: &'static str, value: &'static str) -> impl Strategy<Value = Value> {
    let expression = |operator: &str| json!({ "matchExpressions": [{ "key": key, "operator": operator }] });
    let with_value = |operator: &str| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": [value, "other"] }] });
    prop_oneof![
        Just(json!({})),
        Just(json!({ "matchLabels": { key: value } })),
        Just(json!({ "matchLabels": { key: "none" } })),
        Just(expression("Exists")),
        Just(expression("DoesNotExist")),
        Just(with_value("In")),
        Just(with_value("NotIn")),
    ]
}

fn peer() -> impl Strategy<Value = Value> {
    let pods = || selector("app", "web");
    let namespaces = || selector("env", "prod");
    prop_oneof![
        pods().prop_map(|pods| json!({ "podSelector": pods })),
        namespaces().prop_map(|namespaces| json!({ "namespaceSelector": namespaces })),
        (pods(), namespaces()).prop_map(|(p, n)| json!({ "podSelector": p, "namespaceSelector": n })),
        Just(json!({ "ipBlock": { "cidr": "10.1.0.0/30" } })),
        Just(json!({ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["10.1.0.3/32", "203.0.113.0/24"] } })),
    ]
}

fn port() -> impl Strategy<Value = Value> {
    let protocol = || prop_oneof![Just("TCP"), Just("UDP")];
    prop_oneof![
        protocol().prop_map(|p| json!({ "protocol": p })),
        (protocol(), prop::sample::select(&PORTS)).prop_map(|(p, port)| json!({ "protocol": p, "port": port })),
        protocol().prop_map(|p| json!({ "protocol": p, "port": 60, "endPort": 80 })),
        (protocol(), prop_oneof![Just("http"), Just("dns")])
            .prop_map(|(p, name)| json!({ "protocol": p, "port": name })),
    ]
}

fn rule(side: &'static str) -> impl Strategy<Value = Value> {
    let some = |what| prop::option::of(prop::collection::vec(what, 0..3));
    (some(peer().boxed()), some(port().boxed())).prop_map(move |(peers, ports)| {
        let mut rule = json!({});
        if let Some(peers) = peers {
            rule[side] = json!(peers);
        }
        if let Some(ports) = ports {
            rule["ports"] = json!(ports);
        }
        rule
    })
}

fn policy() -> impl Strategy<Value = Value> {
    let rules = |side| prop::option::of(prop::collection::vec(rule(side), 0..3));
    let types = prop_oneof![
        Just(json!(null)),
        Just(json!(["Ingress"])),
        Just(json!(["Egress"])),
        Just(json!(["Ingress", "Egress"])),
    ];
    let namespace = prop_oneof![Just("default"), Just("prod")];
    (namespace, selector("app", "web"), rules("from"), rules("to"), types).prop_map(|(namespace, pods, i, e, types)| {
        let spec = json!({ "podSelector": pods, "ingress": i, "egress": e, "policyTypes": types });
        json!({ "metadata": { "namespace": namespace }, "spec": spec })
    })
}

/// The value of a label of the world: `app` of a pod, `env` of a namespace.
type Label = Option<&'static str>;

fn selects(selector: &Value, label: Label) -> bool {
    let mut wanted = selector["matchLabels"].as_object().into_iter().flatten();
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    wanted.all(|(_, value)| value.as_str() == label)
        && expressions.all(|expression| {
            let listed =
                label.is_some_and(|label| expression["values"].as_array().unwrap_or(&vec![]).contains(&json!(label)));
            match expression["operator"].as_str().unwrap() {
                "Exists" => label.is_some(),
                "DoesNotExist" => label.is_none(),
                "In" => listed,
                _ => !listed,
            }
        })
}

fn pod(who: &str) -> Option<(&'static str, Label)> {
    let (.., namespace, app) = PODS.into_iter().find(|(name, ..)| *name == who)?;
    Some((namespace, (!app.is_empty()).then_some(app)))
}

fn is_peer(peer: &Value, policy_namespace: &str, who: &str) -> bool {
    if let Some(block) = peer.get("ipBlock") {
        // The world's blocks by heart.
        return if block["cidr"] == "10.1.0.0/30" {
            ["web", "db"].contains(&who)
        } else {
            !["db", "outside"].contains(&who)
        };
    }
    let Some((namespace, app)) = pod(who) else { return false };
    let env = (namespace == "prod").then_some("prod");
    let there = match peer.get("namespaceSelector") {
        Some(selector) => selects(selector, env),
        None => namespace == policy_namespace,
    };
    there && peer.get("podSelector").is_none_or(|selector| selects(selector, app))
}

fn is_port(port: &Value, listens: &str, protocol: &str, number: u16) -> bool {
    let right = match &port["port"] {
        Value::Null => true,
        Value::Number(first) => {
            let first = first.as_u64().unwrap();
            (first..=port["endPort"].as_u64().unwrap_or(first)).contains(&u64::from(number))
        }
        name => {
            let http = if listens == "db" { 8001 } else { 8000 };
            pod(listens).is_some()
                && ((name == "http" && protocol == "TCP" && number == http)
                    || (name == "dns" && protocol == "UDP" && number == 53))
        }
    };
    right && port["protocol"] == protocol
}

/// A way that a policy opens, or one that it closes by being about it.
type Way = (&'static str, &'static str, &'static str, &'static str, u16);

/// All ways that are closed to all, and all that are opened.
fn ways(policies: &[Value]) -> (BTreeSet<Way>, BTreeSet<Way>) {
    let (mut closed, mut opened) = (BTreeSet::new(), BTreeSet::new());
    let everybody: Vec<&str> = PODS.iter().map(|(name, ..)| *name).chain(OTHERS.map(|(name, _)| name)).collect();
    for policy in policies {
        let (spec, namespace) = (&policy["spec"], policy["metadata"]["namespace"].as_str().unwrap());
        let about = PODS.iter().filter(|(.., of, app)| {
            *of == namespace && selects(&spec["podSelector"], (!app.is_empty()).then_some(app))
        });
        let has_egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
        let says = |what: &str| match spec["policyTypes"].as_array() {
            Some(types) => types.contains(&json!(what)),
            None => what == "Ingress" || has_egress,
        };
        for (me, ..) in about {
            for other in &everybody {
                for protocol in ["TCP", "UDP"] {
                    for number in PORTS {
                        for (direction, rules, side) in [("Ingress", "ingress", "from"), ("Egress", "egress", "to")] {
                            if !says(direction) {
                                continue;
                            }
                            let way = (direction, *me, *other, protocol, number);
                            closed.insert(way);
                            let listens = if direction == "Ingress" { me } else { other };
                            let any = |list: &Value, holds: &dyn Fn(&Value) -> bool| match list.as_array() {
                                Some(list) if !list.is_empty() => list.iter().any(holds),
                                _ => true,
                            };
                            let opens = |rule: &Value| {
                                any(&rule[side], &|peer| is_peer(peer, namespace, other))
                                    && any(&rule["ports"], &|port| is_port(port, listens, protocol, number))
                            };
                            if spec[rules].as_array().is_some_and(|all| all.iter().any(opens)) {
                                opened.insert(way);
                            }
                        }
                    }
                }
            }
        }
    }
    (closed, opened)
}

proptest! {
    #[test]
    fn the_rules_and_a_list_of_all_ways_agree(policies in prop::collection::vec(policy(), 0..5)) {
        let (closed, opened) = ways(&policies);
        let world = world(&policies);
        let everybody: Vec<&'static str> = PODS.iter().map(|(name, ..)| *name).chain(OTHERS.map(|(name, _)| name)).collect();
        for from in &everybody {
            for to in &everybody {
                for (protocol, named) in [(Protocol::Tcp, "TCP"), (Protocol::Udp, "UDP")] {
                    for port in PORTS {
                        let is_open = |way: Way| !closed.contains(&way) || opened.contains(&way);
                        let wanted = from == to || *from == "node" || *to == "node"
                            || is_open(("Egress", from, to, named, port)) && is_open(("Ingress", to, from, named, port));
                        let got = world.allow(ip(from), protocol, SocketAddr::new(ip(to), port));
                        prop_assert_eq!(got, wanted, "{} to {} {}/{}", from, to, named, port);
                    }
                }
            }
        }
    }
}
