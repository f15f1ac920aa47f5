//! StatefulSets: objects go in, pods, claims and revisions follow.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use super::super::reasons;
use super::cluster::{Cluster, pods_of};

fn stateful(name: &str, replicas: i32, image: &str, more: &Value) -> StatefulSet {
    let mut set = json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
        },
    });
    set["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(set).unwrap()
}

fn image(name: &str) -> Patch<Value> {
    Patch::Merge(json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name}]}}}}))
}

fn with_claims(policy: &Value) -> Value {
    json!({
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Mi"}}}}],
        "persistentVolumeClaimRetentionPolicy": policy,
    })
}

/// Waits until the whole set runs its template, or its partition does.
async fn settled(cluster: &Cluster, name: &str, replicas: i32, updated: i32) -> StatefulSet {
    cluster
        .until(&format!("{name} with {replicas}, {updated} updated"), async || {
            let set = cluster.api::<StatefulSet>("default").get(name).await.unwrap();
            let status = set.status.clone().unwrap_or_default();
            let done = status.observed_generation == set.metadata.generation
                && status.replicas == replicas
                && status.available_replicas.unwrap_or(0) == replicas
                && status.ready_replicas.unwrap_or(0) == replicas
                && status.updated_replicas.unwrap_or(0) == updated;
            done.then_some(set)
        })
        .await
}

fn names<K: ResourceExt>(objects: &[K]) -> Vec<String> {
    let mut names: Vec<_> = objects.iter().map(ResourceExt::name_any).collect();
    names.sort();
    names
}

async fn claims(cluster: &Cluster) -> Vec<PersistentVolumeClaim> {
    cluster.api("default").list(&ListParams::default()).await.unwrap().items
}

async fn images(cluster: &Cluster, app: &str) -> Vec<String> {
    let mut pods = pods_of(cluster, app).await;
    pods.sort_by_key(ResourceExt::name_any);
    pods.into_iter().map(|pod| pod.spec.unwrap().containers.remove(0).image.unwrap()).collect()
}

#[tokio::test]
async fn a_statefulset_becomes_pods_with_names_and_claims_in_order() {
    let cluster = Cluster::start().await;
    cluster.create("default", &stateful("web", 3, "one", &with_claims(&json!({})))).await;
    let set = settled(&cluster, "web", 3, 3).await;
    let status = set.status.unwrap();
    assert_eq!(status.current_revision, status.update_revision);
    assert_eq!((status.current_replicas, status.collision_count), (Some(3), Some(0)));
    let pods = pods_of(&cluster, "web").await;
    assert_eq!(names(&pods), ["web-0", "web-1", "web-2"]);
    let pod = cluster.api::<Pod>("default").get("web-1").await.unwrap();
    assert_eq!(pod.labels()["apps.kubernetes.io/pod-index"], "1");
    assert_eq!(pod.labels()["statefulset.kubernetes.io/pod-name"], "web-1");
    assert_eq!(Some(&pod.labels()["controller-revision-hash"]), status.current_revision.as_ref());
    let spec = pod.spec.unwrap();
    assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("web-1"), Some("web")));
    assert_eq!(spec.volumes.unwrap()[0].persistent_volume_claim.as_ref().unwrap().claim_name, "data-web-1");
    assert_eq!(names(&claims(&cluster).await), ["data-web-0", "data-web-1", "data-web-2"]);
    let revision: u64 = pod.metadata.resource_version.unwrap().parse().unwrap();
    assert!(revision > 0);
    for said in [
        "SuccessfulCreate: create Claim data-web-0 Pod web-0 in StatefulSet web success",
        "SuccessfulCreate: create Pod web-2 in StatefulSet web successful",
    ] {
        cluster.until(said, async || reasons(&cluster, "web").await.iter().any(|r| r == said).then_some(())).await;
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_new_image_goes_from_the_highest_pod_and_can_be_undone() {
    let cluster = Cluster::start().await;
    cluster.create("default", &stateful("web", 3, "one", &json!({}))).await;
    let before = settled(&cluster, "web", 3, 3).await;
    let first = before.status.unwrap().current_revision.unwrap();
    let pods = cluster.api::<Pod>("default");
    let from = pods.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let api = cluster.api::<StatefulSet>("default");
    api.patch("web", &PatchParams::default(), &image("two")).await.unwrap();
    let after = settled(&cluster, "web", 3, 3).await;
    assert_eq!(images(&cluster, "web").await, ["two", "two", "two"]);
    // What was gone before the next went: the history of the pods tells.
    let watch = pods.watch(&WatchParams::default().timeout(2), &from).await.unwrap();
    let history: Vec<_> = watch.try_collect::<Vec<_>>().await.unwrap();
    let moves: Vec<_> = history
        .iter()
        .filter_map(|event| match event {
            WatchEvent::Added(pod) => Some(format!("+{}", pod.name_any())),
            WatchEvent::Deleted(pod) => Some(format!("-{}", pod.name_any())),
            _ => None,
        })
        .collect();
    assert_eq!(moves, ["-web-2", "+web-2", "-web-1", "+web-1", "-web-0", "+web-0"]);
    let second = after.status.unwrap().current_revision.unwrap();
    let revisions = cluster.api::<ControllerRevision>("default");
    let patch = revisions.get(&first).await.unwrap().data.0;
    api.patch("web", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    let undone = settled(&cluster, "web", 3, 3).await;
    assert_eq!(images(&cluster, "web").await, ["one", "one", "one"]);
    assert_eq!(undone.status.unwrap().current_revision, Some(first.clone()));
    let numbers = futures::stream::iter([&first, &second])
        .then(|name| async { revisions.get(name).await.unwrap().revision })
        .collect::<Vec<_>>()
        .await;
    assert_eq!(numbers, [Some(3), Some(2)]);
    cluster.stop().await;
}

#[tokio::test]
async fn a_partition_holds_back_the_lowest_pods() {
    let cluster = Cluster::start().await;
    let rolling = json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}});
    cluster.create("default", &stateful("web", 3, "one", &rolling)).await;
    settled(&cluster, "web", 3, 3).await;
    let api = cluster.api::<StatefulSet>("default");
    api.patch("web", &PatchParams::default(), &image("two")).await.unwrap();
    let set = settled(&cluster, "web", 3, 1).await;
    assert_eq!(images(&cluster, "web").await, ["one", "one", "two"]);
    let status = set.status.unwrap();
    assert_ne!(status.current_revision, status.update_revision);
    assert_eq!(status.current_replicas, Some(2));
    // One that is deleted below the partition comes back as it was.
    let old = cluster.api::<Pod>("default").get("web-0").await.unwrap();
    cluster.api::<Pod>("default").delete("web-0", &DeleteParams::default()).await.unwrap();
    cluster
        .until("web-0 anew", async || {
            let pod = cluster.api::<Pod>("default").get_opt("web-0").await.unwrap()?;
            (pod.uid() != old.uid()).then_some(())
        })
        .await;
    settled(&cluster, "web", 3, 1).await;
    assert_eq!(images(&cluster, "web").await, ["one", "one", "two"]);
    let open = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}});
    api.patch("web", &PatchParams::default(), &Patch::Merge(open)).await.unwrap();
    let status = settled(&cluster, "web", 3, 3).await.status.unwrap();
    assert_eq!(images(&cluster, "web").await, ["two", "two", "two"]);
    assert_eq!(status.current_revision, status.update_revision);
    cluster.stop().await;
}

