//! What hosts and paths lead to, of several Ingresses and Services.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

fn services() -> Services {
    let service = |(number, name): (usize, &str)| {
        let ports = json!([
            { "name": "dns", "protocol": "UDP", "port": 80 },
            { "name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080 },
            { "name": "admin", "port": 81 },
        ]);
        let spec = json!({ "clusterIP": format!("10.0.0.{}", number + 1), "ports": ports });
        let service = serde_json::from_value(json!({ "spec": spec })).unwrap();
        (NamespacedName::new("default", name), Arc::new(service))
    };
    ["a", "b", "c"].into_iter().enumerate().map(service).collect()
}

fn to(service: &str) -> Value {
    json!({ "service": { "name": service, "port": { "number": 80 } } })
}

fn ingress(name: &str, spec: Value) -> Arc<Ingress> {
    let metadata = json!({ "namespace": "default", "name": name, "uid": name });
    Arc::new(serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap())
}

fn rule(host: &str, paths: &[(&str, &str, Value)]) -> Value {
    let paths: Vec<Value> = paths
        .iter()
        .map(|(kind, path, backend)| json!({ "pathType": kind, "path": path, "backend": backend }))
        .collect();
    json!({ "host": host, "http": { "paths": paths } })
}

/// Says which Service answers each of these, and what is wrong.
fn check(ingresses: &[Arc<Ingress>], asked: &[(&str, &str)], expected: &Expect) {
    let (sites, complaints) = sites(ingresses, &services());
    let mut said = String::new();
    for (host, path) in asked {
        let to = match sites.find(host, path).map(|backend| backend.front) {
            Some(Some(Front::ClusterIp(_, at))) => at.to_string(),
            Some(other) => format!("{other:?}"),
            None => "404".to_owned(),
        };
        said.push_str(&format!("{host}{path} -> {to}\n"));
    }
    for complaint in complaints {
        let said_of = complaint.said();
        said.push_str(&format!("{} {}: {}\n", said_of.about.name.unwrap_or_default(), said_of.reason, said_of.message));
    }
    expected.assert_eq(&said);
}

#[test]
fn several_ingresses_of_one_host_merge_and_the_oldest_wins() {
    let first = ingress("first", json!({ "rules": [rule("boat.dev", &[("Prefix", "/", to("a"))])] }));
    let second = json!([rule("boat.dev", &[("Prefix", "/api", to("b")), ("Prefix", "/", to("c"))])]);
    check(
        &[first, ingress("second", json!({ "rules": second }))],
        &[("boat.dev", "/"), ("boat.dev", "/api/x"), ("other.dev", "/")],
        &expect![[r#"
            boat.dev/ -> 10.0.0.1:80
            boat.dev/api/x -> 10.0.0.2:80
            other.dev/ -> 404
            second Conflict: path "/" of host "boat.dev" leads where Ingress default/first has it lead already
        "#]],
    );
}

#[test]
fn what_no_path_fits_goes_to_the_default_backend() {
    let with_rest =
        ingress("rest", json!({ "defaultBackend": to("c"), "rules": [rule("a.dev", &[("Exact", "/x", to("a"))])] }));
    let other = ingress("other", json!({ "rules": [rule("*.b.dev", &[("Prefix", "/x", to("b"))])] }));
    let asked = [("a.dev", "/x"), ("a.dev", "/y"), ("w.b.dev", "/x"), ("w.b.dev", "/y"), ("c.dev", "/x"), ("", "/")];
    check(
        &[other.clone(), with_rest],
        &asked,
        &expect![[r#"
            a.dev/x -> 10.0.0.1:80
            a.dev/y -> 10.0.0.3:80
            w.b.dev/x -> 10.0.0.2:80
            w.b.dev/y -> 10.0.0.3:80
            c.dev/x -> 10.0.0.3:80
            / -> 10.0.0.3:80
        "#]],
    );
    check(
        &[other],
        &asked[..4],
        &expect![[r#"
            a.dev/x -> 404
            a.dev/y -> 404
            w.b.dev/x -> 10.0.0.2:80
            w.b.dev/y -> 404
        "#]],
    );
}

#[test]
fn rules_without_a_host_are_for_hosts_that_no_other_names() {
    let rules = json!([rule("", &[("Prefix", "/", to("a"))]), rule("b.dev", &[("Prefix", "/b", to("b"))])]);
    check(
        &[ingress("both", json!({ "rules": rules }))],
        &[("any.dev", "/b"), ("b.dev", "/b"), ("b.dev", "/")],
        &expect![[r#"
            any.dev/b -> 10.0.0.1:80
            b.dev/b -> 10.0.0.2:80
            b.dev/ -> 404
        "#]],
    );
}

#[test]
fn a_port_is_named_or_numbered_and_what_is_not_there_is_said() {
    let named = |service: &str, name: &str| json!({ "service": { "name": service, "port": { "name": name } } });
    let numbered = |service: &str, number: u16| json!({ "service": { "name": service, "port": { "number": number } } });
    let resource = json!({ "resource": { "apiGroup": "k.io", "kind": "Bucket", "name": "x" } });
    let paths = [
        ("Exact", "/1", named("a", "admin")),
        ("Exact", "/2", numbered("a", 81)),
        ("Exact", "/3", named("a", "dns")),
        ("Exact", "/4", numbered("a", 8080)),
        ("Exact", "/5", numbered("nobody", 80)),
        ("ImplementationSpecific", "/6", resource),
    ];
    check(
        &[ingress("ports", json!({ "rules": [rule("", &paths)] }))],
        &[("", "/1"), ("", "/2"), ("", "/3"), ("", "/4"), ("", "/5"), ("", "/6")],
        &expect![[r#"
            /1 -> 10.0.0.1:81
            /2 -> 10.0.0.1:81
            /3 -> None
            /4 -> None
            /5 -> None
            /6 -> None
            ports PortNotFound: Service "default/a" has no TCP port "dns": its paths are answered 503
            ports PortNotFound: Service "default/a" has no TCP port 8080: its paths are answered 503
            ports ServiceNotFound: Service "default/nobody" not found: its paths are answered 503
            ports Unsupported: backend Bucket "x" is no Service: its paths are answered 503
        "#]],
    );
}

#[test]
fn an_annotation_says_how_long_a_backend_may_take() {
    let mut with = Ingress::clone(&ingress("slow", json!({ "defaultBackend": to("a") })));
    let mut check = |text: &str, expected: Option<u64>, complaints: usize| {
        with.metadata.annotations = Some([(REQUEST_TIMEOUT.to_owned(), text.to_owned())].into());
        let (sites, said) = sites(&[Arc::new(with.clone())], &services());
        let patience = sites.find("", "/").unwrap().patience;
        assert_eq!((patience, said.len()), (expected.map(Duration::from_secs), complaints), "{text}");
    };
    check("5m", Some(300), 0);
    check("0", None, 0);
    check("long", Some(60), 1);
}
