//! The controllers against the real API server, in one process: objects go in, other objects follow.
//!
//! A task plays the node agents: it makes pods ready and lets deleted ones go.
#![cfg(test)]

mod face {
    pub(super) mod cluster;
    mod root_ca;
    mod statefulsets;
}

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use face::cluster::{Cluster, deployment, pods_of, service};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

async fn reasons(cluster: &Cluster, about: &str) -> Vec<String> {
    let events = cluster.api::<Event>("default").list(&ListParams::default()).await.unwrap();
    let said = events.items.into_iter().filter(|e| e.involved_object.name.as_deref() == Some(about));
    said.map(|e| format!("{}: {}", e.reason.unwrap_or_default(), e.message.unwrap_or_default())).collect()
}

fn condition(deployment: &Deployment, type_: &str) -> String {
    let all = deployment.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let found = all.into_iter().find(|c| c.type_.as_deref() == Some(type_));
    found.map(|c| format!("{} {}", c.status.clone().unwrap(), c.reason.clone().unwrap())).unwrap_or_default()
}

async fn rolled_out(cluster: &Cluster, name: &str, replicas: i32) -> Deployment {
    cluster
        .until(&format!("{name} rolled out"), async || {
            let d = cluster.api::<Deployment>("default").get(name).await.unwrap();
            let status = d.status.clone().unwrap_or_default();
            let done = status.observed_generation == d.metadata.generation
                && status.updated_replicas.unwrap_or(0) == replicas
                && status.replicas.unwrap_or(0) == replicas
                && status.available_replicas.unwrap_or(0) == replicas
                && condition(&d, "Progressing") == "True NewReplicaSetAvailable";
            done.then_some(d)
        })
        .await
}

#[tokio::test]
async fn a_deployment_becomes_pods_and_says_so() {
    let cluster = Cluster::start().await;
    cluster.create("default", &deployment("web", 3, "one")).await;
    let d = rolled_out(&cluster, "web", 3).await;
    assert_eq!(condition(&d, "Available"), "True MinimumReplicasAvailable");
    assert_eq!(d.annotations()["deployment.kubernetes.io/revision"], "1");
    let sets = cluster.api::<ReplicaSet>("default").list(&ListParams::default()).await.unwrap().items;
    let set = sets[0].name_any();
    let expected = format!("ScalingReplicaSet: Scaled up replica set {set} from 0 to 3");
    cluster.until("the event", async || reasons(&cluster, "web").await.contains(&expected).then_some(())).await;
    cluster.until("the pods' events", async || (reasons(&cluster, &set).await.len() == 3).then_some(())).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_new_image_rolls_out_and_can_be_undone() {
    let cluster = Cluster::start().await;
    cluster.create("default", &deployment("web", 3, "one")).await;
    rolled_out(&cluster, "web", 3).await;
    let api = cluster.api::<Deployment>("default");
    let first = api.get("web").await.unwrap().spec.template;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "two"}]}}}});
    api.patch("web", &PatchParams::default(), &Patch::Merge(image)).await.unwrap();
    let d = rolled_out(&cluster, "web", 3).await;
    assert_eq!(d.annotations()["deployment.kubernetes.io/revision"], "2");
    let undo = json!({"spec": {"template": first}});
    api.patch("web", &PatchParams::default(), &Patch::Merge(undo)).await.unwrap();
    let d = rolled_out(&cluster, "web", 3).await;
    assert_eq!(d.annotations()["deployment.kubernetes.io/revision"], "3");
    let sets = cluster.api::<ReplicaSet>("default").list(&ListParams::default()).await.unwrap().items;
    let mut revisions: Vec<_> = sets
        .iter()
        .map(|s| (s.annotations()["deployment.kubernetes.io/revision"].clone(), s.spec.replicas.unwrap_or(1)))
        .collect();
    revisions.sort();
    assert_eq!(revisions, [("2".to_owned(), 0), ("3".to_owned(), 3)]);
    cluster.stop().await;
}

