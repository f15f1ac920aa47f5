//! Names and paths that a proxy is asked for: as upstream reads them, and never above what was asked for.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(text: &str) -> Option<(&'static str, &str, &str)> {
    Named::read(text).map(|named| (named.scheme.as_str(), named.name, named.port))
}

#[test]
fn an_object_is_named_with_a_port_and_a_scheme_or_without() {
    assert_eq!(read("web"), Some(("http", "web", "")));
    assert_eq!(read("web:80"), Some(("http", "web", "80")));
    assert_eq!(read("web:"), Some(("http", "web", "")));
    assert_eq!(read(":web:80"), Some(("http", "web", "80")));
    assert_eq!(read("https:web:tls"), Some(("https", "web", "tls")));
    assert_eq!(read("http:web:"), Some(("http", "web", "")));
    for bad in ["", ":", ":80", "::", "http::80", "ftp:web:21", "HTTP:web:80", "http:web:80:", "a:b:c"] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

#[test]
fn a_pod_is_asked_at_its_first_port_unless_another_is_named() {
    let pod =
        json!({"spec": {"containers": [{"name": "a"}, {"ports": [{"containerPort": 8080}, {"containerPort": 1}]}]}});
    let port = |pod: &Value, text: &str| pod_port(pod, Named::read(text).unwrap());
    assert_eq!(port(&pod, "web"), Ok(8080));
    assert_eq!(port(&pod, "web:9"), Ok(9));
    assert_eq!(port(&json!({}), "web"), Ok(80));
    assert_eq!(port(&json!({}), "https:web:"), Ok(443));
    for bad in ["0", "65536", "-1", "http", "80a"] {
        let said = format!("error trying to reach service: dial tcp: lookup tcp/{bad}: unknown port");
        assert_eq!(port(&pod, &format!("web:{bad}")), Err(said));
    }
}

#[test]
fn a_service_is_asked_at_a_ready_endpoint_of_its_port() {
    let ports = json!([{"name": "http", "port": 80}, {"name": "admin", "port": 81}]);
    let service = json!({"metadata": {"namespace": "shop"}, "spec": {"ports": ports}});
    let endpoint = |ip: &str, kind: &str, namespace: &str, pod: &str, is_ready: bool| {
        let target = json!({"kind": kind, "namespace": namespace, "name": pod});
        json!({"addresses": [ip], "targetRef": target, "conditions": {"ready": is_ready}})
    };
    let slice = json!({
        "ports": [{"name": "http", "port": 8080}, {"name": "admin", "port": 8081}],
        "endpoints": [
            endpoint("10.0.0.1", "Pod", "shop", "a", true),
            endpoint("10.0.0.2", "Pod", "shop", "b", false),
            {"addresses": ["10.0.0.3"], "targetRef": {"kind": "Pod", "namespace": "shop", "name": "c"}},
            // These are not what they say.
            {"addresses": ["192.0.2.1"]},
            endpoint("192.0.2.1", "Pod", "shop", "a", true),
            endpoint("10.0.0.1", "Pod", "bank", "a", true),
            endpoint("10.0.0.1", "Node", "shop", "a", true),
            endpoint("10.0.0.4", "Pod", "shop", "gone", true),
        ],
    });
    let pod = |name: &str| {
        let ip = ["a", "b", "c"].iter().position(|known| *known == name)? + 1;
        Some(json!({"metadata": {"name": name}, "status": {"podIP": format!("10.0.0.{ip}")}}))
    };
    let of = |service: &Value, text: &str| -> Result<Vec<String>, String> {
        let found = endpoints(service, &[&slice], Named::read(text).unwrap(), text, pod)?;
        Ok(found.iter().map(|(pod, port)| format!("{} {}:{port}", pod["metadata"]["name"], ip(pod))).collect())
    };
    let http = Ok(vec!["\"a\" 10.0.0.1:8080".to_owned(), "\"c\" 10.0.0.3:8080".to_owned()]);
    assert_eq!(of(&service, "web:80"), http);
    assert_eq!(of(&service, "web:http"), http);
    assert_eq!(of(&service, "web:admin").map(|found| found.len()), Ok(2));
    let refused = |text: &str| of(&service, text).unwrap_err();
    assert_eq!(refused("web:8080"), "no service port 8080 found for service \"web\"");
    assert_eq!(refused("web"), "no endpoints available for service \"web\"", "its ports have names");
    assert_eq!(refused("http:web:x"), "no endpoints available for service \"http:web:x\"");
}

#[test]
fn a_service_whose_endpoints_are_no_pods_is_not_asked() {
    let service = json!({"metadata": {"namespace": "shop"}, "spec": {"ports": [{"port": 80}]}});
    let slice = json!({"ports": [{"port": 80}], "endpoints": [{"addresses": ["192.0.2.1"]}]});
    let refused = endpoints(&service, &[&slice], Named::read("web").unwrap(), "web", |_| None).unwrap_err();
    assert_eq!(refused, "no endpoints available for service \"web\"");
}

#[test]
fn what_a_pod_calls_its_own_is_found_below_the_proxy() {
    let hosts = [Some("10.0.0.1:8080".to_owned()), Some("localhost:8001".to_owned()), None];
    let check = |location: &str, expected: Option<&str>| {
        assert_eq!(moved(location, "/p/proxy", &hosts).as_deref(), expected, "{location}");
    };
    check("/", Some("/p/proxy/"));
    check("/login?next=/a#top", Some("/p/proxy/login?next=/a#top"));
    check("/../../secret", Some("/p/proxy/secret"));
    check("http://10.0.0.1:8080/a/", Some("/p/proxy/a/"));
    check("HTTPS://Localhost:8001/a", Some("/p/proxy/a"));
    check("//localhost:8001/a", Some("/p/proxy/a"));
    check("http://localhost:8001/p/proxy/a", Some("/p/proxy/a"));
    check("/p/proxy", Some("/p/proxy"));
    check("/p/proxy-settings", Some("/p/proxy/p/proxy-settings"));
    for elsewhere in [
        "",
        "a",
        "../a",
        "?a",
        "//example.com/a",
        "http://example.com/",
        "http://10.0.0.1/",
        "http://localhost:8001",
        "é",
    ] {
        check(elsewhere, None);
    }
}

#[test]
fn a_path_stays_below_what_it_was_asked_of() {
    let check = |path: &str, expected: &str| assert_eq!(below(path), expected, "{path}");
    check("", "/");
    check("/", "/");
    check("/a/b", "/a/b");
    check("/a/", "/a/");
    check("/a/../b", "/b");
    check("/../../b", "/b");
    check("/a/%2e%2E/b", "/b");
    check("/a/.%2e", "/");
    check("/a/b/..", "/a/");
    check("/./a/.", "/a/");
    check("/a%2F..%2Fb", "/a%2F..%2Fb");
    check("//a//b", "//a//b");
    check("/...", "/...");
}

/// What a server may make of a path: escapes undone, empty elements passed over.
fn understood(path: &str) -> Vec<String> {
    let plain = path.to_ascii_lowercase().replace("%2e", ".");
    plain.split('/').filter(|element| !element.is_empty()).map(str::to_owned).collect()
}

proptest! {
    #[test]
    fn no_path_climbs_and_what_does_not_stays(path in "(/([a.:%]|%2e|%2E|%2f|){0,3}){0,6}") {
        let made = below(&path);
        prop_assert!(made.starts_with('/'));
        prop_assert!(understood(&made).iter().all(|element| element != ".." && element != "."), "{}", made);
        prop_assert_eq!(below(&made), made.clone(), "a second time changes nothing");
        if understood(&path).iter().all(|element| element != ".." && element != ".") {
            prop_assert_eq!(made, if path.is_empty() { "/".to_owned() } else { path });
        }
    }

    #[test]
    fn names_are_read_as_upstream_reads_them(text in "(https?|ftp|[a-z]{0,2}|)(:?[a-z0-9.%/@-]{0,4}){0,4}") {
        // The original, part by part.
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.len() {
            1 => ("", parts[0], ""),
            2 => ("", parts[0], parts[1]),
            3 => (parts[0], parts[1], parts[2]),
            _ => ("", "", ""),
        };
        let valid = !name.is_empty() && ["http", "https", ""].contains(&scheme);
        let scheme = if scheme == "https" { "https" } else { "http" };
        prop_assert_eq!(read(&text), valid.then_some((scheme, name, port)));
    }
}
