//! The face of the module, tried with tiny guests written in WebAssembly text.

mod authority;
mod command;
mod exec;
mod http;
mod images;
mod loopback;
mod outgoing;
mod sockets;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use coracle_api::meet::{PodNames, Resolver};
use coracle_api::names::Digest;
use loopback::Loopback;
use sha2::Digest as _;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use super::*;

/// One node's host of guests, with a cache of its own.
struct Node {
    wasm: Wasm,
    loopback: Arc<Loopback>,
    stdout: Arc<Captured>,
    stderr: Arc<Captured>,
    _dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().join("cache"));
        change(&mut config);
        let wasm = Wasm::new(config).unwrap();
        Self { wasm, loopback: Arc::default(), stdout: Arc::default(), stderr: Arc::default(), _dir: dir }
    }

    fn launch(&self) -> Launch {
        Launch {
            args: vec!["guest".into()],
            env: Vec::new(),
            directories: Vec::new(),
            working_dir: None,
            stdin: Stdin::none(),
            tty: Tty::No,
            stdout: self.stdout.clone(),
            stderr: self.stderr.clone(),
            memory_limit: None,
            cpu_limit: None,
            cpu_request: None,
            attachment: self.loopback.clone(),
            resolver: Arc::new(Backend),
            authority: None,
            names: Arc::new(PodNames::of_namespace("default", "cluster.local")),
            http_port: 80,
            request_timeout: None,
        }
    }

    async fn load(&self, image: Vec<u8>) -> Result<Arc<Program>, LoadError> {
        self.wasm.load(&digest_of(&image), move || Ok(image)).await
    }

    async fn start(&self, image: Vec<u8>, change: impl FnOnce(&mut Launch)) -> Running {
        let program = self.load(image).await.unwrap();
        let mut launch = self.launch();
        change(&mut launch);
        self.wasm.start(program, launch).await.unwrap()
    }

    async fn run(&self, image: Vec<u8>, change: impl FnOnce(&mut Launch)) -> Outcome {
        self.start(image, change).await.outcome().await
    }
}

/// Keeps what a guest wrote.
#[derive(Default)]
struct Captured(Mutex<Vec<u8>>);

impl Sink for Captured {
    fn write(&self, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }
}

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Knows one Service by two names, and an address outside that policy forbids.
struct Backend;

#[async_trait]
impl Resolver for Backend {
    async fn lookup(&self, name: &str, pod: &PodNames) -> Vec<std::net::IpAddr> {
        // Never ready at once, as a real one may not be.
        tokio::task::yield_now().await;
        match (pod.search.first().map_or("", String::as_str), name) {
            ("default.svc.cluster.local", "backend" | "backend.default.svc.cluster.local") => {
                vec![loopback::SERVICE.ip()]
            }
            ("default.svc.cluster.local", "outside") => vec![loopback::FORBIDDEN.ip()],
            _ => Vec::new(),
        }
    }
}

fn digest_of(image: &[u8]) -> Digest {
    let hex: String = sha2::Sha256::digest(image).iter().map(|byte| format!("{byte:02x}")).collect();
    Digest::new(format!("sha256:{hex}")).unwrap()
}

/// A component out of a guest's core module and its world.
fn component(module: &str, world: &str) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str(Path::new("wasi.wit"), include_str!("tests/guests/wasi.wit")).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

const SPIN: &str = "(loop $ever (br $ever)) i32.const 0";

/// A command whose `run` has this body.
fn command(run: &str) -> Vec<u8> {
    let module = format!(
        r#"(module (memory (export "memory") 1) (func $run (export "wasi:cli/run@0.2.12#run") (result i32) {run}))"#
    );
    component(&module, "command")
}

/// Waits until something is so. The time limit is for a test that would hang.
async fn until(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the condition comes true");
}
