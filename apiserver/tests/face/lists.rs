//! Collections: selected, in pages, as they were, and as Tables.

use std::io::Read;

use serde_json::{Value, json};

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
    check("fieldSelector=metadata.name%3D%3Dc,metadata.namespace!%3Dx", &["c"]).await;
    check("fieldSelector=metadata.name%3Da,metadata.name%3Db", &[]).await;
    check("labelSelector=l+in+(1,2)", &["b", "d"]).await;
    check("labelSelector=x", &[]).await;
    let refused = server.get(&format!("{CONFIG_MAPS}?fieldSelector=data.k%3D1")).await;
    let message = r#""data.k" is not a known field selector: only "metadata.name", "metadata.namespace""#;
    assert_eq!(refused.refusal(), (400, message));
}

#[tokio::test]
async fn each_kind_offers_its_own_fields() {
    let server = Server::new().await;
    let refusal = async |path: &str| {
        let answer = server.get(path).await;
        (answer.code, answer.text("/message").to_owned())
    };
    for offered in [
        "pods?fieldSelector=spec.host%3Dn1,status.podIPs!%3D1",
        "events?fieldSelector=involvedObject.uid%3Du,source%3Ds,reportingComponent%3Dr",
        "nodes?fieldSelector=spec.unschedulable%3Dtrue",
        "configmaps?fieldSelector=metadata.namespace%3Dx",
        "persistentvolumeclaims?fieldSelector=metadata.namespace%3Dx",
    ] {
        assert_eq!(refusal(&format!("/api/v1/{offered}")).await.0, 200, "{offered}");
    }
    let check = async |path: &str, message: &str| {
        assert_eq!(refusal(path).await, (400, message.to_owned()), "{path}");
    };
    check("/api/v1/nodes?fieldSelector=metadata.namespace%3Dx", "field label not supported: metadata.namespace").await;
    check("/api/v1/pods?fieldSelector=spec.priority%3D0", "field label not supported: spec.priority").await;
    let plain = r#""a" is not a known field selector: only "metadata.name", "metadata.namespace""#;
    check("/api/v1/configmaps?fieldSelector=b%3D1,a%3D2", plain).await;
    let mismatch = "fieldSelector metadata.name doesn't match requested name";
    check("/api/v1/watch/namespaces/default/pods/a?fieldSelector=metadata.name%3Db", mismatch).await;
}