#[tokio::test]
async fn recreate_ends_the_old_pods_before_the_new_ones_start() {
    let cluster = Cluster::start().await;
    let mut d = deployment("web", 2, "one");
    d.spec.strategy = Some(serde_json::from_value(json!({"type": "Recreate"})).unwrap());
    cluster.create("default", &d).await;
    rolled_out(&cluster, "web", 2).await;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "two"}]}}}});
    cluster.api::<Deployment>("default").patch("web", &PatchParams::default(), &Patch::Merge(image)).await.unwrap();
    rolled_out(&cluster, "web", 2).await;
    let pods = pods_of(&cluster, "web").await;
    assert!(pods.iter().all(|p| p.spec.as_ref().unwrap().containers[0].image.as_deref() == Some("two")));
    cluster.stop().await;
}

#[tokio::test]
async fn scaling_and_deleting_pods_is_made_good() {
    let cluster = Cluster::start().await;
    cluster.create("default", &deployment("web", 2, "one")).await;
    rolled_out(&cluster, "web", 2).await;
    let scale = json!({"spec": {"replicas": 20}});
    let api = cluster.api::<Deployment>("default");
    api.patch("web", &PatchParams::default(), &Patch::Merge(scale)).await.unwrap();
    rolled_out(&cluster, "web", 20).await;
    let victim = pods_of(&cluster, "web").await.remove(0);
    cluster.api::<Pod>("default").delete(&victim.name_any(), &DeleteParams::default()).await.unwrap();
    cluster
        .until("a replacement", async || {
            let pods = pods_of(&cluster, "web").await;
            (pods.len() == 20 && pods.iter().all(|p| p.uid() != victim.uid())).then_some(())
        })
        .await;
    let scale = json!({"spec": {"replicas": 0}});
    api.patch("web", &PatchParams::default(), &Patch::Merge(scale)).await.unwrap();
    cluster.until("no pods", async || pods_of(&cluster, "web").await.is_empty().then_some(())).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_service_has_the_addresses_of_its_ready_pods() {
    let cluster = Cluster::start().await;
    cluster.create("default", &service("web")).await;
    cluster.create("default", &deployment("web", 3, "one")).await;
    rolled_out(&cluster, "web", 3).await;
    let params = ListParams::default().labels("kubernetes.io/service-name=web");
    cluster
        .until("three endpoints in one slice", async || {
            let slices = cluster.api::<EndpointSlice>("default").list(&params).await.unwrap().items;
            let [slice] = slices.as_slice() else { return None };
            let endpoints = slice.endpoints.clone().unwrap_or_default();
            let ready = |e: &&k8s_openapi::api::discovery::v1::Endpoint| {
                e.conditions.as_ref().and_then(|c| c.ready) == Some(true)
            };
            let port = slice.ports.as_ref().and_then(|p| p.first()).and_then(|p| p.port);
            (endpoints.iter().filter(ready).count() == 3 && port == Some(8080)).then_some(())
        })
        .await;
    cluster
        .until("three addresses in the Endpoints", async || {
            let object = cluster.api::<Endpoints>("default").get_opt("web").await.unwrap()?;
            let subsets = object.subsets.unwrap_or_default();
            (subsets.iter().flat_map(|s| s.addresses.iter().flatten()).count() == 3).then_some(())
        })
        .await;
    cluster
        .api::<k8s_openapi::api::core::v1::Service>("default")
        .delete("web", &DeleteParams::default())
        .await
        .unwrap();
    cluster
        .until("slices and Endpoints gone", async || {
            let slices = cluster.api::<EndpointSlice>("default").list(&params).await.unwrap().items;
            let object = cluster.api::<Endpoints>("default").get_opt("web").await.unwrap();
            (slices.is_empty() && object.is_none()).then_some(())
        })
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn what_a_deployment_owned_goes_with_it_or_stays_as_told() {
    let cluster = Cluster::start().await;
    let api = cluster.api::<Deployment>("default");
    for (name, params) in [("back", DeleteParams::background()), ("fore", DeleteParams::foreground())] {
        cluster.create("default", &deployment(name, 2, "one")).await;
        rolled_out(&cluster, name, 2).await;
        api.delete(name, &params).await.unwrap();
        cluster
            .until(&format!("{name} and all of it gone"), async || {
                let sets = cluster.api::<ReplicaSet>("default").list(&ListParams::default()).await.unwrap().items;
                let gone = api.get_opt(name).await.unwrap().is_none();
                (gone && sets.is_empty() && pods_of(&cluster, name).await.is_empty()).then_some(())
            })
            .await;
    }
    cluster.create("default", &deployment("left", 2, "one")).await;
    rolled_out(&cluster, "left", 2).await;
    api.delete("left", &DeleteParams::orphan()).await.unwrap();
    cluster
        .until("an orphaned ReplicaSet", async || {
            let sets = cluster.api::<ReplicaSet>("default").list(&ListParams::default()).await.unwrap().items;
            let orphaned = sets.len() == 1 && sets[0].metadata.owner_references.iter().flatten().next().is_none();
            (orphaned && api.get_opt("left").await.unwrap().is_none()).then_some(())
        })
        .await;
    assert_eq!(pods_of(&cluster, "left").await.len(), 2);
    cluster.stop().await;
}

#[tokio::test]
async fn a_settled_cluster_writes_nothing() {
    let cluster = Cluster::start().await;
    cluster.create("default", &service("web")).await;
    let mut headless = service("web");
    headless.metadata.name = Some("bare".to_owned());
    headless.spec.as_mut().unwrap().cluster_ip = Some("None".to_owned());
    cluster.create("default", &headless).await;
    cluster.create("default", &service("nobody")).await;
    cluster.create("default", &deployment("web", 3, "one")).await;
    rolled_out(&cluster, "web", 3).await;
    let quiet = AtomicU32::new(0);
    let last = Mutex::new(None);
    cluster
        .until("silence", async || {
            // The revision of a list is the store's own: any write moves it.
            let now =
                cluster.api::<Pod>("default").list(&ListParams::default()).await.unwrap().metadata.resource_version;
            let same = last.lock().unwrap().replace(now.clone()) == Some(now);
            let rounds =
                if same { quiet.fetch_add(1, Ordering::Relaxed) + 1 } else { quiet.swap(0, Ordering::Relaxed) };
            (same && rounds >= 30).then_some(())
        })
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_namespace_gets_an_account_and_is_emptied_before_it_goes() {
    let cluster = Cluster::start().await;
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "lab"}})).unwrap();
    let namespaces = kube::Api::<Namespace>::all(cluster.client.clone());
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    cluster
        .until("the account", async || cluster.api::<ServiceAccount>("lab").get_opt("default").await.unwrap().map(drop))
        .await;
    cluster.create("lab", &deployment("web", 2, "one")).await;
    cluster
        .until("pods", async || {
            let pods = cluster.api::<Pod>("lab").list(&ListParams::default()).await.unwrap();
            (pods.items.len() == 2).then_some(())
        })
        .await;
    namespaces.delete("lab", &DeleteParams::default()).await.unwrap();
    cluster.until("no namespace", async || namespaces.get_opt("lab").await.unwrap().is_none().then_some(())).await;
    let left = kube::Api::<Pod>::all(cluster.client.clone()).list(&ListParams::default()).await.unwrap();
    assert!(left.items.is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn taints_follow_what_a_node_says_of_itself() {
    let cluster = Cluster::start().await;
    let nodes = kube::Api::<Node>::all(cluster.client.clone());
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "n1"}})).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let tainted = async |expected: &[&str]| {
        cluster
            .until(&format!("taints {expected:?}"), async || {
                let node = nodes.get("n1").await.unwrap();
                let taints = node.spec.and_then(|s| s.taints).unwrap_or_default();
                let mut found: Vec<_> = taints.iter().map(|t| format!("{}:{}", t.key, t.effect)).collect();
                found.sort();
                (found == expected).then_some(())
            })
            .await;
    };
    tainted(&["node.kubernetes.io/not-ready:NoSchedule"]).await;
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    nodes.patch_status("n1", &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();
    tainted(&[]).await;
    let cordon = json!({"spec": {"unschedulable": true}});
    nodes.patch("n1", &PatchParams::default(), &Patch::Merge(cordon)).await.unwrap();
    tainted(&["node.kubernetes.io/unschedulable:NoSchedule"]).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_budget_allows_what_its_deployment_can_spare() {
    let cluster = Cluster::start().await;
    cluster.create("default", &deployment("web", 3, "one")).await;
    rolled_out(&cluster, "web", 3).await;
    let budgets = cluster.api::<PodDisruptionBudget>("default");
    let budget = |name: &str, spec: serde_json::Value| -> PodDisruptionBudget {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    };
    let selector = json!({"matchLabels": {"app": "web"}});
    budgets
        .create(&PostParams::default(), &budget("b", json!({"maxUnavailable": "34%", "selector": selector})))
        .await
        .unwrap();
    let told = async |name: &str, expected: (i32, i32, i32, i32), reason: &str| {
        cluster
            .until(&format!("{name}: {expected:?} {reason}"), async || {
                let status = budgets.get(name).await.unwrap().status.unwrap_or_default();
                let numbers = (
                    status.expected_pods.unwrap_or(0),
                    status.desired_healthy.unwrap_or(0),
                    status.current_healthy.unwrap_or(0),
                    status.disruptions_allowed.unwrap_or(0),
                );
                let reasons: Vec<_> = status.conditions.into_iter().flatten().map(|c| c.reason).collect();
                (numbers == expected && reasons == [reason]).then_some(())
            })
            .await;
    };
    // 34 % of three pods is two of them, rounded up.
    told("b", (3, 1, 3, 2), "SufficientPods").await;
    let strict = json!({"spec": {"maxUnavailable": 0}});
    budgets.patch("b", &PatchParams::default(), &Patch::Merge(strict)).await.unwrap();
    told("b", (3, 3, 3, 0), "InsufficientPods").await;
    let victim = pods_of(&cluster, "web").await.remove(0);
    let pods = cluster.api::<Pod>("default");
    let refused = pods.evict(&victim.name_any(), &kube::api::EvictParams::default()).await;
    assert!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 429), "{refused:?}");
    let lenient = json!({"spec": {"maxUnavailable": 1}});
    budgets.patch("b", &PatchParams::default(), &Patch::Merge(lenient)).await.unwrap();
    told("b", (3, 2, 3, 1), "SufficientPods").await;
    pods.evict(&victim.name_any(), &kube::api::EvictParams::default()).await.unwrap();
    cluster
        .until("a replacement", async || {
            let pods = pods_of(&cluster, "web").await;
            (pods.len() == 3 && pods.iter().all(|p| p.uid() != victim.uid())).then_some(())
        })
        .await;
    told("b", (3, 2, 3, 1), "SufficientPods").await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_budget_over_pods_of_nobody_says_so_and_allows_nothing() {
    let cluster = Cluster::start().await;
    let owner =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "gone", "uid": "none", "controller": true}]);
    let spec = json!({"containers": [{"name": "c", "image": "i"}]});
    let budget =
        json!({"metadata": {"name": "b"}, "spec": {"minAvailable": "50%", "selector": {"matchLabels": {"app": "x"}}}});
    let budgets = cluster.api::<PodDisruptionBudget>("default");
    budgets.create(&PostParams::default(), &serde_json::from_value(budget).unwrap()).await.unwrap();
    // Held by a finalizer, or the garbage collector would take it before anybody looked.
    let meta =
        json!({"name": "p", "labels": {"app": "x"}, "ownerReferences": owner, "finalizers": ["example.com/hold"]});
    let pod: Pod = serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap();
    cluster.create("default", &pod).await;
    cluster
        .until("the reason", async || {
            let status = budgets.get("b").await.unwrap().status.unwrap_or_default();
            let said = status
                .conditions
                .into_iter()
                .flatten()
                .any(|c| c.reason == "SyncFailed" && c.message == "found no controllers for pod \"p\"");
            (said && status.disruptions_allowed == Some(0)).then_some(())
        })
        .await;
    cluster.stop().await;
}

