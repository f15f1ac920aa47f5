//! What is needed and what is not: by pods, by names, by whoever pushed it.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::super::entry::Origin;
use super::super::layout::Arrival;
use super::*;

fn pod(uid: &str, image: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"namespace": "n", "name": "p", "uid": uid},
        "spec": {"containers": [{"name": "c", "image": image}]},
    }))
    .unwrap()
}

/// Pushes an image, and has it that it was pulled.
async fn pull(store: &ImageStore, name: &str, layer: &'static [u8]) {
    let reference: Reference = name.parse().unwrap();
    push(store, "aside", "1", layer).await;
    let bytes = manifest(layer).into_bytes();
    let digest = Digest::new(sha256(&bytes)).unwrap();
    let now = clock::now();
    let (origin, media_type) = (Origin::Pulled, None);
    store.place(Arrival { reference: &reference, digest: &digest, bytes: &bytes, media_type, origin, now }).unwrap();
    send(store, Method::DELETE, "/v2/aside/manifests/1", "").await;
}

async fn prune(store: &ImageStore, query: &str) -> (Vec<String>, u64) {
    let answer = text(send(store, Method::POST, &format!("/v2/_coracle/prune{query}"), "").await).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let names = answer["images"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap().to_owned());
    (names.collect(), answer["bytes"].as_u64().unwrap())
}

#[tokio::test]
async fn pruning_takes_what_no_pod_uses_and_can_be_pulled_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    push(&store, "mine", "1", b"mine").await;
    pull(&store, "example.com/used:1", b"used").await;
    pull(&store, "example.com/idle:1", b"idle").await;
    store.pod_is(&pod("1", "example.com/used:1"));
    let mut removals = store.removals();
    removals.mark_unchanged();

    let size = manifest(b"idle").len() as u64 + 4;
    assert_eq!(prune(&store, "?dryRun=true").await, (vec!["example.com/idle:1".to_owned()], size));
    assert!(!removals.has_changed().unwrap());
    assert_eq!(prune(&store, "").await, (vec!["example.com/idle:1".to_owned()], size));
    assert!(removals.has_changed().unwrap());
    assert_eq!(prune(&store, "").await.0, [""; 0]);
    assert_eq!(prune(&store, "?all=true").await.0, ["mine:1"]);
    store.pod_is_gone("1");
    assert_eq!(prune(&store, "").await.0, ["example.com/used:1"]);
    assert_eq!(std::fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count(), 0);
}

#[tokio::test]
async fn how_an_image_came_and_when_it_was_used_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    pull(&store, "example.com/a:1", b"a").await;
    let digest = store.list()[0].digest.clone();
    let later = clock::now() + jiff::SignedDuration::from_hours(1);
    store.layout().note_use(&digest, later);
    let before = store.list();
    assert_eq!((before[0].origin, before[0].last_used), (Origin::Pulled, later));
    assert_eq!(ImageStore::open(dir.path()).unwrap().list(), before);
}

#[tokio::test]
async fn the_disk_is_freed_of_what_no_pod_began_to_use_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    pull(&store, "example.com/a:1", b"a").await;
    pull(&store, "example.com/b:1", b"b").await;
    let digests: Vec<Digest> = store.list().into_iter().map(|i| i.digest).collect();
    store.pod_is(&pod("1", "example.com/b:1"));
    assert!(store.collect(&digests).unwrap() > 0);
    let left: Vec<String> = store.list().into_iter().map(|i| i.reference.unwrap().familiar()).collect();
    assert_eq!(left, ["example.com/b:1"]);
}

#[tokio::test]
async fn nothing_goes_before_the_node_has_told_its_pods() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    pull(&store, "example.com/a:1", b"a").await;
    store.expect_pods();
    let digests: Vec<Digest> = store.list().into_iter().map(|i| i.digest).collect();
    assert_eq!((store.collect(&digests).unwrap(), prune(&store, "?all=true").await.0), (0, Vec::new()));
    store.pods_are_told();
    assert!(store.collect(&digests).unwrap() > 0);
}

#[tokio::test]
async fn an_image_whose_layer_was_swept_away_meanwhile_gets_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    push(&store, "a", "1", b"layer").await;
    std::fs::remove_file(dir.path().join("blobs/sha256").join(sha256(b"layer").trim_start_matches("sha256:"))).unwrap();
    let bytes = manifest(b"layer").into_bytes();
    let digest = Digest::new(sha256(&bytes)).unwrap();
    let (reference, now): (Reference, _) = ("b:1".parse().unwrap(), clock::now());
    let (origin, media_type) = (Origin::Pulled, None);
    let placed =
        store.place(Arrival { reference: &reference, digest: &digest, bytes: &bytes, media_type, origin, now });
    assert!(matches!(placed, Err(LayoutError::Incomplete { .. })), "{placed:?}");
    assert!(store.find(&reference).is_err());
}
