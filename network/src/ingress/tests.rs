//! The controller's face: Ingresses over a fake API server, backends in this process and behind sockets, clients over
//! real connections.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use async_trait::async_trait;
use coracle_api::meet::{
    Attachment, Connection, ConnectionHandler, HttpRequest, HttpResponse, HttpServer, PodNetwork, PodSlot, Unanswered,
    body_of,
};
use coracle_api::names::{NamespacedName, Uid};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::DropGuard;

use super::*;
use crate::Config;
use crate::bind::bind_at;
use crate::fake_api::{FakeApi, INGRESS_CLASSES, INGRESSES, SECRETS, SERVICES, SLICES};

/// A network and a controller that run.
struct Running {
    api: FakeApi,
    pods: Arc<dyn PodNetwork>,
    subnet: u8,
    tasks: JoinSet<()>,
    shutdown: DropGuard,
}

async fn running(subnet: u8) -> Running {
    running_at(subnet, IngressConfig { http_ports: vec![0], https_ports: vec![0] }).await
}

async fn running_at(subnet: u8, config: IngressConfig) -> Running {
    let api = FakeApi::new();
    let (node_name, pod_cidr) = ("here".to_owned(), format!("127.42.{subnet}.0/24"));
    let cluster_cidr = Some("127.42.0.0/16".to_owned());
    let of_network = Config { node_name, cluster_cidr, pod_cidr, ..Config::default() };
    let network = Network::build(api.client(), of_network).await.unwrap();
    let ingress = Ingress::build(api.client(), config, &network).unwrap();
    let (pods, shutdown) = (network.pods(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(network.run(shutdown.clone()));
    tasks.spawn(ingress.run(shutdown.clone()));
    api.put(INGRESS_CLASSES, "coracle", json!({ "spec": { "controller": "coracle.dev/ingress" } }));
    Running { api, pods, subnet, tasks, shutdown: shutdown.drop_guard() }
}

impl Running {
    async fn pod(&self, name: &str) -> Arc<dyn Attachment> {
        let (pod, uid) = (NamespacedName::new("default", name), Uid::new(name).unwrap());
        let slot = PodSlot { pod, uid, labels: BTreeMap::new(), ports: Vec::new(), outside: None };
        self.pods.attach(slot).await.unwrap()
    }

    /// A Service `name` at port 80, with pods at port 8080.
    fn service(&self, name: &str, number: u8, pods: &[IpAddr]) {
        let port = json!({ "name": "http", "protocol": "TCP", "port": 80 });
        let cluster_ip = format!("127.43.{}.{number}", self.subnet);
        self.api.put(SERVICES, name, json!({ "spec": { "clusterIP": cluster_ip, "ports": [port] } }));
        self.endpoints(name, pods);
    }

    fn endpoints(&self, name: &str, pods: &[IpAddr]) {
        let endpoints: Vec<Value> = pods.iter().map(|ip| json!({ "addresses": [ip] })).collect();
        let metadata = json!({ "labels": { "kubernetes.io/service-name": name } });
        let ports = json!([{ "name": "http", "protocol": "TCP", "port": 8080 }]);
        let slice = json!({ "metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": endpoints });
        self.api.put(SLICES, name, slice);
    }

    fn ingress(&self, name: &str, spec: Value) {
        let mut spec = spec;
        spec["ingressClassName"] = "coracle".into();
        self.api.put(INGRESSES, name, json!({ "spec": spec }));
    }

    /// Where they are served: by HTTP and by HTTPS.
    async fn ports(&self, ingress: &str) -> (SocketAddr, SocketAddr) {
        let path = format!("/apis/networking.k8s.io/v1/namespaces/default/ingresses/{ingress}/status");
        let patched = self.api.created(|object| object["patched"] == path.as_str()).await;
        let ports = &patched["patch"]["status"]["loadBalancer"]["ingress"][0]["ports"];
        let at = |index: usize| {
            SocketAddr::from(([127, 0, 0, 1], u16::try_from(ports[index]["port"].as_u64().unwrap()).unwrap()))
        };
        (at(0), at(1))
    }
}

/// A server of this process, that says what it was asked.
#[derive(Default)]
struct Near {
    /// It takes no request any more.
    is_stopping: Mutex<bool>,
}

impl ConnectionHandler for Near {
    fn take(&self, _: Connection) -> Result<(), Connection> {
        panic!("it can be asked without a connection");
    }

    fn http(&self) -> Option<&dyn HttpServer> {
        Some(self)
    }
}

#[async_trait]
impl HttpServer for Near {
    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, Unanswered> {
        if *self.is_stopping.lock().unwrap() {
            return Err(Unanswered::NotTaken(Box::new(request)));
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Unanswered::BrokeOff)?.to_bytes();
        let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
        let text = format!(
            "{} {} of {} for {} by {}: {}\n",
            head.method,
            head.uri,
            header("host"),
            header("x-forwarded-for"),
            header("x-forwarded-proto"),
            String::from_utf8_lossy(&body)
        );
        Ok(Response::new(body_of(text)))
    }
}

fn to(service: &str) -> Value {
    json!({ "service": { "name": service, "port": { "name": "http" } } })
}

fn rule(host: &str, service: &str) -> Value {
    json!({ "host": host, "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": to(service) }] } })
}