fn owned(name: &str, owner: serde_json::Value) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": [owner]}})).unwrap()
}

fn owner(api_version: &str, kind: &str, name: &str, uid: &str) -> serde_json::Value {
    json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid})
}

async fn gone(cluster: &Cluster, namespace: &str, name: &str) {
    let api = cluster.api::<ConfigMap>(namespace);
    cluster.until(&format!("{name} gone"), async || api.get_opt(name).await.unwrap().is_none().then_some(())).await;
}

#[tokio::test]
async fn what_nobody_owns_any_more_is_collected_and_what_nobody_knows_stays() {
    let cluster = Cluster::start().await;
    let nodes = kube::Api::<Node>::all(cluster.client.clone());
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "n1"}})).unwrap();
    let node = nodes.create(&PostParams::default(), &node).await.unwrap();
    let uid = node.uid().unwrap();
    cluster.create("default", &owned("of-node", owner("v1", "Node", "n1", &uid))).await;
    cluster.create("default", &owned("of-stranger", owner("example.com/v1", "Boat", "b", "1"))).await;
    cluster.create("default", &owned("of-nobody", owner("v1", "ConfigMap", "never-there", "2"))).await;
    gone(&cluster, "default", "of-nobody").await;
    let api = cluster.api::<ConfigMap>("default");
    assert!(api.get_opt("of-node").await.unwrap().is_some(), "its owner is there, if not in a namespace");
    nodes.delete("n1", &DeleteParams::default()).await.unwrap();
    gone(&cluster, "default", "of-node").await;
    assert!(api.get_opt("of-stranger").await.unwrap().is_some(), "a kind that nobody serves may be anywhere");
    cluster.stop().await;
}

