//! An HTTP component of WASI 0.2: `/healthz` is answered with `ok`, `/never` with nothing ever, anything else with the request's own body, as it
//! comes, and its trailers.
//!
//! Invariant: it holds one piece of a body at a time, however long the body is.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::StreamError;

/// The component's face: `wasi:http/incoming-handler`.
struct Web;

wasip2::http::proxy::export!(Web);

/// How much of a body is asked for at once.
const PIECE: u64 = 64 * 1024;

impl Guest for Web {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        if path == "/never" {
            loop {
                std::hint::spin_loop();
            }
        }
        let response = OutgoingResponse::new(Fields::new());
        let answer = response.body().expect("a body is taken once");
        ResponseOutparam::set(out, Ok(response));
        let trailers = if path == "/healthz" {
            let stream = answer.write().expect("a stream is taken once");
            stream.blocking_write_and_flush(b"ok\n").expect("the client is there");
            None
        } else {
            echo(&request, &answer)
        };
        OutgoingBody::finish(answer, trailers).expect("the client is there");
    }
}

fn echo(request: &IncomingRequest, answer: &OutgoingBody) -> Option<Fields> {
    let body = request.consume().expect("a body is taken once");
    let (from, to) = (body.stream().expect("a stream"), answer.write().expect("a stream"));
    loop {
        match from.blocking_read(PIECE) {
            Ok(piece) => piece.chunks(4096).for_each(|part| to.blocking_write_and_flush(part).expect("a client")),
            Err(StreamError::Closed) => break,
            Err(error) => panic!("the body breaks off: {error}"),
        }
    }
    drop((from, to));
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    let trailers = trailers.get().expect("it is ready").expect("it is asked once").expect("the client is there");
    trailers.map(|fields| Fields::from_list(&fields.entries()).expect("what came may go"))
}
