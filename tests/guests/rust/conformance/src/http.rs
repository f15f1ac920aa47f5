//! `wasi:http/outgoing-handler`: requests of a command, and how they fail.

use std::io::Read;

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{ErrorCode, Fields, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme};

use crate::{Check, Failure, holds, same, text};

pub const CHECKS: &[Check] = &[
    ("a Service is asked by its name", asked),
    ("a server that is not there is an error", absent),
    ("headers that belong to the connection are refused", headers),
];

fn asked() -> Result<(), Failure> {
    let (status, body) = get("hello", "/")?.map_err(text)?;
    same(status, 200)?;
    holds(body.contains(" from hello-"), &body)?;
    same(get("hello.default.svc.cluster.local:80", "/healthz")?.map_err(text)?, (200, "ok\n".to_owned()))
}

fn absent() -> Result<(), Failure> {
    match get("127.0.0.1:4798", "/")? {
        Err(ErrorCode::ConnectionRefused) => {}
        other => return Err(format!("{other:?} is no refused connection")),
    }
    match get("nobody.default.svc.cluster.local", "/")? {
        Err(ErrorCode::DnsError(_) | ErrorCode::DestinationNotFound) => Ok(()),
        other => Err(format!("{other:?} does not say that the name is not found")),
    }
}

fn headers() -> Result<(), Failure> {
    let fields = Fields::new();
    holds(fields.append("transfer-encoding", b"chunked").is_err(), "transfer-encoding is refused")?;
    holds(fields.append("bad name", b"x").is_err(), "a name with a space is refused")?;
    fields.append("x-good", b"one").and_then(|()| fields.append("X-Good", b"two")).map_err(text)?;
    same(fields.get("x-good"), vec![b"one".to_vec(), b"two".to_vec()])
}

/// Asks a server; the outer failure is of the asking itself.
fn get(authority: &str, path: &str) -> Result<Result<(u16, String), ErrorCode>, Failure> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&Method::Get).map_err(text)?;
    request.set_scheme(Some(&Scheme::Http)).map_err(text)?;
    request.set_authority(Some(authority)).map_err(text)?;
    request.set_path_with_query(Some(path)).map_err(text)?;
    OutgoingBody::finish(request.body().map_err(text)?, None).map_err(text)?;
    let options = RequestOptions::new();
    options.set_connect_timeout(Some(5_000_000_000)).map_err(text)?;
    let future = match handle(request, Some(options)) {
        Ok(future) => future,
        Err(error) => return Ok(Err(error)),
    };
    future.subscribe().block();
    let response = match future.get().ok_or("no answer though it is ready")?.map_err(text)? {
        Ok(response) => response,
        Err(error) => return Ok(Err(error)),
    };
    let body = response.consume().map_err(text)?;
    let mut whole = String::new();
    body.stream().map_err(text)?.read_to_string(&mut whole).map_err(text)?;
    Ok(Ok((response.status(), whole)))
}