#[tokio::test]
async fn on_delete_waits_for_somebody_to_delete() {
    let cluster = Cluster::start().await;
    cluster.create("default", &stateful("web", 2, "one", &json!({"updateStrategy": {"type": "OnDelete"}}))).await;
    settled(&cluster, "web", 2, 2).await;
    let api = cluster.api::<StatefulSet>("default");
    api.patch("web", &PatchParams::default(), &image("two")).await.unwrap();
    settled(&cluster, "web", 2, 0).await;
    cluster.api::<Pod>("default").delete("web-0", &DeleteParams::default()).await.unwrap();
    settled(&cluster, "web", 2, 1).await;
    assert_eq!(images(&cluster, "web").await, ["two", "one"]);
    cluster.stop().await;
}

#[tokio::test]
async fn the_size_changes_from_the_highest_ordinal_and_start_moves_them_all() {
    let cluster = Cluster::start().await;
    cluster.create("default", &stateful("web", 4, "one", &json!({"podManagementPolicy": "Parallel"}))).await;
    settled(&cluster, "web", 4, 4).await;
    let api = cluster.api::<StatefulSet>("default");
    let spec = |spec: Value| Patch::Merge(json!({"spec": spec}));
    api.patch_scale("web", &PatchParams::default(), &spec(json!({"replicas": 1}))).await.unwrap();
    settled(&cluster, "web", 1, 1).await;
    assert_eq!(names(&pods_of(&cluster, "web").await), ["web-0"]);
    api.patch("web", &PatchParams::default(), &spec(json!({"replicas": 2, "ordinals": {"start": 5}}))).await.unwrap();
    settled(&cluster, "web", 2, 2).await;
    assert_eq!(names(&pods_of(&cluster, "web").await), ["web-5", "web-6"]);
    cluster.stop().await;
}