#[tokio::test]
async fn options_that_exclude_each_other_are_refused() {
    let server = Server::new().await;
    for (query, causes) in [
        ("resourceVersionMatch=Exact", "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("resourceVersion=0&resourceVersionMatch=Exact", "\"exact\" is forbidden for resourceVersion \"0\""),
        ("sendInitialEvents=false", "sendInitialEvents is forbidden for list"),
        ("watch=1&resourceVersionMatch=NotOlderThan", "is forbidden for watch unless sendInitialEvents is provided"),
        ("watch=1&sendInitialEvents=true", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
    ] {
        let refused = server.get(&format!("{CONFIG_MAPS}?{query}")).await;
        assert_eq!((refused.code, refused.text("/details/kind")), (422, "ListOptions"), "{query}");
        assert!(refused.text("/details/causes/0/message").ends_with(causes), "{query}: {}", refused.json);
    }
    let both = server.get(&format!("{CONFIG_MAPS}?watch=1&resourceVersionMatch=Exact&continue=x")).await;
    assert_eq!(both.json["details"]["causes"].as_array().unwrap().len(), 3, "{}", both.json);
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
async fn pages_of_a_selection_do_not_look_ahead() {
    let server = five().await;
    let pages = async |query: &str| {
        let (mut pages, mut next) = (Vec::new(), String::new());
        loop {
            let page = server.get(&format!("{CONFIG_MAPS}?{query}&continue={next}")).await;
            assert!(page.json["metadata"].get("remainingItemCount").is_none());
            pages.push(page.names().concat());
            next = page.text("/metadata/continue").to_owned();
            if next.is_empty() {
                return pages;
            }
        }
    };
    assert_eq!(pages("limit=2&labelSelector=l%3D0").await, ["ac", "e"]);
    assert_eq!(pages("limit=2&labelSelector=l%3D1").await, ["bd", ""]);
    assert_eq!(pages("limit=1&fieldSelector=metadata.name%3De").await, ["e"]);
    assert_eq!(pages("limit=9&labelSelector=l%3D1").await, ["bd"]);
}

#[tokio::test]
async fn pages_go_on_across_namespaces_and_kinds_of_the_cluster() {
    let server = five().await;
    server.post("/api/v1/namespaces", &json!({"metadata": {"name": "default-1"}})).await;
    let object = json!({"metadata": {"name": "a"}});
    server.post("/api/v1/namespaces/default-1/configmaps", &object).await;
    for (path, count) in [("/api/v1/configmaps?", 6), ("/api/v1/namespaces?", 2)] {
        let whole = server.get(path).await;
        let names: Vec<String> = whole.names().into_iter().map(str::to_owned).collect();
        assert!(names.len() >= count);
        let (mut paged, mut next) = (Vec::new(), String::new());
        loop {
            let page = server.get(&format!("{path}limit=1&continue={next}")).await;
            paged.extend(page.names().into_iter().map(str::to_owned));
            let left = page.json["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
            assert_eq!(u64::try_from(names.len() - paged.len()).unwrap(), left, "{path}");
            next = page.text("/metadata/continue").to_owned();
            if next.is_empty() {
                break;
            }
        }
        assert_eq!(paged, names);
    }
}

#[tokio::test]
async fn a_page_whose_history_is_gone_can_be_gone_on_from_inconsistently() {
    let dir = tempfile::tempdir().unwrap();
    let first = Server::kept_in(dir).await;
    for name in ["a", "b", "c"] {
        first.config_map(name, "1").await;
    }
    let page = first.get(&format!("{CONFIG_MAPS}?limit=1")).await;
    let (next, version) = (page.text("/metadata/continue"), page.text("/metadata/resourceVersion"));
    first.config_map("d", "1").await;
    let second = Server::kept_in(first.stop().await).await;
    let refused = second.get(&format!("{CONFIG_MAPS}?limit=1&continue={next}")).await;
    assert_eq!((refused.code, refused.text("/reason")), (410, "Expired"));
    let go_on = refused.text("/metadata/continue");
    let rest = second.get(&format!("{CONFIG_MAPS}?continue={go_on}")).await;
    assert_eq!(rest.names(), ["b", "c", "d"]);
    let exact = second.get(&format!("{CONFIG_MAPS}?resourceVersion={version}&resourceVersionMatch=Exact")).await;
    assert_eq!(exact.refusal(), (410, "The resourceVersion for the provided list is too old."));
    second.stop().await;
}

#[tokio::test]
async fn a_page_at_a_revision_is_that_revisions() {
    let server = five().await;
    let then = server.get(CONFIG_MAPS).await.text("/metadata/resourceVersion").to_owned();
    server.delete(&format!("{CONFIG_MAPS}/a")).await;
    let check = async |query: &str, names: &[&str]| {
        assert_eq!(server.get(&format!("{CONFIG_MAPS}?{query}")).await.names(), names, "{query}");
    };
    check(&format!("limit=2&resourceVersion={then}"), &["a", "b"]).await;
    check(&format!("limit=2&resourceVersion={then}&resourceVersionMatch=NotOlderThan"), &["b", "c"]).await;
    check("limit=2&resourceVersion=0", &["b", "c", "d", "e"]).await;
    check(&format!("resourceVersion={then}"), &["b", "c", "d", "e"]).await;
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
async fn people_get_lists_indented() {
    let server = five().await;
    let pretty = server.get(&format!("{CONFIG_MAPS}?pretty=true")).await;
    let text = String::from_utf8(pretty.bytes.to_vec()).unwrap();
    assert!(text.starts_with("{\n  \"kind\": \"ConfigMapList\",\n"), "{text}");
    assert_eq!(pretty.json, server.get(CONFIG_MAPS).await.json);
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_take_it() {
    let server = Server::new().await;
    let text = "abcdefgh".repeat(1000);
    for index in 0..20 {
        let object = json!({"metadata": {"name": format!("m{index}")}, "data": {"k": text}});
        server.post(CONFIG_MAPS, &object).await;
    }
    let gzip = [("accept-encoding", "gzip")];
    let plain = server.get(CONFIG_MAPS).await;
    let packed = server.send(http::Method::GET, CONFIG_MAPS, &gzip, "").await;
    assert!(plain.headers.get("content-encoding").is_none());
    assert_eq!(packed.headers.get("content-encoding").unwrap(), "gzip");
    assert_eq!(packed.headers.get("vary").unwrap(), "Accept-Encoding");
    assert!(packed.bytes.len() < plain.bytes.len() / 10);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&*packed.bytes).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain.bytes);
    for small in [format!("{CONFIG_MAPS}?limit=2"), format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1")] {
        let answer = server.send(http::Method::GET, &small, &gzip, "").await;
        assert!(answer.headers.get("content-encoding").is_none(), "{small}");
        assert!(!answer.bytes.is_empty());
    }
}

#[tokio::test]
async fn tables_come_in_every_encoding_and_version() {
    let server = five().await;
    let check = async |accept: &str, query: &str| {
        let answer = server.get_as(&format!("{CONFIG_MAPS}?{query}"), accept).await;
        assert_eq!(answer.code, 200, "{accept}: {}", answer.json);
        answer
    };
    let yaml = check("application/yaml;as=Table;v=v1;g=meta.k8s.io", "limit=1").await;
    assert!(yaml.json.as_str().unwrap().contains("kind: Table"), "{}", yaml.json);
    let list = check("application/yaml", "").await;
    assert!(list.json.as_str().unwrap().contains("kind: ConfigMapList"), "{}", list.json);
    let old = check("application/json;as=Table;v=v1beta1;g=meta.k8s.io", "").await;
    assert_eq!(old.text("/apiVersion"), "meta.k8s.io/v1beta1");
    assert_eq!(old.text("/rows/0/object/apiVersion"), "meta.k8s.io/v1beta1");
    let several = "application/json;as=Table;v=v9;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io";
    assert_eq!(check(several, "includeObject=None").await.json["rows"][0]["object"], Value::Null);
    let whole = check("application/json;as=Table;v=v1;g=meta.k8s.io", "includeObject=Object").await;
    assert_eq!(whole.text("/rows/4/object/kind"), "ConfigMap");
    let page = check("application/json;as=Table;v=v1;g=meta.k8s.io", "limit=2").await;
    assert_eq!(page.json["metadata"]["remainingItemCount"], 3);
}

#[tokio::test]
async fn a_table_tells_which_pods_have_come_to_their_end() {
    let server = Server::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    server.post(pods, &pod).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    assert!(server.get_as(pods, table).await.json["rows"][0].get("conditions").is_none());
    let ended = server.merge(&format!("{pods}/p/status"), &json!({"status": {"phase": "Failed"}})).await;
    assert_eq!(ended.code, 200, "{}", ended.json);
    let row = server.get_as(&format!("{pods}/p"), table).await.json["rows"][0].clone();
    let condition = json!([{"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}]);
    assert_eq!(row["conditions"], condition);
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
    let one = server.get_as(CONFIG_MAPS, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").await;
    let message = "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)";
    assert_eq!(one.refusal(), (406, message));
    let many = server.get_as(&format!("{CONFIG_MAPS}/b"), metadata).await;
    let message = "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)";
    assert_eq!(many.refusal(), (406, message));
}
