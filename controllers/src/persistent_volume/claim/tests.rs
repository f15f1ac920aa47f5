//! What happens to claims in worlds of volumes and classes.

use coracle_api::storage::{ANNOTATION_DEFAULT_CLASS, PROVISIONER};
use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

fn claim(annotations: &Value, spec: &Value) -> PersistentVolumeClaim {
    let mut all = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let meta = json!({"name": "c", "namespace": "n", "uid": "u", "annotations": annotations});
    serde_json::from_value(json!({"metadata": meta, "spec": all})).unwrap()
}

fn volume(spec: &Value) -> PersistentVolume {
    let mut all = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "5Gi"}});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let status = json!({"phase": "Available"});
    serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": all, "status": status})).unwrap()
}

fn class(name: &str, extra: &Value) -> Arc<StorageClass> {
    let mut all = json!({"metadata": {"name": name}, "provisioner": PROVISIONER});
    all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    Arc::new(serde_json::from_value(all).unwrap())
}

fn classes() -> Vec<Arc<StorageClass>> {
    let marked = json!({"name": "usual", "annotations": {ANNOTATION_DEFAULT_CLASS: "true"}});
    vec![
        class("usual", &json!({"metadata": marked, "volumeBindingMode": "WaitForFirstConsumer"})),
        class("now", &json!({"volumeBindingMode": "Immediate"})),
        class("none", &json!({"provisioner": "kubernetes.io/no-provisioner"})),
        class("other", &json!({"provisioner": "example.com/other"})),
        class("far", &json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": ["z"]}]}]})),
    ]
}

fn words(step: Step) -> String {
    let say = |say: Option<Say>| match say {
        None => String::new(),
        Some(Say::Normal(reason, words)) => format!(": {reason}: {words}"),
        Some(Say::Warning(reason, words)) => format!(": {reason}! {words}"),
    };
    match step {
        Step::Leave => "leave".to_owned(),
        Step::Bind(volume) => format!("bind {}", volume.metadata.name.as_deref().unwrap()),
        Step::Wait(words) => format!("wait{}", say(words)),
        Step::Lost(words) => format!("lost{}", say(Some(words))),
        Step::Annotate(all, _) => {
            let pairs =
                all.iter().map(|(k, v)| format!("{}={}", k.rsplit('/').next().unwrap(), v.as_deref().unwrap_or("-")));
            format!("annotate {}", pairs.collect::<Vec<_>>().join(" "))
        }
        Step::TakeClass(class) => format!("take class {class}"),
    }
}

fn check(annotations: Value, spec: Value, volumes: &[PersistentVolume], expected: &Expect) {
    let volumes: Vec<_> = volumes.iter().cloned().map(Arc::new).collect();
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "here"}})).unwrap();
    let world = World {
        volumes: &volumes,
        classes: &classes(),
        nodes: &[Arc::new(node)],
        is_gone: &|name| name != "here",
        unscheduled: &BTreeSet::new,
    };
    expected.assert_eq(&words(step(&claim(&annotations, &spec), &world)));
}

#[test]
fn a_claim_without_a_volume_is_told_what_it_waits_for() {
    let none = json!({});
    check(
        none.clone(),
        json!({"storageClassName": ""}),
        &[],
        &expect!["wait: FailedBinding: no persistent volumes available for this claim and no storage class is set"],
    );
    check(none.clone(), json!({}), &[], &expect!["take class usual"]);
    check(
        none.clone(),
        json!({"storageClassName": "usual"}),
        &[],
        &expect!["wait: WaitForFirstConsumer: waiting for first consumer to be created before binding"],
    );
    check(
        none.clone(),
        json!({"storageClassName": "missing"}),
        &[],
        &expect![[r#"wait: ProvisioningFailed! storageclass.storage.k8s.io "missing" not found"#]],
    );
    check(
        none.clone(),
        json!({"storageClassName": "none"}),
        &[],
        &expect!["wait: ProvisioningFailed! no volume plugin matched name: kubernetes.io/no-provisioner"],
    );
    check(
        none,
        json!({"storageClassName": "far"}),
        &[],
        &expect![[r#"wait: ProvisioningFailed! no node that is ready may hold volumes of class "far""#]],
    );
}

#[test]
fn a_provisioner_is_named_and_for_our_own_a_node() {
    let none = json!({});
    check(
        none.clone(),
        json!({"storageClassName": "now"}),
        &[],
        &expect![
            "annotate storage-provisioner=coracle.dev/local-path selected-node=here storage-provisioner=coracle.dev/local-path"
        ],
    );
    check(
        none,
        json!({"storageClassName": "other"}),
        &[],
        &expect!["annotate storage-provisioner=example.com/other storage-provisioner=example.com/other"],
    );
    let at = |node: &str| json!({ANNOTATION_SELECTED_NODE: node});
    let usual = json!({"storageClassName": "usual"});
    check(
        at("here"),
        usual.clone(),
        &[],
        &expect!["annotate storage-provisioner=coracle.dev/local-path storage-provisioner=coracle.dev/local-path"],
    );
    check(
        at("gone"),
        usual,
        &[],
        &expect![
            "annotate storage-provisioner=coracle.dev/local-path selected-node=- storage-provisioner=coracle.dev/local-path"
        ],
    );
}

#[test]
fn a_claim_is_bound_to_the_volume_that_suits_or_says_why_not() {
    let (none, free) = (json!({}), volume(&json!({})));
    check(none.clone(), json!({"storageClassName": ""}), std::slice::from_ref(&free), &expect!["bind v"]);
    check(
        none.clone(),
        json!({"storageClassName": "", "volumeName": "v"}),
        std::slice::from_ref(&free),
        &expect!["bind v"],
    );
    check(
        none.clone(),
        json!({"storageClassName": "", "volumeName": "w"}),
        std::slice::from_ref(&free),
        &expect!["wait"],
    );
    check(
        none.clone(),
        json!({"storageClassName": "now", "volumeName": "v"}),
        &[free],
        &expect![[r#"wait: VolumeMismatch! Cannot bind to requested volume "v": storageClassName does not match"#]],
    );
    let others = volume(&json!({"claimRef": {"name": "x", "namespace": "n"}}));
    check(
        none,
        json!({"storageClassName": "", "volumeName": "v"}),
        &[others],
        &expect![[r#"wait: FailedBinding! volume "v" already bound to a different claim."#]],
    );
}

#[test]
fn a_claim_that_was_bound_stays_with_its_volume_or_is_lost() {
    let done = json!({ANNOTATION_BIND_COMPLETED: "yes"});
    let named = json!({"volumeName": "v"});
    check(
        done.clone(),
        named.clone(),
        &[volume(&json!({"claimRef": {"name": "c", "namespace": "n", "uid": "u"}}))],
        &expect!["bind v"],
    );
    check(
        done.clone(),
        named.clone(),
        &[],
        &expect!["lost: ClaimLost! Bound claim has lost its PersistentVolume. Data on the volume is lost!"],
    );
    check(
        done.clone(),
        json!({}),
        &[],
        &expect!["lost: ClaimLost! Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"],
    );
    check(
        done,
        named,
        &[volume(&json!({"claimRef": {"name": "c", "namespace": "n", "uid": "w"}}))],
        &expect!["lost: ClaimMisbound! Two claims are bound to the same volume, this one is bound incorrectly"],
    );
}