/// Sends text and reads until the other side closes.
async fn exchange(to: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// Asks until the answer holds a text: routes follow objects a moment later.
async fn asked_until(to: SocketAddr, text: &str, wanted: &str) -> String {
    loop {
        let answer = exchange(to, text).await;
        if answer.contains(wanted) {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

/// Serves HTTP at a pod's own listener.
async fn guest<F, R>(pod: &Arc<dyn Attachment>, tasks: &mut JoinSet<()>, answer: F) -> Box<dyn std::any::Any>
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = HttpResponse> + Send + 'static,
{
    let port = pod.listen(coracle_api::meet::Protocol::Tcp, SocketAddr::from(([0, 0, 0, 0], 8080))).unwrap();
    let listener: TcpListener = bind_at(port.real()).unwrap().listen(8).unwrap();
    tasks.spawn(async move {
        let mut serving = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            serving.spawn(async move {
                let service = service_fn(|request| {
                    let answer = answer(request);
                    async { Ok::<_, Infallible>(answer.await) }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connection.with_upgrades().await.ok();
            });
        }
    });
    Box::new(port)
}

#[tokio::test]
async fn a_request_is_handed_to_a_server_of_this_process_by_its_host() {
    let running = running(220).await;
    let pod = running.pod("web").await;
    let _port = pod.serve(8080, Arc::new(Near::default())).await.unwrap();
    running.service("web", 1, &[pod.ip()]);
    running.ingress("web", json!({ "rules": [rule("boat.dev", "web")] }));
    let (http, _) = running.ports("web").await;
    let answer = asked_until(http, &get("boat.dev", "/a?b=c"), "200 OK").await;
    assert!(answer.ends_with("GET /a?b=c of boat.dev for 127.0.0.1 by http: \n"), "{answer}");
    let post = "POST /x HTTP/1.1\r\nHost: BOAT.dev:80\r\nTransfer-Encoding: chunked\r\nX-Forwarded-For: 1.2.3.4\r\n\
                Connection: close\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    let answer = exchange(http, post).await;
    assert!(answer.ends_with("POST /x of BOAT.dev:80 for 127.0.0.1 by http: hi\n"), "{answer}");
    let answer = exchange(http, &get("other.dev", "/")).await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found"), "{answer}");
    let answer = exchange(http, &get("boat.dev", "/../x")).await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request"), "{answer}");
    let both = "GET / HTTP/1.1\r\nHost: boat.dev\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
                0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: boat.dev\r\n\r\n";
    let answer = exchange(http, both).await;
    assert!(answer.ends_with("GET / of boat.dev for 127.0.0.1 by http: \n"), "one answer, then closed: {answer}");
}

#[tokio::test]
async fn a_server_that_is_stopping_is_passed_over_and_nobody_is_a_503() {
    let running = running(221).await;
    let (old, new) = (running.pod("old").await, running.pod("new").await);
    let stopping = Arc::new(Near::default());
    let (_old, _new) =
        (old.serve(8080, stopping.clone()).await.unwrap(), new.serve(8080, Arc::new(Near::default())).await.unwrap());
    running.service("web", 1, &[old.ip(), new.ip()]);
    running.ingress("web", json!({ "defaultBackend": to("web") }));
    let (http, _) = running.ports("web").await;
    asked_until(http, &get("x", "/"), "200 OK").await;
    *stopping.is_stopping.lock().unwrap() = true;
    for _ in 0..4 {
        assert!(exchange(http, &get("x", "/")).await.starts_with("HTTP/1.1 200 OK"));
    }
    running.endpoints("web", &[]);
    let answer = asked_until(http, &get("x", "/"), "503").await;
    assert!(answer.contains("retry-after: 1") && answer.ends_with("no pod is ready to answer this request\n"));
}

#[tokio::test]
async fn bodies_and_trailers_stream_both_ways_through_a_guests_own_listener() {
    let mut running = running(222).await;
    let pod = running.pod("echo").await;
    // Echoes what comes as it comes, and says how much it was behind it.
    let port = guest(&pod, &mut running.tasks, |request| async move {
        let pieces = futures::stream::unfold(Some((request.into_body(), 0)), async |state| {
            let (mut body, bytes) = state?;
            match body.frame().await {
                Some(frame) => {
                    let frame = frame.map_err(Into::into);
                    let more = frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, bytes::Bytes::len);
                    Some((frame, Some((body, bytes + more))))
                }
                None => {
                    let trailers =
                        HeaderMap::from_iter([(http::HeaderName::from_static("x-bytes"), HeaderValue::from(bytes))]);
                    Some((Ok(Frame::trailers(trailers)), None))
                }
            }
        });
        let mut response = Response::new(StreamBody::new(Box::pin(pieces)).boxed_unsync());
        response.headers_mut().insert("trailer", HeaderValue::from_static("x-bytes"));
        response
    })
    .await;
    running.service("echo", 1, &[pod.ip()]);
    running.ingress("echo", json!({ "defaultBackend": to("echo") }));
    let (http, _) = running.ports("echo").await;
    asked_until(http, &get("x", "/"), "200 OK").await;

    let mut stream = TcpStream::connect(http).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut heard = String::new();
    for word in ["one", "two", "six"] {
        stream.write_all(format!("3\r\n{word}\r\n").as_bytes()).await.unwrap();
        // Each piece is back before the next is sent.
        while !heard.contains(word) {
            let mut buffer = [0; 1024];
            let length = stream.read(&mut buffer).await.unwrap();
            heard.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    stream.read_to_string(&mut heard).await.unwrap();
    assert!(heard.ends_with("0\r\nx-bytes: 9\r\n\r\n"), "{heard}");
    drop(port);
}

#[tokio::test]
async fn a_websocket_is_passed_on() {
    let mut running = running(223).await;
    let pod = running.pod("socket").await;
    let port = guest(&pod, &mut running.tasks, |mut request| async move {
        let asked = request.headers().get("upgrade").cloned();
        let mut response = Response::new(body_of(""));
        if let Some(asked) = asked {
            *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("upgrade", asked);
            response.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
            let taken_over = hyper::upgrade::on(&mut request);
            #[expect(clippy::disallowed_methods, reason = "it ends with the connection")]
            tokio::spawn(async move {
                let mut stream = TokioIo::new(taken_over.await.unwrap());
                let mut word = [0; 4];
                stream.read_exact(&mut word).await.unwrap();
                stream.write_all(&word).await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
        response
    })
    .await;
    running.service("socket", 1, &[pod.ip()]);
    running.ingress("socket", json!({ "defaultBackend": to("socket") }));
    let (http, _) = running.ports("socket").await;
    asked_until(http, &get("x", "/"), "200 OK").await;
    let upgrade = "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nahoy";
    let answer = exchange(http, upgrade).await;
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols"), "{answer}");
    assert!(answer.contains("upgrade: websocket") && answer.ends_with("\r\n\r\nahoy"), "{answer}");
    drop(port);
}

/// A certificate for a host: as PEM, its key as PEM, and as DER.
fn certificate(host: &str) -> (String, String, rustls::pki_types::CertificateDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap().self_signed(&key).unwrap();
    (made.pem(), key.serialize_pem(), made.der().clone())
}

fn secret(certificate: &str, key: &str) -> Value {
    use k8s_openapi::ByteString;
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    json!({ "type": "kubernetes.io/tls", "data": { "tls.crt": bytes(certificate), "tls.key": bytes(key) } })
}

/// Speaks TLS with a host of which only this certificate is trusted; returns what was agreed on.
async fn secured(
    to: SocketAddr,
    host: &str,
    trusted: &rustls::pki_types::CertificateDer<'static>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = versions.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let stream = TcpStream::connect(to).await?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[tokio::test]
async fn tls_shows_the_secret_of_the_host_and_its_successor_and_speaks_http2() {
    let running = running(224).await;
    let pod = running.pod("web").await;
    let _port = pod.serve(8080, Arc::new(Near::default())).await.unwrap();
    running.service("web", 1, &[pod.ip()]);
    let (first, first_key, first_der) = certificate("boat.dev");
    running.api.put(SECRETS, "boat", secret(&first, &first_key));
    let tls = json!([{ "hosts": ["boat.dev"], "secretName": "boat" }]);
    running.ingress("web", json!({ "rules": [rule("boat.dev", "web")], "tls": tls }));
    let (http, https) = running.ports("web").await;
    asked_until(http, &get("boat.dev", "/"), "200 OK").await;

    let stream = secured(https, "boat.dev", &first_der).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let exec = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, coracle_api::meet::Body>(exec, TokioIo::new(stream))
            .await
            .unwrap();
    let mut connections = JoinSet::new();
    connections.spawn(async move { connection.await.ok() });
    let asked = Request::get("https://boat.dev/two").body(body_of("")).unwrap();
    let answer = sender.send_request(asked).await.unwrap();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "GET /two of boat.dev for 127.0.0.1 by https: \n");

    assert!(secured(https, "other.dev", &first_der).await.is_err(), "another host is shown our own");
    let (second, second_key, second_der) = certificate("boat.dev");
    running.api.put(SECRETS, "boat", secret(&second, &second_key));
    while secured(https, "boat.dev", &second_der).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_once_it_has_stood_for_a_moment() {
    let running = running(225).await;
    let tls = json!([{ "hosts": ["boat.dev"], "secretName": "nothing" }]);
    running.ingress("web", json!({ "rules": [rule("boat.dev", "nobody")], "tls": tls }));
    let event = |reason: &'static str| running.api.created(move |object| object["reason"] == reason);
    let synced = event("Sync").await;
    assert_eq!((&synced["involvedObject"]["name"], &synced["type"]), (&json!("web"), &json!("Normal")));
    let missing = event("ServiceNotFound").await;
    assert_eq!(missing["message"], "Service \"default/nobody\" not found: its paths are answered 503");
    let missing = event("SecretNotFound").await;
    let message =
        "Secret \"default/nothing\" not found: clients of boat.dev are shown a self-signed certificate instead";
    assert_eq!(missing["message"], message);
    let (http, _) = running.ports("web").await;
    assert!(exchange(http, &get("boat.dev", "/")).await.starts_with("HTTP/1.1 503 "));
}

#[tokio::test(start_paused = true)]
async fn a_port_in_use_is_passed_over_or_said_and_opened_when_it_is_free() {
    let squatter = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = squatter.local_addr().unwrap().port();
    let running = running_at(226, IngressConfig { http_ports: vec![taken, 0], https_ports: vec![taken] }).await;
    running.ingress("web", json!({ "defaultBackend": to("nobody") }));
    let failed = running.api.created(|object| object["reason"] == "FailedToBind").await;
    let message = failed["message"].as_str().unwrap();
    assert!(message.starts_with("Ingresses cannot be served by https on 127.0.0.1 (port "), "{message}");
    drop(squatter);
    let both = |object: &Value| {
        let ports = &object["patch"]["status"]["loadBalancer"]["ingress"][0]["ports"];
        ports[1]["port"] == taken
    };
    running.api.created(both).await;
}

#[tokio::test]
async fn without_ingresses_of_ours_there_is_no_port_and_no_watch_but_one() {
    let mut running = running(227).await;
    let spec = json!({ "ingressClassName": "nginx", "defaultBackend": to("web"), "tls": [{ "secretName": "x" }] });
    running.api.put(INGRESSES, "theirs", json!({ "spec": spec }));
    while !running.api.was_listed(INGRESS_CLASSES) {
        tokio::task::yield_now().await;
    }
    assert!(!running.api.was_listed(SECRETS));
    drop(running.shutdown);
    while let Some(ended) = running.tasks.join_next().await {
        ended.unwrap();
    }
    assert!(!running.api.was_listed(SECRETS));
}
