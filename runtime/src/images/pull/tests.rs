//! The puller against a registry over a socket, which asks, refuses, redirects and breaks off as registries do.

mod remote;

use remote::{Remote, Rules};

use super::*;

fn user(name: &str) -> Credential {
    Credential::Basic { username: name.to_owned(), password: "secret".to_owned() }
}

/// A puller into a store of its own.
struct Local {
    dir: tempfile::TempDir,
    store: ImageStore,
    puller: Arc<Puller>,
}

impl Local {
    fn new() -> Self {
        Self::with(Registries::default())
    }

    fn with(registries: Registries) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::open(dir.path()).unwrap();
        let puller = Arc::new(Puller::open(store.clone(), registries).unwrap());
        Self { dir, store, puller }
    }

    async fn pull(&self, name: &str, credentials: &[Credential]) -> Result<Pulled, String> {
        let image = name.parse().unwrap();
        self.puller.pull(&image, credentials).await.map_err(|e| crate::with_causes(&e))
    }

    fn blobs(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("blobs/sha256")).unwrap().count()
    }
}

#[tokio::test]
async fn an_image_is_pulled_by_tag_and_by_digest_and_then_only_asked_about() {
    let remote = Remote::start(Rules::default()).await;
    let digest = remote.push("team/hello", "1", b"wasm").await;
    let local = Local::new();
    let name = format!("{}/team/hello:1", remote.host());
    let pulled = local.pull(&name, &[]).await.unwrap();
    assert_eq!(std::fs::read(&pulled.image.path).unwrap(), b"wasm");
    assert_eq!(pulled.image.id, format!("{}/team/hello@{digest}", remote.host()));
    assert!(pulled.image.was_pulled);

    remote.forget();
    local.pull(&name, &[]).await.unwrap();
    assert_eq!(remote.seen(), ["HEAD /v2/team/hello/manifests/1"]);

    let by_digest = format!("{}/team/hello@{digest}", remote.host());
    let again = local.pull(&by_digest, &[]).await.unwrap();
    assert_eq!(again.image.digest, pulled.image.digest);
    // A tag that moved is followed.
    let moved = remote.push("team/hello", "1", b"other").await;
    assert_eq!(local.pull(&name, &[]).await.unwrap().image.digest.as_str(), moved);
}

#[tokio::test]
async fn each_credential_is_tried_and_none_is_served_by_what_another_may() {
    for scheme in ["Basic", "Bearer"] {
        let remote = Remote::start(Rules { scheme: Some(scheme), user: "jane", ..Rules::default() }).await;
        remote.push("a", "1", b"wasm").await;
        let (local, name) = (Local::new(), format!("{}/a:1", remote.host()));
        local.pull(&name, &[user("joe"), user("jane")]).await.unwrap();
        // It is here now, and still not for everybody.
        for credentials in [vec![], vec![user("joe")]] {
            let refused = local.pull(&name, &credentials).await.unwrap_err();
            assert!(refused.contains("401 Unauthorized: unauthorized: authentication required"), "{refused}");
            let nobody = refused.contains("(no credentials were given)");
            assert_eq!(nobody, credentials.is_empty(), "{refused}");
        }
        let image = local.store.find(&name.parse().unwrap()).unwrap();
        assert!(local.puller.was_granted(&image, &[user("jane")]));
        assert!(!local.puller.was_granted(&image, &[user("joe")]) && !local.puller.was_granted(&image, &[]));
        // Also for the next process.
        let next = Puller::open(local.store.clone(), Registries::default()).unwrap();
        assert!(next.was_granted(&image, &[user("jane")]) && !next.was_granted(&image, &[]));
    }
}

#[tokio::test]
async fn an_identity_token_is_exchanged_for_one_to_the_registry() {
    let remote = Remote::start(Rules { scheme: Some("Bearer"), user: "jane", ..Rules::default() }).await;
    remote.push("a", "1", b"wasm").await;
    let (local, name) = (Local::new(), format!("{}/a:1", remote.host()));
    local.pull(&name, &[Credential::Identity("identity of jane".into())]).await.unwrap();
    local.pull(&name, &[Credential::Bearer("token of jane".into())]).await.unwrap();
    let refused = local.pull(&name, &[Credential::Identity("else".into())]).await.unwrap_err();
    assert!(refused.contains("/token: 401 Unauthorized: incorrect username or password"), "{refused}");
}

