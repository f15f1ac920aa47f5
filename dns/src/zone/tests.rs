//! The zone in the order of the Kubernetes DNS specification: objects in, questions asked, answers as `dig` shows them.
//! Sections 2.2 to 2.6 are the specification's; what follows them is where that leaves it open.

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use super::cluster::{Asked, Group, key, service_of};
use super::*;

fn service(name: &str, namespace: &str, spec: Value) -> Service {
    serde_json::from_value(json!({ "metadata": { "name": name, "namespace": namespace }, "spec": spec })).unwrap()
}

fn slice(of: &str, ports: Value, endpoints: Value) -> EndpointSlice {
    let metadata = json!({ "name": of, "namespace": "default", "labels": { "kubernetes.io/service-name": of } });
    let slice = json!({ "metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": endpoints });
    serde_json::from_value(slice).unwrap()
}

fn cluster() -> Cluster {
    let ports = json!([{ "name": "https", "port": 443 }, { "name": "dns", "port": 53, "protocol": "UDP" }]);
    let dual = json!({ "clusterIP": "10.43.0.3", "clusterIPs": ["10.43.0.3", "fd00::3"], "ports": [{ "port": 80 }] });
    let external = |to: &str| json!({ "type": "ExternalName", "externalName": to });
    let mut cluster = Cluster::default();
    for (name, namespace, spec) in [
        ("web", "default", json!({ "clusterIP": "10.43.0.2", "ports": ports })),
        ("dual", "default", dual),
        ("db", "default", json!({ "clusterIP": "None", "ports": [{ "name": "sql", "port": 5432 }] })),
        ("six", "default", json!({ "clusterIP": "None" })),
        ("down", "default", json!({ "clusterIP": "None" })),
        ("outside", "default", external("www.Example.com")),
        ("alias", "default", external("web.default.svc.cluster.local")),
        ("ring", "default", external("ring.default.svc.cluster.local")),
        ("nowhere", "default", external("gone.default.svc.cluster.local.")),
        ("kube-dns", "kube-system", json!({ "clusterIP": "10.43.0.10", "ports": [{ "port": 53 }] })),
    ] {
        cluster.put_service(&key(name, namespace), Asked::of(&service(name, namespace, spec)));
    }
    let db = json!([
        { "addresses": ["10.1.0.3"], "hostname": "db-0" }, { "addresses": ["10.1.0.4"] },
        { "addresses": ["10.1.0.5"], "hostname": "db-2", "conditions": { "ready": false } },
        { "addresses": ["10.1.0.7"], "hostname": "twice" }, { "addresses": ["10.1.0.8"], "hostname": "twice" },
    ]);
    let unready = json!([{ "addresses": ["10.1.0.6"], "conditions": { "ready": false } }]);
    for slice in [
        slice("db", json!([{ "name": "sql", "port": 15432 }]), db),
        slice("down", json!([{ "name": "x", "port": 1 }]), unready),
        slice("six", json!([]), json!([{ "addresses": ["fd00:1::6"] }])),
        slice("web", json!([{ "name": "https", "port": 8443 }]), json!([{ "addresses": ["10.1.0.9"] }])),
    ] {
        cluster.put_slice(&service_of(&slice).unwrap(), slice.metadata.name.as_ref().unwrap(), Some(Group::of(&slice)));
    }
    cluster.put_namespace("default", true);
    cluster.put_namespace("empty", true);
    cluster
}

fn zone() -> Zone {
    let domain = Name::from_ascii("cluster.local.").unwrap();
    let ranges = vec!["10.42.0.0/16".parse().unwrap(), "10.43.0.0/16".parse().unwrap(), "fd00:2::/64".parse().unwrap()];
    Zone::new(Arc::new(Authority::new(domain, ranges)), 7, cluster())
}

