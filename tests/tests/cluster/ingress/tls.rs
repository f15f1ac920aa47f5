//! TLS: the Secret of each host, its renewal, HTTP/2, and what is shown where there is none.

use coracle_tests::{Cluster, eventually};
use serde_json::json;

use super::{answered, apply, curl, reached, rule, site};

/// A certificate for a host and its key, as PEM.
fn certificate(host: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap().self_signed(&key).unwrap();
    (made.pem(), key.serialize_pem())
}

#[test]
fn each_host_is_shown_its_own_certificate_and_a_renewed_one_at_once() {
    let cluster = Cluster::start();
    cluster.push("hello");
    site(&cluster, "red", 1);
    let mut files = Vec::new();
    for host in ["red.dev", "blue.dev"] {
        let (certificate, key) = certificate(host);
        let (certificate, key) =
            (cluster.file(&format!("{host}.crt"), certificate), cluster.file(&format!("{host}.key"), key));
        cluster.kubectl(&format!("create secret tls {host} --cert={certificate} --key={key}")).ok();
        files.push(certificate);
    }
    let rules: Vec<_> =
        ["red.dev", "blue.dev", "bare.dev"].map(|host| rule(Some(host), &[("Prefix", "/", "red")])).into();
    let tls = json!([
        {"hosts": ["red.dev"], "secretName": "red.dev"},
        {"hosts": ["blue.dev"], "secretName": "blue.dev"},
        {"hosts": ["bare.dev"], "secretName": "nothing"},
    ]);
    apply(&cluster, "sites", json!({"rules": rules, "tls": tls}));
    let (http, https) = reached(&cluster, "sites");
    answered(http, "http://red.dev/", "red");
    let trusting = |host: &str, file: &str| curl(https, &format!("https://{host}/"), &["--cacert", file, "--http2"]);
    for (host, file) in [("red.dev", &files[0]), ("blue.dev", &files[1])] {
        assert_eq!(trusting(host, file).unwrap().0, 200, "{host}");
    }
    assert!(trusting("red.dev", &files[1]).is_err(), "each host has its own");
    let (_, version) =
        curl(https, "https://red.dev/", &["-k", "--http2", "-o", "/dev/null", "-w", "%{http_version}\n1"]).unwrap();
    assert_eq!(version, "2");
    assert!(trusting("bare.dev", &files[0]).is_err());
    assert_eq!(curl(https, "https://bare.dev/", &["-k"]).unwrap().0, 200);
    assert!(cluster.event("sites", "SecretNotFound").contains("\"default/nothing\""));
    assert!(cluster.kubectl("get ingress sites").ok().contains("80, 443"));

    let (fresh, key) = certificate("red.dev");
    let (fresh, key) = (cluster.file("fresh.crt", fresh), cluster.file("fresh.key", key));
    let made =
        cluster.kubectl(&format!("create secret tls red.dev --cert={fresh} --key={key} --dry-run=client -o yaml"));
    cluster.kubectl_with("apply -f -", &made.ok()).ok();
    eventually("the renewed certificate", || trusting("red.dev", &fresh).map(|_| ()));
    assert!(trusting("red.dev", &files[0]).is_err(), "the old one is gone");
}
