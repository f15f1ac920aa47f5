//! What tools of others rely on: pages, parts of blobs, what refers to what, refusals.

use super::*;

fn header_of(response: &HttpResponse, name: &str) -> String {
    response.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn lists_come_in_pages_that_link_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    for (repository, tag) in [("a", "1"), ("a", "2"), ("b/c", "1")] {
        push(&store, repository, tag, b"x").await;
    }
    let page = send(&store, Method::GET, "/v2/a/tags/list?n=1", "").await;
    assert_eq!(header_of(&page, "link"), r#"</v2/a/tags/list?last=1&n=1>; rel="next""#);
    assert_eq!(text(page).await, r#"{"name":"a","tags":["1"]}"#);
    let last = send(&store, Method::GET, "/v2/a/tags/list?n=1&last=1", "").await;
    assert_eq!(header_of(&last, "link"), "");
    let catalog = send(&store, Method::GET, "/v2/_catalog?n=1", "").await;
    assert_eq!(header_of(&catalog, "link"), r#"</v2/_catalog?last=a&n=1>; rel="next""#);
    let unknown = send(&store, Method::GET, "/v2/none/tags/list", "").await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    assert!(text(unknown).await.contains("NAME_UNKNOWN"));
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    push(&store, "a", "1", b"0123456789").await;
    let path = format!("/v2/a/blobs/{}", sha256(b"0123456789"));
    let get = |range: &'static str| {
        let (store, path) = (store.clone(), path.clone());
        async move { store.serve(Request::get(path).header(header::RANGE, range).body(body_of("")).unwrap()).await }
    };
    let rest = get("bytes=4-").await;
    assert_eq!(rest.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(
        (header_of(&rest, "content-range"), header_of(&rest, "content-length")),
        ("bytes 4-9/10".to_owned(), "6".to_owned())
    );
    assert_eq!(text(rest).await, "456789");
    let beyond = get("bytes=10-").await;
    assert_eq!(
        (beyond.status(), header_of(&beyond, "content-range")),
        (StatusCode::RANGE_NOT_SATISFIABLE, "bytes */10".to_owned())
    );
}

#[tokio::test]
async fn what_refers_to_a_manifest_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    push(&store, "a", "1", b"x").await;
    let subject = sha256(manifest(b"x").as_bytes());
    let path = format!("/v2/a/referrers/{subject}");
    let none = send(&store, Method::GET, &path, "").await;
    assert_eq!(header_of(&none, "content-type"), "application/vnd.oci.image.index.v1+json");
    assert!(text(none).await.contains(r#""manifests":[]"#));

    let signature = manifest(b"x").replacen(
        '{',
        &format!(r#"{{"artifactType":"text/sig","subject":{{"mediaType":"m","digest":"{subject}","size":1}},"#),
        1,
    );
    let digest = sha256(signature.as_bytes());
    let put = send(&store, Method::PUT, &format!("/v2/a/manifests/{digest}"), signature).await;
    assert_eq!((put.status(), header_of(&put, "oci-subject")), (StatusCode::CREATED, subject));
    let listed = text(send(&store, Method::GET, &path, "").await).await;
    assert!(listed.contains(&digest) && listed.contains(r#""artifactType":"text/sig""#), "{listed}");
    let filtered = send(&store, Method::GET, &format!("{path}?artifactType=other"), "").await;
    assert_eq!(header_of(&filtered, "oci-filters-applied"), "artifactType");
    assert!(text(filtered).await.contains(r#""manifests":[]"#));
    // What is said about an image stays with it.
    let pruned = text(send(&store, Method::POST, "/v2/_coracle/prune", "").await).await;
    assert_eq!(pruned, r#"{"bytes":0,"images":[]}"#);
}

#[tokio::test]
async fn an_index_brings_its_manifests_and_takes_them_along() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    let digest = sha256(manifest(b"x").as_bytes());
    push(&store, "a", &digest, b"x").await;
    let elsewhere = sha256(b"for another platform");
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
        {{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{elsewhere}","size":1}},
        {{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{}}}]}}"#,
        manifest(b"x").len()
    );
    let empty = index.replace(&digest, &elsewhere);
    let refused = text(send(&store, Method::PUT, "/v2/a/manifests/2", empty).await).await;
    assert!(refused.contains("MANIFEST_BLOB_UNKNOWN"), "{refused}");
    assert_eq!(send(&store, Method::PUT, "/v2/a/manifests/1", index).await.status(), StatusCode::CREATED);
    let names: Vec<String> = store.list().into_iter().map(|i| i.reference.unwrap().familiar()).collect();
    assert_eq!(names, ["a:1"]);
    assert!(store.find(&"a:1".parse().unwrap()).is_ok());
    let missing = send(&store, Method::GET, &format!("/v2/a/manifests/{elsewhere}"), "").await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    let part = send(&store, Method::GET, &format!("/v2/a/manifests/{digest}"), "").await;
    assert_eq!(header_of(&part, "content-type"), "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(send(&store, Method::DELETE, "/v2/a/manifests/1", "").await.status(), StatusCode::ACCEPTED);
    assert!(store.list().is_empty());
    assert_eq!(std::fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count(), 0);
}

#[tokio::test]
async fn refusals_have_the_codes_of_the_specification() {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(dir.path()).unwrap();
    let blob = format!("/v2/a/blobs/{}", sha256(b"none"));
    for (method, path, status, code) in [
        (Method::GET, "/v2/a/manifests/1", 404, "MANIFEST_UNKNOWN"),
        (Method::GET, "/v2/A/manifests/1", 400, "NAME_INVALID"),
        (Method::GET, blob.as_str(), 404, "BLOB_UNKNOWN"),
        (Method::GET, "/v2/a/blobs/sha256:1", 400, "DIGEST_INVALID"),
        (Method::PATCH, "/v2/a/blobs/uploads/1", 404, "BLOB_UPLOAD_UNKNOWN"),
        (Method::PUT, "/v2/a/manifests/1", 400, "MANIFEST_INVALID"),
        (Method::POST, "/v2/a/manifests/1", 405, "UNSUPPORTED"),
        (Method::GET, "/v2/a", 404, "UNSUPPORTED"),
        (Method::GET, "/v2/_catalog?n=x", 400, "PAGINATION_NUMBER_INVALID"),
    ] {
        let refused = send(&store, method, path, "").await;
        assert_eq!(refused.status().as_u16(), status, "{path}");
        let body = text(refused).await;
        assert!(body.contains(&format!(r#""code":"{code}""#)), "{path}: {body}");
    }
}
