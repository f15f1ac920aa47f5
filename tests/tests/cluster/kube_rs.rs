//! kube-rs against an API server without a node: what an operator written with it relies on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use coracle_tests::Cluster;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{
    DeleteParams, DynamicObject, EvictParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy,
    ValidationDirective, VersionMatch,
};
use kube::discovery::{Discovery, verbs};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::wait::{await_condition, conditions, delete::delete_and_finalize};
use kube::runtime::{Controller, WatchStreamExt, finalizer, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use tokio::time::timeout;

const ENOUGH: Duration = Duration::from_secs(30);

fn control_plane() -> Cluster {
    Cluster::builder().flags("--disable=node,scheduler,dns,network").start()
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": value}})).unwrap()
}

fn deployment(name: &str) -> Value {
    let container = json!({"name": "web", "image": "hello:1", "resources": {"limits": {"memory": "64Mi"}}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": 2,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}}})
}

/// The code of a refusal, and its message.
#[track_caller]
fn refusal<T: std::fmt::Debug>(answer: kube::Result<T>) -> (u16, String) {
    match answer {
        Err(kube::Error::Api(status)) => (status.code, status.message.clone()),
        other => panic!("it should have been refused: {other:?}"),
    }
}

#[test]
fn a_reflector_mirrors_every_change_by_lists_in_pages_and_by_streams() {
    let cluster = control_plane();
    let api = cluster.api();
    api.wait_for(async {
        let maps: Api<ConfigMap> = Api::namespaced(api.client(), "default");
        for number in 0..30 {
            maps.create(&PostParams::default(), &config_map(&format!("n{number:02}"), "1")).await.unwrap();
        }
        let ways = [watcher::Config::default().page_size(7), watcher::Config::default().streaming_lists()];
        for (round, config) in ways.into_iter().enumerate() {
            let (reader, writer) = reflector::store();
            let mut events = reflector(writer, watcher(maps.clone(), config)).boxed();
            let has = |name: &str, value: &str| {
                reader.state().iter().any(|m| m.name_any() == name && m.data.as_ref().unwrap()["a"] == value)
            };
            let mut until = async |what: &str, holds: &dyn Fn() -> bool| {
                while !holds() {
                    let event = timeout(ENOUGH, events.try_next()).await.unwrap_or_else(|_| panic!("no {what}"));
                    event.unwrap();
                }
            };
            until("all that is there", &|| {
                reader.state().iter().filter(|m| m.name_any().starts_with('n')).count() == 30
            })
            .await;
            let name = format!("late-{round}");
            maps.create(&PostParams::default(), &config_map(&name, "1")).await.unwrap();
            until("new object", &|| has(&name, "1")).await;
            let patch = Patch::Merge(json!({"data": {"a": "2"}}));
            maps.patch(&name, &PatchParams::default(), &patch).await.unwrap();
            until("change", &|| has(&name, "2")).await;
            maps.delete(&name, &DeleteParams::default()).await.unwrap();
            until("deletion", &|| !has(&name, "2")).await;
        }
    });
}

#[test]
fn applied_fields_have_owners_who_are_named_in_conflicts() {
    // No controller writes beside us.
    let cluster = Cluster::builder().flags("--disable=node,scheduler,controllers,dns,network").start();
    let api = cluster.api();
    api.wait_for(async {
        let all: Api<Deployment> = Api::namespaced(api.client(), "default");
        let apply = async |manager: &str, force: bool, replicas: Option<i32>| {
            let mut object = deployment("web");
            match replicas {
                Some(count) => object["spec"]["replicas"] = count.into(),
                None => drop(object["spec"].as_object_mut().unwrap().remove("replicas")),
            }
            let params = PatchParams { force, ..PatchParams::apply(manager) };
            all.patch("web", &params, &Patch::Apply(object)).await
        };
        let made = apply("author", false, Some(2)).await.unwrap();
        assert_eq!(made.metadata.generation, Some(1));
        let again = apply("author", false, Some(2)).await.unwrap();
        assert_eq!(again.resource_version(), made.resource_version(), "nothing changed");

        // Another who wants the same owns it too; one who wants something else is told who owns it.
        apply("operator", false, Some(2)).await.unwrap();
        let (code, why) = refusal(apply("operator", false, Some(3)).await);
        assert_eq!((code, why.contains("conflict with \"author\"")), (409, true), "{why}");
        assert!(why.contains(".spec.replicas"), "{why}");
        let forced = apply("operator", true, Some(3)).await.unwrap();
        assert_eq!(forced.spec.replicas, Some(3));

        // Who no longer wants a field gives it up; the last one takes it along, and its default is back.
        let given_up = apply("author", false, None).await.unwrap();
        assert_eq!(given_up.spec.replicas, Some(3));
        let gone = apply("operator", false, None).await.unwrap();
        assert_eq!(gone.spec.replicas, Some(1));
        let owners: BTreeSet<_> = gone.managed_fields().iter().filter_map(|f| f.manager.clone()).collect();
        assert!(owners.contains("author") && owners.contains("operator"), "{owners:?}");

        // What one manager owns can be taken out of an object and applied as it is: nothing changes.
        let own = gone.managed_fields().iter().find(|f| f.manager.as_deref() == Some("author")).unwrap();
        assert_eq!(own.operation.as_deref(), Some("Apply"));
        let fields = &own.fields_v1.as_ref().unwrap().0;
        assert!(fields["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"web\"}"].is_object());
    });
}

#[test]
fn discovery_finds_every_kind_and_each_can_be_listed_as_an_object_of_any_kind() {
    let cluster = control_plane();
    let api = cluster.api();
    api.wait_for(async {
        let plain = Discovery::new(api.client()).run().await.unwrap();
        let found = Discovery::new(api.client()).run_aggregated().await.unwrap();
        let names = |discovery: &Discovery| -> BTreeSet<String> {
            let groups = discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources);
            groups.map(|(resource, _)| format!("{}/{}", resource.api_version, resource.plural)).collect()
        };
        assert_eq!(names(&plain), names(&found), "both ways of discovery tell the same");
        let mut listed = 0;
        for (resource, can) in found.groups().flat_map(kube::discovery::ApiGroup::recommended_resources) {
            if can.supports_operation(verbs::LIST) {
                let all: Api<DynamicObject> = Api::all_with(api.client(), &resource);
                let list = all.list(&ListParams::default().limit(5)).await;
                let list = list.unwrap_or_else(|e| panic!("{}: {e}", resource.plural));
                // What is measured when it is asked for has no history.
                let is_measured = resource.group == "metrics.k8s.io";
                assert_eq!(list.metadata.resource_version.is_some(), !is_measured, "{}", resource.plural);
                all.list_metadata(&ListParams::default()).await.unwrap();
                listed += 1;
            }
        }
        assert!(listed >= 14, "{listed}");
    });
}

#[test]
fn lists_honour_versions_and_what_is_wrong_is_told() {
    let cluster = control_plane();
    let api = cluster.api();
    api.wait_for(async {
        let maps: Api<ConfigMap> = Api::namespaced(api.client(), "default");
        let made = maps.create(&PostParams::default(), &config_map("one", "1")).await.unwrap();
        let version = made.resource_version().unwrap();
        maps.delete("one", &DeleteParams::default()).await.unwrap();
        let then = maps.list(&ListParams::default().at(&version).matching(VersionMatch::Exact)).await.unwrap();
        assert!(then.iter().any(|m| m.name_any() == "one"), "the list is as of then");
        let now = maps.list(&ListParams::default().at(&version).matching(VersionMatch::NotOlderThan)).await.unwrap();
        assert!(!now.iter().any(|m| m.name_any() == "one"));

        let odd = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "odd"}, "dat": {}});
        let strict = PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("me") };
        let (code, why) = refusal(maps.patch("odd", &strict, &Patch::Apply(odd)).await);
        // Upstream's code for it, whatever the directive.
        assert_eq!(code, 500, "{why}");
        assert!(why.contains(".dat: field not declared in schema"), "{why}");

        let old = maps.create(&PostParams::default(), &config_map("two", "1")).await.unwrap();
        maps.patch("two", &PatchParams::default(), &Patch::Merge(json!({"data": {"a": "2"}}))).await.unwrap();
        let (code, _) = refusal(maps.replace("two", &PostParams::default(), &old).await);
        assert_eq!(code, 409);
        let wrong = kube::api::Preconditions { uid: Some("other".to_owned()), ..Default::default() };
        let delete = DeleteParams { preconditions: Some(wrong), ..Default::default() };
        assert_eq!(refusal(maps.delete("two", &delete).await).0, 409);
    });
}

