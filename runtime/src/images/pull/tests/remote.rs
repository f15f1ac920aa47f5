//! A registry over a socket: an image store behind rules of how it behaves.

use std::collections::VecDeque;
use std::net::SocketAddr;

use base64::Engine as _;
use coracle_api::meet::{Body, HttpRequest, HttpResponse, HttpService, body_of};
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sha2::Digest as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::super::super::ImageStore;
use super::super::super::upload::hex;

/// After how many bytes a blob breaks off.
const BREAKS_AFTER: usize = 100_000;

/// How it behaves.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// What it asks for: Basic or Bearer.
    pub(super) scheme: Option<&'static str>,
    /// Who may come in; the password is always the same.
    pub(super) user: &'static str,
    /// How many answers with a layer break off.
    pub(super) breaks: usize,
    pub(super) ignores_ranges: bool,
    /// Layers have another content than their digest says.
    pub(super) falsifies: bool,
    /// Layers are elsewhere.
    pub(super) redirects: bool,
    /// Everything is refused.
    pub(super) refuses: Option<(u16, &'static str, &'static str)>,
}

#[derive(Debug, Default)]
struct Notes {
    seen: Vec<String>,
    ranges: Vec<String>,
    breaks: usize,
}

/// A registry.
pub(super) struct Remote {
    _dir: tempfile::TempDir,
    store: ImageStore,
    addr: SocketAddr,
    notes: std::sync::Arc<std::sync::Mutex<Notes>>,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Desk {
    store: ImageStore,
    addr: SocketAddr,
    rules: Rules,
    notes: std::sync::Arc<std::sync::Mutex<Notes>>,
}

impl Remote {
    pub(super) async fn start(rules: Rules) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::open(dir.path()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let notes = std::sync::Arc::new(std::sync::Mutex::new(Notes { breaks: rules.breaks, ..Notes::default() }));
        let desk = Desk { store: store.clone(), addr, rules, notes: notes.clone() };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let desk = desk.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let desk = desk.clone();
                        async move { Ok::<_, std::convert::Infallible>(desk.answer(request).await) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new();
                    // An answer that breaks off is what is wanted.
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { _dir: dir, store, addr, notes, _tasks: tasks }
    }

    pub(super) fn host(&self) -> String {
        self.addr.to_string()
    }

    pub(super) fn seen(&self) -> Vec<String> {
        self.notes.lock().unwrap().seen.clone()
    }

    /// The ranges of layers that were asked for.
    pub(super) fn ranges(&self) -> Vec<String> {
        self.notes.lock().unwrap().ranges.clone()
    }

    pub(super) fn forget(&self) {
        *self.notes.lock().unwrap() = Notes::default();
    }

    pub(super) async fn push(&self, repository: &str, tag: &str, layer: &[u8]) -> String {
        self.push_typed(repository, tag, layer, "application/wasm").await
    }

    pub(super) async fn push_typed(&self, repository: &str, tag: &str, layer: &[u8], layer_type: &str) -> String {
        for blob in [b"{}".as_slice(), layer] {
            let path = format!("/v2/{repository}/blobs/uploads/?digest={}", sha256(blob));
            self.put(Method::POST, &path, blob).await;
        }
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "config":{{"mediaType":"application/vnd.wasm.config.v0+json","digest":"{}","size":2}},
            "layers":[{{"mediaType":"{layer_type}","digest":"{}","size":{}}}]}}"#,
            sha256(b"{}"),
            sha256(layer),
            layer.len()
        );
        self.put(Method::PUT, &format!("/v2/{repository}/manifests/{tag}"), manifest.as_bytes()).await;
        sha256(manifest.as_bytes())
    }

    /// An index of manifests with their platforms.
    pub(super) async fn push_index(&self, repository: &str, tag: &str, manifests: &[(&str, &str)]) {
        let one = |(digest, platform): &(&str, &str)| {
            let (os, architecture) = platform.split_once('/').unwrap();
            let platform = format!(r#""platform":{{"os":"{os}","architecture":"{architecture}"}}"#);
            let media_type = "application/vnd.oci.image.manifest.v1+json";
            format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":1,{platform}}}"#)
        };
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#,
            manifests.iter().map(one).collect::<Vec<_>>().join(",")
        );
        self.put(Method::PUT, &format!("/v2/{repository}/manifests/{tag}"), index.as_bytes()).await;
    }

    async fn put(&self, method: Method, path: &str, body: &[u8]) {
        let request = Request::builder().method(method).uri(path).body(body_of(body.to_vec())).unwrap();
        assert_eq!(self.store.serve(request).await.status(), StatusCode::CREATED, "{path}");
    }
}

