//! A real registry (Debian's docker-registry) with a password, and a line to it that breaks off.
//!
//! Invariant: neither outlives the test. `scripts/registry` installs it; a test without it fails and says so.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::paths;
use crate::server::BeforeServer;
use crate::wait::eventually;

/// Who may come in.
pub const USER: &str = "jane";
/// By what.
pub const PASSWORD: &str = "pass word:1";
/// Both, as `Authorization` has them.
const BASIC: &str = "Basic amFuZTpwYXNzIHdvcmQ6MQ==";
/// Both, as htpasswd has them; bcrypt with the fewest rounds there are.
const HTPASSWD: &str = "jane:$2b$04$rL2LCGHemjjahsKFRl59Quav//82QC4riPftSPjtCLH4AvhIoN23i\n";

/// The media type of a layer to run.
pub const WASM: &str = "application/wasm";
/// The media type of a layer of a Linux container.
pub const LINUX: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A running registry.
pub struct Registry {
    child: Child,
    addr: SocketAddr,
    _dir: TempDir,
}

impl Registry {
    /// Starts it and waits until it answers.
    #[track_caller]
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("coracle-registry-").tempdir().expect("a directory can be made");
        let addr = free_address();
        std::fs::write(dir.path().join("htpasswd"), HTPASSWD).expect("a file can be written");
        let config = dir.path().join("config.yml");
        std::fs::write(&config, configuration(dir.path(), addr)).expect("a file can be written");
        let mut command = BeforeServer::default().command(&paths::registry());
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("docker-registry can be started");
        let registry = Self { child, addr, _dir: dir };
        eventually("an answer of the registry", || match registry.ask("GET", "/v2/", &[], &[]) {
            Ok((200, ..)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        registry
    }

    /// As images name it.
    pub fn host(&self) -> String {
        self.addr.to_string()
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Pushes an image of one layer; returns its digest.
    #[track_caller]
    pub fn push(&self, repository: &str, tag: &str, layer: &[u8], layer_type: &str) -> String {
        for blob in [b"{}".as_slice(), layer] {
            let begun = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], &[]);
            let (status, head, _) = begun.expect("the registry answers");
            assert_eq!(status, 202, "{head}");
            let location = head.lines().find_map(|l| l.strip_prefix("Location: ")).expect("a place for the blob");
            let path = location.split_once("://").map_or(location, |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
            let put = self.ask("PUT", &format!("{path}&digest={}", sha256(blob)), &[], blob);
            assert_eq!(put.expect("the registry answers").0, 201);
        }
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.wasm.config.v0+json",
            "digest":"{}","size":2}},"layers":[{{"mediaType":"{layer_type}","digest":"{}","size":{}}}]}}"#,
            sha256(b"{}"),
            sha256(layer),
            layer.len()
        );
        let content_type = format!("Content-Type: {MANIFEST}");
        let put = self.ask("PUT", &format!("/v2/{repository}/manifests/{tag}"), &[&content_type], manifest.as_bytes());
        assert_eq!(put.expect("the registry answers").0, 201);
        sha256(manifest.as_bytes())
    }

    /// One request; returns status, head and body.
    fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> std::io::Result<(u16, String, Vec<u8>)> {
        let mut connection = TcpStream::connect(self.addr)?;
        let more: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
        write!(connection, "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.addr)?;
        write!(connection, "Authorization: {BASIC}\r\nContent-Length: {}\r\n{more}\r\n", body.len())?;
        connection.write_all(body)?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer)?;
        let whole = || std::io::Error::other("no whole answer");
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(whole)?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split_whitespace().nth(1).and_then(|s| s.parse().ok()).ok_or_else(whole)?;
        Ok((status, head.replace('\r', ""), answer[end + 4..].to_vec()))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(dir: &Path, addr: SocketAddr) -> String {
    let dir = dir.display();
    format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {dir}/data}}, delete: {{enabled: true}}}}\n\
         http: {{addr: '{addr}'}}\nauth: {{htpasswd: {{realm: here, path: {dir}/htpasswd}}}}\n"
    )
}

/// An address that nobody listens at, a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound")
}

fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// A line to a registry, of which the first connections break off after so many bytes of answers.
pub struct BreakingLine {
    addr: SocketAddr,
    heads: Arc<Mutex<String>>,
}

impl BreakingLine {
    /// A line to `to`, of which the first `breaks` connections break off after `bytes`. It goes with the process.
    pub fn start(to: SocketAddr, breaks: usize, bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let addr = listener.local_addr().expect("it is bound");
        let heads = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&heads);
        thread::spawn(move || {
            for (number, client) in listener.incoming().flatten().enumerate() {
                let server = TcpStream::connect(to).expect("the registry is there");
                let limit = if number < breaks { bytes } else { usize::MAX };
                let (from, back) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
                let seen = Arc::clone(&seen);
                thread::spawn(move || {
                    carry(from, back, usize::MAX, |piece| {
                        seen.lock().expect("no panic").push_str(&String::from_utf8_lossy(piece));
                    });
                });
                thread::spawn(move || carry(server, client, limit, |_| ()));
            }
        });
        Self { addr, heads }
    }

    /// As images name it.
    pub fn host(&self) -> String {
        self.addr.to_string()
    }

    /// The parts of blobs that were asked for: `bytes=5-`.
    pub fn ranges(&self) -> Vec<String> {
        let heads = self.heads.lock().expect("no panic").to_lowercase();
        heads.lines().filter_map(|l| l.strip_prefix("range: ")).map(str::to_owned).collect()
    }
}

/// Carries bytes until an end, or until so many were carried; then both ends are cut.
fn carry(mut from: TcpStream, mut to: TcpStream, mut limit: usize, mut look: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    while limit > 0 {
        let most = limit.min(buffer.len());
        let Ok(count) = from.read(&mut buffer[..most]) else { break };
        look(&buffer[..count]);
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
        limit -= count;
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