#[test]
fn status_scale_and_eviction_are_reached() {
    let cluster = control_plane();
    let api = cluster.api();
    api.wait_for(async {
        let all: Api<Deployment> = Api::namespaced(api.client(), "default");
        all.create(&PostParams::default(), &serde_json::from_value(deployment("web")).unwrap()).await.unwrap();
        let scale = all.get_scale("web").await.unwrap();
        assert_eq!(scale.spec.unwrap().replicas, Some(2));
        let three = Patch::Merge(json!({"spec": {"replicas": 3}}));
        all.patch_scale("web", &PatchParams::default(), &three).await.unwrap();
        let pods: Api<Pod> = Api::namespaced(api.client(), "default");
        let mut names = Vec::new();
        while names.len() < 3 {
            let list = pods.list(&ListParams::default().labels("app in (web)")).await.unwrap();
            names = list.iter().map(ResourceExt::name_any).collect();
        }
        let name = &names[0];
        let ready = json!({"type": "Ready", "status": "True", "reason": "Told"});
        let patch = Patch::Strategic(json!({"status": {"phase": "Running", "conditions": [ready]}}));
        let running = pods.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
        assert_eq!(running.status.unwrap().phase.as_deref(), Some("Running"));
        timeout(ENOUGH, await_condition(pods.clone(), name, conditions::is_pod_running())).await.unwrap().unwrap();

        let uid = pods.get(name).await.unwrap().uid().unwrap();
        pods.evict(name, &EvictParams::default()).await.unwrap();
        timeout(ENOUGH, await_condition(pods.clone(), name, conditions::is_deleted(&uid))).await.unwrap().unwrap();

        let foreground = DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..Default::default() };
        timeout(ENOUGH, delete_and_finalize(all, "web", &foreground)).await.unwrap().unwrap();
        let left = pods.list_metadata(&ListParams::default().labels("app=web")).await.unwrap();
        assert!(left.items.is_empty(), "dependents went first");
    });
}

