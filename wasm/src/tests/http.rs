//! HTTP programs: served, reused, replaced when they fail, drained when they stop.

mod misbehaving;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::*;

fn server() -> Vec<u8> {
    component(include_str!("guests/server.wat"), "server")
}

/// A client's connection, kept alive.
struct Client {
    sender: SendRequest<Empty<Bytes>>,
    _connection: JoinSet<()>,
}

impl Client {
    async fn connect(real: SocketAddr) -> Self {
        let stream = TcpStream::connect(real).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        Self { sender, _connection: tasks }
    }

    async fn get(&mut self, path: &str) -> (u16, String) {
        self.sender.ready().await.unwrap();
        let request = ::http::Request::get(path).header("host", "pod").body(Empty::new()).unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

async fn get(node: &Node, path: &str) -> (u16, String) {
    Client::connect(node.loopback.real(80).unwrap()).await.get(path).await
}

#[tokio::test]
async fn an_instance_is_reused_until_it_has_answered_its_share() {
    // With one instance a request waits until the last one has been finished, not only answered.
    let node = Node::with(|config| (config.http.instances, config.http.requests_per_instance) = (1, 3));
    let _running = node.start(server(), |_| {}).await;
    let mut client = Client::connect(node.loopback.real(80).unwrap()).await;
    let mut bodies = Vec::new();
    for _ in 0..5 {
        bodies.push(client.get("/").await);
    }
    let answered = |count: u8| (200, format!("{count}\n"));
    assert_eq!(bodies, [answered(1), answered(2), answered(3), answered(1), answered(2)]);
    assert_eq!(node.stderr.text(), "");
}

#[tokio::test]
async fn a_program_finishes_its_answer_though_the_connection_needs_no_more_of_it() {
    let node = Node::with(|config| config.http.instances = 1);
    let _running = node.start(server(), |_| {}).await;
    let mut client = Client::connect(node.loopback.real(80).unwrap()).await;
    for _ in 0..2 {
        let head = ::http::Request::head("/").header("host", "pod").body(Empty::new()).unwrap();
        client.sender.ready().await.unwrap();
        assert_eq!(client.sender.send_request(head).await.unwrap().headers()["content-length"], "2");
    }
    assert_eq!(client.get("/").await, (200, "3\n".into()));
    assert_eq!(node.stderr.text(), "");
}

#[tokio::test]
async fn an_idle_instance_is_given_up() {
    let node = Node::with(|config| config.http.idle = Duration::from_millis(20));
    let running = node.start(server(), |_| {}).await;
    assert_eq!(get(&node, "/").await, (200, "1\n".into()));
    until(|| running.usage().memory_bytes == 0).await;
    assert_eq!(get(&node, "/").await, (200, "1\n".into()));
}

#[tokio::test]
async fn a_trap_costs_one_request_and_one_instance() {
    let node = Node::with(|config| config.http.instances = 1);
    let _running = node.start(server(), |_| {}).await;
    let mut client = Client::connect(node.loopback.real(80).unwrap()).await;
    assert_eq!(client.get("/").await, (200, "1\n".into()));
    assert_eq!(client.get("/trap").await.0, 500);
    assert_eq!(client.get("/").await, (200, "1\n".into()));
    assert!(node.stderr.text().contains("unreachable"), "{}", node.stderr.text());
}

#[tokio::test]
async fn an_error_of_a_handler_of_wasi_0_3_is_told_and_its_instance_goes_on() {
    let node = Node::with(|config| config.http.instances = 1);
    let running = node.start(component(include_str!("guests/server03.wat"), "server03"), |_| {}).await;
    let mut client = Client::connect(node.loopback.real(80).unwrap()).await;
    assert_eq!(client.get("/").await.0, 500);
    assert_eq!(client.get("/").await.0, 500);
    assert_eq!(node.stderr.text().matches("InternalError").count(), 2, "{}", node.stderr.text());
    assert_eq!(running.usage().memory_bytes, 64 * 1024);
}

#[tokio::test]
async fn requests_beyond_the_queue_are_told_to_come_again() {
    let node = Node::with(|config| (config.http.instances, config.http.queue) = (1, 0));
    let running = node.start(server(), |_| {}).await;
    let real = node.loopback.real(80).unwrap();
    let mut stuck = JoinSet::new();
    stuck.spawn(async move { Client::connect(real).await.get("/spin").await });
    until(|| running.usage().cpu > Duration::ZERO).await;
    assert_eq!(get(&node, "/").await.0, 503);
}

#[tokio::test]
async fn a_memory_beyond_its_limit_ends_the_server() {
    let node = Node::new();
    let mut running = node.start(server(), |launch| launch.memory_limit = Some(8 << 20)).await;
    let real = node.loopback.real(80).unwrap();
    let mut clients = JoinSet::new();
    clients.spawn(async move {
        let mut client = Client::connect(real).await;
        client.sender.ready().await.unwrap();
        let request = ::http::Request::get("/grow").header("host", "pod").body(Empty::new()).unwrap();
        let _ = client.sender.send_request(request).await;
    });
    assert_eq!(running.outcome().await, Outcome::OutOfMemory);
    assert_eq!(running.usage().memory_bytes, 0);
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_frees_the_port() {
    let node = Node::new();
    let mut running = node.start(server(), |_| {}).await;
    let mut client = Client::connect(node.loopback.real(80).unwrap()).await;
    assert_eq!(client.get("/").await.0, 200);
    running.stop();
    assert_eq!(running.outcome().await, Outcome::Stopped);
    assert_eq!(node.loopback.real(80), None);
    until(|| client.sender.is_closed()).await;
}

#[tokio::test]
async fn a_client_that_asks_as_its_server_stops_is_answered_and_told_that_it_is_the_last_time() {
    let node = Node::new();
    let mut running = node.start(server(), |_| {}).await;
    let mut client = Client::connect(node.loopback.real(80).unwrap()).await;
    assert_eq!(client.get("/").await.0, 200);
    running.stop();
    until(|| node.loopback.real(80).is_none()).await;
    client.sender.ready().await.unwrap();
    let request = ::http::Request::get("/").header("host", "pod").body(Empty::new()).unwrap();
    let response = client.sender.send_request(request).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["connection"].as_bytes()), (200, b"close".as_slice()));
    drop(response);
    assert_eq!(running.outcome().await, Outcome::Stopped);
}

#[tokio::test]
async fn a_request_in_flight_outlives_a_stop_but_not_a_kill() {
    let node = Node::new();
    let mut running = node.start(server(), |_| {}).await;
    let real = node.loopback.real(80).unwrap();
    let mut stuck = JoinSet::new();
    stuck.spawn(async move {
        let mut client = Client::connect(real).await;
        client.sender.ready().await.unwrap();
        let request = ::http::Request::get("/spin").header("host", "pod").body(Empty::new()).unwrap();
        client.sender.send_request(request).await.is_err()
    });
    until(|| running.usage().cpu > Duration::ZERO).await;
    running.stop();
    until(|| node.loopback.real(80).is_none()).await;
    let used = running.usage().cpu;
    until(|| running.usage().cpu > used).await;
    running.kill();
    assert_eq!(running.outcome().await, Outcome::Stopped);
    assert!(stuck.join_next().await.unwrap().unwrap());
}

#[tokio::test]
async fn requests_and_bytes_are_counted() {
    let node = Node::with(|config| (config.http.instances, config.http.queue) = (1, 0));
    let running = node.start(server(), |_| {}).await;
    assert_eq!(running.usage().traffic, Traffic::default());
    let mut client = Client::connect(node.loopback.real(80).unwrap()).await;
    assert_eq!(client.get("/").await.0, 200);
    assert_eq!(client.get("/trap").await.0, 500);
    let mut stuck = Client::connect(node.loopback.real(80).unwrap()).await;
    let mut tasks = JoinSet::new();
    // The failure is told before the instance has made room for another.
    tasks.spawn(async move { while stuck.get("/spin").await.0 == 503 {} });
    until(|| running.usage().traffic.requests.in_flight == 1).await;
    assert_eq!(client.get("/").await.0, 503);
    let traffic = running.usage().traffic;
    let refused = traffic.requests.refused;
    let by_class = [0, 1, 0, 0, 1 + refused];
    let requests = Requests { total: 3 + refused, by_class, refused, in_flight: 1, ..Requests::default() };
    assert!(refused >= 1);
    assert_eq!(traffic.requests, requests);
    assert!(traffic.received_bytes > 0 && traffic.sent_bytes > 0);
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_at_the_start() {
    let node = Node::new();
    let _running = node.start(server(), |_| {}).await;
    let program = node.load(server()).await.unwrap();
    assert!(matches!(node.wasm.start(program, node.launch()).await, Err(StartError::Port { port: 80, .. })));
}

#[tokio::test]
async fn outgoing_requests_go_where_the_network_says() {
    let node = Node::new();
    let source = include_str!("guests/client.wat");
    let client = component(source, "command");
    // connection-refused: the Service has no endpoint.
    assert_eq!(node.run(client.clone(), |_| {}).await, Outcome::Exited(106));
    let _server = node.start(server(), |_| {}).await;
    *node.loopback.endpoint.lock().unwrap() = node.loopback.real(80);
    assert_eq!(node.run(client.clone(), |_| {}).await, Outcome::Exited(2));
    // DNS-error: another namespace does not know the name.
    let elsewhere = |launch: &mut Launch| launch.names = Arc::new(PodNames::of_namespace("elsewhere", "cluster.local"));
    assert_eq!(node.run(client, elsewhere).await, Outcome::Exited(101));
    // HTTP-request-denied: a policy forbids the address.
    let forbidden = component(&source.replace("backend", "outside"), "command");
    assert_eq!(node.run(forbidden, |_| {}).await, Outcome::Exited(115));
}

#[tokio::test]
async fn no_request_is_lost_while_instances_come_and_go() {
    let node = Node::with(|config| {
        (config.http.idle, config.http.instances) = (Duration::from_micros(200), 4);
        config.http.requests_per_instance = 7;
    });
    let running = node.start(server(), |_| {}).await;
    let real = node.loopback.real(80).unwrap();
    let mut clients = JoinSet::new();
    for _ in 0..16 {
        clients.spawn(async move {
            let mut client = Client::connect(real).await;
            for _ in 0..100 {
                assert_eq!(client.get("/").await.0, 200);
            }
        });
    }
    clients.join_all().await;
    until(|| running.usage().memory_bytes == 0).await;
}

#[tokio::test]
async fn no_request_of_wasi_0_3_is_lost_where_instances_are_interrupted() {
    let node = Node::with(|config| {
        (config.http.instances, config.http.requests_per_instance, config.http.requests_at_once) = (2, 7, 3);
        config.workers = 1;
    });
    // It computes for so long that it is cut short for the other instance.
    let compute = "(local $n i32) (loop $on (br_if $on (i32.lt_u
        (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000000)))) (call $drop (local.get $request))";
    let source = include_str!("guests/server03.wat").replace("(call $drop (local.get $request))", compute);
    let running = node.start(component(&source, "server03"), |_| {}).await;
    let real = node.loopback.real(80).unwrap();
    let mut clients = JoinSet::new();
    for _ in 0..16 {
        clients.spawn(async move {
            let mut client = Client::connect(real).await;
            for _ in 0..20 {
                assert_eq!(client.get("/").await.0, 500);
            }
        });
    }
    clients.join_all().await;
    // It answers each request with an error, which its log tells; of one that was lost there is no word.
    assert_eq!(node.stderr.text().matches("InternalError").count(), 320);
    drop(running);
}

#[tokio::test]
async fn a_client_may_speak_http_2() {
    let node = Node::new();
    let _running = node.start(server(), |_| {}).await;
    let stream = TcpStream::connect(node.loopback.real(80).unwrap()).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { connection.await.unwrap() });
    let request = ::http::Request::get("http://pod/").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "1\n");
}