#[tokio::test]
async fn an_owner_in_another_namespace_is_none_and_an_event_says_so() {
    let cluster = Cluster::start().await;
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "lab"}})).unwrap();
    kube::Api::<Namespace>::all(cluster.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let plain: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "owner"}})).unwrap();
    let made = cluster.api::<ConfigMap>("default").create(&PostParams::default(), &plain).await.unwrap();
    let uid = made.uid().unwrap();
    cluster.create("default", &owned("near", owner("v1", "ConfigMap", "owner", &uid))).await;
    cluster.create("lab", &owned("far", owner("v1", "ConfigMap", "owner", &uid))).await;
    gone(&cluster, "lab", "far").await;
    let expected = format!(
        "OwnerRefInvalidNamespace: ownerRef [v1/ConfigMap, namespace: lab, name: owner, uid: {uid}] does not exist in namespace \"lab\""
    );
    cluster
        .until("the event", async || {
            let events = cluster.api::<Event>("lab").list(&ListParams::default()).await.unwrap();
            let said = events
                .items
                .into_iter()
                .map(|e| format!("{}: {}", e.reason.unwrap_or_default(), e.message.unwrap_or_default()));
            said.into_iter().any(|said| said == expected).then_some(())
        })
        .await;
    assert!(cluster.api::<ConfigMap>("default").get_opt("near").await.unwrap().is_some());
    cluster.api::<ConfigMap>("default").delete("owner", &DeleteParams::default()).await.unwrap();
    gone(&cluster, "default", "near").await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_namespace_that_cannot_be_emptied_says_what_holds_it() {
    let cluster = Cluster::start().await;
    let namespaces = kube::Api::<Namespace>::all(cluster.client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "lab"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let held: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}})).unwrap();
    cluster.create("lab", &held).await;
    namespaces.delete("lab", &DeleteParams::default()).await.unwrap();
    let told = async || {
        let conditions = namespaces.get("lab").await.unwrap().status.unwrap_or_default().conditions.unwrap_or_default();
        conditions
            .into_iter()
            .map(|c| format!("{} {} {}", c.type_, c.status, c.message.unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    let expected = [
        "NamespaceDeletionDiscoveryFailure False All resources successfully discovered",
        "NamespaceDeletionGroupVersionParsingFailure False All legacy kube types successfully parsed",
        "NamespaceDeletionContentFailure False All content successfully deleted, may be waiting on finalization",
        "NamespaceContentRemaining True Some resources are remaining: configmaps. has 1 resource instances",
        "NamespaceFinalizersRemaining True Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
    ];
    cluster.until("the conditions", async || (told().await == expected).then_some(())).await;
    let free = json!({"metadata": {"finalizers": null}});
    cluster.api::<ConfigMap>("lab").patch("held", &PatchParams::default(), &Patch::Merge(free)).await.unwrap();
    cluster.until("no namespace", async || namespaces.get_opt("lab").await.unwrap().is_none().then_some(())).await;
    cluster.stop().await;
}
