//! Sessions that are not had: who asks is told why, before any protocol is spoken.

use coracle_tests::Cluster;

const ROLE: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: looks}
rules:
  - {apiGroups: [""], resources: [pods], verbs: [get, list]}
  - {apiGroups: [""], resources: [pods/exec, pods/portforward], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: looks}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: looks}
subjects: [{kind: User, name: eve}]
"#;

#[test]
fn what_cannot_be_had_is_told_before_anything_begins() {
    let cluster = Cluster::start();
    cluster.push("echo");
    cluster.coracle("apply -f samples/echo/echo.yaml").ok();
    let pod = cluster.ready_pods("app=echo", 1).remove(0);

    let none = cluster.kubectl("exec nothing -- ls").refused();
    assert!(none.contains(r#"pods "nothing" not found"#), "{none}");
    let none = cluster.kubectl(&format!("exec {pod} -c other -- ls")).refused();
    assert!(none.contains("container other is not valid for pod") || none.contains("container not found"), "{none}");

    let pods = format!("/api/v1/namespaces/default/pods/{pod}");
    let exec = format!("{pods}/exec?command=ls&stdout=1");
    let (code, answer) = cluster.api().call(&http::Method::GET, &exec, &serde_json::Value::Null);
    assert_eq!((code, answer["message"].as_str()), (400, Some("Upgrade request required")));

    // Who may only read may not begin a session, though a WebSocket begins with a GET.
    cluster.kubectl_with("apply -f -", ROLE).ok();
    let refused = cluster.kubectl(&format!("exec {pod} --as=eve -- ls")).refused();
    assert!(refused.contains(r#"User "eve" cannot create resource "pods/exec""#), "{refused}");
    let refused = cluster.kubectl(&format!("port-forward {pod} :7777 --as=eve")).refused();
    assert!(refused.contains(r#"User "eve" cannot create resource "pods/portforward""#), "{refused}");
}
