//! Images: what is a program, what is not, and what is kept of it.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::{fs, io};

use super::*;

async fn refusal(image: Vec<u8>) -> String {
    match Node::new().load(image).await {
        Err(LoadError::InvalidImage { message }) => message,
        other => panic!("not refused: {:?}", other.map(|program| program.shape())),
    }
}

#[tokio::test]
async fn the_shape_is_read_from_the_exports() {
    let node = Node::new();
    let run = node.load(command("i32.const 0")).await.unwrap();
    assert_eq!((run.shape(), run.exports()), (Shape::Command, &["wasi:cli/run@0.2.12".to_string()][..]));
    let server = node.load(component(include_str!("guests/server.wat"), "server")).await.unwrap();
    assert_eq!(server.shape(), Shape::Http);
    assert!(server.imports().contains(&"wasi:http/types@0.2.12".to_string()));
}

#[tokio::test]
async fn what_cannot_run_is_refused_with_what_was_found() {
    let neither =
        refusal(wat::parse_str(r#"(component (instance $i) (export "acme:a/b" (instance $i)))"#).unwrap()).await;
    assert!(
        neither.starts_with("the component exports nothing that can be run") && neither.ends_with("exports: acme:a/b"),
        "{neither}"
    );
    let foreign = r#"(component (import "acme:db/store@1.0.0" (instance (export "get" (func))))
        (core module $m (func (export "run") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $r (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $r)))"#;
    let foreign = refusal(wat::parse_str(foreign).unwrap()).await;
    assert!(foreign.starts_with("the component imports acme:db/store@1.0.0, which Coracle does not give"), "{foreign}");
    assert!(refusal(b"\x7fELF....".to_vec()).await.contains("an ELF binary"));
    let malformed = refusal(b"\0asm\x0d\0\x01\0garbage".to_vec()).await;
    assert!(malformed.starts_with("the component is malformed"), "{malformed}");
}

#[tokio::test]
async fn an_image_is_compiled_once_however_many_wait() {
    let node = Node::new();
    let image = command("i32.const 0");
    let reads = Arc::new(AtomicUsize::new(0));
    let load = || {
        let (image, reads) = (image.clone(), reads.clone());
        node.wasm.load(&DIGEST, move || {
            reads.fetch_add(1, SeqCst);
            Ok(image)
        })
    };
    static DIGEST: std::sync::LazyLock<Digest> =
        std::sync::LazyLock::new(|| Digest::new(format!("sha256:{}", "a".repeat(64))).unwrap());
    let (a, b, c) = tokio::join!(load(), load(), load());
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert!(Arc::ptr_eq(&a, &b) && Arc::ptr_eq(&b, &c));
    drop((a, b, c));
    load().await.unwrap();
    assert_eq!(reads.load(SeqCst), 1);
}

#[tokio::test]
async fn a_compiled_program_outlives_the_process_unless_others_could_have_written_it() {
    let dir = tempfile::tempdir().unwrap();
    let image = command("i32.const 0");
    let digest = digest_of(&image);
    let reopened = || Wasm::new(Config::new(dir.path().join("cache"))).unwrap();
    reopened().load(&digest, move || Ok(image)).await.unwrap();
    let unreadable = || Err(io::Error::other("the image is gone"));
    reopened().load(&digest, unreadable).await.unwrap();

    let engine = fs::read_dir(dir.path().join("cache")).unwrap().next().unwrap().unwrap().path();
    let file = fs::read_dir(engine).unwrap().next().unwrap().unwrap().path();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(reopened().load(&digest, unreadable).await, Err(LoadError::Read(_))));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, b"not machine code").unwrap();
    assert!(matches!(reopened().load(&digest, unreadable).await, Err(LoadError::Read(_))));
    assert!(!file.exists());
}

#[test]
fn a_cache_that_others_may_write_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Wasm::new(Config::new(dir.path())), Err(WasmError::Cache { .. })));
}

#[tokio::test]
async fn a_program_is_shared_as_long_as_a_container_of_it_runs() {
    let node = Node::new();
    for image in [component(include_str!("guests/server.wat"), "server"), command("(loop $l (br $l)) i32.const 0")] {
        let program = node.load(image).await.unwrap();
        let shared = Arc::downgrade(&program);
        let mut running = node.wasm.start(program, node.launch()).await.unwrap();
        assert!(shared.upgrade().is_some(), "it is loaded a second time for the next container");
        running.kill();
        running.outcome().await;
    }
}

#[tokio::test]
async fn what_answers_one_request_is_known_also_when_it_was_compiled_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut image = component(include_str!("guests/server.wat"), "server");
    let digest = digest_of(&image);
    let reopened = || Wasm::new(Config::new(dir.path().join("cache"))).unwrap();
    let plain = image.clone();
    assert!(!reopened().load(&digest, move || Ok(plain)).await.unwrap().answers_once());

    // The section of its producers, as the toolchain of JavaScript writes it.
    let text = b"\x09producers\x01\x0cprocessed-by\x01\x0eComponentizeJS\x060.23.0";
    image.extend([&[0, text.len() as u8], &text[..]].concat());
    let digest = digest_of(&image);
    let program = reopened().load(&digest, move || Ok(image)).await.unwrap();
    assert!(program.answers_once());
    assert!(!program.imports().iter().any(|name| name.starts_with("coracle")), "{:?}", program.imports());
    let unreadable = || Err(io::Error::other("the image is gone"));
    assert!(reopened().load(&digest, unreadable).await.unwrap().answers_once());
}
