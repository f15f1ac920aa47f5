//! Bad input by kubectl: each mistake gets words that say what is wrong and where.

use coracle_tests::Cluster;

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "web:1"}]
"#;

#[test]
fn an_unknown_field_is_refused_or_warned_of_as_asked() {
    let cluster = Cluster::start();
    let typo = DEPLOYMENT.replace("replicas: 0", "replicas: 0\n  replcas: 3");
    let refused = cluster.kubectl_with("apply -f -", &typo).refused();
    assert!(refused.contains("strict decoding error: unknown field \"spec.replcas\""), "{refused}");
    assert!(cluster.kubectl("get deploy web").refused().contains("(NotFound)"));

    let (said, warned) = cluster.kubectl_with("apply --validate=warn -f -", &typo).ok_with_warnings();
    assert_eq!(said, "deployment.apps/web created\n");
    assert!(warned.contains("Warning: unknown field \"spec.replcas\""), "{warned}");
    let spec = cluster.kubectl("get deploy web -o jsonpath={.spec}").ok();
    assert!(!spec.contains("replcas"), "what is not known is not kept: {spec}");
}

#[test]
fn a_wrong_type_or_value_is_named_with_its_field() {
    let cluster = Cluster::start();
    let text = DEPLOYMENT.replace("replicas: 0", "replicas: three");
    let refused = cluster.kubectl_with("apply --validate=false -f -", &text).refused();
    assert!(refused.contains("(BadRequest)") && refused.contains("replicas"), "{refused}");

    let cases = [
        (DEPLOYMENT.replace("name: web}", "name: Web_1}"), "metadata.name: Invalid value: \"Web_1\""),
        (DEPLOYMENT.replace("replicas: 0", "replicas: -1"), "spec.replicas: Invalid value: -1"),
        (
            DEPLOYMENT.replace("labels: {app: web}", "labels: {app: other}"),
            "`selector` does not match template `labels`",
        ),
        (DEPLOYMENT.replace(", image: \"web:1\"", ""), "spec.template.spec.containers[0].image: Required value"),
        (DEPLOYMENT.replace("  selector: {matchLabels: {app: web}}\n", ""), "spec.selector: Required value"),
    ];
    for (yaml, words) in cases {
        let refused = cluster.kubectl_with("create -f -", &yaml).refused();
        assert!(refused.contains("The Deployment \"") && refused.contains(words), "{words} is missing in\n{refused}");
    }
    let port = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":80}]}}"#;
    let refused = cluster.kubectl_with("create -f -", port).refused();
    assert!(
        refused.contains("provided port is not in the valid range. The range of valid ports is 30000-32767"),
        "{refused}"
    );

    let unknown = DEPLOYMENT.replace("kind: Deployment", "kind: Deploiment");
    let refused = cluster.kubectl_with("apply -f -", &unknown).refused();
    assert!(refused.contains("no matches for kind \"Deploiment\" in version \"apps/v1\""), "{refused}");
    assert!(cluster.kubectl("get deploiments").refused().contains("the server doesn't have a resource type"));
    // Nothing of all this was kept.
    assert_eq!(cluster.kubectl("get deploy,services -o name").ok(), "service/kubernetes\n");
}

#[test]
fn a_field_that_cannot_change_says_so() {
    let cluster = Cluster::start();
    cluster.kubectl_with("apply -f -", DEPLOYMENT).ok();
    let other = DEPLOYMENT.replace("app: web", "app: other");
    let refused = cluster.kubectl_with("apply -f -", &other).refused();
    assert!(refused.contains("spec.selector: Invalid value") && refused.contains("field is immutable"), "{refused}");
    cluster.kubectl("run boat --image=nowhere:1").ok();
    let refused = cluster.kubectl("patch pod boat -p '{\"spec\":{\"restartPolicy\":\"Never\"}}'").refused();
    assert!(refused.contains("pod updates may not change fields other than"), "{refused}");
}

#[test]
fn what_another_service_has_is_not_given_twice() {
    let cluster = Cluster::start();
    let service = |name: &str, port: &str, rest: &str| {
        let spec = format!("{{ports: [{{port: 80{port}}}]{rest}}}");
        let text = format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {spec}\n");
        cluster.kubectl_with("create -f -", &text)
    };
    service("one", ", nodePort: 30500", ", type: NodePort").ok();
    let refused = service("two", ", nodePort: 30500", ", type: NodePort").refused();
    assert!(refused.contains("provided port is already allocated"), "{refused}");
    let ip = cluster.kubectl("get svc one -o jsonpath={.spec.clusterIP}").ok();
    let refused = service("two", "", &format!(", clusterIP: {ip}")).refused();
    assert!(refused.contains("provided IP is already allocated"), "{refused}");
    // What is given back can be given again.
    cluster.kubectl("delete svc one").ok();
    service("two", ", nodePort: 30500", &format!(", type: NodePort, clusterIP: {ip}")).ok();
}