#[tokio::test]
async fn a_broken_blob_is_gone_on_with_where_it_broke() {
    let layer: &'static [u8] = Box::leak(vec![7; 300_000].into_boxed_slice());
    let remote = Remote::start(Rules { breaks: 2, ..Rules::default() }).await;
    remote.push("a", "1", layer).await;
    let (local, name) = (Local::new(), format!("{}/a:1", remote.host()));
    let pulled = local.pull(&name, &[]).await.unwrap();
    assert_eq!(std::fs::read(&pulled.image.path).unwrap(), layer);
    let ranges = remote.ranges();
    assert_eq!(ranges.len(), 2, "{ranges:?}");
    assert!(ranges.iter().all(|r| r != "bytes=0-"), "{ranges:?}");
}

#[tokio::test]
async fn a_registry_that_cannot_go_on_is_asked_from_the_start() {
    let layer: &'static [u8] = Box::leak(vec![7; 300_000].into_boxed_slice());
    let remote = Remote::start(Rules { breaks: 1, ignores_ranges: true, ..Rules::default() }).await;
    remote.push("a", "1", layer).await;
    let pulled = Local::new().pull(&format!("{}/a:1", remote.host()), &[]).await.unwrap();
    assert_eq!(pulled.image.size, 300_000);
}

#[tokio::test]
async fn a_blob_with_another_digest_is_refused_and_leaves_nothing() {
    let remote = Remote::start(Rules { falsifies: true, ..Rules::default() }).await;
    remote.push("a", "1", b"wasm").await;
    let local = Local::new();
    let refused = local.pull(&format!("{}/a:1", remote.host()), &[]).await.unwrap_err();
    assert!(refused.contains("the blob has the digest sha256:"), "{refused}");
    // The config was right, and waits for a manifest.
    assert_eq!((local.blobs(), std::fs::read_dir(local.dir.path().join("pulls")).unwrap().count()), (1, 0));
    assert!(local.store.list().is_empty());
}

