//! Hello: answers every HTTP request with a greeting and the name of the pod that gave it.
//!
//! Invariant: a request never ends in a trap; what goes wrong (as a rule, a client that left) is one
//! line on stderr, so the instance stays fit for the next request.

use std::env;
use std::io::{self, Write as _};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam};

/// The component's face: `wasi:http/incoming-handler`.
struct Hello;

wasip2::http::proxy::export!(Hello);

impl Guest for Hello {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_else(|| "/".to_owned());
        let path = target.split('?').next().unwrap_or_default();
        let text = if path == "/healthz" {
            // Asked by probes every few seconds, for ever: not worth a line in the log.
            "ok\n".to_owned()
        } else {
            println!("{} {target}", method_name(&request.method()));
            greet()
        };
        if let Err(error) = answer(response, &text) {
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

fn answer(out: ResponseOutparam, text: &str) -> io::Result<()> {
    let headers = Fields::from_list(&[
        ("content-type".to_owned(), b"text/plain; charset=utf-8".to_vec()),
        ("content-length".to_owned(), text.len().to_string().into_bytes()),
    ])
    .map_err(io::Error::other)?;
    let response = OutgoingResponse::new(headers);
    let body = response.body().map_err(|()| io::Error::other("the body was taken before"))?;
    ResponseOutparam::set(out, Ok(response));

    let mut stream = body.write().map_err(|()| io::Error::other("the stream was taken before"))?;
    stream.write_all(text.as_bytes())?;
    stream.blocking_flush().map_err(io::Error::other)?;
    // A body can be finished only when its stream is gone.
    drop(stream);
    OutgoingBody::finish(body, None).map_err(io::Error::other)
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
