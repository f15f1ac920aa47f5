//! dig and host, as people ask for names; and getent, as every program of the machine does.

use std::net::{Ipv6Addr, SocketAddr};
use std::process::Command;

use coracle_tests::paths::client;
use coracle_tests::{Cluster, eventually};
use serde_json::{Value, json};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// A cluster with Services of each kind, whose endpoints nobody has to start.
fn cluster() -> Cluster {
    let cluster = Cluster::builder().flags("--dns-upstream 127.0.0.1:9").start();
    let service = |name: &str, spec: Value| {
        cluster.api().create(SERVICES, &json!({"metadata": {"name": name}, "spec": spec}));
    };
    service("web", json!({"ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]}));
    service("db", json!({"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]}));
    service("many", json!({"clusterIP": "None"}));
    service("outside", json!({"type": "ExternalName", "externalName": "www.example.com"}));
    service("alias", json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"}));
    let slice = |of: &str, endpoints: Value| {
        let metadata = json!({"name": format!("{of}-1"), "labels": {"kubernetes.io/service-name": of}});
        let ports = json!([{"name": "sql", "port": 5432}]);
        let slice = json!({"metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": endpoints});
        cluster.api().create(SLICES, &slice);
    };
    let ready = |ip: &str| json!({"addresses": [ip], "conditions": {"ready": true}});
    let mut named = ready("10.9.0.1");
    named["hostname"] = "db-0".into();
    let unready = json!({"addresses": ["10.9.0.3"], "conditions": {"ready": false}});
    slice("db", json!([named, ready("10.9.0.2"), unready]));
    slice("many", (0..100).map(|n| ready(&format!("10.9.1.{n}"))).collect());
    eventually("all names", || match dig(&cluster, "+short many.default.svc.cluster.local +tcp").lines().count() {
        100 => Ok(()),
        count => Err(format!("{count} addresses")),
    });
    cluster
}

fn server(cluster: &Cluster) -> SocketAddr {
    cluster.server().dns.expect("the server printed where it answers")
}

fn run(at: SocketAddr, program: &str, line: &str) -> String {
    let mut command = Command::new(client("dig").join(program));
    match program {
        "dig" => command.args([&format!("@{}", at.ip()), "-p", &at.port().to_string()]).args(line.split_whitespace()),
        _ => command.args(["-p", &at.port().to_string()]).args(line.split_whitespace()).arg(at.ip().to_string()),
    };
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn dig(cluster: &Cluster, line: &str) -> String {
    run(server(cluster), "dig", line)
}

/// The records of a section, with one blank between fields.
fn records(cluster: &Cluster, section: &str, question: &str) -> Vec<String> {
    let said = dig(cluster, &format!("+noall +{section} {question}"));
    said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn each_kind_of_record_is_answered() {
    let cluster = cluster();
    let ip = cluster.get(&format!("{SERVICES}/web"))["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let answers = |question: &str| records(&cluster, "answer", question);
    let web = "web.default.svc.cluster.local.";
    assert_eq!(answers(web), [format!("{web} 5 IN A {ip}")]);
    assert_eq!(answers("WEB.Default.svc.cluster.LOCAL."), [format!("WEB.Default.svc.cluster.LOCAL. 5 IN A {ip}")]);
    assert_eq!(answers("dns-version.cluster.local. TXT"), ["dns-version.cluster.local. 5 IN TXT \"1.1.0\""]);
    let port = "_http._tcp.web.default.svc.cluster.local.";
    assert_eq!(answers(&format!("{port} SRV")), [format!("{port} 5 IN SRV 0 100 80 {web}")]);
    assert_eq!(records(&cluster, "additional", &format!("{port} SRV")), [format!("{web} 5 IN A {ip}")]);
    let reverse: Vec<&str> = ip.rsplit('.').collect();
    assert_eq!(answers(&format!("-x {ip}")), [format!("{}.in-addr.arpa. 5 IN PTR {web}", reverse.join("."))]);
    let ports = "_sql._tcp.db.default.svc.cluster.local.";
    let mut found = answers(&format!("{ports} SRV"));
    found.sort();
    assert_eq!(
        found,
        ["10-9-0-2", "db-0"].map(|host| format!("{ports} 5 IN SRV 0 50 5432 {host}.db.default.svc.cluster.local."))
    );
    assert_eq!(answers("-x 10.9.0.1"), ["1.0.9.10.in-addr.arpa. 5 IN PTR db-0.db.default.svc.cluster.local."]);
    assert_eq!(
        answers("+norecurse 1-2-3-4.default.pod.cluster.local."),
        ["1-2-3-4.default.pod.cluster.local. 5 IN A 1.2.3.4"]
    );
    let alias = "alias.default.svc.cluster.local.";
    assert_eq!(answers(alias), [format!("{alias} 5 IN CNAME {web}"), format!("{web} 5 IN A {ip}")]);
    assert_eq!(answers("cluster.local. NS"), ["cluster.local. 5 IN NS kube-dns.kube-system.svc.cluster.local."]);
}

#[test]
fn what_is_missing_is_denied_with_authority_and_what_is_long_is_cut() {
    let cluster = cluster();
    let denials = [
        ("none.default.svc.cluster.local.", "status: NXDOMAIN"),
        ("web.default.svc.cluster.local. AAAA", "status: NOERROR"),
        ("default.svc.cluster.local.", "status: NOERROR"),
        ("nowhere.svc.cluster.local.", "status: NXDOMAIN"),
    ];
    for (question, status) in denials {
        let said = dig(&cluster, question);
        assert!(said.contains(status) && said.contains("flags: qr aa rd ra;"), "{question}: {said}");
        assert!(said.contains("ANSWER: 0, AUTHORITY: 1"), "{question}: {said}");
        let soa = records(&cluster, "authority", question);
        assert!(
            soa[0].starts_with("cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. "),
            "{soa:?}"
        );
    }
    let many = "many.default.svc.cluster.local.";
    let cut = dig(&cluster, &format!("+noedns +ignore {many}"));
    assert!(cut.contains("flags: qr aa tc rd ra;"), "{cut}");
    let count = |line: &str| dig(&cluster, &format!("+short {line} {many}")).lines().count();
    let (plain, wide) = (count("+noedns +ignore"), count("+bufsize=1232 +ignore"));
    assert!(0 < plain && plain < wide && wide < 100, "{plain} {wide}");
    assert_eq!((count("+tcp"), count("")), (100, 100), "a stream has room, and who is told asks by one");
    assert!(dig(&cluster, "+edns=1 +noednsneg cluster.local. SOA").contains("status: BADVERS"));
    assert!(dig(&cluster, "cluster.local. AXFR").contains("Transfer failed"));
    assert!(dig(&cluster, "version.bind. TXT CH").contains("status: REFUSED"));
}

#[test]
fn a_resolver_outside_that_is_down_holds_up_its_own_names_alone() {
    let cluster = cluster();
    let at = server(&cluster);
    let outside = std::thread::spawn(move || run(at, "dig", "+tries=1 www.example.com."));
    let inside = run(at, "dig", "+tries=1 +timeout=1 +short db-0.db.default.svc.cluster.local.");
    assert_eq!(inside, "10.9.0.1\n");
    let outside = outside.join().unwrap();
    assert!(outside.contains("status: SERVFAIL"), "{outside}");
    let alias = records(&cluster, "answer", "outside.default.svc.cluster.local.");
    assert_eq!(alias, ["outside.default.svc.cluster.local. 5 IN CNAME www.example.com."]);
    let told = cluster.kubectl("get --raw /metrics").ok();
    for line in [
        "coredns_dns_responses_total{rcode=\"SERVFAIL\",server=\"dns://\",zone=\".\"} ",
        "coredns_dns_requests_total{proto=\"udp\",server=\"dns://\",type=\"A\",zone=\".\"} ",
    ] {
        let count = told.lines().find_map(|known| known.strip_prefix(line)).expect(line);
        assert_ne!(count, "0", "{line}");
    }
}

#[test]
fn a_server_of_ipv6_is_asked_by_datagram_and_by_stream_and_knows_addresses_of_both_families() {
    if std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("nothing was asked: this machine has no IPv6");
        return;
    }
    let cluster = Cluster::builder().flags("--dns-upstream 127.0.0.1:9").bound_to(Ipv6Addr::LOCALHOST).start();
    let spec = json!({"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]});
    cluster.api().create(SERVICES, &json!({"metadata": {"name": "six"}, "spec": spec}));
    let metadata = json!({"name": "six-1", "labels": {"kubernetes.io/service-name": "six"}});
    let endpoints = json!([{"addresses": ["fd00:9::1"], "hostname": "six-0"}, {"addresses": ["fd00:9::2"]}]);
    let ports = json!([{"name": "sql", "port": 5432}]);
    let slice = json!({"metadata": metadata, "addressType": "IPv6", "ports": ports, "endpoints": endpoints});
    cluster.api().create(SLICES, &slice);
    let answers = |question: &str| {
        let mut answers = records(&cluster, "answer", &format!("-6 {question}"));
        answers.sort();
        answers
    };
    let six = "six.default.svc.cluster.local.";
    let both = ["fd00:9::1", "fd00:9::2"].map(|ip| format!("{six} 5 IN AAAA {ip}"));
    for way in ["+notcp", "+tcp"] {
        eventually("both endpoints", || match answers(&format!("{way} {six} AAAA")) {
            found if found == both => Ok(()),
            other => Err(format!("{way}: {other:?}")),
        });
        let own = cluster.get(&format!("{SERVICES}/kubernetes"))["spec"]["clusterIP"].as_str().unwrap().to_owned();
        let kubernetes = "kubernetes.default.svc.cluster.local.";
        assert_eq!(answers(&format!("{way} {kubernetes}")), [format!("{kubernetes} 5 IN A {own}")]);
    }
    assert!(dig(&cluster, &format!("-6 {six} A")).contains("status: NOERROR"), "the name is there, with others");
    assert_eq!(answers("fd00-9--2.six.default.svc.cluster.local. AAAA").len(), 1);
    let name = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.9.0.0.0.0.0.d.f.ip6.arpa.";
    assert_eq!(answers("-x fd00:9::1"), [format!("{name} 5 IN PTR six-0.{six}")]);
    let targets = answers(&format!("_sql._tcp.{six} SRV"));
    assert_eq!(targets.len(), 2, "{targets:?}");
}

#[test]
fn host_and_getent_find_what_dig_finds() {
    let cluster = cluster();
    let said = run(server(&cluster), "host", "db-0.db.default.svc.cluster.local");
    assert!(said.contains("db-0.db.default.svc.cluster.local has address 10.9.0.1"), "{said}");
    let said = run(server(&cluster), "host", "10.9.0.2");
    assert!(said.contains("domain name pointer 10-9-0-2.db.default.svc.cluster.local."), "{said}");

    // Programs ask at port 53 of whom /etc/resolv.conf names: the cluster address of DNS, where that is real.
    let dns = cluster.get("/api/v1/namespaces/kube-system/services/kube-dns");
    let dns = dns["spec"]["clusterIP"].as_str().unwrap();
    let conf =
        cluster.file("resolv.conf", format!("nameserver {dns}\nsearch default.svc.cluster.local\noptions ndots:5\n"));
    let script = format!("mount --bind {conf} /etc/resolv.conf && exec getent ahostsv4 db-0.db");
    let getent = || {
        let output =
            Command::new("unshare").args(["--map-root-user", "--mount", "sh", "-c", &script]).output().unwrap();
        let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if said.contains("10.9.0.1") { Ok(()) } else { Err(format!("{said}{why}")) }
    };
    let may = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).status();
    let is_real =
        std::net::UdpSocket::bind((dns, 53)).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
    if !may.is_ok_and(|status| status.success()) || !is_real {
        eprintln!("getent did not run: it needs a mount namespace of its own, and port 53 of {dns}");
        return;
    }
    eventually("an answer to getent", getent);
}