#[tokio::test]
async fn what_an_earlier_attempt_left_is_used_if_it_is_right_and_thrown_away_if_not() {
    let remote = Remote::start(Rules::default()).await;
    remote.push("a", "1", b"the whole layer").await;
    let hex = |bytes: &[u8]| super::super::upload::hex(&<sha2::Sha256 as sha2::Digest>::digest(bytes));
    for (left, ranged) in [(&b"the whole"[..], true), (b"something", true), (b"", false)] {
        let (local, name) = (Local::new(), format!("{}/a:1", remote.host()));
        std::fs::write(local.dir.path().join("pulls").join(hex(b"the whole layer")), left).unwrap();
        remote.forget();
        let pulled = local.pull(&name, &[]).await.unwrap();
        assert_eq!(std::fs::read(&pulled.image.path).unwrap(), b"the whole layer");
        assert_eq!(!remote.ranges().is_empty(), ranged, "{left:?}");
        assert_eq!(std::fs::read_dir(local.dir.path().join("pulls")).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_blob_is_fetched_once_however_many_wait_for_it() {
    let remote = Remote::start(Rules::default()).await;
    remote.push("a", "1", b"wasm").await;
    let (local, name) = (Local::new(), format!("{}/a:1", remote.host()));
    let pulls = (0..20).map(|_| local.pull(&name, &[]));
    for outcome in futures::future::join_all(pulls).await {
        outcome.unwrap();
    }
    let seen = remote.seen();
    let count = |what: &str| seen.iter().filter(|s| s.starts_with(what)).count();
    assert_eq!((count("HEAD /v2/a/manifests/1"), count("GET /v2/a/blobs/")), (20, 2), "{seen:?}");
    assert!(local.puller.lines().is_empty());
}

#[tokio::test]
async fn of_an_index_the_webassembly_is_taken_and_nothing_else() {
    let remote = Remote::start(Rules::default()).await;
    let wasm = remote.push("a", "wasm", b"wasm").await;
    let linux = remote.push_typed("a", "linux", b"tar", "application/vnd.oci.image.layer.v1.tar+gzip").await;
    for platforms in [["wasip2/wasm", "linux/amd64"], ["linux/arm64", "linux/amd64"]] {
        remote.push_index("a", "1", &[(&linux, platforms[1]), (&wasm, platforms[0])]).await;
        let local = Local::new();
        let pulled = local.pull(&format!("{}/a:1", remote.host()), &[]).await.unwrap();
        assert_eq!(std::fs::read(&pulled.image.path).unwrap(), b"wasm");
        // The index, one manifest, its config and its layer.
        assert_eq!(local.blobs(), 4);
        assert!(
            ImageStore::open(local.dir.path())
                .unwrap()
                .find(&format!("{}/a:1", remote.host()).parse().unwrap())
                .is_ok()
        );
    }
    remote.push_index("a", "2", &[(&linux, "linux/amd64"), (&linux, "linux/arm64")]).await;
    let local = Local::new();
    let refused = local.pull(&format!("{}/a:2", remote.host()), &[]).await.unwrap_err();
    assert!(refused.contains("it is an index of: linux/amd64, linux/arm64"), "{refused}");
    assert_eq!(local.blobs(), 0);
}

#[tokio::test]
async fn an_image_for_linux_is_named_for_what_it_is_before_it_is_fetched() {
    let remote = Remote::start(Rules::default()).await;
    remote.push_typed("a", "1", b"tar", "application/vnd.oci.image.layer.v1.tar+gzip").await;
    remote.forget();
    let refused = Local::new().pull(&format!("{}/a:1", remote.host()), &[]).await.unwrap_err();
    assert!(refused.contains("it has no layer of type application/wasm; it has: "), "{refused}");
    assert!(remote.seen().iter().all(|s| !s.contains("/blobs/")));
}

#[tokio::test]
async fn a_redirect_to_another_host_takes_no_credentials_along() {
    let rules = Rules { scheme: Some("Basic"), user: "jane", redirects: true, ..Rules::default() };
    let remote = Remote::start(rules).await;
    remote.push("a", "1", b"wasm").await;
    let local = Local::new();
    let pulled = local.pull(&format!("{}/a:1", remote.host()), &[user("jane")]).await.unwrap();
    assert_eq!(std::fs::read(&pulled.image.path).unwrap(), b"wasm");
    assert!(remote.seen().iter().any(|s| s == "GET /elsewhere/ without credentials"), "{:?}", remote.seen());
}

#[tokio::test]
async fn mirrors_come_first_and_the_registry_itself_after_them() {
    let mirror = Remote::start(Rules::default()).await;
    let origin = Remote::start(Rules::default()).await;
    mirror.push("cache/a", "1", b"of the mirror").await;
    origin.push("a", "2", b"of the origin").await;
    let file = format!(
        r#"{{"mirrors":{{"{}":{{"endpoint":["http://127.0.0.1:1","http://{}"],"rewrite":{{"^(.*)$":"cache/$1"}}}}}}}}"#,
        origin.host(),
        mirror.host()
    );
    let local = Local::with(Registries::build(serde_json::from_str(&file).unwrap()).unwrap());
    let layer = async |tag: &str| {
        let pulled = local.pull(&format!("{}/a:{tag}", origin.host()), &[]).await.unwrap();
        String::from_utf8(std::fs::read(pulled.image.path).unwrap()).unwrap()
    };
    assert_eq!(layer("1").await, "of the mirror");
    let asked = format!("HEAD /v2/cache/a/manifests/1?ns={}", origin.host());
    assert!(mirror.seen().contains(&asked), "{:?}", mirror.seen());
    assert_eq!(layer("2").await, "of the origin");
    let refused = local.pull(&format!("{}/a:3", origin.host()), &[]).await.unwrap_err();
    let parts: Vec<&str> = refused.split("; ").collect();
    assert!(parts[0].starts_with("http://127.0.0.1:1/v2/cache/a/manifests/3: connection refused"), "{refused}");
    assert!(parts[1].contains("404 Not Found: manifest unknown") && parts[2].contains("404 Not Found"), "{refused}");
}

#[tokio::test]
async fn a_registry_s_own_words_are_told() {
    let refuses = Some((429, "TOOMANYREQUESTS", "pull rate limit"));
    let remote = Remote::start(Rules { refuses, ..Rules::default() }).await;
    let refused = Local::new().pull(&format!("{}/a:1", remote.host()), &[]).await.unwrap_err();
    assert!(refused.ends_with("429 Too Many Requests: toomanyrequests: pull rate limit"), "{refused}");
}