/// What a small operator is given with each object: a client to work with.
struct Context {
    client: Client,
}

/// Keeps a Secret beside each ConfigMap that asks for one, and takes it away with it.
async fn reconcile(map: Arc<ConfigMap>, context: Arc<Context>) -> Result<Action, finalizer::Error<kube::Error>> {
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), "default");
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), "default");
    let name = map.name_any();
    finalizer(&maps, "example.com/twin", map, async |event| match event {
        finalizer::Event::Apply(map) => {
            let mut twin = Secret { string_data: map.data.clone(), ..Default::default() };
            twin.metadata.name = Some(name.clone());
            twin.metadata.owner_references = map.controller_owner_ref(&()).map(|owner| vec![owner]);
            secrets.patch(&name, &PatchParams::apply("twins").force(), &Patch::Apply(&twin)).await?;
            let recorder = Recorder::new(context.client.clone(), Reporter::from("twins"));
            let event = Event {
                type_: EventType::Normal,
                reason: "Twinned".to_owned(),
                note: None,
                action: "Twin".to_owned(),
                secondary: None,
            };
            recorder.publish(&event, &map.object_ref(&())).await?;
            Ok(Action::await_change())
        }
        finalizer::Event::Cleanup(_) => {
            secrets.delete(&name, &DeleteParams::default()).await?;
            Ok(Action::await_change())
        }
    })
    .await
}

#[test]
fn an_operator_with_a_finalizer_owned_objects_and_events_does_its_work() {
    let cluster = control_plane();
    let api = cluster.api();
    api.wait_for(async {
        let client = api.client();
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
        let secrets: Api<Secret> = Api::namespaced(client.clone(), "default");
        let asking = watcher::Config::default().labels("twin=yes");
        let operator = Controller::new(maps.clone(), asking)
            .owns(secrets.clone(), watcher::Config::default())
            .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(100)), Arc::new(Context { client }))
            .for_each(|_| std::future::ready(()));
        let story = async {
            let labels = BTreeMap::from([("twin".to_owned(), "yes".to_owned())]);
            let mut map = config_map("one", "1");
            map.metadata.labels = Some(labels);
            maps.create(&PostParams::default(), &map).await.unwrap();
            let holds = |value: &'static str| {
                move |secret: Option<&Secret>| {
                    secret.and_then(|s| s.data.as_ref()?.get("a")).is_some_and(|a| a.0 == value.as_bytes())
                }
            };
            timeout(ENOUGH, await_condition(secrets.clone(), "one", holds("1"))).await.unwrap().unwrap();
            maps.patch("one", &PatchParams::default(), &Patch::Merge(json!({"data": {"a": "2"}}))).await.unwrap();
            timeout(ENOUGH, await_condition(secrets.clone(), "one", holds("2"))).await.unwrap().unwrap();
            // Deleted behind the operator's back: it is told, and makes it again.
            secrets.delete("one", &DeleteParams::default()).await.unwrap();
            timeout(ENOUGH, await_condition(secrets.clone(), "one", holds("2"))).await.unwrap().unwrap();
            timeout(ENOUGH, delete_and_finalize(maps.clone(), "one", &DeleteParams::default())).await.unwrap().unwrap();
            assert!(secrets.get_opt("one").await.unwrap().is_none());
        };
        tokio::select! {
            () = operator => panic!("the operator ended"),
            () = story => {}
        }
    });
}

#[test]
fn an_entry_is_changed_in_place_or_made() {
    let cluster = control_plane();
    let api = cluster.api();
    api.wait_for(async {
        let maps: Api<ConfigMap> = Api::namespaced(api.client(), "default");
        for value in ["1", "2"] {
            let entry = maps.entry("one").await.unwrap().or_insert(|| config_map("one", "0"));
            let mut entry = entry.and_modify(|map| {
                map.data.get_or_insert_default().insert("a".to_owned(), value.to_owned());
            });
            entry.commit(&PostParams::default()).await.unwrap();
            assert_eq!(maps.get("one").await.unwrap().data.unwrap()["a"], value);
        }
        let mut changes = watcher(maps.clone(), watcher::Config::default().any_semantic()).applied_objects().boxed();
        let first = timeout(ENOUGH, changes.try_next()).await.unwrap().unwrap();
        assert!(first.is_some());
    });
}
