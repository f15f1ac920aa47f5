//! Changing objects: labels, annotations, the three patches, an editor, a stale copy, and waiting for the effect.

use std::os::unix::fs::PermissionsExt;

use coracle_tests::Cluster;

#[test]
fn labels_and_annotations_are_set_kept_and_taken_away() {
    let cluster = Cluster::start();
    cluster.kubectl("create configmap boat").ok();
    assert_eq!(cluster.kubectl("label cm boat color=blue").ok(), "configmap/boat labeled\n");
    let refused = cluster.kubectl("label cm boat color=red").refused();
    assert!(refused.contains("'color' already has a value (blue), and --overwrite is false"), "{refused}");
    cluster.kubectl("label cm boat color=red --overwrite").ok();
    assert_eq!(cluster.kubectl("annotate cm boat note=light").ok(), "configmap/boat annotated\n");
    let both = "get cm boat -o jsonpath={.metadata.labels.color}/{.metadata.annotations.note}";
    assert_eq!(cluster.kubectl(both).ok(), "red/light");
    assert_eq!(cluster.kubectl("label cm boat color-").ok(), "configmap/boat unlabeled\n");
    assert_eq!(cluster.kubectl(both).ok(), "/light");
    let bad = cluster.kubectl("label cm boat --overwrite _x_=y").refused();
    assert!(bad.contains("_x_"), "{bad}");
}

#[test]
fn each_of_the_three_patches_means_what_it_means() {
    let cluster = Cluster::start();
    cluster.kubectl("create deploy web --image=nowhere:1 --replicas=0").ok();
    let web = |path: &str| cluster.kubectl(&format!("get deploy web -o jsonpath={path}")).ok();

    // Strategic: containers are merged by name, so the image stays.
    let env = r#"{"spec":{"template":{"spec":{"containers":[{"name":"nowhere","env":[{"name":"A","value":"1"}]}]}}}}"#;
    assert_eq!(cluster.kubectl(&format!("patch deploy web -p '{env}'")).ok(), "deployment.apps/web patched\n");
    assert_eq!(web("{.spec.template.spec.containers[*].image}"), "nowhere:1");
    assert_eq!(web("{.spec.template.spec.containers[0].env[0].value}"), "1");
    assert_eq!(
        cluster.kubectl(&format!("patch deploy web -p '{env}'")).ok(),
        "deployment.apps/web patched (no change)\n"
    );

    // Merge: a list is replaced as a whole, so a container without an image is refused.
    let refused = cluster.kubectl(&format!("patch deploy web --type=merge -p '{env}'")).refused();
    assert!(refused.contains("spec.template.spec.containers[0].image: Required value"), "{refused}");
    let paused = r#"{"metadata":{"labels":{"app":null,"x":"y"}},"spec":{"paused":true}}"#;
    cluster.kubectl(&format!("patch deploy web --type=merge -p '{paused}'")).ok();
    assert_eq!(web("{.metadata.labels}{.spec.paused}"), "{\"x\":\"y\"}true");

    // JSON: a test that fails leaves everything as it was.
    let good =
        r#"[{"op":"test","path":"/spec/paused","value":true},{"op":"replace","path":"/spec/paused","value":false}]"#;
    cluster.kubectl(&format!("patch deploy web --type=json -p '{good}'")).ok();
    assert_ne!(web("{.spec.paused}"), "true");
    let refused = cluster.kubectl(&format!("patch deploy web --type=json -p '{good}'")).refused();
    // kubectl's own words for a 422 without details.
    assert!(refused.contains("The request is invalid"), "{refused}");
    assert_ne!(web("{.spec.paused}"), "true");
}

#[test]
fn an_object_is_edited_and_a_stale_copy_is_refused() {
    let cluster = Cluster::start();
    cluster.kubectl("create configmap boat --from-literal=color=blue").ok();
    let stale = cluster.kubectl("get cm boat -o yaml").ok();

    let editor = cluster.file("editor", "#!/bin/sh\nexec sed -i 's/color: blue/color: green/' \"$1\"\n");
    std::fs::set_permissions(&editor, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(cluster.kubectl_edit("edit cm boat", editor.as_ref()).ok(), "configmap/boat edited\n");
    assert_eq!(cluster.kubectl("get cm boat -o jsonpath={.data.color}").ok(), "green");

    let refused = cluster.kubectl_with("replace -f -", &stale).refused();
    let words = "Operation cannot be fulfilled on configmaps \"boat\": the object has been modified; \
                 please apply your changes to the latest version and try again";
    assert!(refused.contains("(Conflict)") && refused.contains(words), "{refused}");
    let refused = cluster.kubectl_with("create -f -", &stale).refused();
    assert!(refused.contains("(AlreadyExists)") || refused.contains("resourceVersion should not be set"), "{refused}");
    assert_eq!(cluster.kubectl("get cm boat -o jsonpath={.data.color}").ok(), "green");
}

#[test]
fn kubectl_waits_for_conditions_and_for_the_end() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.kubectl("create deploy hello --image=hello:1").ok();
    let said = cluster.kubectl("wait --for=condition=Available deploy/hello --timeout=40s").ok();
    assert_eq!(said, "deployment.apps/hello condition met\n");
    let exposed = cluster.kubectl("expose deploy hello --port=80").ok();
    assert_eq!(exposed, "service/hello exposed\n");
    assert_eq!(cluster.kubectl("run boat --image=hello:1 --port=8080").ok(), "pod/boat created\n");
    let said = cluster.kubectl("wait --for=jsonpath={.status.phase}=Running pod/boat --timeout=40s").ok();
    assert_eq!(said, "pod/boat condition met\n");
    cluster.kubectl("delete pod boat --wait=false").ok();
    cluster.kubectl("wait --for=delete pod/boat --timeout=40s").ok();
    assert!(cluster.kubectl("get pod boat").refused().contains("(NotFound)"));
}
