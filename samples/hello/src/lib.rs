//! Hello: answers every HTTP request with a greeting and the name of the pod that gave it.
//!
//! Invariant: a request never ends in a trap; what goes wrong (as a rule, a client that left) is one
//! line on stderr, so the instance stays fit for the next request.

use std::env;
use std::io::{self, Write as _};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam};

const TEXT: &str = "text/plain; charset=utf-8";
const GRPC: &str = "application/grpc";

/// Where gRPC's health protocol asks.
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/Check";

/// Its answer: a message of two bytes in its frame, which says that the status, field 1, is `SERVING`.
const SERVING: [u8; 7] = [0, 0, 0, 0, 2, 8, 1];

/// The component's face: `wasi:http/incoming-handler`.
struct Hello;

wasip2::http::proxy::export!(Hello);

impl Guest for Hello {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_else(|| "/".to_owned());
        let path = target.split('?').next().unwrap_or_default();
        // Probes ask every few seconds, for ever: they are not worth a line in the log.
        let answered = match path {
            "/healthz" => answer(response, TEXT, b"ok\n", None),
            GRPC_HEALTH => answer(response, GRPC, &SERVING, Some(("grpc-status", "0"))),
            _ => {
                println!("{} {target}", method_name(&request.method()));
                answer(response, TEXT, greet().as_bytes(), None)
            }
        };
        if let Err(error) = answered {
            eprintln!("cannot answer {target}: {error}");
        }
    }
}

/// The greeting comes from a ConfigMap, the name from the downward API; a bare pod has neither.
fn greet() -> String {
    let greeting = env::var("GREETING").unwrap_or_else(|_| "hello".to_owned());
    let name = env::var("POD_NAME").or_else(|_| env::var("HOSTNAME")).unwrap_or_else(|_| "coracle".to_owned());
    format!("{greeting} from {name}\n")
}

/// Answers with a body, and after it a trailer if there is one.
fn answer(out: ResponseOutparam, kind: &str, content: &[u8], trailer: Option<(&str, &str)>) -> io::Result<()> {
    let headers = Fields::from_list(&[
        ("content-type".to_owned(), kind.as_bytes().to_vec()),
        ("content-length".to_owned(), content.len().to_string().into_bytes()),
    ])
    .map_err(io::Error::other)?;
    let response = OutgoingResponse::new(headers);
    let body = response.body().map_err(|()| io::Error::other("the body was taken before"))?;
    ResponseOutparam::set(out, Ok(response));

    let mut stream = body.write().map_err(|()| io::Error::other("the stream was taken before"))?;
    stream.write_all(content)?;
    stream.blocking_flush().map_err(io::Error::other)?;
    // A body can be finished only when its stream is gone.
    drop(stream);
    let trailers = trailer.map(|(name, value)| Fields::from_list(&[(name.to_owned(), value.as_bytes().to_vec())]));
    OutgoingBody::finish(body, trailers.transpose().map_err(io::Error::other)?).map_err(io::Error::other)
}

fn method_name(method: &Method) -> &str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => name,
    }
}