impl Desk {
    async fn answer(&self, request: Request<hyper::body::Incoming>) -> HttpResponse {
        let path = request.uri().path_and_query().unwrap().to_string();
        let authorization = request.headers().get(header::AUTHORIZATION).map(|a| a.to_str().unwrap().to_owned());
        if let Some(name) = path.strip_prefix("/token") {
            return self.token(name, authorization.as_deref(), request).await;
        }
        let layer = path.contains("/blobs/") && *request.method() == Method::GET && !path.contains(&sha256(b"{}"));
        if let Some(rest) = path.strip_prefix("/elsewhere") {
            let with = if authorization.is_some() { "with" } else { "without" };
            self.note(format!("GET /elsewhere/ {with} credentials"));
            let moved = Request::builder().uri(rest).body(body_of("")).unwrap();
            return self.store.serve(moved).await;
        }
        if let Some((status, code, message)) = self.rules.refuses {
            return refusal(StatusCode::from_u16(status).unwrap(), code, message);
        }
        if let Some(challenge) = self.challenge(authorization.as_deref()) {
            return challenge;
        }
        self.note(format!("{} {path}", request.method()));
        if layer && self.rules.redirects {
            // The same place by another name is another host.
            let to = format!("http://localhost:{}/elsewhere{path}", self.addr.port());
            return Response::builder().status(307).header(header::LOCATION, to).body(body_of("")).unwrap();
        }
        let (mut parts, body) = request.into_parts();
        if layer {
            if let Some(range) = parts.headers.get(header::RANGE) {
                self.notes.lock().unwrap().ranges.push(range.to_str().unwrap().to_owned());
            }
            if self.rules.ignores_ranges {
                parts.headers.remove(header::RANGE);
            }
        }
        let body: Body = body.map_err(Into::into).boxed_unsync();
        let answer = self.store.serve(HttpRequest::from_parts(parts, body)).await;
        if layer { self.spoil(answer).await } else { answer }
    }

    fn note(&self, line: String) {
        self.notes.lock().unwrap().seen.push(line);
    }

    /// Why the request may not come in.
    fn challenge(&self, authorization: Option<&str>) -> Option<HttpResponse> {
        let scheme = self.rules.scheme?;
        let expected = match scheme {
            "Basic" => basic(self.rules.user),
            _ => format!("Bearer token of {}", self.rules.user),
        };
        if authorization == Some(&expected) {
            return None;
        }
        let header = match scheme {
            "Basic" => r#"Basic realm="here""#.to_owned(),
            _ => format!(r#"Bearer realm="http://{}/token",service="us",scope="repository:a:pull""#, self.addr),
        };
        let mut answer = refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, header.parse().unwrap());
        Some(answer)
    }

    /// The token server: everybody gets a token; whose it is decides what it is worth.
    async fn token(
        &self,
        query: &str,
        authorization: Option<&str>,
        request: Request<hyper::body::Incoming>,
    ) -> HttpResponse {
        let form = request.into_body().collect().await.unwrap().to_bytes();
        let form = String::from_utf8(form.to_vec()).unwrap();
        let who = ["jane", "joe"].into_iter().find(|name| {
            authorization == Some(&basic(name)) || form.contains(&format!("refresh_token=identity+of+{name}"))
        });
        assert!(query.contains("scope=repository%3Aa%3Apull") || form.contains("scope=repository%3Aa%3Apull"));
        match who {
            None if authorization.is_some() || !form.is_empty() => {
                let body = r#"{"details":"incorrect username or password"}"#;
                Response::builder().status(401).body(body_of(body)).unwrap()
            }
            who => {
                let body = format!(r#"{{"token":"token of {}","expires_in":60}}"#, who.unwrap_or("nobody"));
                Response::new(body_of(body))
            }
        }
    }

    /// A layer, broken off or falsified.
    async fn spoil(&self, answer: HttpResponse) -> HttpResponse {
        let breaks = {
            let mut notes = self.notes.lock().unwrap();
            let breaks = notes.breaks > 0;
            notes.breaks = notes.breaks.saturating_sub(1);
            breaks
        };
        if !breaks && !self.rules.falsifies {
            return answer;
        }
        let (parts, body) = answer.into_parts();
        let mut bytes = body.collect().await.unwrap().to_bytes().to_vec();
        if self.rules.falsifies {
            bytes.iter_mut().for_each(|b| *b = b.wrapping_add(1));
        }
        if !breaks {
            return Response::from_parts(parts, body_of(bytes));
        }
        bytes.truncate(BREAKS_AFTER);
        let pieces = VecDeque::from([Ok(http_body::Frame::data(bytes.into())), Err("broken".into())]);
        // A pause before each, in which the one before is sent.
        let paused = futures::stream::iter(pieces).then(|piece| async {
            tokio::task::yield_now().await;
            piece
        });
        Response::from_parts(parts, StreamBody::new(paused.boxed()).boxed_unsync())
    }
}

fn refusal(status: StatusCode, code: &str, message: &str) -> HttpResponse {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
    Response::builder().status(status).body(body_of(body)).unwrap()
}

fn basic(user: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:secret")))
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&sha2::Sha256::digest(bytes)))
}
