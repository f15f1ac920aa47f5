//! Programs and clients that do not do as they should: each costs its own request, and nobody else's.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// What comes back for these bytes until the server closes the connection.
async fn raw(node: &Node, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(node.loopback.real(80).unwrap()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset comes where the server closes before it has read everything.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// The status of an answer, and whether its body came to its end.
async fn ask(node: &Node, path: &str) -> (u16, bool) {
    let mut client = Client::connect(node.loopback.real(80).unwrap()).await;
    client.sender.ready().await.unwrap();
    let request = ::http::Request::get(path).header("host", "pod").body(Empty::<Bytes>::new()).unwrap();
    // Nothing of it may have gone out when it broke off.
    let Ok(response) = client.sender.send_request(request).await else { return (0, false) };
    (response.status().as_u16(), response.into_body().collect().await.is_ok())
}

#[tokio::test]
async fn an_exit_or_no_answer_at_all_is_told_and_the_next_request_is_answered() {
    let node = Node::with(|config| config.http.instances = 1);
    let _running = node.start(server(), |_| {}).await;
    assert_eq!(ask(&node, "/exit").await, (500, true));
    assert_eq!(get(&node, "/").await, (200, "1\n".into()));
    assert_eq!(ask(&node, "/nothing").await, (500, true));
    assert_eq!(get(&node, "/").await, (200, "1\n".into()));
    let log = node.stderr.text();
    assert!(log.contains("the program called exit(3) on a request"), "{log}");
    assert!(log.contains("it returned without an answer"), "{log}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_taken_for_a_whole_one() {
    let node = Node::with(|config| config.http.instances = 1);
    let _running = node.start(server(), |_| {}).await;
    for path in ["/cut", "/keep", "/abort"] {
        assert!(!ask(&node, path).await.1, "{path}");
    }
    assert_eq!(get(&node, "/").await.0, 200);
    assert!(node.stderr.text().contains("unreachable"), "{}", node.stderr.text());
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_ended_and_its_client_told() {
    let node = Node::with(|config| config.http.instances = 1);
    let running = node.start(server(), |launch| launch.request_timeout = Some(Duration::from_millis(30))).await;
    assert_eq!(ask(&node, "/spin").await, (504, true));
    assert!(!ask(&node, "/late").await.1);
    assert_eq!(get(&node, "/").await, (200, "1\n".into()));
    assert_eq!(running.usage().traffic.requests.timed_out, 1);
    assert!(node.stderr.text().contains("took longer than 30ms"), "{}", node.stderr.text());
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_holds_no_instance() {
    let node = Node::with(|config| {
        (config.http.instances, config.http.body_idle) = (1, Duration::from_millis(30));
        config.http.idle = Duration::from_millis(30);
    });
    let running = node.start(server(), |_| {}).await;
    let mut lazy = TcpStream::connect(node.loopback.real(80).unwrap()).await.unwrap();
    lazy.write_all(b"GET /flood HTTP/1.1\r\nhost: pod\r\n\r\n").await.unwrap();
    until(|| running.usage().traffic.sent_bytes > 0).await;
    assert_eq!(get(&node, "/").await, (200, "1\n".into()));
    until(|| running.usage().memory_bytes == 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_instance() {
    let node = Node::with(|config| config.http.instances = 1);
    let running = node.start(server(), |_| {}).await;
    let mut leaving = TcpStream::connect(node.loopback.real(80).unwrap()).await.unwrap();
    leaving.write_all(b"GET /flood HTTP/1.1\r\nhost: pod\r\n\r\n").await.unwrap();
    until(|| running.usage().traffic.sent_bytes > 0).await;
    drop(leaving);
    until(|| running.usage().traffic.requests.in_flight == 0).await;
    assert_eq!(get(&node, "/").await.0, 200);
}

#[tokio::test]
async fn a_client_that_says_nothing_or_half_a_head_is_closed() {
    let node = Node::with(|config| config.http.header_read = Duration::from_millis(30));
    let _running = node.start(server(), |_| {}).await;
    for start in ["", "PRI", "GET / HTTP/1.1\r\nhost:"] {
        let answer = raw(&node, start.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{start:?}: {answer}");
    }
}

#[tokio::test]
async fn what_is_no_good_request_never_reaches_the_program() {
    let node = Node::new();
    let running = node.start(server(), |_| {}).await;
    let big = format!("GET / HTTP/1.1\r\nhost: pod\r\nbig: {}\r\n\r\n", "x".repeat(100 * 1024));
    let many = format!("GET / HTTP/1.1\r\nhost: pod\r\n{}\r\n", "a: b\r\n".repeat(200));
    for (request, status) in [
        ("nonsense\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: pod\r\ncontent-length: x\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n", "400"),
        (big.as_str(), "431"),
        (many.as_str(), "431"),
        ("GET / HTTP/1.1\r\nhost: pod\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n", "501"),
    ] {
        let answer = raw(&node, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{:.40}: {answer}", request);
    }
    assert_eq!(running.usage().memory_bytes, 0, "there never was an instance");
}

#[tokio::test]
async fn old_clients_are_answered() {
    let node = Node::with(|config| config.http.instances = 1);
    let _running = node.start(server(), |_| {}).await;
    let answer = raw(&node, b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\n1\n"), "{answer}");
    let answer = raw(&node, b"HEAD / HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("content-length: 2\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(node.stderr.text(), "");
}
