//! The store through its face: pushed to over the distribution API, asked as a pod does.

use coracle_api::meet::{HttpResponse, HttpService, body_of};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use sha2::{Digest as _, Sha256};

mod conformance;
mod needed;

use super::upload::hex;
use super::*;

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

async fn send(store: &ImageStore, method: Method, path: &str, body: impl Into<bytes::Bytes>) -> HttpResponse {
    store.serve(Request::builder().method(method).uri(path).body(body_of(body)).unwrap()).await
}

async fn text(response: HttpResponse) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn manifest(layer: &[u8]) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "config":{{"mediaType":"application/vnd.wasm.config.v0+json","digest":"{}","size":2}},
        "layers":[{{"mediaType":"application/wasm","digest":"{}","size":{}}}]}}"#,
        sha256(b"{}"),
        sha256(layer),
        layer.len()
    )
}

/// Pushes an image as tools do: blobs in one go, then the manifest.
async fn push(store: &ImageStore, repository: &str, tag: &str, layer: &'static [u8]) -> HttpResponse {
    for blob in [b"{}".as_slice(), layer] {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", sha256(blob));
        assert_eq!(send(store, Method::POST, &path, blob).await.status(), StatusCode::CREATED);
    }
    send(store, Method::PUT, &format!("/v2/{repository}/manifests/{tag}"), manifest(layer)).await
}

#[tokio::test]
async fn a_pushed_image_is_found_by_any_form_of_its_name_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    let mut arrivals = store.arrivals();
    assert_eq!(push(&store, "hello", "1", b"wasm").await.status(), StatusCode::CREATED);
    assert!(arrivals.has_changed().unwrap());
    arrivals.mark_unchanged();

    let again = ImageStore::open(dir.path()).unwrap();
    for name in ["hello:1", "docker.io/library/hello:1", "docker.io/hello:1"] {
        let image = again.find(&name.parse().unwrap()).unwrap();
        assert_eq!(std::fs::read(&image.path).unwrap(), b"wasm");
        assert!(image.id.starts_with("docker.io/library/hello@sha256:"));
    }
    let missing = again.find(&"hello:2".parse().unwrap()).unwrap_err();
    assert_eq!(
        missing.to_string(),
        r#"image "hello:2" is not in the local image store; push it with: coracle image push hello.wasm hello:2"#
    );
}

#[tokio::test]
async fn a_blob_arrives_in_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    let begun = send(&store, Method::POST, "/v2/a/b/blobs/uploads/", "").await;
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let location = begun.headers().get(header::LOCATION).unwrap().to_str().unwrap().to_owned();
    let first = send(&store, Method::PATCH, &location, "hello ").await;
    assert_eq!(
        (first.status(), first.headers().get(header::RANGE).unwrap().to_str().unwrap()),
        (StatusCode::ACCEPTED, "0-5")
    );
    let wrong = Request::patch(&location).header(header::CONTENT_RANGE, "2-7").body(body_of("world!")).unwrap();
    assert_eq!(store.serve(wrong).await.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let digest = sha256(b"hello world!");
    let done = send(&store, Method::PUT, &format!("{location}?digest={digest}"), "world!").await;
    assert_eq!(done.status(), StatusCode::CREATED);
    let blob = send(&store, Method::GET, &format!("/v2/a/b/blobs/{digest}"), "").await;
    assert_eq!(text(blob).await, "hello world!");
}

#[tokio::test]
async fn a_wrong_digest_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(b"other"));
    let refused = send(&store, Method::POST, &path, "this").await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(text(refused).await.contains("DIGEST_INVALID"));
    assert_eq!(std::fs::read_dir(dir.path().join("uploads")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_manifest_needs_its_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    let refused = send(&store, Method::PUT, "/v2/a/manifests/1", manifest(b"nowhere")).await;
    assert!(text(refused).await.contains("MANIFEST_BLOB_UNKNOWN"));
}

#[tokio::test]
async fn removing_the_last_name_removes_the_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    push(&store, "a", "1", b"shared").await;
    push(&store, "a", "2", b"shared").await;
    assert_eq!(text(send(&store, Method::GET, "/v2/a/tags/list", "").await).await, r#"{"name":"a","tags":["1","2"]}"#);
    assert_eq!(text(send(&store, Method::GET, "/v2/_catalog", "").await).await, r#"{"repositories":["a"]}"#);
    assert_eq!(send(&store, Method::DELETE, "/v2/a/manifests/1", "").await.status(), StatusCode::ACCEPTED);
    assert!(store.find(&"a:2".parse().unwrap()).is_ok());
    assert_eq!(send(&store, Method::DELETE, "/v2/a/manifests/2", "").await.status(), StatusCode::ACCEPTED);
    assert_eq!(std::fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count(), 0);
    assert_eq!(send(&store, Method::DELETE, "/v2/a/manifests/2", "").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_manifest_comes_back_as_it_was_pushed() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    push(&store, "a", "1", b"x").await;
    let digest = sha256(manifest(b"x").as_bytes());
    for pick in ["1", digest.as_str()] {
        let got = send(&store, Method::GET, &format!("/v2/a/manifests/{pick}"), "").await;
        assert_eq!(got.headers().get(header::CONTENT_TYPE).unwrap(), "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(text(got).await, manifest(b"x"));
    }
}