#[tokio::test]
async fn claims_go_with_their_pods_or_their_set_as_the_policy_says() {
    let cluster = Cluster::start().await;
    let policy = json!({"whenScaled": "Delete", "whenDeleted": "Retain"});
    cluster.create("default", &stateful("web", 3, "one", &with_claims(&policy))).await;
    settled(&cluster, "web", 3, 3).await;
    let api = cluster.api::<StatefulSet>("default");
    let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
    api.patch("web", &PatchParams::default(), &scale).await.unwrap();
    settled(&cluster, "web", 1, 1).await;
    let left = async |expected: &[&str]| {
        cluster
            .until(&format!("claims {expected:?}"), async || (names(&claims(&cluster).await) == expected).then_some(()))
            .await;
    };
    left(&["data-web-0"]).await;
    let owners = |claim: &PersistentVolumeClaim| claim.owner_references().iter().map(|o| o.kind.clone()).collect();
    let kinds: BTreeSet<String> = claims(&cluster).await.iter().flat_map(|c| -> Vec<_> { owners(c) }).collect();
    assert_eq!(kinds, BTreeSet::new());
    let policy = json!({"whenScaled": "Retain", "whenDeleted": "Delete"});
    let policy = Patch::Merge(json!({"spec": {"persistentVolumeClaimRetentionPolicy": policy}}));
    api.patch("web", &PatchParams::default(), &policy).await.unwrap();
    cluster
        .until("the set owns the claim", async || {
            let kinds: Vec<String> = claims(&cluster).await.iter().flat_map(|c| -> Vec<_> { owners(c) }).collect();
            (kinds == ["StatefulSet"]).then_some(())
        })
        .await;
    api.delete("web", &DeleteParams::default()).await.unwrap();
    left(&[]).await;
    cluster.stop().await;
}

#[tokio::test]
async fn orphans_are_adopted_with_their_revisions_and_not_started_again() {
    let cluster = Cluster::start().await;
    cluster.create("default", &stateful("web", 2, "one", &json!({}))).await;
    let first = settled(&cluster, "web", 2, 2).await;
    let uids = |pods: &[Pod]| pods.iter().map(ResourceExt::uid).collect::<BTreeSet<_>>();
    let before = uids(&pods_of(&cluster, "web").await);
    let api = cluster.api::<StatefulSet>("default");
    api.delete("web", &DeleteParams::orphan()).await.unwrap();
    cluster.until("no set", async || api.get_opt("web").await.unwrap().is_none().then_some(())).await;
    let orphans = pods_of(&cluster, "web").await;
    assert!(orphans.len() == 2 && orphans.iter().all(|pod| pod.owner_references().is_empty()));
    let label = Patch::Merge(json!({"metadata": {"labels": {"statefulset.kubernetes.io/pod-name": null}}}));
    cluster.api::<Pod>("default").patch("web-1", &PatchParams::default(), &label).await.unwrap();
    cluster.create("default", &stateful("web", 2, "one", &json!({}))).await;
    let second = settled(&cluster, "web", 2, 2).await;
    assert_eq!(uids(&pods_of(&cluster, "web").await), before);
    assert_eq!(first.status.unwrap().current_revision, second.status.unwrap().current_revision);
    let revisions = cluster.api::<ControllerRevision>("default").list(&ListParams::default()).await.unwrap().items;
    assert_eq!(revisions.len(), 1);
    assert_eq!(revisions[0].owner_references()[0].uid, second.metadata.uid.unwrap());
    cluster
        .until("the label is back", async || {
            let pod = cluster.api::<Pod>("default").get("web-1").await.unwrap();
            pod.labels().contains_key("statefulset.kubernetes.io/pod-name").then_some(())
        })
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_pod_that_ended_is_made_anew_and_a_stranger_of_its_name_is_told_of() {
    let cluster = Cluster::start().await;
    let stranger: Pod = serde_json::from_value(
        json!({"metadata": {"name": "web-1"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
    )
    .unwrap();
    cluster.create("default", &stranger).await;
    cluster.create("default", &stateful("web", 2, "one", &json!({}))).await;
    let said = "FailedCreate: create Pod web-1 in StatefulSet web failed error: pods \"web-1\" already exists";
    cluster.until(said, async || reasons(&cluster, "web").await.iter().any(|r| r == said).then_some(())).await;
    let pods = cluster.api::<Pod>("default");
    pods.delete("web-1", &DeleteParams::default()).await.unwrap();
    settled(&cluster, "web", 2, 2).await;
    let old = pods.get("web-0").await.unwrap();
    let failed = Patch::Merge(json!({"status": {"phase": "Failed"}}));
    pods.patch_status("web-0", &PatchParams::default(), &failed).await.unwrap();
    cluster
        .until("web-0 anew", async || {
            let pod = pods.get_opt("web-0").await.unwrap()?;
            (pod.uid() != old.uid()).then_some(())
        })
        .await;
    settled(&cluster, "web", 2, 2).await;
    cluster.stop().await;
}

#[tokio::test]
async fn history_is_kept_to_its_limit() {
    let cluster = Cluster::start().await;
    cluster.create("default", &stateful("web", 1, "v0", &json!({"revisionHistoryLimit": 2}))).await;
    settled(&cluster, "web", 1, 1).await;
    let api = cluster.api::<StatefulSet>("default");
    for version in ["v1", "v2", "v3", "v4"] {
        api.patch("web", &PatchParams::default(), &image(version)).await.unwrap();
        settled(&cluster, "web", 1, 1).await;
    }
    let revisions = cluster.api::<ControllerRevision>("default");
    cluster
        .until("three revisions", async || {
            let mut numbers: Vec<_> =
                revisions.list(&ListParams::default()).await.unwrap().items.iter().map(|r| r.revision).collect();
            numbers.sort_unstable();
            (numbers == [Some(3), Some(4), Some(5)]).then_some(())
        })
        .await;
    cluster.stop().await;
}
