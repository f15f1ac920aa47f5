//! The protocol's frames by example, and a server that speaks it.

use super::*;

#[test]
fn a_question_names_the_service() {
    assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
    assert_eq!(&question("db")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
    let long = question(&"x".repeat(200));
    assert_eq!(&long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
}

#[test]
fn an_answer_has_a_status_among_fields_that_may_come_later() {
    assert_eq!(answer(&[0, 0, 0, 0, 2, 8, 1]), Ok(1));
    assert_eq!(answer(&[0, 0, 0, 0, 0]), Ok(0));
    assert_eq!(answer(&[0, 0, 0, 0, 6, 0x12, 2, 7, 7, 8, 2]), Ok(2));
    for malformed in [&[0, 0][..], &[0, 0, 0, 0, 1, 8], &[0, 0, 0, 0, 2, 0x12, 9], &[0, 0, 0, 0, 1, 0x0b]] {
        assert!(answer(malformed).is_err(), "{malformed:?}");
    }
}

#[test]
fn failures_are_told_in_the_kubelets_words() {
    let words = |answer| match judge(answer, 1) {
        Answer::Unhealthy(why) => why,
        Answer::Healthy | Answer::Doubtful(_) | Answer::NobodyListens(_) | Answer::Unknown(_) => String::new(),
    };
    let failed = |code| words(Err(Failure { code, message: "x".into() }));
    assert_eq!(words(Ok(2)), r#"service unhealthy (responded with "NOT_SERVING")"#);
    assert_eq!(words(Ok(3)), r#"service unhealthy (responded with "SERVICE_UNKNOWN")"#);
    assert_eq!(failed(4), "timeout: health rpc did not complete within 1s");
    assert_eq!(failed(5), "error: health rpc probe failed: rpc error: code = NotFound desc = x");
    assert_eq!(failed(12), "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): x");
}

/// A server that answers one call.
async fn serve(stream: tokio::io::DuplexStream, status: &'static str, body: &'static [u8]) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let (request, mut respond) = connection.accept().await.unwrap().unwrap();
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    let response = http::Response::builder().header(CONTENT_TYPE, "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(response, false).unwrap();
    stream.send_data(Bytes::from_static(body), false).unwrap();
    let trailers = [("grpc-status", status), ("grpc-message", "not%20here")];
    let trailers = trailers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    stream.send_trailers(HeaderMap::from_iter(trailers)).unwrap();
    while connection.accept().await.is_some() {}
}

#[tokio::test]
async fn a_server_is_asked_over_http_2() {
    let ask = async |status, body| {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (answer, ()) = tokio::join!(check(ours, "127.42.0.5:80", "db"), serve(theirs, status, body));
        answer
    };
    assert_eq!(ask("0", &[0, 0, 0, 0, 2, 8, 1]).await, Ok(1));
    assert_eq!(ask("5", &[]).await, Err(Failure { code: 5, message: "not here".into() }));
    assert_eq!(ask("0", &[]).await.unwrap_err().code, code::INTERNAL);
}

#[tokio::test]
async fn a_server_of_another_protocol_is_told_apart() {
    use tokio::io::AsyncWriteExt;
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    theirs.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let failure = check(ours, "127.42.0.5:80", "").await.unwrap_err();
    assert_eq!(failure.code, code::UNAVAILABLE);
}
