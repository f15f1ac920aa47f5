//! Collections: selected, in pages, as they were, and as Tables.

use serde_json::Value;

use crate::server::{CONFIG_MAPS, Server};

async fn five() -> Server {
    let server = Server::new().await;
    for (name, label) in [("a", "0"), ("b", "1"), ("c", "0"), ("d", "1"), ("e", "0")] {
        server.config_map(name, label).await;
    }
    server
}

#[tokio::test]
async fn selectors_select() {
    let server = five().await;
    let check = async |query: &str, names: &[&str]| {
        assert_eq!(server.get(&format!("{CONFIG_MAPS}?{query}")).await.names(), names, "{query}");
    };
    check("", &["a", "b", "c", "d", "e"]).await;
    check("labelSelector=l%3D1", &["b", "d"]).await;
    check("labelSelector=l+in+(0),l!%3D1", &["a", "c", "e"]).await;
    check("fieldSelector=metadata.name%3Dc", &["c"]).await;
    check("fieldSelector=metadata.name!%3Dc&labelSelector=l%3D0", &["a", "e"]).await;
    let refused = server.get(&format!("{CONFIG_MAPS}?fieldSelector=data.k%3D1")).await;
    let message = r#""data.k" is not a known field selector: only "metadata.name", "metadata.namespace""#;
    assert_eq!(refused.refusal(), (400, message));
}

#[tokio::test]
async fn items_of_a_list_do_not_repeat_their_kind() {
    let server = five().await;
    let list = server.get(CONFIG_MAPS).await;
    assert_eq!((list.text("/kind"), list.text("/apiVersion")), ("ConfigMapList", "v1"));
    let item = list.json.pointer("/items/0").and_then(Value::as_object).unwrap();
    assert_eq!(item.keys().collect::<Vec<_>>(), ["data", "metadata"]);
}

#[tokio::test]
async fn pages_are_of_one_moment_whatever_happens_between_them() {
    let server = five().await;
    let first = server.get(&format!("{CONFIG_MAPS}?limit=2")).await;
    assert_eq!(first.names(), ["a", "b"]);
    assert_eq!(first.json["metadata"]["remainingItemCount"], 3);
    server.delete(&format!("{CONFIG_MAPS}/c")).await;
    server.config_map("bb", "1").await;
    let next = first.text("/metadata/continue");
    let second = server.get(&format!("{CONFIG_MAPS}?limit=2&continue={next}")).await;
    assert_eq!(second.names(), ["c", "d"]);
    assert_eq!(second.text("/metadata/resourceVersion"), first.text("/metadata/resourceVersion"));
    let next = second.text("/metadata/continue");
    let last = server.get(&format!("{CONFIG_MAPS}?limit=2&continue={next}")).await;
    assert_eq!((last.names(), last.text("/metadata/continue")), (vec!["e"], ""));
}

#[tokio::test]
async fn a_list_can_be_as_it_was() {
    let server = Server::new().await;
    let then = server.config_map("a", "1").await;
    server.config_map("b", "1").await;
    server.delete(&format!("{CONFIG_MAPS}/a")).await;
    let version = then.text("/metadata/resourceVersion");
    let past = server.get(&format!("{CONFIG_MAPS}?resourceVersion={version}&resourceVersionMatch=Exact")).await;
    assert_eq!(past.names(), ["a"]);
    assert_eq!(server.get(&format!("{CONFIG_MAPS}?resourceVersion={version}")).await.names(), ["b"]);
    let future = server.get(&format!("{CONFIG_MAPS}?resourceVersion=999999999")).await;
    assert_eq!((future.code, future.text("/details/causes/0/reason")), (504, "ResourceVersionTooLarge"));
}

#[tokio::test]
async fn kubectl_gets_tables_and_metadata() {
    let server = five().await;
    let table = server.get_as(CONFIG_MAPS, "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").await;
    assert_eq!(table.text("/kind"), "Table");
    assert_eq!(table.json["rows"][1]["cells"][0], "b");
    assert_eq!(table.text("/rows/1/object/kind"), "PartialObjectMetadata");
    let one = server.get_as(&format!("{CONFIG_MAPS}/b"), "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    assert_eq!(one.json["rows"][0]["cells"][0], "b");
    let metadata = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = server.get_as(CONFIG_MAPS, metadata).await;
    assert_eq!((list.text("/kind"), list.names().len()), ("PartialObjectMetadataList", 5));
    assert!(list.json["items"][0].get("data").is_none());
}