fn check(question: &str, expected: Expect) {
    let (name, kind) = question.split_once(' ').unwrap();
    let name = Name::from_ascii(name).unwrap();
    let mut lines = Vec::new();
    match zone().answer(&name, kind.parse().unwrap()) {
        None => lines.push("not ours".to_owned()),
        Some(answer) => {
            lines.extend(answer.records.iter().map(ToString::to_string));
            lines.extend(answer.additionals.iter().map(|record| format!("+ {record}")));
            lines.extend(answer.absent.map(|absent| match absent {
                Absent::Data(soa) => format!("NODATA by {}", soa.name),
                Absent::Name(soa) => format!("NXDOMAIN by {}", soa.name),
            }));
            lines.extend(answer.onward.map(|name| format!("onward {name}")));
        }
    }
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn section_2_2_the_schema_version_is_a_text() {
    check("dns-version.cluster.local. TXT", expect!["dns-version.cluster.local. 5 IN TXT 1.1.0"]);
    check("dns-version.cluster.local. A", expect!["NODATA by cluster.local."]);
}

#[test]
fn section_2_3_1_a_cluster_ip_has_addresses() {
    check("web.default.svc.cluster.local. A", expect!["web.default.svc.cluster.local. 5 IN A 10.43.0.2"]);
    check("WEB.Default.SVC.cluster.LOCAL. A", expect!["WEB.Default.SVC.cluster.LOCAL. 5 IN A 10.43.0.2"]);
    check("web.default.svc.cluster.local. AAAA", expect!["NODATA by cluster.local."]);
    check("dual.default.svc.cluster.local. A", expect!["dual.default.svc.cluster.local. 5 IN A 10.43.0.3"]);
    check("dual.default.svc.cluster.local. AAAA", expect!["dual.default.svc.cluster.local. 5 IN AAAA fd00::3"]);
}

#[test]
fn section_2_3_2_a_named_port_has_a_service_record() {
    check(
        "_https._tcp.web.default.svc.cluster.local. SRV",
        expect![[r#"
        _https._tcp.web.default.svc.cluster.local. 5 IN SRV 0 100 443 web.default.svc.cluster.local.
        + web.default.svc.cluster.local. 5 IN A 10.43.0.2"#]],
    );
    check(
        "_dns._UDP.web.default.svc.cluster.local. SRV",
        expect![[r#"
        _dns._UDP.web.default.svc.cluster.local. 5 IN SRV 0 100 53 web.default.svc.cluster.local.
        + web.default.svc.cluster.local. 5 IN A 10.43.0.2"#]],
    );
    check("_dns._tcp.web.default.svc.cluster.local. SRV", expect!["NXDOMAIN by cluster.local."]);
    check("_https._tcp.web.default.svc.cluster.local. A", expect!["NODATA by cluster.local."]);
    check("__tcp.dual.default.svc.cluster.local. SRV", expect!["NXDOMAIN by cluster.local."]);
}

#[test]
fn section_2_3_3_a_cluster_ip_has_a_reverse() {
    check("2.0.43.10.in-addr.arpa. PTR", expect!["2.0.43.10.in-addr.arpa. 5 IN PTR web.default.svc.cluster.local."]);
    check("2.0.43.10.IN-ADDR.ARPA. A", expect!["NODATA by 43.10.IN-ADDR.ARPA."]);
    check(
        "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. PTR",
        expect![
            "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. 5 IN PTR dual.default.svc.cluster.local."
        ],
    );
}

#[test]
fn section_2_4_1_a_headless_service_has_its_ready_endpoints() {
    check(
        "db.default.svc.cluster.local. A",
        expect![[r#"
        db.default.svc.cluster.local. 5 IN A 10.1.0.3
        db.default.svc.cluster.local. 5 IN A 10.1.0.4
        db.default.svc.cluster.local. 5 IN A 10.1.0.7
        db.default.svc.cluster.local. 5 IN A 10.1.0.8"#]],
    );
    check("db.default.svc.cluster.local. AAAA", expect!["NODATA by cluster.local."]);
    check("six.default.svc.cluster.local. AAAA", expect!["six.default.svc.cluster.local. 5 IN AAAA fd00:1::6"]);
    check("db-0.db.default.svc.cluster.local. A", expect!["db-0.db.default.svc.cluster.local. 5 IN A 10.1.0.3"]);
    check(
        "10-1-0-4.db.default.svc.cluster.local. A",
        expect!["10-1-0-4.db.default.svc.cluster.local. 5 IN A 10.1.0.4"],
    );
    check(
        "fd00-1--6.six.default.svc.cluster.local. AAAA",
        expect!["fd00-1--6.six.default.svc.cluster.local. 5 IN AAAA fd00:1::6"],
    );
    check(
        "twice.db.default.svc.cluster.local. A",
        expect![[r#"
        twice.db.default.svc.cluster.local. 5 IN A 10.1.0.7
        twice.db.default.svc.cluster.local. 5 IN A 10.1.0.8"#]],
    );
    check("db-2.db.default.svc.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
    check("down.default.svc.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
}

#[test]
fn section_2_4_2_each_ready_endpoint_has_a_service_record_for_each_port() {
    check(
        "_sql._tcp.db.default.svc.cluster.local. SRV",
        expect![[r#"
        _sql._tcp.db.default.svc.cluster.local. 5 IN SRV 0 25 15432 db-0.db.default.svc.cluster.local.
        _sql._tcp.db.default.svc.cluster.local. 5 IN SRV 0 25 15432 10-1-0-4.db.default.svc.cluster.local.
        _sql._tcp.db.default.svc.cluster.local. 5 IN SRV 0 25 15432 twice.db.default.svc.cluster.local.
        + db-0.db.default.svc.cluster.local. 5 IN A 10.1.0.3
        + 10-1-0-4.db.default.svc.cluster.local. 5 IN A 10.1.0.4
        + twice.db.default.svc.cluster.local. 5 IN A 10.1.0.7
        + twice.db.default.svc.cluster.local. 5 IN A 10.1.0.8"#]],
    );
    check("_x._tcp.down.default.svc.cluster.local. SRV", expect!["NXDOMAIN by cluster.local."]);
}

#[test]
fn section_2_4_3_an_endpoint_has_a_reverse() {
    check("3.0.1.10.in-addr.arpa. PTR", expect!["3.0.1.10.in-addr.arpa. 5 IN PTR db-0.db.default.svc.cluster.local."]);
    check(
        "4.0.1.10.in-addr.arpa. PTR",
        expect!["4.0.1.10.in-addr.arpa. 5 IN PTR 10-1-0-4.db.default.svc.cluster.local."],
    );
    check(
        "9.0.1.10.in-addr.arpa. PTR",
        expect!["9.0.1.10.in-addr.arpa. 5 IN PTR 10-1-0-9.web.default.svc.cluster.local."],
    );
}

#[test]
fn section_2_5_an_external_name_is_an_alias() {
    check(
        "outside.default.svc.cluster.local. A",
        expect![[r#"
        outside.default.svc.cluster.local. 5 IN CNAME www.Example.com.
        onward www.Example.com."#]],
    );
    check(
        "outside.default.svc.cluster.local. CNAME",
        expect!["outside.default.svc.cluster.local. 5 IN CNAME www.Example.com."],
    );
    check(
        "alias.default.svc.cluster.local. A",
        expect![[r#"
        alias.default.svc.cluster.local. 5 IN CNAME web.default.svc.cluster.local.
        web.default.svc.cluster.local. 5 IN A 10.43.0.2"#]],
    );
    check(
        "nowhere.default.svc.cluster.local. A",
        expect![[r#"
        nowhere.default.svc.cluster.local. 5 IN CNAME gone.default.svc.cluster.local.
        NXDOMAIN by cluster.local."#]],
    );
    check("x.outside.default.svc.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
    let ring = Name::from_ascii("ring.default.svc.cluster.local.").unwrap();
    assert_eq!(zone().answer(&ring, RecordType::A).unwrap().records.len(), ALIASES_MAX);
}

#[test]
fn section_2_6_a_pod_is_found_by_its_address() {
    check("1-2-3-4.default.pod.cluster.local. A", expect!["1-2-3-4.default.pod.cluster.local. 5 IN A 1.2.3.4"]);
    check("fd00--1.default.pod.cluster.local. AAAA", expect!["fd00--1.default.pod.cluster.local. 5 IN AAAA fd00::1"]);
    check("1-2-3-4.default.pod.cluster.local. AAAA", expect!["NODATA by cluster.local."]);
    check("1-2-3-4.gone.pod.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
    check("1-2-3.default.pod.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
}

#[test]
fn names_between_exist_and_others_do_not() {
    check("svc.cluster.local. A", expect!["NODATA by cluster.local."]);
    check("pod.cluster.local. A", expect!["NODATA by cluster.local."]);
    check("default.svc.cluster.local. A", expect!["NODATA by cluster.local."]);
    check("empty.svc.cluster.local. NS", expect!["NODATA by cluster.local."]);
    check("empty.pod.cluster.local. A", expect!["NODATA by cluster.local."]);
    check("_tcp.web.default.svc.cluster.local. A", expect!["NODATA by cluster.local."]);
    check("_sctp.web.default.svc.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
    check("gone.svc.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
    check("none.default.svc.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
    check("web.other.svc.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
    check("foo.cluster.local. NS", expect!["NXDOMAIN by cluster.local."]);
    check("example.com.default.svc.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
    check("a.b.c.d.e.f.g.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
}

#[test]
fn a_service_name_has_service_records_of_all_its_ports() {
    check(
        "web.default.svc.cluster.local. SRV",
        expect![[r#"
        web.default.svc.cluster.local. 5 IN SRV 0 50 443 web.default.svc.cluster.local.
        web.default.svc.cluster.local. 5 IN SRV 0 50 53 web.default.svc.cluster.local.
        + web.default.svc.cluster.local. 5 IN A 10.43.0.2"#]],
    );
    check(
        "dual.default.svc.cluster.local. SRV",
        expect![[r#"
        dual.default.svc.cluster.local. 5 IN SRV 0 100 80 dual.default.svc.cluster.local.
        + dual.default.svc.cluster.local. 5 IN A 10.43.0.3
        + dual.default.svc.cluster.local. 5 IN AAAA fd00::3"#]],
    );
    check(
        "db-0.db.default.svc.cluster.local. SRV",
        expect![[r#"
        db-0.db.default.svc.cluster.local. 5 IN SRV 0 100 15432 db-0.db.default.svc.cluster.local.
        + db-0.db.default.svc.cluster.local. 5 IN A 10.1.0.3"#]],
    );
    check(
        "10-1-0-9.web.default.svc.cluster.local. A",
        expect!["10-1-0-9.web.default.svc.cluster.local. 5 IN A 10.1.0.9"],
    );
}

#[test]
fn the_zone_says_who_serves_it() {
    check(
        "cluster.local. SOA",
        expect!["cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5"],
    );
    check(
        "cluster.local. NS",
        expect![[r#"
        cluster.local. 5 IN NS kube-dns.kube-system.svc.cluster.local.
        + kube-dns.kube-system.svc.cluster.local. 5 IN A 10.43.0.10"#]],
    );
    check("cluster.local. A", expect!["NODATA by cluster.local."]);
    check("ns.dns.cluster.local. A", expect!["ns.dns.cluster.local. 5 IN A 10.43.0.10"]);
    check("web.default.svc.cluster.local. SOA", expect!["NODATA by cluster.local."]);
    check("web.default.svc.cluster.local. ANY", expect!["NODATA by cluster.local."]);
}

#[test]
fn reverse_names_are_ours_in_our_ranges_alone() {
    check("9.9.43.10.in-addr.arpa. PTR", expect!["NXDOMAIN by 43.10.in-addr.arpa."]);
    check(
        "43.10.in-addr.arpa. SOA",
        expect!["43.10.in-addr.arpa. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5"],
    );
    check("10.in-addr.arpa. PTR", expect!["not ours"]);
    check("9.9.168.192.in-addr.arpa. PTR", expect!["not ours"]);
    check("1.1.1.1.in-addr.arpa. PTR", expect!["not ours"]);
    check("1.0.0.127.in-addr.arpa. PTR", expect!["1.0.0.127.in-addr.arpa. 5 IN PTR localhost."]);
    check("9.0.0.127.in-addr.arpa. PTR", expect!["NXDOMAIN by 127.in-addr.arpa."]);
    check(
        "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.0.0.d.f.ip6.arpa. PTR",
        expect!["NXDOMAIN by 0.0.0.0.0.0.0.0.2.0.0.0.0.0.d.f.ip6.arpa."],
    );
}

#[test]
fn local_names_never_leave_and_others_are_not_ours() {
    check("localhost. A", expect!["localhost. 5 IN A 127.0.0.1"]);
    check("a.localhost. A", expect!["NXDOMAIN by localhost."]);
    check("example.com. A", expect!["not ours"]);
    check("notcluster.local. A", expect!["not ours"]);
    check("local. A", expect!["not ours"]);
}

#[test]
fn a_look_up_finds_the_addresses_that_are_answered() {
    let found = |text: &str| zone().look_up(text.trim_end_matches('.'));
    let addresses = |texts: &[&str]| Some(Found::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect()));
    assert_eq!(found("dual.default.svc.cluster.local."), addresses(&["10.43.0.3", "fd00::3"]));
    assert_eq!(found("six.default.svc.cluster.local."), addresses(&["fd00:1::6"]));
    assert_eq!(found("alias.default.svc.cluster.local."), addresses(&["10.43.0.2"]));
    assert_eq!(found("localhost."), addresses(&["127.0.0.1", "::1"]));
    let outside = Name::from_ascii("www.Example.com.").unwrap();
    assert_eq!(found("outside.default.svc.cluster.local."), Some(Found::Outside(outside)));
    for text in ["ring.default.svc.cluster.local.", "default.svc.cluster.local.", "down.default.svc.cluster.local."] {
        assert_eq!(found(text), Some(Found::Nothing), "{text}");
    }
    assert_eq!(found("example.com."), None);
}
