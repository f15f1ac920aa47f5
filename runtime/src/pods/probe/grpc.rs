//! A grpc probe: healthy is who answers `grpc.health.v1.Health/Check` with `SERVING`.
//!
//! The two messages of that protocol have one field each, which is too little to need a library for.

use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use k8s_openapi::api::core::v1::GRPCAction;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Answer;
use super::place::{self, Refusal};
use crate::pods::launch::Order;

/// The largest answer that is read: a status is two bytes, and nothing else is expected.
const ANSWER_BYTES_MAX: usize = 4096;

/// The head of a gRPC message: whether it is compressed, and its length.
const FRAME_HEAD: usize = 5;

/// What a call came to, as gRPC names it.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    code: u32,
    message: String,
}

/// gRPC's numbers for what went wrong, those that matter here.
mod code {
    pub(super) const OK: u32 = 0;
    pub(super) const UNKNOWN: u32 = 2;
    pub(super) const DEADLINE_EXCEEDED: u32 = 4;
    pub(super) const PERMISSION_DENIED: u32 = 7;
    pub(super) const UNIMPLEMENTED: u32 = 12;
    pub(super) const INTERNAL: u32 = 13;
    pub(super) const UNAVAILABLE: u32 = 14;
    pub(super) const UNAUTHENTICATED: u32 = 16;

    /// Their names, by number.
    pub(super) const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
}

/// Asks for the health of a service; of the whole server, if the spec names none.
pub(super) async fn ask(order: &Order, action: &GRPCAction, patience: Duration) -> Answer {
    let Ok(port @ 1..) = u16::try_from(action.port) else {
        return Answer::Unknown(format!("invalid port number: {}", action.port));
    };
    let host = place::host(None, order);
    let authority = place::authority(&host, port);
    let deadline = tokio::time::Instant::now() + patience;
    let seconds = patience.as_secs();
    let stream = match tokio::time::timeout_at(deadline, place::connect(order, &host, port)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(Refusal::NobodyListens(why))) => return Answer::NobodyListens(no_service(&authority, seconds, &why)),
        Ok(Err(Refusal::Other(why))) => return Answer::Unhealthy(no_service(&authority, seconds, &why)),
        Err(_) => return Answer::Unhealthy(no_service(&authority, seconds, "context deadline exceeded")),
    };
    let service = action.service.as_deref().unwrap_or_default();
    match tokio::time::timeout_at(deadline, check(stream, &authority, service)).await {
        Ok(answer) => judge(answer, seconds),
        Err(_) => judge(Err(Failure { code: code::DEADLINE_EXCEEDED, message: String::new() }), seconds),
    }
}

/// gRPC goes on trying to connect until its time is over; so this is its message for whatever hindered it.
fn no_service(authority: &str, seconds: u64, why: &str) -> String {
    format!("timeout: failed to connect service {authority:?} within {seconds}s: {why}")
}

fn judge(answer: Result<u64, Failure>, seconds: u64) -> Answer {
    let status = match answer {
        Ok(1) => return Answer::Healthy,
        Ok(status) => status,
        Err(failure) => return Answer::Unhealthy(in_words(failure, seconds)),
    };
    let name = match status {
        0 => "UNKNOWN".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => other.to_string(),
    };
    Answer::Unhealthy(format!("service unhealthy (responded with {name:?})"))
}

fn in_words(Failure { code, message }: Failure, seconds: u64) -> String {
    match code {
        code::UNIMPLEMENTED => {
            format!("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}")
        }
        code::DEADLINE_EXCEEDED => format!("timeout: health rpc did not complete within {seconds}s"),
        code => {
            let name = usize::try_from(code).ok().and_then(|code| code::NAMES.get(code)).copied();
            let name = name.map_or_else(|| format!("Code({code})"), str::to_owned);
            format!("error: health rpc probe failed: rpc error: code = {name} desc = {message}")
        }
    }
}

