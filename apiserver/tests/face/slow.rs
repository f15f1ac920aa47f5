//! A client that does not read harms nobody: not the others, not the server's memory, and at last it is told.

use std::collections::BTreeMap;

use coracle_apiserver::{Apiserver, Config, StoreKind};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config as ClientConfig};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::server::mounts;

/// More than the history of a resource holds, and more than sockets and buffers swallow on the way.
const CHANGES: usize = 250;
const CHANGE_BYTES: usize = 200 * 1024;

async fn connected(server: &Apiserver) -> Api<ConfigMap> {
    let kubeconfig = Kubeconfig::read_from(server.kubeconfig()).unwrap();
    let config = ClientConfig::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Api::default_namespaced(Client::try_from(config).unwrap())
}

fn version(event: &WatchEvent<ConfigMap>) -> Result<u64, u16> {
    match event {
        WatchEvent::Added(o) | WatchEvent::Modified(o) | WatchEvent::Deleted(o) => {
            Ok(o.metadata.resource_version.as_deref().unwrap().parse().unwrap())
        }
        WatchEvent::Bookmark(_) => Err(0),
        WatchEvent::Error(status) => Err(status.code),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_does_not_read_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { secure_port: 0, store: StoreKind::Memory, ..Config::new(dir.path()) };
    let server = Apiserver::build(config, mounts()).await.unwrap();
    let shutdown = CancellationToken::new();
    let told = shutdown.clone();
    let (writer, stalled, prompt) = (connected(&server).await, connected(&server).await, connected(&server).await);
    let story = async move {
        let object: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
        let made = writer.create(&PostParams::default(), &object).await.unwrap();
        let from = made.metadata.resource_version.unwrap();
        let mut stalled = stalled.watch(&WatchParams::default(), &from).await.unwrap().boxed();
        let mut prompt = prompt.watch(&WatchParams::default(), &from).await.unwrap().boxed();
        for change in 0..CHANGES {
            let letter = char::from(b'a' + u8::try_from(change % 26).unwrap());
            let data = BTreeMap::from([("k", letter.to_string().repeat(CHANGE_BYTES))]);
            let patched = writer.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": data}))).await;
            let expected = patched.unwrap().metadata.resource_version.unwrap().parse();
            // The other watcher is told of each change, one by one, whatever the stalled one does.
            assert_eq!(version(&prompt.try_next().await.unwrap().unwrap()), Ok(expected.unwrap()));
        }
        let mut read = Vec::new();
        while let Some(event) = stalled.try_next().await.unwrap() {
            read.push(version(&event));
        }
        let (last, before) = read.split_last().unwrap();
        assert_eq!(*last, Err(410), "it is told that it has lost something, and the watch ends");
        assert!(before.len() < CHANGES / 2, "little waits for it: {}", before.len());
        assert!(before.iter().all(Result::is_ok) && before.is_sorted(), "what it is told has no gaps");
        told.cancel();
    };
    tokio::join!(server.run(shutdown), story);
}
