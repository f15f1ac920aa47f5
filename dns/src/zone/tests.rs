//! The zone in the order of the Kubernetes DNS specification: objects in, questions asked, answers as `dig` shows them.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

fn service(namespace: &str, name: &str, spec: Value) -> Service {
    serde_json::from_value(json!({ "metadata": { "name": name, "namespace": namespace }, "spec": spec })).unwrap()
}

fn slice(of: &str, ports: Value, endpoints: Value) -> EndpointSlice {
    let metadata = json!({
        "name": format!("{of}-1"), "namespace": "default", "labels": { "kubernetes.io/service-name": of },
    });
    let slice = json!({ "metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": endpoints });
    serde_json::from_value(slice).unwrap()
}

fn zone() -> Zone {
    let ports = json!([{ "name": "https", "port": 443 }, { "name": "dns", "port": 53, "protocol": "UDP" }]);
    let external = |to: &str| json!({ "type": "ExternalName", "externalName": to });
    let services = [
        service("default", "web", json!({ "clusterIP": "127.43.0.2", "ports": ports })),
        service(
            "default",
            "dual",
            json!({ "clusterIP": "10.0.0.3", "clusterIPs": ["10.0.0.3", "fd00::3"], "ports": [{ "port": 80 }] }),
        ),
        service("default", "db", json!({ "clusterIP": "None", "ports": [{ "name": "sql", "port": 5432 }] })),
        service("default", "down", json!({ "clusterIP": "None" })),
        service("default", "outside", external("www.Example.com")),
        service("default", "alias", external("web.default.svc.cluster.local")),
        service("default", "ring", external("ring.default.svc.cluster.local")),
        service("default", "nowhere", external("gone.default.svc.cluster.local.")),
        service("kube-system", "kube-dns", json!({ "clusterIP": "127.43.0.10", "ports": [{ "port": 53 }] })),
    ];
    let endpoints = json!([
        { "addresses": ["10.1.0.3"], "hostname": "db-0" }, { "addresses": ["10.1.0.4"] },
        { "addresses": ["10.1.0.5"], "hostname": "db-2", "conditions": { "ready": false } },
    ]);
    let unready = json!([{ "addresses": ["10.1.0.6"], "conditions": { "ready": false } }]);
    let slices = [
        slice("db", json!([{ "name": "sql", "port": 15432 }]), endpoints),
        slice("down", json!([{ "name": "x", "port": 1 }]), unready),
    ];
    Zone::new(&Name::from_ascii("cluster.local.").unwrap(), 7, &services, &slices)
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
fn the_schema_version_is_a_text() {
    check("dns-version.cluster.local. TXT", expect!["dns-version.cluster.local. 5 IN TXT 1.1.0"]);
}

#[test]
fn a_cluster_ip_has_addresses_ports_and_a_reverse() {
    check("web.default.svc.cluster.local. A", expect!["web.default.svc.cluster.local. 5 IN A 127.43.0.2"]);
    check("WEB.Default.SVC.cluster.LOCAL. A", expect!["WEB.Default.SVC.cluster.LOCAL. 5 IN A 127.43.0.2"]);
    check("web.default.svc.cluster.local. AAAA", expect!["NODATA by cluster.local."]);
    check("dual.default.svc.cluster.local. AAAA", expect!["dual.default.svc.cluster.local. 5 IN AAAA fd00::3"]);
    check(
        "_https._tcp.web.default.svc.cluster.local. SRV",
        expect![[r#"
        _https._tcp.web.default.svc.cluster.local. 5 IN SRV 0 100 443 web.default.svc.cluster.local.
        + web.default.svc.cluster.local. 5 IN A 127.43.0.2"#]],
    );
    check(
        "_dns._udp.web.default.svc.cluster.local. SRV",
        expect![[r#"
        _dns._udp.web.default.svc.cluster.local. 5 IN SRV 0 100 53 web.default.svc.cluster.local.
        + web.default.svc.cluster.local. 5 IN A 127.43.0.2"#]],
    );
    check("_dns._tcp.web.default.svc.cluster.local. SRV", expect!["NXDOMAIN by cluster.local."]);
    check("2.0.43.127.in-addr.arpa. PTR", expect!["2.0.43.127.in-addr.arpa. 5 IN PTR web.default.svc.cluster.local."]);
    check(
        "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. PTR",
        expect![
            "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. 5 IN PTR dual.default.svc.cluster.local."
        ],
    );
}

#[test]
fn a_headless_service_has_its_ready_endpoints() {
    check(
        "db.default.svc.cluster.local. A",
        expect![[r#"
        db.default.svc.cluster.local. 5 IN A 10.1.0.3
        db.default.svc.cluster.local. 5 IN A 10.1.0.4"#]],
    );
    check("db-0.db.default.svc.cluster.local. A", expect!["db-0.db.default.svc.cluster.local. 5 IN A 10.1.0.3"]);
    check(
        "10-1-0-4.db.default.svc.cluster.local. A",
        expect!["10-1-0-4.db.default.svc.cluster.local. 5 IN A 10.1.0.4"],
    );
    check("db-2.db.default.svc.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
    check(
        "_sql._tcp.db.default.svc.cluster.local. SRV",
        expect![[r#"
        _sql._tcp.db.default.svc.cluster.local. 5 IN SRV 0 100 15432 db-0.db.default.svc.cluster.local.
        _sql._tcp.db.default.svc.cluster.local. 5 IN SRV 0 100 15432 10-1-0-4.db.default.svc.cluster.local.
        + 10-1-0-4.db.default.svc.cluster.local. 5 IN A 10.1.0.4
        + db-0.db.default.svc.cluster.local. 5 IN A 10.1.0.3"#]],
    );
    check("3.0.1.10.in-addr.arpa. PTR", expect!["3.0.1.10.in-addr.arpa. 5 IN PTR db-0.db.default.svc.cluster.local."]);
    check("down.default.svc.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
}

#[test]
fn an_external_name_is_an_alias() {
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
        web.default.svc.cluster.local. 5 IN A 127.43.0.2"#]],
    );
    check(
        "nowhere.default.svc.cluster.local. A",
        expect![[r#"
        nowhere.default.svc.cluster.local. 5 IN CNAME gone.default.svc.cluster.local.
        NXDOMAIN by cluster.local."#]],
    );
    assert_eq!(
        zone()
            .answer(&Name::from_ascii("ring.default.svc.cluster.local.").unwrap(), RecordType::A)
            .unwrap()
            .records
            .len(),
        ALIASES_MAX
    );
}

#[test]
fn names_between_exist_and_others_do_not() {
    check("default.svc.cluster.local. A", expect!["NODATA by cluster.local."]);
    check("_tcp.web.default.svc.cluster.local. A", expect!["NODATA by cluster.local."]);
    check("svc.cluster.local. A", expect!["NODATA by cluster.local."]);
    check("none.default.svc.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
    check("web.other.svc.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
    check("example.com.default.svc.cluster.local. A", expect!["NXDOMAIN by cluster.local."]);
}

#[test]
fn the_zone_says_who_serves_it() {
    check(
        "cluster.local. SOA",
        expect!["cluster.local. 5 IN SOA dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5"],
    );
    check("cluster.local. NS", expect!["cluster.local. 5 IN NS dns.cluster.local."]);
    check("dns.cluster.local. A", expect!["dns.cluster.local. 5 IN A 127.43.0.10"]);
}

#[test]
fn local_names_never_leave_and_others_are_not_ours() {
    check("localhost. A", expect!["localhost. 5 IN A 127.0.0.1"]);
    check("a.localhost. A", expect!["NXDOMAIN by localhost."]);
    check("9.9.168.192.in-addr.arpa. PTR", expect!["NXDOMAIN by in-addr.arpa."]);
    check("1.1.1.1.in-addr.arpa. PTR", expect!["not ours"]);
    check("example.com. A", expect!["not ours"]);
    check("notcluster.local. A", expect!["not ours"]);
}