/// Calls the server at the other end of `stream`; the number of the status that it answers.
async fn check<S>(stream: S, authority: &str, service: &str) -> Result<u64, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |error: h2::Error| Failure { code: code::UNAVAILABLE, message: error_reading(&error) };
    let (sender, connection) = h2::client::handshake(stream).await.map_err(broken)?;
    let call = async {
        let mut sender = sender.ready().await.map_err(broken)?;
        let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(USER_AGENT, "kube-probe/1.37")
            .body(())
            .map_err(|error| Failure { code: code::INTERNAL, message: error.to_string() })?;
        let (response, mut body) = sender.send_request(request, false).map_err(broken)?;
        body.send_data(question(service), true).map_err(broken)?;
        let (head, body) = response.await.map_err(broken)?.into_parts();
        if head.status != StatusCode::OK {
            return Err(of_http(head.status));
        }
        let (message, trailers) = receive(body).await.map_err(broken)?;
        // A call that failed at once has its status in the head.
        verdict(trailers.as_ref().unwrap_or(&head.headers))?;
        answer(&message)
    };
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    let (mut call, mut driven) = (pin!(call), pin!(driven));
    tokio::select! {
        answer = &mut call => answer,
        () = &mut driven => call.await,
    }
}

fn error_reading(error: &h2::Error) -> String {
    match error.reason() {
        Some(Reason::PROTOCOL_ERROR | Reason::FRAME_SIZE_ERROR) => {
            "connection error: desc = \"error reading server preface: the server does not speak HTTP/2\"".to_owned()
        }
        Some(_) | None => format!("connection error: desc = {:?}", error.to_string()),
    }
}

/// `HealthCheckRequest { service }` in its frame.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.extend_from_slice(&[0x0a]); // field 1, a string
        put_varint(&mut message, u64::try_from(service.len()).unwrap_or(u64::MAX));
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = BytesMut::from(&[0][..]);
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.freeze()
}

fn put_varint(into: &mut BytesMut, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return into.extend_from_slice(&[low & 0x7f]);
        }
        into.extend_from_slice(&[low | 0x80]);
    }
}

/// The body, as far as it is worth reading, and the trailers.
async fn receive(mut body: RecvStream) -> Result<(Bytes, Option<HeaderMap>), h2::Error> {
    let mut message = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if message.len() + data.len() > ANSWER_BYTES_MAX {
            return Err(Reason::ENHANCE_YOUR_CALM.into());
        }
        message.extend_from_slice(&data);
    }
    Ok((message.freeze(), body.trailers().await?))
}

/// What a server that does not speak gRPC means by its status, as gRPC maps it.
fn of_http(status: StatusCode) -> Failure {
    let code = match status.as_u16() {
        400 => code::INTERNAL,
        401 => code::UNAUTHENTICATED,
        403 => code::PERMISSION_DENIED,
        404 => code::UNIMPLEMENTED,
        429 | 502..=504 => code::UNAVAILABLE,
        _ => code::UNKNOWN,
    };
    Failure { code, message: format!("unexpected HTTP status code received from server: {status}") }
}

/// Whether the call succeeded, by its trailers.
fn verdict(trailers: &HeaderMap) -> Result<(), Failure> {
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status").and_then(|status| status.parse().ok()) {
        Some(code::OK) => Ok(()),
        Some(code) => Err(Failure { code, message: unescaped(text("grpc-message").unwrap_or_default()) }),
        None => {
            Err(Failure { code: code::INTERNAL, message: "server closed the stream without sending trailers".into() })
        }
    }
}

/// gRPC escapes messages as URLs are.
fn unescaped(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The status in `HealthCheckResponse { status }`; 0 if it is not there, as protobuf has it.
fn answer(frame: &[u8]) -> Result<u64, Failure> {
    let malformed = || Failure { code: code::INTERNAL, message: "the health check's answer is malformed".into() };
    let mut message = frame.get(FRAME_HEAD..).ok_or_else(malformed)?;
    let mut status = 0;
    while message.has_remaining() {
        let key = varint(&mut message).ok_or_else(malformed)?;
        let length = match key & 7 {
            0 => {
                let value = varint(&mut message).ok_or_else(malformed)?;
                if key >> 3 == 1 {
                    status = value;
                }
                0
            }
            1 => 8,
            2 => varint(&mut message).and_then(|length| usize::try_from(length).ok()).ok_or_else(malformed)?,
            5 => 4,
            _ => return Err(malformed()),
        };
        message = message.get(length..).ok_or_else(malformed)?;
    }
    Ok(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests;
